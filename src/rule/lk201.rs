//! Callers of a gRPC port are routed to a port whose upstream speaks HTTP/1: their requests fail.
//!
//! ## What it does
//! On the mesh it takes each gRPC port of the services that the `VirtualService` is for (by `appProtocol` or by the
//! port's name), follows the routes that callers of that port get, and looks at each destination's port: the
//! upstream speaks HTTP/2 only if that is HTTP2, gRPC or gRPC-Web, or if a `DestinationRule` or the mesh upgrades.
//! At a gateway it looks, server by server, at routes that show gRPC: a GRPC server, a match on the content type
//! `application/grpc`, or, on an HTTP2 server, a path like `/pkg.Service/`; such a path on another server warns, and
//! so does a destination port whose protocol is not declared, which a gateway takes for HTTP/1.
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
use crate::resource::{Destination, Kind, Resource, Server, StringMatch, VirtualService};
use crate::routing::{
    Condition, Context, Port, Protocol, Route, Target, VirtualHost, effective_port, home_of, reached,
    rule_for, target_of,
};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK201",
    name: "grpc-to-http-port",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk201.rs"),
    check,
};

/// Who is routed to a destination.
#[derive(Clone)]
struct Callers {
    /// Where they are, for the message.
    at: String,
    /// The host that they call, if they are in the mesh.
    host: Option<Symbol>,
    /// Whether they surely speak gRPC.
    are_sure: bool,
}

/// Destinations by route and place, with who is routed there and to which port.
type Broken = BTreeMap<(usize, usize), (Callers, Port)>;

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut broken = Broken::new();
    for host in &*check.virtual_hosts(vs) {
        let on_mesh = callers_on_mesh(check, host);
        for route in host.routes.iter().filter(|route| route.is_of(vs)) {
            let callers = match host.gateway {
                None => on_mesh.clone(),
                Some(_) => callers_at_gateway(host, route),
            };
            if let Some(callers) = callers {
                broken_in(check, vs, route, host.context(), &callers, &mut broken);
            }
        }
    }
    let findings = broken.into_iter();
    findings
        .map(|(place, (callers, port))| finding(check, vs, place, &callers, &port))
        .collect()
}

fn finding(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    (index, at): (usize, usize),
    callers: &Callers,
    port: &Port,
) -> Finding {
    let view = check.view;
    let destination = &vs.http[index].route[at].destination;
    let host = view.resolve(&destination.host, &vs.meta.namespace);
    let target = target_of(view, &host);
    let ports = target.ports();
    let at_port = ports.iter().position(|other| other.number == port.number);
    let defined = target.object().zip(at_port);
    let grpc = ports.iter().filter(|port| port.protocol.is_http2());
    let grpc: Vec<String> = grpc.map(|port| port.number.to_string()).collect();
    let help = if grpc.is_empty() {
        format!(
            "if port {} does speak gRPC, say so in the Service: name it `grpc-…` or give it appProtocol: grpc",
            port.number
        )
    } else if callers.host.is_some() {
        format!(
            "route them to port {}; where callers of several ports share a route, split it by match.port",
            grpc.join(" or ")
        )
    } else {
        format!("route them to port {}", grpc.join(" or "))
    };
    let number = if destination.port.is_some() {
        ".port.number"
    } else {
        ""
    };
    let whose = if callers.host.as_ref() == Some(&host) {
        "its".to_owned()
    } else {
        format!("{host}'s")
    };
    let speaks = match port.protocol {
        Protocol::Undeclared => "which declares no protocol, so that the gateway speaks HTTP/1 to it",
        _ => "which speaks HTTP/1",
    };
    let path = format!("spec.http[{index}].route[{at}].destination{number}");
    Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), path)
        .about(Subject {
            host: Some(host.clone()),
            port: Some(port.number),
            subset: destination.subset.clone(),
            ..Subject::default()
        })
        .from_fields(defined.map(|(object, at)| (object, format!("spec.ports[{at}].port"), "this port")))
        .warning_if(!callers.are_sure || port.protocol == Protocol::Undeclared)
        .says(
            format!(
                "gRPC callers {} are routed to {whose} port {}, {speaks}: their calls fail",
                callers.at,
                named(port)
            ),
            help,
        )
}

