//! How much of a list of routes is looked at where each route is held against those before it: what a list costs must not
//! grow as its square, for one object can have tens of thousands of conditions.

use super::Condition;
use crate::resource::{MOST_PATTERNS_KEPT, StringMatch};

/// The most conditions. A gateway that has as many lanes and paths does not read well any more.
const MOST_CONDITIONS: usize = 1_000;

/// How often a condition is held against another for one object, in all of its lists.
pub const MOST_COMPARED: usize = 1_000_000;

/// What is left to look at.
#[derive(Debug)]
pub struct Budget {
    conditions: usize,
    patterns: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            conditions: MOST_CONDITIONS,
            // They all are read once, then, however many conditions they are held against.
            patterns: MOST_PATTERNS_KEPT,
        }
    }
}

impl Budget {
    /// Whether there is enough left for a condition, which is taken off it. Once there is not there never is.
    pub fn takes(&mut self, condition: Condition<'_>) -> bool {
        let patterns = condition
            .texts()
            .filter(|text| matches!(text, StringMatch::Regex(_)));
        let left = (
            self.conditions.checked_sub(1),
            self.patterns.checked_sub(patterns.count()),
        );
        let (Some(conditions), Some(patterns)) = left else {
            self.conditions = 0;
            return false;
        };
        (self.conditions, self.patterns) = (conditions, patterns);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::HttpMatch;

    #[test]
    fn so_many_conditions_and_patterns_are_looked_at_and_no_more() {
        let read = |value| -> HttpMatch { serde_json::from_value(value).unwrap() };
        let plain = read(json!({"uri": {"exact": "/"}}));
        let mut budget = Budget::default();
        let taken = (0..2 * MOST_CONDITIONS).filter(|_| budget.takes(Condition::own(0, &plain)));
        assert_eq!(taken.count(), MOST_CONDITIONS);

        let pattern = json!({"regex": "a.*"});
        let patterns = read(
            json!({"uri": pattern, "headers": {"bu": pattern}, "withoutHeaders": {"x": pattern, "y": pattern}}),
        );
        let mut budget = Budget::default();
        let taken = (0..MOST_CONDITIONS).filter(|_| budget.takes(Condition::own(0, &patterns)));
        assert_eq!(taken.count(), MOST_PATTERNS_KEPT / 4);
        assert!(
            !budget.takes(Condition::own(0, &plain)),
            "the order of the list counts"
        );
    }
}
