//! Requests to a service of a lane group reach workloads of several lanes, by chance.
//!
//! ## What it does
//! It judges services that take part in a group's lanes (by a route on the lane header or a subset by the lane label)
//! and have workloads of more than one lane behind them. Each fault is told of where it is:
//! - on the `VirtualService`: a destination without a subset, on the mesh or at a gateway; or a declared HTTP port of the
//!   service that none of its routes is for, so that Istio uses its own, to all pods;
//! - on the `DestinationRule`: a routed subset whose labels choose workloads of several lanes;
//! - on the Service: it has subsets for lanes, and no `VirtualService` leads to them. A service that is routed to at a
//!   gateway or under another host only is taken for one that the mesh does not call. At admission it is told when a
//!   change takes the routes of the mesh away: when subsets come before routes, nothing is wrong yet.
//!
//! It only warns. But where the deletion of a `VirtualService` in a `protect` namespace brings it about, it refuses.
//!
//! ## Why it matters
//! The commonest fault of all, and a silent one: every request is answered 200, some by the version of another lane.
//!
//! ## Example
//! ```yaml
//! - route:
//!   - destination: {host: cars-api-portal}
//! ```
//! Use instead:
//! ```yaml
//! - route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//!
//! ## References
//! `buildSidecarVirtualHostForService` in `pilot/pkg/networking/core/route/route.go`: a port that no `VirtualService` has
//! a route for gets Istio's default route. Kiali's KIA0105 and Istio's analyzers look at weights and subsets, and
//! not at what a destination without a subset reaches.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{DestinationRule, Kind, Resource, Service, VirtualService};
use crate::routing::{
    Lanes, Protocol, Reach, VirtualHost, is_claimed_on_mesh, is_on_mesh, is_subset_routed, reached, rule_for,
    target_of,
};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK308",
    name: "lane-mixed",
    level: Level::Warn,
    kinds: &[Kind::DestinationRule, Kind::Service, Kind::VirtualService],
    source: include_str!("lk308.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    match object {
        Resource::DestinationRule(rule) => wide_subsets(check, rule),
        Resource::Service(service) => without_routes(check, service).into_iter().collect(),
        Resource::VirtualService(vs) => {
            let mut findings = without_subset(check, vs);
            findings.extend(unrouted_ports(check, vs));
            findings
        }
        _ => Vec::new(),
    }
}

/// A service that takes part in the lanes, has more than one of them, and is called by its own address.
struct Mixed<'v, 'w> {
    service: &'w Service,
    lanes: Rc<Lanes<'v, 'w>>,
    /// What requests without a subset reach.
    all: Rc<Reach>,
}

impl<'v, 'w> Mixed<'v, 'w> {
    fn at(check: &Check<'v, 'w>, host: &Symbol) -> Option<Self> {
        let service = check.view.service_of(host)?;
        let lanes = check.groups.of_service(service)?;
        // The pods of a headless service are chosen by its callers, whatever the routes say.
        if service.headless || !lanes.takes_part(service) {
            return None;
        }
        let all = lanes.reach(service, None).filter(|reach| reach.is_mixed)?;
        Some(Self { service, lanes, all })
    }
}

fn list(lanes: &[Symbol]) -> String {
    let names: Vec<&str> = lanes.iter().map(Symbol::as_str).collect();
    format!("`{}`", names.join("`, `"))
}

/// The destinations of `vs` without a subset.
fn without_subset<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    let mut found: BTreeMap<(usize, usize), Finding> = BTreeMap::new();
    let hosts = check.virtual_hosts(vs);
    let routes = hosts.lists.iter().flat_map(|host| &host.routes);
    for route in routes.filter(|route| route.is_of(vs)) {
        for (at, to) in reached(route.route) {
            if to.destination.subset.is_some() || found.contains_key(&(route.index, at)) {
                continue;
            }
            let host = route.host_of(check.view, &to.destination);
            let Some(mixed) = Mixed::at(check, &host) else {
                continue;
            };
            let path = format!("{}.route[{at}].destination", route.path());
            let finding = Finding::new(&RULE, route.reference(), path)
                .about(Subject {
                    host: Some(host.clone()),
                    ..Subject::default()
                })
                .says(
                    format!(
                        "the destination names no subset, and behind {host} are lanes {}: which of them answers is chance",
                        list(&mixed.all.lanes)
                    ),
                    "name the subset of the lane that the route is for; without the lane header, that of the default lane",
                );
            found.insert((route.index, at), finding);
        }
    }
    found.into_values().collect()
}

