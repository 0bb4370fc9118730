//! Callers of a gRPC port are routed to a port whose upstream speaks HTTP/1: their requests fail.
//!
//! ## What it does
//! On the mesh it takes each gRPC port of the services that the `VirtualService` is for (by `appProtocol` or by the
//! port's name), follows the routes that callers of that port get, and looks at each destination's port: the
//! upstream speaks HTTP/2 only if that is HTTP2, gRPC or gRPC-Web, or if the `DestinationRule` that counts for the
//! caller (or else the mesh) upgrades or keeps the caller's protocol. Where that holds for some callers only, and for
//! mirrored copies, it warns.
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
//! Istio, "Protocol Selection"; `pilot/pkg/networking/core/cluster_traffic_policy.go`. `istioctl
//! analyze` (IST0118) and Kiali (KIA0601, KIA0602) look at how a port is named, and compare no two ports.

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, VirtualService};
use crate::routing::{
    Caller, GrpcSign, Hop, Place, Port, Protocol, Upstream, VirtualHost, grpc_sign, hops, target_of, upstream,
};
use crate::symbol::Symbol;
use crate::world::View;

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

/// A destination whose upstream speaks HTTP/1 to gRPC callers.
struct Broken {
    callers: Callers,
    /// The full host.
    host: Symbol,
    port: Port,
    subset: Option<Symbol>,
    /// Whether its port is named.
    is_named: bool,
    /// Whether it gets copies only.
    is_copy: bool,
    /// Whether it breaks for some of the callers' proxies only.
    is_partial: bool,
}

impl Broken {
    fn is_sure(&self) -> bool {
        self.callers.are_sure
            && !self.is_copy
            && !self.is_partial
            && self.port.protocol != Protocol::Undeclared
    }
}

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut broken: BTreeMap<Place, Broken> = BTreeMap::new();
    for from in &check.virtual_hosts(vs).lists {
        let on_mesh = callers_on_mesh(view, from);
        for hop in hops(from, vs) {
            let callers = match from.gateway {
                None => on_mesh.clone(),
                Some(_) => callers_at_gateway(&hop),
            };
            let Some(callers) = callers else { continue };
            let Some(found) = broken_at(view, &hop, callers, &check.callers_of(vs)) else {
                continue;
            };
            let known = broken.entry(hop.place);
            // What is sure counts, wherever it shows.
            known
                .and_modify(|known| {
                    if found.is_sure() && !known.is_sure() {
                        known.callers.clone_from(&found.callers);
                        known.port.clone_from(&found.port);
                        known.is_partial = false;
                    }
                })
                .or_insert(found);
        }
    }
    let findings = broken.into_iter();
    findings
        .map(|(place, broken)| finding(view, vs, &place.to_string(), &broken))
        .collect()
}

fn finding(view: &View<'_>, vs: &VirtualService, path: &str, broken: &Broken) -> Finding {
    let Broken {
        callers, host, port, ..
    } = broken;
    let target = target_of(view, host);
    let ports = target.ports();
    // Of several objects it is not known which one has the port.
    let at_port = ports.iter().position(|other| other.number == port.number);
    let owners = target.references();
    let field = at_port.filter(|_| owners.len() == 1);
    let field = field.map_or("spec.ports".to_owned(), |at| format!("spec.ports[{at}].port"));
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
    let whose = if callers.host.as_ref() == Some(host) {
        "its".to_owned()
    } else {
        format!("{host}'s")
    };
    let speaks = match port.protocol {
        Protocol::Undeclared => "which declares no protocol, so that the gateway speaks HTTP/1 to it",
        Protocol::Tcp => "which is not declared as HTTP, so that the proxy speaks HTTP/1 to it",
        _ => "which speaks HTTP/1",
    };
    let (what, then) = if broken.is_copy {
        ("copies of the calls of gRPC callers", "the copies are lost")
    } else {
        ("gRPC callers", "their calls fail")
    };
    let partly = if broken.is_partial {
        " (where no DestinationRule upgrades it)"
    } else {
        ""
    };
    let number = if broken.is_named { ".port.number" } else { "" };
    Finding::new(
        &RULE,
        vs.meta.reference(Kind::VirtualService),
        format!("{path}{number}"),
    )
    .about(Subject {
        host: Some(host.clone()),
        port: Some(port.number),
        subset: broken.subset.clone(),
        ..Subject::default()
    })
    .from_each(owners, &field, "this port")
    .warning_if(!broken.is_sure())
    .says(
        format!(
            "{what} {} are routed to {whose} port {port}, {speaks}{partly}: {then}",
            callers.at
        ),
        help,
    )
}

/// The callers of a virtual host on the mesh, if its port is gRPC.
fn callers_on_mesh(view: &View<'_>, from: &VirtualHost<'_>) -> Option<Callers> {
    let port = from.called_port(view)?;
    (port.protocol == Protocol::Grpc).then(|| Callers {
        at: format!("of port {port} of {}", from.host),
        host: Some(from.host.clone()),
        are_sure: true,
    })
}

/// The callers of a route at a gateway, if it shows gRPC; where the gateway is not known, it may all the same.
fn callers_at_gateway(hop: &Hop<'_, '_>) -> Option<Callers> {
    let protocol = hop.from.server.map(|server| server.protocol.as_str());
    let speaks = |name: &str| protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(name));
    let sign = grpc_sign(hop.route);
    let (shown, are_sure) = if sign == Some(GrpcSign::ContentType) {
        ("by their content-type", true)
    } else if speaks("GRPC") {
        ("its server is GRPC", true)
    } else if sign == Some(GrpcSign::Path) {
        ("by their path", speaks("HTTP2"))
    } else {
        return None;
    };
    Some(Callers {
        at: format!("at gateway {} ({shown})", hop.from.gateway.as_ref()?),
        host: None,
        are_sure,
    })
}

/// The step, if some of the proxies that take it speak HTTP/1 to its end.
fn broken_at<'w>(view: &View<'w>, hop: &Hop<'_, 'w>, callers: Callers, proxies: &[Caller]) -> Option<Broken> {
    let end = hop.end(view);
    let port = end.known_port().filter(|port| port.protocol != Protocol::Udp)?;
    let subset = hop.destination.subset.as_ref();
    let spoken = proxies.iter().filter(|proxy| hop.is_taken_by(proxy));
    let spoken: Vec<Upstream> = spoken
        .map(|proxy| upstream(view, proxy, &end, subset.map(Symbol::as_str), &port))
        .collect();
    spoken.contains(&Upstream::Http1).then(|| Broken {
        callers,
        host: end.host.clone(),
        subset: subset.cloned(),
        is_named: hop.destination.port.is_some(),
        is_copy: hop.is_copy(),
        is_partial: spoken.iter().any(|spoken| *spoken != Upstream::Http1),
        port,
    })
}
