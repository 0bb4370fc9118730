//! The operations on headers, carried out on a request.

use super::{Block, Round, rounds};
use crate::resource::HeaderOperations;
use crate::routing::{Request, Route};

/// Carries out on `request` the operations of `route` and of its destination at `destination`, as the rounds of
/// [`super::header_after`] have them. What names the host is left out: it rewrites the authority instead
/// ([`authority_of`]).
pub(in crate::routing) fn apply(route: &Route<'_>, destination: usize, request: &mut Request) {
    for round in rounds(route, destination) {
        carry_out(&round, request);
    }
}

/// Headers and what they are to be, as they are written.
type Written = [(Box<str>, Box<str>)];

fn carry_out(round: &Round<'_>, request: &mut Request) {
    let operations = || round.iter().map(|(_, operations)| *operations);
    for removed in operations().flat_map(|operations| &operations.remove) {
        if !is_internal(removed) {
            request.set(removed, None);
        }
    }
    // Every value is made before any is put in.
    let values = |pairs: fn(&HeaderOperations) -> &Written| -> Vec<(String, String)> {
        let sorted = operations().flat_map(|operations| {
            let mut pairs: Vec<_> = pairs(operations).iter().collect();
            pairs.sort_by_key(|(name, _)| name);
            pairs
        });
        let made = sorted
            .filter(|(name, _)| !is_internal(name))
            .map(|(name, written)| (name.to_string(), substitute(written, request)));
        made.filter(|(_, value)| !value.is_empty()).collect()
    };
    let (set, added) = (values(|of| &of.set), values(|of| &of.add));
    for (name, value) in set {
        request.set(&name, Some(&value));
    }
    for (name, value) in added {
        request.headers.push((name.to_ascii_lowercase(), value));
    }
}

/// Whether Istio leaves operations on the header out (`isInternalHeader` in `pilot/pkg/networking/core/route/route.go`).
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// The authority that a block of operations gives the request, by `host` or `:authority`; what `set` says counts before
/// `add` (`TranslateHeadersOperations`).
pub(in crate::routing) fn authority_of<'w>(route: &Route<'w>, block: Block) -> Option<&'w str> {
    let operations = route.operations(block)?;
    let named = |pairs: &'w Written| {
        let mut pairs = pairs.iter();
        let is_authority =
            |name: &str| name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
        let found = pairs.find(|(name, value)| is_authority(name) && !value.is_empty());
        found.map(|(_, value)| &**value)
    };
    named(&operations.set).or_else(|| named(&operations.add))
}

/// A value with what its commands stand for. Envoy's `REQ` gives the first value of a header, and of an alternative where
/// there is none; other commands are left as they are written, for their values are not known here.
fn substitute(written: &str, request: &Request) -> String {
    let mut value = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = rest.find('%') {
        value.push_str(&rest[..at]);
        let command = &rest[at + 1..];
        if let Some(after) = command.strip_prefix('%') {
            value.push('%');
            rest = after;
            continue;
        }
        let Some((command, after)) = command.split_once('%') else {
            value.push('%');
            rest = command;
            continue;
        };
        let found = requested(command, request);
        value.push_str(&found.unwrap_or_else(|| format!("%{command}%")));
        rest = after;
    }
    value + rest
}