/// The HTTP ports of the services that `vs` is for, for which neither it nor another has a route.
fn unrouted_ports<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    let hosts = check.virtual_hosts(vs);
    if hosts.has_more {
        return Vec::new();
    }
    let mut by_port: BTreeMap<(&Symbol, u32), Vec<&VirtualHost<'_>>> = BTreeMap::new();
    for list in hosts.lists.iter().filter(|list| list.gateway.is_none()) {
        if let Some(port) = list.port {
            by_port.entry((&list.host, port)).or_default().push(list);
        }
    }
    let is_empty = |lists: &[&VirtualHost<'_>]| lists.iter().all(|list| list.routes.is_empty());
    let empty = by_port.into_iter().filter(|(_, lists)| is_empty(lists));
    let unrouted = empty.filter(|((host, port), _)| {
        let target = target_of(check.view, host);
        let is_declared = target
            .port(*port)
            .is_some_and(|port| port.protocol != Protocol::Undeclared);
        is_declared && !vs.hosts.is_empty() && is_left_to(check, vs, host, *port)
    });
    unrouted
        .filter_map(|((host, port), _)| {
            let mixed = Mixed::at(check, host)?;
            Some(
                Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), "spec.http")
                    .about(Subject {
                        host: Some(host.clone()),
                        port: Some(port),
                        ..Subject::default()
                    })
                    .says(
                        format!(
                            "no route is for port {port} of {host}, so Istio sends its callers to all pods behind it, of lanes {}: which of them answers is chance",
                            list(&mixed.all.lanes)
                        ),
                        format!("add routes for port {port}, or take match.port out of the others"),
                    ),
            )
        })
        .collect()
}

/// Whether it is `vs` that is told of a port without routes: no other for the host has any, that is sure, and it is the first.
fn is_left_to<'w>(check: &Check<'_, 'w>, vs: &VirtualService, host: &Symbol, port: u32) -> bool {
    let others = check.view.virtual_services_of(host).into_iter();
    let others: Vec<&'w VirtualService> = others.filter(|other| is_on_mesh(other)).collect();
    let is_first = others.first().is_none_or(|first| first.meta == vs.meta);
    let has_routes = |other: &&'w VirtualService| {
        let hosts = check.virtual_hosts(other);
        let is_for_port = |list: &VirtualHost<'_>| {
            list.gateway.is_none() && list.host == *host && list.port == Some(port) && !list.routes.is_empty()
        };
        hosts.has_more || hosts.lists.iter().any(is_for_port)
    };
    is_first && !others.iter().any(has_routes)
}

/// The routed subsets of the rule that choose workloads of several lanes.
fn wide_subsets(check: &Check<'_, '_>, rule: &DestinationRule) -> Vec<Finding> {
    let view = check.view;
    let host = view.resolve(&rule.host, &rule.meta.namespace);
    let Some(mixed) = Mixed::at(check, &host) else {
        return Vec::new();
    };
    let home = &mixed.service.meta.namespace;
    let Some(effective) = rule_for(view, home, &host, Some(home)) else {
        return Vec::new();
    };
    let is_defined_here = |name: &Symbol| {
        effective
            .subset(name)
            .is_some_and(|defined| defined.rule.meta == rule.meta)
    };
    let own = rule.subsets.iter().enumerate();
    own.filter(|(_, subset)| is_defined_here(&subset.name))
        .filter_map(|(index, subset)| {
            let reach = mixed.lanes.reach(mixed.service, Some(subset))?;
            if !reach.is_mixed || !is_subset_routed(view, &host, &subset.name) {
                return None;
            }
            let path = format!("spec.subsets[{index}].labels");
            let finding = Finding::new(&RULE, rule.meta.reference(Kind::DestinationRule), path)
                .about(Subject {
                    host: Some(host.clone()),
                    subset: Some(subset.name.clone()),
                    ..Subject::default()
                })
                .says(
                    format!(
                        "subset `{}` chooses workloads of lanes {} behind {host}: which of them answers is chance",
                        subset.name,
                        list(&reach.lanes)
                    ),
                    "add the label that tells the lane",
                );
            Some(finding)
        })
        .collect()
}

/// A service with subsets for lanes to which no `VirtualService` leads.
fn without_routes(check: &Check<'_, '_>, service: &Service) -> Option<Finding> {
    let host = check.view.host_of(service);
    let mixed = Mixed::at(check, &host)?;
    let has_http = service.ports.iter().any(|port| {
        let protocol = Protocol::of(port);
        protocol.is_http() && protocol != Protocol::Undeclared
    });
    if !has_http || is_for_host(check.view, &host) || !is_called(check, &host) {
        return None;
    }
    Some(
        Finding::new(&RULE, service.meta.reference(Kind::Service), "spec.ports")
            .about(Subject {
                host: Some(host.clone()),
                ..Subject::default()
            })
            .says(
                format!(
                    "no VirtualService on the mesh is for {host}, and behind it are lanes {}: which of them answers is chance",
                    list(&mixed.all.lanes)
                ),
                "apply a VirtualService for the host with a route for each lane and one for requests without the lane header",
            ),
    )
}

/// Whether a `VirtualService` is for the host; one that is not on the mesh is LK307's matter.
fn is_for_host(view: &View<'_>, host: &Symbol) -> bool {
    !view.virtual_services_of(host).is_empty() || is_claimed_on_mesh(view, host)
}

/// Whether it is likely that the mesh calls the service: there are no routes to it of any kind. Of a change it is
/// known: the mesh had routes that it takes away, or they are yet to come.
fn is_called(check: &Check<'_, '_>, host: &Symbol) -> bool {
    match check.before {
        Some(before) => is_claimed_on_mesh(before, host),
        None => check.view.virtual_services_to(host).is_empty(),
    }
}
