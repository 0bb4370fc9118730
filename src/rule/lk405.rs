//! A gateway route adds the lane header beside one that is there, so that a request is in two lanes.
//!
//! ## What it does
//! It looks at what the lane header is after all operations of a gateway route to a lane group, in the order in which
//! Envoy applies them, and speaks up where `add` leaves what the caller sent, or another value, beside its own. An
//! `add` after a `remove` of the lane header gives it the one value, and is fine. Where the route matches the lane
//! header itself it only warns: whoever sent it is trusted.
//!
//! ## Why it matters
//! `add` appends. A caller that sends `bu: wtchk` itself leaves the gateway with two values, and every sidecar behind
//! it takes the first route that matches either of them: one request is answered by services of both lanes, and
//! anyone outside can enter a lane that the gateway does not offer.
//!
//! ## Example
//! ```yaml
//! headers:
//!   request:
//!     add: {bu: wicph}
//! ```
//! Use instead:
//! ```yaml
//! headers:
//!   request:
//!     set: {bu: wicph}
//! ```
//!
//! ## References
//! Istio, `translateAppendHeaders` in `pilot/pkg/networking/core/route/route.go` (`add` is
//! `APPEND_IF_EXISTS_OR_ADD`); that a match on a header takes any of its values was seen in Envoy 1.40.
//! Neither `istioctl analyze` nor Kiali looks at header operations.

use super::entry::on_entry_routes;
use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource};
use crate::routing::{Effect, EntryDestination, EntryMatch, EntryRoute, HeaderState, Verb};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK405",
    name: "lane-header-added",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk405.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    on_entry_routes(check, object, |route| {
        let findings = route.destinations.iter().flat_map(|to| judge(route, to));
        findings.collect()
    })
}

fn judge(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Vec<Finding> {
    let HeaderState::Added(effects) = &to.header.state else {
        return Vec::new();
    };
    let header = &route.lanes.group.header;
    let mut findings = Vec::new();
    for (at, Effect { operation, .. }) in effects.iter().enumerate() {
        // The first of several additions to nothing is the one value; what is set is only one of them.
        if operation.verb != Verb::Add || (at == 0 && !to.header.keeps_sent) {
            continue;
        }
        let written = operation.written;
        let beside = if to.header.keeps_sent {
            format!(
                "what the caller sends as `{header}` stays beside it, and routes behind {} match either",
                to.host
            )
        } else {
            format!(
                "`{header}` has another value already, and routes behind {} match either",
                to.host
            )
        };
        let (owner, path) = route.route.place_of(operation);
        findings.push(
            Finding::new(&RULE, owner, path)
                .about(Subject {
                    header: Some(header.clone()),
                    lane: to.lane.clone(),
                    ..Subject::default()
                })
                .warning_if(route.by == EntryMatch::LaneHeader)
                .says(
                    format!("the route adds `{header}: {written}`: {beside}"),
                    format!("write it under `set` instead of `add`, or remove `{header}` there too"),
                ),
        );
    }
    findings
}