/// The callers of a virtual host on the mesh, if its port is gRPC.
fn callers_on_mesh(check: &Check<'_, '_>, host: &VirtualHost<'_>) -> Option<Callers> {
    let port = target_of(check.view, &host.host).port(host.port?)?;
    let at = format!("of port {} of {}", named(&port), host.host);
    (port.protocol == Protocol::Grpc).then(|| Callers {
        at,
        host: Some(host.host.clone()),
        are_sure: true,
    })
}

/// The callers of a route at a gateway, if it shows gRPC; where the gateway is not known, it may all the same.
fn callers_at_gateway(host: &VirtualHost<'_>, route: &Route<'_>) -> Option<Callers> {
    let (shown, are_sure) = evidence(host.server, route)?;
    let name = host.gateway.as_ref()?;
    Some(Callers {
        at: format!("at gateway {name} ({shown})"),
        host: None,
        are_sure,
    })
}

/// The destinations of `route` whose upstream speaks HTTP/1.
fn broken_in(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    route: &Route<'_>,
    context: Context<'_>,
    callers: &Callers,
    broken: &mut Broken,
) {
    for (at, to) in reached(route.route) {
        if let Some(port) = http1_port(check, vs, &to.destination, context) {
            let known = broken.entry((route.index, at));
            let known = known.or_insert_with(|| (callers.clone(), port.clone()));
            // What is sure counts, wherever it shows.
            if callers.are_sure && !known.0.are_sure {
                *known = (callers.clone(), port);
            }
        }
    }
}

/// The port of a destination, if its upstream speaks HTTP/1. An undeclared port follows the caller from a
/// sidecar, and is HTTP/1 from a gateway.
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
    let is_http1 = match port.protocol {
        Protocol::Http => true,
        Protocol::Undeclared => context.gateway.is_some(),
        _ => false,
    };
    if !is_http1 {
        return None;
    }
    let home = home_of(view, &host);
    let subset = destination.subset.as_deref();
    let rule = rule_for(view, home.unwrap_or_default(), &host, home);
    let upgrades = rule.and_then(|rule| rule.upgrades(subset, port.number));
    let by_mesh = || view.mesh_config().is_some_and(|config| config.h2_upgrade);
    (!upgrades.unwrap_or_else(by_mesh)).then_some(port)
}

/// What shows that a route is for gRPC where a server takes its requests, and whether it surely is.
fn evidence(server: Option<&Server>, route: &Route<'_>) -> Option<(&'static str, bool)> {
    let protocol = server.map(|server| server.protocol.as_str()).unwrap_or_default();
    let speaks = |name: &str| protocol.eq_ignore_ascii_case(name);
    let any = |is: fn(Condition<'_>) -> bool| route.conditions.iter().any(|condition| is(*condition));
    if any(has_grpc_content_type) {
        Some(("by their content-type", true))
    } else if speaks("GRPC") {
        Some(("its server is GRPC", true))
    } else if any(has_grpc_path) {
        Some(("by their path", speaks("HTTP2")))
    } else {
        None
    }
}

/// `application/grpc` and what may follow it (`+proto`); gRPC-Web is another matter.
fn has_grpc_content_type(condition: Condition<'_>) -> bool {
    match condition.header("content-type") {
        Some(StringMatch::Exact(value) | StringMatch::Prefix(value) | StringMatch::Regex(value)) => {
            value.starts_with("application/grpc") && !value.starts_with("application/grpc-web")
        }
        _ => false,
    }
}

fn has_grpc_path(condition: Condition<'_>) -> bool {
    // `/package.Service` and what follows (gRPC over HTTP2, "Path").
    static SERVICE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^/(?:[a-z_][a-z0-9_]*\.)+[A-Z][A-Za-z0-9_]*(?:/|$)").ok());
    match condition.uri() {
        Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => {
            SERVICE.as_ref().is_some_and(|service| service.is_match(path))
        }
        _ => false,
    }
}

/// A port as people call it: `8080 (http)`.
fn named(port: &Port) -> String {
    if port.name.is_empty() {
        port.number.to_string()
    } else {
        format!("{} ({})", port.number, port.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::HttpMatch;

    #[test]
    fn a_grpc_path_names_a_package_and_a_service() {
        let path = |prefix: &str| {
            let condition = HttpMatch {
                uri: Some(StringMatch::Prefix(prefix.into())),
                ..HttpMatch::default()
            };
            has_grpc_path(Condition::own(0, &condition))
        };
        assert!(path("/cars.v1.Adapter/"));
        assert!(path("/cars.Adapter"));
        assert!(!path("/cars/adapter"));
        assert!(!path("/index.html"));
        assert!(!path("/"));
    }
}