/// What `REQ(name)`, `REQ(name?other)` or `REQ(name):length` gives.
fn requested(command: &str, request: &Request) -> Option<String> {
    let (names, length) = command.strip_prefix("REQ(")?.split_once(')')?;
    let length = match length.strip_prefix(':') {
        Some(length) => length.parse().ok()?,
        None if length.is_empty() => usize::MAX,
        None => return None,
    };
    let first = |name: &str| {
        let mut values = request
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let own = values.next().map(|(_, value)| value.clone());
        own.or_else(|| request.header(name).filter(|_| name.starts_with(':')))
    };
    let (name, other) = names.split_once('?').unwrap_or((names, ""));
    let found = first(name).or_else(|| first(other)).unwrap_or_default();
    Some(found.chars().take(length).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tests::{route, vs};
    use super::*;
    use crate::resource::VirtualService;
    use crate::routing::{Effect, HeaderState, HeaderValue, Verb, header_after};

    /// The values of `bu` after the operations on a request with these headers.
    fn bu(vs: &VirtualService, headers: &[(&str, &str)]) -> Option<String> {
        let (mut request, _) = Request::get("http://x/a").unwrap();
        for (name, value) in headers {
            request = request.with(name, value);
        }
        apply(&route(vs), 0, &mut request);
        request.header("bu")
    }

    #[test]
    fn a_copied_header_that_is_not_there_sets_nothing() {
        let copy = vs(&json!({"set": {"bu": "%REQ(buid)%"}}), &[json!({})]);
        assert_eq!(
            bu(&copy, &[("buid", "wicph"), ("bu", "x")]).as_deref(),
            Some("wicph")
        );
        assert_eq!(bu(&copy, &[("bu", "x")]).as_deref(), Some("x"));
        let safe = vs(
            &json!({"remove": ["bu"], "set": {"bu": "%REQ(buid)%"}}),
            &[json!({})],
        );
        assert_eq!(bu(&safe, &[("bu", "x")]), None);
        assert_eq!(bu(&safe, &[("buid", "y"), ("bu", "x")]).as_deref(), Some("y"));
        let spoiled = vs(
            &json!({"remove": ["buid"], "set": {"bu": "%REQ(buid)%"}}),
            &[json!({})],
        );
        assert_eq!(bu(&spoiled, &[("buid", "y"), ("bu", "x")]).as_deref(), Some("x"));
    }

    #[test]
    fn commands_are_replaced_as_envoy_does_and_others_left() {
        let value = |written: &str| {
            let copy = vs(&json!({"set": {"bu": written}}), &[json!({})]);
            bu(&copy, &[("a", "one"), ("a", "two")]).unwrap_or_default()
        };
        assert_eq!(value("x-%REQ(a)%-y"), "x-one-y");
        assert_eq!(value("%REQ(b?a)%"), "one");
        assert_eq!(value("%REQ(a):2%"), "on");
        assert_eq!(value("%REQ(:path)%"), "/a");
        assert_eq!(value("100%%"), "100%");
        assert_eq!(value("%PROTOCOL%"), "%PROTOCOL%");
        assert_eq!(value("{{ request.headers['a'] }}"), "{{ request.headers['a'] }}");
    }

    fn operations() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just("x".to_owned()),
            Just("y".to_owned()),
            Just(String::new()),
            Just("%REQ(buid)%".to_owned()),
        ];
        let names = || prop_oneof![Just("bu".to_owned()), Just("buid".to_owned())];
        let pairs = || proptest::collection::btree_map(names(), value.clone(), 0..2);
        let removed = proptest::collection::vec(names(), 0..2);
        (pairs(), pairs(), removed)
            .prop_map(|(set, add, remove)| json!({"set": set, "add": add, "remove": remove}))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What rules are told of a header is what becomes of it.
        #[test]
        fn what_is_known_of_a_header_holds_for_each_request(
            of_route in operations(),
            of_destination in operations(),
            is_alone in any::<bool>(),
            sent in proptest::option::of("[a-c]{0,2}"),
            copied in proptest::option::of("[a-c]{0,2}"),
        ) {
            // Where there is nothing to copy, what other operations did is left as it is: rules need not know.
            let of_bu = |block: &Value| {
                let removes = block["remove"].as_array().is_some_and(|names| names.contains(&json!("bu")));
                [!block["set"]["bu"].is_null(), !block["add"]["bu"].is_null(), removes]
            };
            let operations = [&of_route, &of_destination].map(of_bu).concat();
            let is_alone_on_bu = operations.into_iter().filter(|acts| *acts).count() < 2;
            let mut destinations = vec![of_destination];
            if !is_alone {
                destinations.push(json!({}));
            }
            let vs = vs(&of_route, &destinations);
            let known = header_after(&route(&vs), 0, "bu");
            let mut headers = Vec::new();
            headers.extend(sent.as_deref().map(|value| ("bu", value)));
            headers.extend(copied.as_deref().map(|value| ("buid", value)));
            let found = bu(&vs, &headers);

            let text = |effect: &Effect<'_>| match effect.value {
                HeaderValue::Text(text) => Some(text.to_owned()),
                HeaderValue::Copy("buid") => Some(copied.clone().unwrap_or_default()),
                HeaderValue::Copy(_) | HeaderValue::Computed(_) => None,
            };
            let before = known.keeps_sent.then(|| sent.clone()).flatten();
            match &known.state {
                HeaderState::AsSent => prop_assert_eq!(found, sent),
                HeaderState::Removed(_) => prop_assert_eq!(found, None),
                HeaderState::Set(effect) => match text(effect) {
                    Some(value) if value.is_empty() => prop_assert!(!is_alone_on_bu || found == before),
                    Some(value) => prop_assert_eq!(found, Some(value)),
                    None => {}
                },
                HeaderState::Added(effects) => {
                    let added: Option<Vec<String>> = effects.iter().map(text).collect();
                    if let Some(added) = added.filter(|added| is_alone_on_bu || added.iter().all(|value| !value.is_empty())) {
                        // What is set to a copy stays as it was sent only where there is nothing to copy.
                        let is_over = effects[0].operation.verb == Verb::Set && !added[0].is_empty();
                        let before = before.filter(|_| !is_over);
                        let values = before.into_iter().chain(added.into_iter().filter(|value| !value.is_empty()));
                        let values: Vec<String> = values.collect();
                        let joined = (!values.is_empty()).then(|| values.join(","));
                        prop_assert_eq!(found, joined);
                    }
                }
            }
        }
    }
}
