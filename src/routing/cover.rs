//! Whether one condition takes every request that another takes.
//!
//! Envoy tries routes in order, so a route whose requests all satisfy an earlier condition gets none. How Istio hands
//! conditions to Envoy is `TranslateRouteMatch` in `pilot/pkg/networking/core/route/route.go` [s24].

use super::{Condition, Context};
use crate::resource::{HttpMatch, StringMatch};

/// Whether every request that satisfies `narrow` in a context satisfies `wide` there; both can hold in it. `true` only
/// where it is sure: it is not where it depends on a pattern that cannot be read.
pub fn covers(wide: Condition<'_>, narrow: Condition<'_>, context: Context<'_>) -> bool {
    Cover { unsure: false }.holds(wide, narrow, context)
}

/// The same, and `true` too where it depends on a pattern that cannot be read.
pub fn may_cover(wide: Condition<'_>, narrow: Condition<'_>, context: Context<'_>) -> bool {
    Cover { unsure: true }.holds(wide, narrow, context)
}

/// How conditions are compared.
#[derive(Clone, Copy)]
struct Cover {
    /// What is taken for the answer of a pattern that cannot be read.
    unsure: bool,
}

impl Cover {
    fn holds(self, wide: Condition<'_>, narrow: Condition<'_>, context: Context<'_>) -> bool {
        #[cfg(test)]
        counted(wide, narrow);
        let same_port = |part: &HttpMatch| {
            context.port.is_some()
                || part.port.is_none()
                || narrow.parts().any(|other| other.port == part.port)
        };
        let same_source =
            context.source.is_some() || wide.source().is_none() || wide.source() == narrow.source();
        same_source
            && wide
                .parts()
                .all(|part| same_port(part) && self.part_covers(part, narrow))
    }

    fn part_covers(self, wide: &HttpMatch, narrow: Condition<'_>) -> bool {
        let any = |text: &dyn Fn(&HttpMatch) -> Option<&StringMatch>, wide: Option<&StringMatch>| {
            wide.is_none_or(|wide| {
                narrow
                    .parts()
                    .filter_map(text)
                    .any(|narrow| self.text_covers(wide, narrow))
            })
        };
        self.path_covers(wide, narrow)
            && any(&|part| part.method.as_ref(), wide.method.as_ref())
            && any(&|part| part.authority.as_ref(), wide.authority.as_ref())
            && any(&|part| part.scheme.as_ref(), wide.scheme.as_ref())
            && wide.headers.iter().all(|(name, value)| {
                let mut of_name = narrow.parts().flat_map(|part| part.headers.named(name));
                of_name.any(|other| self.text_covers(value, other))
            })
            && wide.query_params.iter().all(|(name, value)| {
                let of_name = narrow.parts().flat_map(|part| part.query_params.iter());
                let mut of_name = of_name.filter(|(other, _)| other == name);
                of_name.any(|(_, other)| self.text_covers(value, other))
            })
            && wide
                .without_headers
                .iter()
                .all(|(name, value)| self.lacks(narrow, name, value))
    }

    fn path_covers(self, wide: &HttpMatch, narrow: Condition<'_>) -> bool {
        let Some(path) = &wide.uri else { return true };
        if is_every_path(path) {
            return true;
        }
        narrow.parts().any(|part| {
            let Some(other) = &part.uri else { return false };
            if wide.ignore_uri_case && !matches!(path, StringMatch::Regex(_)) {
                self.text_covers(&lowered(path), &lowered(other))
            } else {
                !part.ignore_uri_case && self.text_covers(path, other)
            }
        })
    }

    /// Whether every text that satisfies `narrow` satisfies `wide`.
    fn text_covers(self, wide: &StringMatch, narrow: &StringMatch) -> bool {
        if is_presence(wide) || is_anything(wide) || wide == narrow {
            return true;
        }
        match (wide, narrow) {
            (_, StringMatch::Exact(text)) => wide.matches(text).unwrap_or(self.unsure),
            (StringMatch::Prefix(wide), StringMatch::Prefix(narrow)) => narrow.starts_with(&**wide),
            _ => false,
        }
    }

