//! Regular expressions of routes, as Envoy has them (RE2): read once while they are in use, and never large.

use std::cell::RefCell;

use hashbrown::HashMap;
use regex::bytes::{Regex, RegexBuilder};

/// How many are kept; `routing::Budget` sees to it that no list of routes needs more at once.
pub const MOST_KEPT: usize = 512;

/// How large one may become in memory. Somebody may write one that grows without end.
const LARGEST: usize = 64 << 10;

thread_local! {
    static KEPT: RefCell<HashMap<Box<str>, Option<Regex>>> = RefCell::default();
}

/// Whether the whole of `text` fits the pattern; one that cannot be read, or is too large, fits nothing.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let fits = |regex: &Option<Regex>| {
        regex
            .as_ref()
            .is_some_and(|regex| regex.is_match(text.as_bytes()))
    };
    KEPT.with_borrow_mut(|kept| {
        if let Some(known) = kept.get(pattern) {
            return fits(known);
        }
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        fits(
            kept.entry(pattern.into())
                .or_insert(read(&format!("^(?:{pattern})$"))),
        )
    })
}

/// Reads a pattern. Its classes are of ASCII, as in RE2.
pub fn read(pattern: &str) -> Option<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder.unicode(false).size_limit(LARGEST).dfa_size_limit(LARGEST);
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_fit() {
        assert!(fits("/a/[0-9]+", "/a/12") && !fits("/a/[0-9]+", "/a/12/b") && !fits("/a", "/a\n"));
        assert!(fits("a|b", "b") && !fits("a|b", "ab"));
        assert!(fits("v\\w{9}", "v123456789") && !fits("\\w", "ä") && fits("ä.*", "äö"));
        assert!(fits(".*", "") && !fits("(", "(") && !fits("*", "*"));
    }

    #[test]
    fn what_grows_without_end_is_given_up_and_what_people_write_is_not() {
        for pattern in [
            "(((\\w{90}){90}){90}){90}",
            "(a{1000}){1000}",
            "(?:x{0,1000}){0,1000}",
        ] {
            assert!(read(pattern).is_none(), "{pattern}");
        }
        for pattern in [
            r"^/api/v[0-9]+/users/[^/]+/orders/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(/.*)?$",
            r"(.*;\s*)?(session|user_id)=[A-Za-z0-9_-]{20,64}(;.*)?",
            "(?i)(mozilla|chrome|safari|edge|android|iphone|ipad|windows phone).{0,200}",
            r"^(25[0-5]|2[0-4]\d|1\d\d|\d{1,2})(\.(25[0-5]|2[0-4]\d|1\d\d|\d{1,2})){3}$",
        ] {
            assert!(read(pattern).is_some(), "{pattern}");
        }
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        for at in 0..3 * MOST_KEPT {
            assert!(fits(&format!("x{at}.*"), &format!("x{at}y")));
            assert!(KEPT.with_borrow(HashMap::len) <= MOST_KEPT);
        }
    }
}
