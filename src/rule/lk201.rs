//! Callers of a gRPC port are routed to a port whose upstream speaks HTTP/1: their requests fail.
//!
//! ## What it does
//! On the mesh it takes each gRPC port of the services that the `VirtualService` is for (by `appProtocol` or by the
//! port's name), follows the routes that callers of that port get, and looks at each destination's port: the
//! upstream speaks HTTP/2 only if that is HTTP2, gRPC or gRPC-Web, or if a `DestinationRule` or the mesh upgrades.
//! At a gateway it looks at routes that show gRPC: a GRPC server, a match on the content type
//! `application/grpc`, or, on an HTTP2 or GRPC server, a path like `/pkg.Service/`; such a path elsewhere warns.
//!
//! ## Why it matters
//! Envoy sends the gRPC request over HTTP/1.1 to a port that is not for it. The caller sees a protocol error or
//! 503 for the lanes that have the route; calls to the port without routes work, which hides it.
//!
//! ## Example
//! The Service has `http` 8080 and `grpc` 20885; callers use gRPC; the route says:
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, port: {number: 8080}}
//! ```
//! Use instead (or split the routes by `match.port`):
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, port: {number: 20885}}
//! ```
//!
//! ## References
//! Istio, "Protocol Selection"; `pilot/pkg/networking/core/cluster_traffic_policy.go`. No analyzer of Istio or
//! validation of Kiali compares the two ports.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Destination, Gateway, HttpMatch, Kind, Resource, StringMatch, VirtualService};
use crate::routing::{
    Context, Port, Protocol, Route, Target, effective_port, routes_at, rule_for, target_of,
};
use crate::symbol::Symbol;
use crate::world::qualified;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK201",
    name: "grpc-to-http-port",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk201.rs"),
    check,
};

/// A destination by route and place, with who is routed there: what the message says of the callers, and
/// whether they surely speak gRPC.
type Broken = BTreeMap<(usize, usize), (String, bool, Port)>;

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut broken = Broken::new();
    on_mesh(check, vs, &mut broken);
    at_gateways(check, vs, &mut broken);
    let view = check.view;
    let finding = |((index, at), (callers, is_sure, port)): ((usize, usize), (String, bool, Port))| {
        let destination = &vs.http[index].route[at].destination;
        let host = view.resolve(&destination.host, &vs.meta.namespace);
        let grpc: Vec<String> = target_of(view, &host)
            .ports()
            .iter()
            .filter(|port| port.protocol.is_http2())
            .map(|port| port.number.to_string())
            .collect();
        let help = if grpc.is_empty() {
            format!(
                "if the port does speak gRPC, say so: name it `grpc-…` or set appProtocol: grpc on port {} of {host}",
                port.number
            )
        } else {
            format!(
                "route to the gRPC port {}, or give the callers of each port a route of their own with match.port",
                grpc.join(" or ")
            )
        };
        let named = if destination.port.is_some() {
            ".port.number"
        } else {
            ""
        };
        Finding::new(
            &RULE,
            object.reference(),
            format!("spec.http[{index}].route[{at}].destination{named}"),
        )
        .about(Subject {
            host: Some(host.clone()),
            port: Some(port.number),
            subset: destination.subset.clone(),
            ..Subject::default()
        })
        .warning_if(!is_sure)
        .says(
            format!(
                "{callers} are routed to port {} ({}) of {host}, which speaks HTTP/1: their calls fail",
                port.number,
                port_name(&port)
            ),
            help,
        )
    };
    broken.into_iter().map(finding).collect()
}

/// The gRPC ports of the services that the `VirtualService` is for.
fn on_mesh(check: &Check<'_, '_>, vs: &VirtualService, broken: &mut Broken) {
    for host in &vs.hosts {
        let host = check.view.resolve(host, &vs.meta.namespace);
        for port in target_of(check.view, &host).ports() {
            if port.protocol != Protocol::Grpc {
                continue;
            }
            let context = Context {
                gateway: None,
                port: Some(port.number),
            };
            for route in routes_at(vs, context) {
                let callers = format!("callers of gRPC port {} of {host}", port.number);
                broken_in(check, vs, &route, context, (callers, true), broken);
            }
        }
    }
}