    /// Whether every request of `narrow` lacks what `withoutHeaders` says in `name: value`: a header that is not there
    /// reads as empty, unless its mere presence is asked for [s24].
    fn lacks(self, narrow: Condition<'_>, name: &str, value: &StringMatch) -> bool {
        let is_not =
            |value: &StringMatch, text: &str| value.matches(text).map_or(self.unsure, |is_so| !is_so);
        let mut required = narrow.parts().flat_map(|part| part.headers.named(name));
        let is_another = |other: &StringMatch| match (value, other) {
            (_, StringMatch::Exact(text)) => !is_presence(value) && is_not(value, text),
            (StringMatch::Exact(text), StringMatch::Prefix(_)) => is_not(other, text),
            (StringMatch::Prefix(a), StringMatch::Prefix(b)) => !a.starts_with(&**b) && !b.starts_with(&**a),
            _ => false,
        };
        if required.any(is_another) {
            return true;
        }
        let mut without = narrow.parts().flat_map(|part| part.without_headers.named(name));
        without.any(|other| {
            if is_presence(other) {
                is_presence(value) || is_not(value, "")
            } else {
                !is_presence(value) && self.is_left_out(other, value)
            }
        })
    }

    /// Whether every text that satisfies `value` satisfies `other`, which the narrow condition leaves out. A pattern of
    /// the narrow one is not tried: only those of the wide ones are few ([`super::Patterns`]).
    fn is_left_out(self, other: &StringMatch, value: &StringMatch) -> bool {
        let is_known = is_anything(other) || other == value || !matches!(other, StringMatch::Regex(_));
        if is_known {
            self.text_covers(other, value)
        } else {
            self.unsure
        }
    }
}

/// What comparisons have cost on this thread, as they are counted in [`super::Comparisons`].
#[cfg(test)]
pub mod count {
    use std::cell::Cell;

    thread_local! {
        static COUNTED: Cell<usize> = const { Cell::new(0) };
    }

    /// Adds a comparison.
    pub fn add(cost: usize) {
        COUNTED.set(COUNTED.get() + cost);
    }

    /// What they have cost since it was last asked for.
    pub fn take() -> usize {
        COUNTED.take()
    }
}

#[cfg(test)]
fn counted(wide: Condition<'_>, narrow: Condition<'_>) {
    let headers = |condition: Condition<'_>| condition.parts().map(|part| part.headers.len()).sum::<usize>();
    count::add(1 + headers(wide) * headers(narrow));
}

/// Whether as a condition on the path every path satisfies it.
pub(super) fn is_every_path(path: &StringMatch) -> bool {
    matches!(path, StringMatch::Prefix(prefix) if &**prefix == "/") || is_anything(path)
}

/// The same match on text in lower case.
fn lowered(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase().into()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase().into()),
        other => other.clone(),
    }
}

/// Whether Istio asks Envoy only whether the header is there (`canBeConvertedToPresentMatch`).
pub fn is_presence(value: &StringMatch) -> bool {
    matches!(value, StringMatch::Present) || matches!(value, StringMatch::Regex(regex) if &**regex == "*")
}

