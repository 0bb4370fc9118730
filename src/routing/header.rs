//! What becomes of a request header on its way through a route.

use super::Route;
use crate::resource::HeaderOperations;

/// A request header after the route's operations, as far as the configuration tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderState<'a> {
    /// As the caller sent it, or not there if the caller sent none.
    AsSent,
    /// Gone.
    Removed,
    /// This one value, which may be a template (`%REQ(buid)%`).
    Set(&'a str),
    /// What the caller sent, and this value too.
    Added(&'a str),
}

/// What the request header `name` (in any case) is after the operations of `route` and, of its destinations,
/// of the one at `destination`.
///
/// With two or more destinations Envoy applies the destination's operations first, then the route's; with one
/// it is the other way round, so the destination's win. Within each, removals come first, then `set`, then
/// `add` [s29].
pub fn header_after<'w>(route: &Route<'w>, destination: usize, name: &str) -> HeaderState<'w> {
    let of_route = route.headers().map(|headers| &headers.request);
    let destinations = &route.route.route;
    let of_destination = destinations
        .get(destination)
        .and_then(|to| to.headers.as_ref())
        .map(|headers| &headers.request);
    let order = if destinations.len() > 1 {
        [of_destination, of_route]
    } else {
        [of_route, of_destination]
    };
    order
        .into_iter()
        .flatten()
        .fold(HeaderState::AsSent, |state, operations| {
            apply(state, operations, name)
        })
}

fn apply<'a>(state: HeaderState<'a>, operations: &'a HeaderOperations, name: &str) -> HeaderState<'a> {
    let mut state = if operations.removes(name) {
        HeaderState::Removed
    } else {
        state
    };
    if let Some(value) = operations.set_value(name) {
        state = HeaderState::Set(value);
    }
    if let Some(value) = operations.added_value(name) {
        state = match state {
            HeaderState::Removed => HeaderState::Set(value),
            _ => HeaderState::Added(value),
        };
    }
    state
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::VirtualService;

    fn route(of_route: &Value, of_destinations: &[Value]) -> VirtualService {
        let destinations: Vec<_> = of_destinations
            .iter()
            .map(|request| json!({"destination": {"host": "a"}, "headers": {"request": request}}))
            .collect();
        let route = json!({"headers": {"request": of_route}, "route": destinations});
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"http": [route]}})).unwrap()
    }

    /// The header after the operations of the only route and its first destination.
    fn after<'w>(vs: &'w VirtualService, name: &str) -> HeaderState<'w> {
        let route = Route {
            vs,
            index: 0,
            route: &vs.http[0],
            root: None,
            conditions: Vec::new(),
        };
        header_after(&route, 0, name)
    }

    #[test]
    fn with_one_destination_its_operations_come_last_and_win() {
        let one = route(&json!({"remove": ["bu"]}), &[json!({"set": {"Bu": "x"}})]);
        assert_eq!(after(&one, "bu"), HeaderState::Set("x"));
        let one = route(&json!({"set": {"bu": "x"}}), &[json!({"remove": ["bu"]})]);
        assert_eq!(after(&one, "bu"), HeaderState::Removed);
    }

    #[test]
    fn with_several_destinations_the_routes_operations_come_last_and_win() {
        let two = route(
            &json!({"remove": ["bu"]}),
            &[json!({"set": {"bu": "x"}}), json!({})],
        );
        assert_eq!(after(&two, "bu"), HeaderState::Removed);
        let two = route(
            &json!({"set": {"bu": "y"}}),
            &[json!({"set": {"bu": "x"}}), json!({})],
        );
        assert_eq!(after(&two, "bu"), HeaderState::Set("y"));
    }

    #[test]
    fn removals_come_first_and_an_addition_to_nothing_is_the_one_value() {
        let both = route(&json!({"remove": ["bu"], "add": {"bu": "x"}}), &[json!({})]);
        assert_eq!(after(&both, "bu"), HeaderState::Set("x"));
        let added = route(&json!({"add": {"bu": "x"}}), &[json!({})]);
        assert_eq!(after(&added, "bu"), HeaderState::Added("x"));
        assert_eq!(after(&added, "other"), HeaderState::AsSent);
    }
}