fn at_gateways(check: &Check<'_, '_>, vs: &VirtualService, broken: &mut Broken) {
    for name in vs.gateways.iter().filter(|name| **name != "mesh") {
        let name = qualified(name, &vs.meta.namespace);
        let gateway = check.view.gateway(&name, &vs.meta.namespace);
        let context = Context {
            gateway: Some(&name),
            port: None,
        };
        for route in routes_at(vs, context) {
            if let Some(evidence) = evidence(gateway, &route) {
                let callers = format!("gRPC callers at gateway {name} ({})", evidence.0);
                broken_in(check, vs, &route, context, (callers, evidence.1), broken);
            }
        }
    }
}

/// The destinations of `route` whose upstream speaks HTTP/1.
fn broken_in(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    route: &Route<'_>,
    context: Context<'_>,
    (callers, is_sure): (String, bool),
    broken: &mut Broken,
) {
    let several = route.route.route.len() > 1;
    for (at, to) in route.route.route.iter().enumerate() {
        if several && to.weight == Some(0) {
            continue;
        }
        if let Some(port) = http1_port(check, vs, &to.destination, context) {
            broken
                .entry((route.index, at))
                .or_insert_with(|| (callers.clone(), is_sure, port));
        }
    }
}

/// The port of a destination, if its upstream speaks HTTP/1. An undeclared port follows the caller from a
/// sidecar, and is HTTP/1 from a gateway, where it only may be wrong; it is not judged.
fn http1_port(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    destination: &Destination,
    context: Context<'_>,
) -> Option<Port> {
    let view = check.view;
    let host = view.resolve(&destination.host, &vs.meta.namespace);
    let target = target_of(view, &host);
    if matches!(target, Target::Service(service) if service.external_name.is_some()) {
        return None;
    }
    let port = target.port(effective_port(destination, &target, context)?)?;
    if port.protocol != Protocol::Http {
        return None;
    }
    let home = view.read_host(&host).namespace();
    let subset = destination.subset.as_deref();
    let rule = rule_for(view, home.unwrap_or_default(), &host, home);
    let upgrades = rule.and_then(|rule| rule.upgrades(subset, port.number));
    let by_mesh = || view.mesh_config().is_some_and(|config| config.h2_upgrade);
    (!upgrades.unwrap_or_else(by_mesh)).then_some(port)
}

/// What shows that a gateway route is for gRPC, and whether it surely is.
fn evidence(gateway: Option<&Gateway>, route: &Route<'_>) -> Option<(&'static str, bool)> {
    let protocols: Vec<Symbol> = gateway
        .map(|gateway| {
            gateway
                .servers
                .iter()
                .map(|server| server.protocol.to_ascii_uppercase().into())
                .collect()
        })
        .unwrap_or_default();
    let any = |is: fn(&HttpMatch) -> bool| route.matches.iter().any(|(_, condition)| is(condition));
    let all_grpc = !protocols.is_empty() && protocols.iter().all(|protocol| *protocol == "GRPC");
    let some_http2 = protocols
        .iter()
        .any(|protocol| matches!(protocol.as_str(), "GRPC" | "HTTP2"));
    if any(has_grpc_content_type) {
        Some(("by content-type", true))
    } else if all_grpc {
        Some(("its server is GRPC", true))
    } else if any(has_grpc_path) {
        Some(("by the path", some_http2))
    } else {
        None
    }
}

fn has_grpc_content_type(condition: &HttpMatch) -> bool {
    match condition.header("content-type") {
        Some(StringMatch::Exact(value) | StringMatch::Prefix(value) | StringMatch::Regex(value)) => {
            value.starts_with("application/grpc")
        }
        _ => false,
    }
}

fn has_grpc_path(condition: &HttpMatch) -> bool {
    // `/package.Service` and what follows (gRPC over HTTP2, "Path").
    static SERVICE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^/(?:[a-z_][a-z0-9_]*\.)+[A-Z][A-Za-z0-9_]*(?:/|$)").ok());
    match &condition.uri {
        Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => {
            SERVICE.as_ref().is_some_and(|service| service.is_match(path))
        }
        _ => false,
    }
}

fn port_name(port: &Port) -> &str {
    if port.name.is_empty() { "http" } else { &port.name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_path_names_a_package_and_a_service() {
        let path = |prefix: &str| {
            has_grpc_path(&HttpMatch {
                uri: Some(StringMatch::Prefix(prefix.into())),
                ..HttpMatch::default()
            })
        };
        assert!(path("/cars.v1.Adapter/"));
        assert!(path("/cars.Adapter"));
        assert!(!path("/cars/adapter"));
        assert!(!path("/index.html"));
        assert!(!path("/"));
    }
}
