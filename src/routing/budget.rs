//! How much is compared where conditions are held against one another: what an object costs must not grow as its square,
//! for one can have tens of thousands of conditions with as many headers.
//!
//! Where a budget ends the rules that would need the rest say nothing of it.

use std::cell::Cell;

use super::Condition;
use crate::resource::{HttpMatch, MOST_PATTERNS_KEPT, MOST_PATTERNS_WRITTEN, StringMatch};

/// What all comparisons for one object may cost, in all of its lists and for all rules.
pub const MOST_COMPARED: usize = 4_000_000;

/// What is left to compare for one object.
#[derive(Debug)]
pub struct Comparisons {
    left: Cell<usize>,
}

impl Default for Comparisons {
    fn default() -> Self {
        Self {
            left: Cell::new(MOST_COMPARED),
        }
    }
}

impl Comparisons {
    /// Begins anew, for another object.
    pub fn renew(&self) {
        self.left.set(MOST_COMPARED);
    }

    /// Whether nothing is left.
    pub fn are_over(&self) -> bool {
        self.left.get() == 0
    }

    /// Whether there is enough left for something that costs so much, which is taken off it. Once there is not there
    /// never is.
    pub fn takes(&self, cost: usize) -> bool {
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// What a condition adds to the cost of comparing it.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// Its headers and query parameters, each of which is looked for among those of the other.
    named: usize,
    /// How large its patterns are.
    patterns: usize,
    /// How long its texts are, which patterns are held against.
    texts: usize,
}

impl Weight {
    /// Of a condition.
    pub fn of(condition: Condition<'_>) -> Self {
        let named =
            |part: &HttpMatch| part.headers.len() + part.without_headers.len() + part.query_params.len();
        let mut weight = Self {
            named: condition.parts().map(named).sum(),
            patterns: 0,
            texts: 0,
        };
        for text in condition.texts() {
            match text {
                StringMatch::Regex(pattern) => weight.patterns += weight_of(pattern),
                StringMatch::Exact(text) | StringMatch::Prefix(text) => weight.texts += text.len(),
                StringMatch::Present => {}
            }
        }
        weight
    }

    /// What it costs to ask whether a condition of this weight covers one of the weight `narrow`.
    pub fn against(self, narrow: Self) -> usize {
        let named = self.named.saturating_mul(narrow.named);
        let patterns = self.patterns.saturating_mul(narrow.texts);
        named.saturating_add(patterns).saturating_add(1)
    }
}

/// How much a pattern weighs: a longer one may become larger.
fn weight_of(pattern: &str) -> usize {
    /// One this long weighs twice as much as the shortest.
    const TWICE: usize = 512;
    1 + pattern.len() / TWICE
}

/// What it costs to hold a text against what is asked for.
pub fn cost_of(asked: &StringMatch, text: &str) -> usize {
    match asked {
        StringMatch::Regex(pattern) => 1 + weight_of(pattern).saturating_mul(text.len()),
        _ => 1,
    }
}

/// The patterns of a list of routes that are still read: all of them are kept at once, so that each is read once however
/// many conditions it is held against.
#[derive(Debug)]
pub struct Patterns {
    patterns: usize,
    written: usize,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            patterns: MOST_PATTERNS_KEPT,
            written: MOST_PATTERNS_WRITTEN,
        }
    }
}

impl Patterns {
    /// Whether there is room for those among these texts, which is taken.
    pub fn take<'t>(&mut self, texts: impl Iterator<Item = &'t StringMatch>) -> bool {
        let patterns = texts.filter_map(|text| match text {
            StringMatch::Regex(pattern) => Some(pattern.len()),
            _ => None,
        });
        let (count, written) =
            patterns.fold((0, 0), |(count, written), length| (count + 1, written + length));
        let left = (
            self.patterns.checked_sub(count),
            self.written.checked_sub(written),
        );
        let (Some(patterns), Some(written)) = left else {
            return false;
        };
        (self.patterns, self.written) = (patterns, written);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> HttpMatch {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn so_many_patterns_are_read_and_no_more() {
        let plain = read(json!({"uri": {"exact": "/"}}));
        let pattern = json!({"regex": "a.*"});
        let patterns = read(
            json!({"uri": pattern, "headers": {"bu": pattern}, "withoutHeaders": {"x": pattern, "y": pattern}}),
        );
        let mut budget = Patterns::default();
        let taken = (0..1000).filter(|_| budget.take(Condition::own(0, &patterns).texts()));
        assert_eq!(taken.count(), MOST_PATTERNS_KEPT / 4);
        assert!(budget.take(Condition::own(0, &plain).texts()), "it has none");

        let long = read(json!({"uri": {"regex": "a".repeat(10_000)}}));
        let mut budget = Patterns::default();
        let taken = (0..1000).filter(|_| budget.take(Condition::own(0, &long).texts()));
        assert_eq!(taken.count(), MOST_PATTERNS_WRITTEN / 10_000);
    }

    #[test]
    fn a_comparison_costs_its_headers_times_those_of_the_other_and_patterns_by_the_text() {
        let headers = |count: usize| {
            let headers = (0..count).map(|at| (format!("x-{at}"), json!({"exact": "abcd"})));
            read(json!({"headers": headers.collect::<serde_json::Map<_, _>>()}))
        };
        let (two, three) = (headers(2), headers(3));
        let of = |part| Weight::of(Condition::own(0, part));
        assert_eq!(of(&two).against(of(&three)), 1 + 2 * 3);
        let pattern = read(json!({"headers": {"x-0": {"regex": "a".repeat(1024)}}}));
        assert_eq!(of(&pattern).against(of(&three)), 1 + 3 + 3 * 12);

        let comparisons = Comparisons::default();
        assert!(comparisons.takes(MOST_COMPARED - 1));
        assert!(!comparisons.takes(2) && !comparisons.takes(1));
        assert!(comparisons.are_over());
        comparisons.renew();
        assert!(comparisons.takes(MOST_COMPARED));
    }
}
