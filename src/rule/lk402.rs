//! A lane header that is set to a template of another program, which Envoy sends as it stands.
//!
//! ## What it does
//! It looks for `{{ … }}` in what the lane header is after all operations of a route to services of a lane group, in the
//! order in which Envoy applies them. On gateway routes the mutating webhook has turned
//! `{{ request.headers['buid'] }}` into `%REQ(buid)%` before this rule looks. What a delegate has from the route that
//! delegates to it is told of the object that has the field.
//!
//! ## Why it matters
//! Envoy's formatters are written `%REQ(name)%`. Anything in braces is plain text to it: every request carries
//! the header `bu: {{ request.headers['buid'] }}`, which is no lane, and is answered 404 or by the default lane.
//!
//! ## Example
//! ```yaml
//! headers:
//!   request:
//!     set: {bu: "{{ request.headers['buid'] }}"}
//! ```
//! Use instead:
//! ```yaml
//! headers:
//!   request:
//!     set: {bu: "%REQ(buid)%"}
//! ```
//!
//! ## References
//! Envoy, "Access logging, command operators" (the same formatters serve header values). Istio checks the
//! syntax of `%…%` only; neither `istioctl analyze` nor Kiali looks at header values.

use super::entry::settled;
use super::{Check, Finding, Level, Rule, Subject, request_operations};
use crate::resource::{HeaderOperations, Kind, Resource};
use crate::rewrite::template_header;
use crate::routing::{Effect, HeaderState, Route, header_after, reached, routes_concerning};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK402",
    name: "literal-template",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk402.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut operations = vs.http.iter().flat_map(|route| request_operations(route, 0));
    if !operations.any(|(_, operations)| has_template(operations)) {
        return Vec::new();
    }
    let routes = routes_concerning(check.view, vs);
    settled(
        object,
        routes.iter().map(|route| (route, templates(check, route))),
    )
}

/// The templates that the lane header has on its way to any destination of the route.
fn templates(check: &Check<'_, '_>, route: &Route<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, to) in reached(route.route) {
        let host = check.view.resolve(&to.destination.host, &route.vs.meta.namespace);
        let Some(lanes) = check.groups.of_host(&host) else {
            continue;
        };
        let header = &lanes.group.header;
        let effects = match header_after(route, at, header).state {
            HeaderState::Set(effect) => vec![effect],
            HeaderState::Added(effects) => effects,
            HeaderState::AsSent | HeaderState::Removed(_) => Vec::new(),
        };
        for Effect { operation, .. } in effects {
            let value = operation.written;
            if !is_template(value) {
                continue;
            }
            let help = match template_header(value) {
                Some(source) => format!("write `%REQ({source})%`"),
                None => "write the lane's name, or Envoy's `%REQ(name)%` to copy a header".to_owned(),
            };
            let (owner, path) = route.place_of(&operation);
            findings.push(
                Finding::new(&RULE, owner, path)
                    .about(Subject {
                        header: Some(header.clone()),
                        ..Subject::default()
                    })
                    .says(
                        format!("Envoy has no such template and sends `{header}: {value}` as it stands: that names no lane, and the next hop answers 404 or by the default lane"),
                        help,
                    ),
            );
        }
    }
    findings
}

fn has_template(operations: &HeaderOperations) -> bool {
    let mut values = operations.set.iter().chain(operations.add.iter());
    values.any(|(_, value)| is_template(value))
}

fn is_template(value: &str) -> bool {
    value
        .split_once("{{")
        .is_some_and(|(_, rest)| rest.contains("}}"))
}
