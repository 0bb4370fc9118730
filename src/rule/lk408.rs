//! A more specific host at the gateway takes requests away from lane routes, and leads to the same services without them.
//!
//! ## What it does
//! It takes the lane routes of a `VirtualService` for a wildcard host at a gateway, and looks for more specific hosts
//! on the same listener. It warns where the routes for one of them lead to services of the same lane group and none of
//! them looks at the entry or lane header, sets the lane header, or leads to a lane other than the default. A host that
//! leads elsewhere (`admin.x.com`) is no fault, nor is one that is a lane's own (`wicph.x.com`).
//!
//! ## Why it matters
//! Envoy takes the most specific host and never falls through to a wider one: for that host the lane routes are dead,
//! and every request is answered by the default lane, with 200.
//!
//! ## Example
//! The lane routes are for `*`; another `VirtualService` at the gateway says:
//! ```yaml
//! hosts: [cars.example.com]
//! http:
//! - route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//! Use instead (or add the host to the `VirtualService` that has the lane routes):
//! ```yaml
//! hosts: [cars.example.com]
//! http:
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   headers: {request: {set: {bu: wicph}}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! - route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//!
//! ## References
//! Envoy, "HTTP routing" (domains of a virtual host); `buildGatewayHTTPRouteConfig` in
//! `pilot/pkg/networking/core/gateway.go`. Neither `istioctl analyze` nor Kiali compare hosts of which one includes the
//! other (Kiali's KIA1106 is about equal ones).

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, ObjectRef, Resource};
use crate::routing::{HeaderState, Lanes, Route, header_after, more_specific_hosts, reached, routes_of_host};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK408",
    name: "entry-host-bypassed",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk408.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut findings: BTreeMap<(Symbol, Symbol), Finding> = BTreeMap::new();
    for from in &check.virtual_hosts(vs).lists {
        let (Some(name), Some(server)) = (&from.gateway, from.server) else {
            continue;
        };
        if !from.host.starts_with('*') || server.redirects {
            continue;
        }
        let mut own = from.routes.iter().filter(|route| route.is_of(vs));
        let lane_route = own.find_map(|route| {
            let groups = check.groups_of(route.vs, route.route).into_iter();
            let mut entered = groups.filter(|lanes| enters_at(lanes, name) && names_lane(lanes, route));
            entered.next().map(|lanes| (route, lanes))
        });
        let Some((route, lanes)) = lane_route else {
            continue;
        };
        let Some(gateway) = view.gateway(name, name) else {
            continue;
        };
        let siblings = view.gateways_with(gateway);
        for host in more_specific_hosts(view, (gateway, server), &siblings, &from.host) {
            let (routes, _) = routes_of_host(view, (gateway, server), &siblings, &host);
            let Some(leading) = routes.iter().find(|route| leads_to(view, &lanes, route)) else {
                continue;
            };
            if routes.iter().any(|route| treats_lanes(view, &lanes, route)) {
                continue;
            }
            let other = leading.reference();
            let says = || finding(object, route, (&from.host, &host, name), &lanes, &other);
            findings.entry((name.clone(), host.clone())).or_insert_with(says);
        }
    }
    findings.into_values().collect()
}

fn finding(
    object: &Resource,
    route: &Route<'_>,
    (wide, host, gateway): (&Symbol, &Symbol, &Symbol),
    lanes: &Lanes<'_, '_>,
    other: &ObjectRef,
) -> Finding {
    let header = lanes.entry().map_or(&lanes.group.header, |entry| &entry.header);
    Finding::new(&RULE, object.reference(), route.path())
        .about(Subject {
            host: Some(host.clone()),
            header: Some(header.clone()),
            ..Subject::default()
        })
        .from_field(other.clone(), "spec.hosts", "its hosts")
        .says(
            format!(
                "the lane routes for {wide} at gateway {gateway} are dead for {host}: {other} takes the requests for this more specific host to services of {}, and looks at no lane",
                lanes.group.title()
            ),
            format!("add {host} to spec.hosts here and take it out of {other}, or repeat the lane routes by `{header}` there"),
        )
}

/// Whether the group's requests enter at the gateway.
fn enters_at(lanes: &Lanes<'_, '_>, gateway: &Symbol) -> bool {
    lanes.entry().is_none_or(|entry| entry.is_at(gateway))
}

/// Whether the route asks for the lane by the entry or lane header.
fn names_lane(lanes: &Lanes<'_, '_>, route: &Route<'_>) -> bool {
    lanes.headers().any(|header| {
        let mut conditions = route.conditions.iter();
        conditions.any(|condition| {
            let mut parts = condition.parts();
            condition.header(header).is_some()
                || parts.any(|part| part.without_headers.named(header).next().is_some())
        })
    })
}

/// Whether the route leads to a service that takes part in the group's lanes.
fn leads_to(view: &View<'_>, lanes: &Lanes<'_, '_>, route: &Route<'_>) -> bool {
    reached(route.route).any(|(_, to)| {
        let host = route.host_of(view, &to.destination);
        view.service_of(&host).is_some_and(|service| {
            service.meta.namespace == lanes.group.namespace && lanes.takes_part(service)
        })
    })
}

/// Whether the route looks at the lane, sets it, or leads to another than the default one.
fn treats_lanes(view: &View<'_>, lanes: &Lanes<'_, '_>, route: &Route<'_>) -> bool {
    let to_a_lane = || {
        reached(route.route).any(|(index, to)| {
            let host = route.host_of(view, &to.destination);
            let reach = lanes.reach_of(&host, &to.destination);
            let lane = reach.as_ref().and_then(|reach| reach.only());
            let sets = header_after(route, index, &lanes.group.header).state != HeaderState::AsSent;
            sets || (lane.is_some() && lane != lanes.group.default_lane.as_ref())
        })
    };
    names_lane(lanes, route) || to_a_lane()
}
