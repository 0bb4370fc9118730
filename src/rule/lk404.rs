//! A gateway route copies a header to the lane header after the header is removed, so that nothing is set.
//!
//! ## What it does
//! It takes each `%REQ(name)%` that a gateway route to a lane group sets or adds as the lane header, and looks in the
//! order in which Envoy applies the operations whether `name` is gone by then: with one destination all removals, of
//! the route and of the destination, come before anything is set; with several, all the destination's operations come
//! before the route's. It speaks up where the lane header is left without a value. Towards the default lane it only
//! warns: requests without the lane header go there anyway.
//!
//! ## Why it matters
//! Envoy finds no such header, drops the empty value without a word, and the request goes on without the lane header:
//! the first service answers in its lane, and from the second hop on the default lane does, or 404.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {buid: {prefix: wi}}
//!   headers:
//!     request:
//!       remove: [buid]
//!       set: {bu: "%REQ(buid)%"}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {buid: {prefix: wi}}
//!   headers:
//!     request:
//!       remove: [bu]
//!       set: {bu: "%REQ(buid)%"}
//! ```
//!
//! ## References
//! Istio, `applyHTTPRouteDestination` in `pilot/pkg/networking/core/route/route.go`; Envoy, `HeaderParser::evaluateHeaders`
//! in `source/common/router/header_parser.cc`, seen in Envoy 1.40.
//! Neither `istioctl analyze` nor Kiali looks at header operations.

use super::entry::{on_entry_routes, told};
use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource};
use crate::routing::{Empty, EntryDestination, EntryRoute};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK404",
    name: "rewrite-reads-removed-header",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk404.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    on_entry_routes(check, object, |route| {
        let findings = route.destinations.iter().filter_map(|to| judge(route, to));
        findings.collect()
    })
}

fn judge(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Option<Finding> {
    if !to.header.is_unset() {
        return None;
    }
    let mut void = to.header.void.iter().rev();
    let (operation, removal) = void.find_map(|void| match void.why {
        Empty::Removed(removal) => Some((void.operation, removal)),
        Empty::Text | Empty::Itself => None,
    })?;
    let group = &route.lanes.group;
    let header = &group.header;
    let is_default = to.lane.is_some() && to.lane == group.default_lane;
    let (owner, path) = route.route.place_of(&operation);
    let (other, _) = route.route.place_of(&removal);
    let removed = told(&route.route, &removal, &owner);
    let (name, written) = (removal.name, operation.written);
    let or_text = match &to.lane {
        Some(lane) if route.destinations.len() == 1 => format!(", or set `{header}: {lane}`"),
        _ => String::new(),
    };
    Some(
        Finding::new(&RULE, owner.clone(), path)
            .about(Subject {
                host: Some(to.host.clone()),
                subset: to.subset.cloned(),
                lane: to.lane.clone(),
                header: Some(header.clone()),
                ..Subject::default()
            })
            .warning_if(is_default)
            .from_objects((other != owner).then_some(other))
            .says(
                format!("{removed} takes `{name}` away before `{written}` reads it: nothing is set, and behind {} the request has no `{header}` of its lane", to.host),
                format!("take `{name}` out of {removed}{or_text}"),
            ),
    )
}
