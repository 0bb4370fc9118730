//! A gateway route sets the lane header to a lane that it does not lead to.
//!
//! ## What it does
//! For each destination of a gateway route it computes the lane header's value after all operations (a copy of
//! the entry header counts as the value that the route matches) and compares it with the lane of the
//! destination's subset. Where the default lane stands in for a lane of which the service has no version (Fallback
//! groups, and with a warning groups that a plugin implies), the value may be that lane.
//!
//! ## Why it matters
//! The first service answers in one lane and all the services behind it in another: lanes mix in a single
//! request, and nothing reports an error.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   headers:
//!     request:
//!       set: {bu: wtchk}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//!       set: {bu: wicph}
//! ```
//!
//! ## References
//! Neither `istioctl analyze` nor Kiali compares headers with subsets. Which operation is the last one is told in
//! Envoy, "HTTP header manipulation", and for one destination by how Istio writes its route
//! (`pilot/pkg/networking/core/route/route.go`).

use super::{Check, Finding, Level, Rule, Subject, field, request_operations};
use crate::resource::{Kind, Resource};
use crate::routing::{EntryDestination, EntryMatch, EntryRoute, HeaderState, entry_routes};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK403",
    name: "wrong-rewrite",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk403.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for route in entry_routes(check.view, &check.groups, vs) {
        for to in &route.destinations {
            let Some((value, lane)) = wrong_value(&route, to) else {
                continue;
            };
            let HeaderState::Set(written) = to.header else {
                continue;
            };
            let group = &route.lanes.group;
            // The default lane stands in for a lane of which the service has no version.
            let stands_in = group.default_lane.as_deref() == Some(lane)
                && route.lanes.contains(value)
                && !route.lanes.serves(&to.host, value);
            if stands_in && !group.is_strict() && !group.is_implicit() {
                continue;
            }
            let header = &group.header;
            findings.push(
                Finding::new(&RULE, object.reference(), path_of(&route, to, header))
                    .about(Subject {
                        host: Some(to.host.clone()),
                        subset: to.subset.cloned(),
                        lane: Some(value.into()),
                        header: Some(header.clone()),
                        ..Subject::default()
                    })
                    .warning_if(stands_in && group.is_implicit())
                    .says(
                        message(header, written, value, lane, &route, to),
                        if route.lanes.contains(value) {
                            format!("set `{header}: {lane}`, or route to the subset of lane `{value}`")
                        } else {
                            format!("set `{header}: {lane}`")
                        },
                    ),
            );
        }
    }
    findings
}

fn message(
    header: &str,
    written: &str,
    value: &str,
    lane: &str,
    route: &EntryRoute<'_, '_>,
    to: &EntryDestination<'_>,
) -> String {
    let copied = if written == value {
        String::new()
    } else {
        format!(", which is `{value}` here")
    };
    let then = if route.lanes.contains(value) {
        "the services behind it answer in another lane".to_owned()
    } else {
        format!("`{value}` is no lane, and the services behind it answer 404 or in the default lane")
    };
    format!(
        "the route leads to lane `{lane}` of {} and sets `{header}: {written}`{copied}: {then}",
        to.host
    )
}

/// The value that the lane header surely has, if it is not the destination's lane; and that lane.
fn wrong_value<'r>(
    route: &'r EntryRoute<'_, '_>,
    to: &'r EntryDestination<'_>,
) -> Option<(&'r str, &'r str)> {
    let HeaderState::Set(value) = to.header else {
        return None;
    };
    let lane = to.lane.as_deref()?;
    let value = if value.contains('%') {
        // A copy of the entry header is the value that the route matches.
        let entry = route.entry.as_ref()?;
        let copied = value.strip_prefix("%REQ(")?.strip_suffix(")%")?;
        let EntryMatch::Exact(values) = &route.by else {
            return None;
        };
        if !copied.eq_ignore_ascii_case(&entry.header) {
            return None;
        }
        values.iter().copied().find(|value| *value != lane)?
    } else {
        value
    };
    (value != lane && !value.contains("{{")).then_some((value, lane))
}

/// The path of the operation that sets the header: with several destinations the route's wins, else the
/// destination's [s29].
fn path_of(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>, header: &str) -> String {
    let several = route.route.route.route.len() > 1;
    let own = format!("{}.route[{}]", route.route.path(), to.index);
    let blocks = request_operations(route.route.route, route.route.index);
    let (of_route, of_destinations): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|(path, _)| !path.contains(".route["));
    let of_destination = of_destinations
        .into_iter()
        .filter(|(path, _)| path.starts_with(&own));
    let mut in_order: Vec<_> = of_route.into_iter().chain(of_destination).collect();
    if !several {
        in_order.reverse();
    }
    let setter = in_order.into_iter().find_map(|(path, operations)| {
        let set = operations.set.iter().map(|pair| ("set", pair));
        let mut all = set.chain(operations.add.iter().map(|pair| ("add", pair)));
        let (verb, (name, _)) = all.find(|(_, (name, _))| name.eq_ignore_ascii_case(header))?;
        Some(format!("{path}.{verb}{}", field(name)))
    });
    setter.unwrap_or_else(|| route.route.path())
}
