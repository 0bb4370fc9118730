//! Regular expressions of routes, as Envoy has them (RE2): read once while they are in use, and never large.

use std::cell::RefCell;

use hashbrown::HashMap;
use regex::bytes::{Regex, RegexBuilder};

/// How many are kept; `routing::Patterns` sees to it that no list of routes needs more at once.
pub const MOST_KEPT: usize = 512;

/// How many bytes all that are kept may be written in, which their size in memory follows ([`largest`]).
pub const MOST_WRITTEN: usize = 64 << 10;

/// The longest text that is held against one. Envoy refuses requests with longer headers long before.
const LONGEST_TEXT: usize = 8 << 10;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// What has been read.
#[derive(Default)]
struct Kept {
    patterns: HashMap<Box<str>, Option<Pattern>>,
    written: usize,
}

/// A pattern as the crate has it.
struct Pattern {
    regex: Regex,
    /// Whether its classes are of Unicode, which in RE2 only some are: what it says of other text than ASCII is not sure.
    is_unicode: bool,
}

/// Whether the whole of `text` fits the pattern; `None`: it is not sure, because the pattern cannot be read here as RE2
/// reads it, or it or the text is too large.
pub(super) fn fits(pattern: &str, text: &str) -> Option<bool> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    KEPT.with_borrow_mut(|kept| {
        if !kept.patterns.contains_key(pattern) {
            if kept.patterns.len() >= MOST_KEPT || kept.written + pattern.len() > MOST_WRITTEN {
                *kept = Kept::default();
            }
            kept.written += pattern.len();
            kept.patterns.insert(pattern.into(), compiled(pattern));
        }
        let known = kept.patterns.get(pattern)?.as_ref()?;
        let is_sure = !known.is_unicode || text.is_ascii();
        is_sure.then(|| known.regex.is_match(text.as_bytes()))
    })
}

/// The pattern for a whole text; `None`: it cannot be read as RE2 reads it, or it is too large.
fn compiled(pattern: &str) -> Option<Pattern> {
    if !is_read_alike(pattern) {
        return None;
    }
    let whole = format!("^(?:{pattern})$");
    let bytes = read(&whole).map(|regex| Pattern {
        regex,
        is_unicode: false,
    });
    bytes.or_else(|| {
        let regex = read_by(&whole, true)?;
        Some(Pattern {
            regex,
            is_unicode: true,
        })
    })
}

/// Reads a pattern. Its classes are of ASCII, as in RE2.
pub fn read(pattern: &str) -> Option<Regex> {
    read_by(pattern, false)
}

fn read_by(pattern: &str, unicode: bool) -> Option<Regex> {
    let largest = largest(pattern)?;
    let mut builder = RegexBuilder::new(pattern);
    builder
        .unicode(unicode)
        .size_limit(largest)
        .dfa_size_limit(largest);
    builder.build().ok()
}

/// How large it may become in memory, where somebody may write one that grows without end: so much for each byte that a list
/// of lanes needs it, and something for repetitions. `None`: it is too long.
fn largest(pattern: &str) -> Option<usize> {
    const LEAST: usize = 64 << 10;
    const FOR_A_BYTE: usize = 128;
    const MOST: usize = 4 << 20;
    let most = LEAST + FOR_A_BYTE * pattern.len();
    (most <= MOST).then_some(most)
}

/// Whether the crate means the same by it as RE2: in RE2 a class has no `[`, `&&`, `--` and `~~` of its own, and a brace
/// that is no number of repetitions is a brace.
fn is_read_alike(pattern: &str) -> bool {
    let mut rest = pattern;
    let mut is_in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => after_escape(after),
            '[' if !is_in_class => {
                is_in_class = true;
                let after = after.strip_prefix('^').unwrap_or(after);
                after.strip_prefix(']').unwrap_or(after)
            }
            '[' => match after.strip_prefix(':').and_then(|name| name.split_once(":]")) {
                Some((_, after)) => after,
                None => return false,
            },
            ']' => {
                is_in_class = false;
                after
            }
            '&' | '-' | '~' if is_in_class && after.starts_with(c) => return false,
            '{' if !is_in_class => match after.split_once('}') {
                Some((count, after)) if is_count(count) => after,
                _ => return false,
            },
            _ => after,
        };
    }
    true
}

/// What comes after an escape that begins after its backslash.
fn after_escape(text: &str) -> &str {
    let mut chars = text.chars();
    let is_braced = matches!(chars.next(), Some('p' | 'P' | 'x')) && chars.as_str().starts_with('{');
    let rest = chars.as_str();
    let after = rest.split_once('}').filter(|_| is_braced);
    after.map_or(rest, |(_, after)| after)
}

/// Whether it is a number of repetitions: `2`, `2,` or `2,5`.
fn is_count(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_fit() {
        let yes = |pattern, text| fits(pattern, text) == Some(true);
        let no = |pattern, text| fits(pattern, text) == Some(false);
        assert!(yes("/a/[0-9]+", "/a/12") && no("/a/[0-9]+", "/a/12/b") && no("/a", "/a\n"));
        assert!(yes("a|b", "b") && no("a|b", "ab"));
        assert!(yes("v\\w{9}", "v123456789") && no("\\w", "ä") && yes("ä.*", "äö"));
        assert!(yes(".*", ""));
    }

    #[test]
    fn what_is_not_read_as_re2_reads_it_is_not_sure() {
        for pattern in [
            r"\Qa.b\E", r"\C", "[a&&b]", "[[a]", "[a--b]", "[a~~b]", "a{x}", "a{,3}", "a{ 2}", "{", "(", "*",
        ] {
            assert_eq!(fits(pattern, "a"), None, "{pattern}");
        }
        assert_eq!(fits("a.*", &"a".repeat(LONGEST_TEXT + 1)), None);
        for (pattern, text) in [
            ("[]a]+", "]a"),
            ("[^]a]+", "b"),
            ("[[:alpha:]-]{2,}", "b-"),
            (r"[\[\]]", "["),
            (r"\x{41}{2}", "AA"),
            (r"\{x}", "{x}"),
            ("[{]x", "{x"),
        ] {
            assert_eq!(fits(pattern, text), Some(true), "{pattern}");
        }
    }

    #[test]
    fn classes_of_unicode_are_read_and_sure_of_ascii() {
        for pattern in [r"\pL+", r"\p{Latin}+", "[a-zäöü]+", r"[^ä]+"] {
            assert_eq!(fits(pattern, "wicph"), Some(true), "{pattern}");
            assert_eq!(fits(pattern, "w\u{e4}"), None, "{pattern}");
        }
        assert_eq!(fits(r"\pL+", "1"), Some(false));
    }

    #[test]
    fn a_pattern_of_all_lanes_that_a_group_may_have_is_read() {
        let lanes: Vec<String> = (0..256).map(|at| format!("lane-of-team-{at:050}")).collect();
        let pattern = lanes.join("|");
        assert_eq!(fits(&pattern, &lanes[255]), Some(true));
        assert_eq!(fits(&pattern, "wicph"), Some(false));
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
            assert_eq!(fits(&format!("x{at}.*"), &format!("x{at}y")), Some(true));
            assert!(KEPT.with_borrow(|kept| kept.patterns.len()) <= MOST_KEPT);
        }
        for at in 0..100 {
            let pattern = format!("{}{at}", "x".repeat(1000));
            assert_eq!(fits(&pattern, &pattern), Some(true));
            let written = KEPT.with_borrow(|kept| kept.patterns.keys().map(|key| key.len()).sum::<usize>());
            assert!(written <= MOST_WRITTEN, "{written}");
        }
    }
}