/// Whether the pattern is one that any text satisfies.
fn is_anything(value: &StringMatch) -> bool {
    match value {
        StringMatch::Regex(regex) => matches!(&**regex, ".*" | "^.*$" | "^.*" | ".*$" | "(.*)"),
        StringMatch::Prefix(prefix) => prefix.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sure(wide: &Value, narrow: &Value) -> bool {
        let read = |value: &Value| -> HttpMatch { serde_json::from_value(value.clone()).unwrap() };
        let (wide, narrow) = (read(wide), read(narrow));
        covers(
            Condition::own(0, &wide),
            Condition::own(0, &narrow),
            Context::MESH,
        )
    }

    #[test]
    fn a_path_covers_what_is_below_it() {
        let uri = |kind: &str, text: &str| json!({"uri": {kind: text}});
        assert!(sure(
            &uri("prefix", "/"),
            &json!({"headers": {"bu": {"exact": "x"}}})
        ));
        assert!(sure(&uri("prefix", "/a"), &uri("exact", "/a/b")));
        assert!(sure(&uri("prefix", "/a"), &uri("prefix", "/ab")));
        assert!(sure(&uri("regex", "/a/[0-9]+"), &uri("exact", "/a/12")));
        assert!(!sure(&uri("regex", "/a/[0-9]+"), &uri("exact", "/a/12/b")));
        assert!(!sure(&uri("prefix", "/a/b"), &uri("prefix", "/a")));
        assert!(!sure(&uri("exact", "/a"), &json!({})));
    }

    #[test]
    fn the_case_of_a_path_counts_unless_the_wider_one_says_otherwise() {
        let loose = |text: &str| json!({"uri": {"prefix": text}, "ignoreUriCase": true});
        let strict = |text: &str| json!({"uri": {"prefix": text}});
        assert!(sure(&loose("/a"), &strict("/A/b")));
        assert!(!sure(&strict("/a"), &loose("/a/b")));
        // A pattern keeps its case.
        let pattern = json!({"uri": {"regex": "/a.*"}, "ignoreUriCase": true});
        assert!(sure(&pattern, &json!({"uri": {"exact": "/a/b"}})));
        assert!(!sure(&pattern, &json!({"uri": {"exact": "/A/b"}})));
    }

    #[test]
    fn a_header_is_covered_by_its_presence_a_prefix_or_a_pattern_of_the_same_name() {
        let header = |name: &str, value: Value| json!({"headers": {name: value}});
        let exact = header("bu", json!({"exact": "wicph"}));
        assert!(sure(&header("Bu", json!({})), &exact));
        assert!(sure(&header("bu", json!({"prefix": "w"})), &exact));
        assert!(sure(&header("bu", json!({"regex": "w.*"})), &exact));
        assert!(sure(
            &header("bu", json!({"regex": ".*"})),
            &header("bu", json!({"prefix": "w"}))
        ));
        assert!(!sure(&header("bu", json!({"regex": "w"})), &exact));
        assert!(!sure(&header("bu", json!({})), &json!({})));
        assert!(!sure(&exact, &header("bu", json!({"prefix": "wicph"}))));
    }

    #[test]
    fn a_header_that_is_not_there_reads_as_empty_unless_its_presence_is_asked_for() {
        let without = |value: Value| json!({"withoutHeaders": {"bu": value}});
        let exact = json!({"headers": {"bu": {"exact": "wicph"}}});
        assert!(sure(&without(json!({"exact": "wtchk"})), &exact));
        assert!(!sure(&without(json!({})), &exact));
        assert!(!sure(&without(json!({"prefix": "w"})), &exact));
        // Without the header at all: `regex: .*` holds for no request, `{}` and an exact value do.
        assert!(!sure(&without(json!({"regex": ".*"})), &without(json!({}))));
        assert!(sure(&without(json!({"regex": "*"})), &without(json!({}))));
        assert!(sure(&without(json!({"exact": "x"})), &without(json!({}))));
        assert!(!sure(&without(json!({"exact": "x"})), &json!({})));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_makes_nothing_sure() {
        let may = |wide: &Value, narrow: &Value| {
            let read = |value: &Value| -> HttpMatch { serde_json::from_value(value.clone()).unwrap() };
            let (wide, narrow) = (read(wide), read(narrow));
            may_cover(
                Condition::own(0, &wide),
                Condition::own(0, &narrow),
                Context::MESH,
            )
        };
        let unread = json!({"regex": r"\Qwicph\E"});
        let exact = json!({"headers": {"bu": {"exact": "wicph"}}});
        let absent = json!({"withoutHeaders": {"bu": {}}});
        for (wide, narrow) in [
            (json!({"headers": {"bu": unread}}), &exact),
            (json!({"withoutHeaders": {"bu": unread}}), &exact),
            (json!({"withoutHeaders": {"bu": unread}}), &absent),
        ] {
            assert!(!sure(&wide, narrow) && may(&wide, narrow), "{wide}");
        }
        let other = json!({"headers": {"x": {"exact": "wicph"}}});
        assert!(!may(&json!({"headers": {"bu": unread}}), &other));
    }

    #[test]
    fn a_condition_for_one_port_or_source_covers_only_its_like() {
        let narrow = json!({"port": 80, "headers": {"bu": {"exact": "x"}}});
        assert!(sure(&json!({"port": 80}), &narrow));
        assert!(!sure(&json!({"port": 81}), &narrow));
        assert!(!sure(&json!({"sourceLabels": {"app": "a"}}), &narrow));
    }
}
