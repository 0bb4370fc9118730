//! Callers of a service's HTTP port are routed to a gRPC port, because no `match.port` tells them from its gRPC callers.
//!
//! ## What it does
//! On the mesh it takes each port of the services that the `VirtualService` is for which is declared as HTTP/1, and
//! follows the routes that its callers get, as far as no `match.port` is for them. It warns where a destination's
//! port is gRPC and its service has an HTTP port too. It is quiet where gRPC is plainly meant: for callers of HTTP2 and
//! gRPC-Web ports, on routes that match a gRPC content type or path, where both ports lead to one port of the pods (a
//! server that takes both, as with gRPC-Gateway), and at gateways, whose HTTP servers take gRPC as well.
//!
//! ## Why it matters
//! Envoy turns the HTTP/1.1 request into HTTP/2 and hands it to the gRPC server, which refuses whatever is not of
//! content type `application/grpc`: the caller sees 415. The lanes that have the route fail for HTTP callers; gRPC
//! callers, for whom the port was written, are well, which hides it.
//!
//! ## Example
//! The Service has `http` 8080 and `grpc` 20885; one route is for the callers of both:
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-rti-adapter, subset: wicph, port: {number: 20885}}
//! ```
//! Use instead (a sidecar routes to the port that was called, or split the routes by `match.port`):
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-rti-adapter, subset: wicph}
//! ```
//!
//! ## References
//! Istio, "Protocol Selection"; gRPC over HTTP2, "Content-Type"; `pilot/pkg/networking/core/cluster_builder.go`. Neither
//! `istioctl analyze` nor Kiali compare the two ports.

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, TargetPort};
use crate::routing::{End, Place, Port, Protocol, Route, Target, VirtualHost, grpc_sign, hops};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK202",
    name: "http-to-grpc-port",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk202.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut findings: BTreeMap<Place, Finding> = BTreeMap::new();
    for from in &check.virtual_hosts(vs).lists {
        let Some(called) = from
            .called_port(view)
            .filter(|port| port.protocol == Protocol::Http)
        else {
            continue;
        };
        for hop in hops(from, vs).filter(|hop| !hop.is_copy() && is_for_any_port(hop.route)) {
            let end = hop.end(view);
            let Some(port) = end.known_port().filter(|port| port.protocol == Protocol::Grpc) else {
                continue;
            };
            let Some(http) = beside(&end, &port) else { continue };
            let number = if hop.destination.port.is_some() {
                ".port.number"
            } else {
                ""
            };
            let path = format!("{}{number}", hop.place);
            let finding = Finding::new(&RULE, object.reference(), path).about(Subject {
                host: Some(end.host.clone()),
                port: Some(port.number),
                subset: hop.destination.subset.clone(),
                ..Subject::default()
            });
            let says = || finding.says(message(from, &called, &end, &port), help(from, &end, &http));
            findings.entry(hop.place).or_insert_with(says);
        }
    }
    findings.into_values().collect()
}

fn message(from: &VirtualHost<'_>, called: &Port, end: &End<'_>, port: &Port) -> String {
    let whose = if from.host == end.host {
        "its".to_owned()
    } else {
        format!("{}'s", end.host)
    };
    format!(
        "HTTP callers of port {called} of {} are routed to {whose} port {port}, which speaks gRPC: they are answered 415",
        from.host
    )
}

fn help(from: &VirtualHost<'_>, end: &End<'_>, http: &Port) -> String {
    if from.host == end.host {
        "leave out the port, so that each caller gets the port that it called, or split the route by match.port".to_owned()
    } else {
        format!("split the route by match.port, and route HTTP callers to port {http}")
    }
}

/// Whether the route is for callers of any port, and nothing shows that it is meant for gRPC.
fn is_for_any_port(route: &Route<'_>) -> bool {
    let mut conditions = route.conditions.iter();
    grpc_sign(route).is_none()
        && (route.conditions.is_empty()
            || conditions.any(|condition| condition.parts().all(|part| part.port.is_none())))
}

/// The HTTP port that the host has beside its gRPC port `grpc`, where the pods do not serve both at one port.
fn beside(end: &End<'_>, grpc: &Port) -> Option<Port> {
    let target_of = |number: u32| {
        let Target::Service(service) = end.target else {
            return None;
        };
        let port = service.port(number)?;
        Some(port.target.clone().unwrap_or(TargetPort::Number(port.number)))
    };
    let ports = end.target.ports().into_iter();
    let mut http = ports.filter(|port| port.protocol == Protocol::Http);
    let of_grpc = target_of(grpc.number);
    http.find(|port| of_grpc.is_none() || target_of(port.number) != of_grpc)
}
