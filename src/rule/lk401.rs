//! A gateway route leads to a lane and does not set the lane header: the next hop leaves the lane.
//!
//! ## What it does
//! It takes the routes of a `VirtualService` on a gateway that lead to a lane other than the default one, and
//! looks at what becomes of the lane header there, after all operations of route and destination in the order
//! in which Envoy applies them. If it stays as the caller sent it, or is removed, the rule denies where the
//! route tells the lane by the entry header, and warns where it does so by host, path or percentage, or where
//! the destination is not of one lane. The mutating webhook adds the header before this rule looks.
//!
//! ## Why it matters
//! The gateway finds the right version of the first service, but behind it nobody knows the lane: the sidecars
//! route by the lane header only, so from the second hop on the default lane answers, or 404.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   headers:
//!     request:
//!       set: {bu: wicph}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//!
//! ## References
//! Envoy, "HTTP header manipulation"; routes are chosen before headers are changed, so the gateway matches
//! `buid`, never the `bu` that it is about to set. Neither `istioctl analyze` nor Kiali looks at what a route sets.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Headers, Kind, Resource};
use crate::routing::{EntryDestination, EntryMatch, EntryRoute, HeaderState, entry_routes};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK401",
    name: "entry-not-rewritten",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk401.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for route in entry_routes(check.view, &check.groups, vs) {
        if route.by == EntryMatch::LaneHeader {
            continue;
        }
        for to in &route.destinations {
            findings.extend(judge(&route, to).map(|finding| Finding {
                object: object.reference(),
                ..finding
            }));
        }
    }
    findings
}

fn judge(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Option<Finding> {
    if to.is_undefined || !matches!(to.header, HeaderState::AsSent | HeaderState::Removed) {
        return None;
    }
    let group = &route.lanes.group;
    let header = &group.header;
    if to.lane.is_some() && to.lane == group.default_lane {
        return None;
    }
    // Without a lane of its own, a route that does not look at the entry header is no entry to a lane.
    if to.lane.is_none() && !route.is_by_entry_header() {
        return None;
    }
    let Place { path, block, undo } = place(route, to);
    let object = crate::resource::ObjectRef::new(Kind::VirtualService, "", "");
    let finding = Finding::new(&RULE, object, path).about(Subject {
        host: Some(to.host.clone()),
        subset: to.subset.cloned(),
        lane: to.lane.clone(),
        header: Some(header.clone()),
        ..Subject::default()
    });
    let what = if to.header == HeaderState::Removed {
        "removes"
    } else {
        "does not set"
    };
    Some(match &to.lane {
        Some(lane) => finding.warning_if(!route.is_by_entry_header()).says(
            format!("the route leads to lane `{lane}` and {what} the lane header `{header}`: behind {} the request leaves its lane", to.host),
            format!("{undo}add `headers.request.set: {{{header}: {lane}}}` to {block}"),
        ),
        None => finding.warning_if(true).says(
            format!("the route enters by the entry header, {what} the lane header `{header}`, and {} is not of one lane: behind it the request leaves its lane", to.host),
            format!("{undo}set `{header}` in {block}.headers.request.set to the lane that the route is for"),
        ),
    })
}

/// Where the lane header is to be set.
struct Place {
    /// The field to change.
    path: String,
    /// The route, or its destination.
    block: String,
    /// What has to go first, for the help.
    undo: String,
}

/// On the route, or, where its destinations are of several lanes, or this one has operations on the lane header, on
/// the destination. Of several destinations the route's removal comes last and spoils all that they set [s29].
fn place(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Place {
    let header = &route.lanes.group.header;
    let removes = |headers: Option<&Headers>| headers.is_some_and(|headers| headers.request.removes(header));
    let all = &route.route.route.route;
    let own = all.get(to.index).and_then(|to| to.headers.as_ref());
    let of_one_lane = route.destinations.iter().all(|other| other.lane == to.lane);
    let is_alone = all.len() == 1 || (of_one_lane && route.destinations.len() == all.len());
    let of_route = route.route.path();
    let of_destination = format!("{of_route}.route[{}]", to.index);
    if all.len() > 1 && !is_alone && removes(route.route.headers()) {
        return Place {
            path: format!("{of_route}.headers.request.remove"),
            block: of_destination,
            undo: format!("take `{header}` out of {of_route}.headers.request.remove, which comes last, and "),
        };
    }
    let block = if is_alone && !removes(own) {
        of_route
    } else {
        of_destination
    };
    Place {
        path: format!("{block}.headers.request.set"),
        block,
        undo: String::new(),
    }
}
