//! A gateway route copies a header to the lane header, and a caller who does not send it keeps a lane header of its own.
//!
//! ## What it does
//! It takes gateway routes to a lane group that set the lane header to `%REQ(buid)%` and do not remove it first, and
//! warns if a request without `buid`, or with an empty one, can take the route. It is quiet where each match of the
//! route asks for a value of `buid`, and at gateways where some route matches the lane header itself: there someone in
//! front is trusted to send it.
//!
//! ## Why it matters
//! Envoy drops a value that comes out empty, and the header stays as the caller sent it. Whoever sends `bu: wicph` and no
//! `buid` chooses the lane of all services behind the gateway, also one that the gateway does not offer, and is
//! answered 200 by the wrong version.
//!
//! ## Example
//! ```yaml
//! - headers:
//!     request:
//!       set: {bu: "%REQ(buid)%"}
//! ```
//! Use instead:
//! ```yaml
//! - headers:
//!     request:
//!       remove: [bu]
//!       set: {bu: "%REQ(buid)%"}
//! ```
//!
//! ## References
//! Envoy, `HeaderParser::evaluateHeaders` in `source/common/router/header_parser.cc`; all of it seen in Envoy 1.40, also
//! that a header which is sent empty satisfies `{}` and `regex: .*`.
//! Neither `istioctl analyze` nor Kiali looks at header operations.

use super::entry::on_entry_routes;
use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource};
use crate::routing::{EntryDestination, EntryMatch, EntryRoute, HeaderState, HeaderValue, Operation, Trust};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK406",
    name: "lane-header-spoofable",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk406.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let trust = Trust::new(check.view);
    on_entry_routes(check, object, |route| {
        let copies = route
            .destinations
            .iter()
            .filter_map(|to| copy_beside_sent(route, to));
        let copies: Vec<_> = copies.collect();
        if copies.is_empty() || trust.is_for(route) {
            return Vec::new();
        }
        let findings = copies.into_iter();
        findings
            .map(|(operation, source)| finding(route, &operation, source))
            .collect()
    })
}

/// The operation that copies a header to the lane header, and the header, where a caller who does not send that one
/// can take the route and keep its own lane header.
fn copy_beside_sent<'w>(
    route: &EntryRoute<'_, 'w>,
    to: &EntryDestination<'w>,
) -> Option<(Operation<'w>, &'w str)> {
    let HeaderState::Set(effect) = &to.header.state else {
        return None;
    };
    let HeaderValue::Copy(source) = effect.value else {
        return None;
    };
    let is_open = to.header.keeps_sent && route.by != EntryMatch::LaneHeader && !route.requires(source);
    is_open.then_some((effect.operation, source))
}

fn finding(route: &EntryRoute<'_, '_>, operation: &Operation<'_>, source: &str) -> Finding {
    let header = &route.lanes.group.header;
    let (owner, path) = route.route.place_of(operation);
    let (_, block) = route.route.place_of_block(operation.block);
    let written = operation.written;
    Finding::new(&RULE, owner, path)
        .about(Subject {
            header: Some(header.clone()),
            ..Subject::default()
        })
        .says(
            format!("`{header}: {written}` sets nothing for a caller that sends no `{source}`, or an empty one, and the route takes its requests too: a `{header}` that it sends itself stays, and chooses its lane"),
            format!("add `{block}.remove: [{header}]`"),
        )
}
