//! A `VirtualService` is bound to a gateway that does not exist, or that takes no HTTP requests for its hosts.
//!
//! ## What it does
//! For each gateway that the `VirtualService` names it looks for a server that is for one of its hosts (each possibly
//! with the namespaces it is for, as in `shop/x.com`), and takes HTTP there: in the clear, or TLS that it ends itself. It warns
//! where there is none; where the gateway's pods run in a namespace that the `VirtualService` is not exported to; where
//! all that is for them only redirects; and where of several hosts one is served by none of the gateways. It leaves
//! alone `VirtualServices` without HTTP routes for the gateway, those that have `tls` or `tcp` routes for it, and what
//! Istio makes of the Gateway API's gateways.
//!
//! ## Why it matters
//! Istio leaves the routes out without a word. The gateway answers 404, or whatever a wider host's routes say; servers with
//! TLS mode PASSTHROUGH or `AUTO_PASSTHROUGH`, and TLS and TCP servers, ignore HTTP routes and pass connections on by
//! `tls` and `tcp` routes, or reset them.
//!
//! ## Example
//! The gateway is in the namespace `istio-ingress`:
//! ```yaml
//! gateways: [cars]
//! ```
//! Use instead:
//! ```yaml
//! gateways: [istio-ingress/cars]
//! ```
//!
//! ## References
//! `buildGatewayHTTPRouteConfig` in `pilot/pkg/networking/core/gateway.go`, `IsHTTPServer` in
//! `pkg/config/gateway/gateway.go`. `istioctl analyze` reports a gateway that does not exist (IST0101), and one that has
//! none of the hosts (IST0132), without asking for the server's protocol and TLS mode; Kiali reports the former (KIA1102).
//! Where a gateway has one of the hosts, the others are not looked at by either.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Gateway, Kind, Resource, Server, VirtualService};
use crate::routing::{Context, is_on_mesh, rank, routes_at, served_for};
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK407",
    name: "gateway-not-found",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk407.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    if vs.hosts.is_empty() || vs.http.is_empty() {
        return Vec::new();
    }
    let view = check.view;
    let mut findings = Vec::new();
    let mut bound: Vec<&Gateway> = Vec::new();
    let mut is_open = is_on_mesh(vs) || vs.has_other_routes;
    for (index, written) in vs
        .gateways
        .iter()
        .enumerate()
        .filter(|(_, name)| **name != "mesh")
    {
        let name = qualified(written, &vs.meta.namespace);
        let gateway = view.gateway(written, &vs.meta.namespace);
        if is_of_gateway_api(written) || gateway.is_none() {
            is_open = true;
        }
        bound.extend(gateway);
        let context = Context {
            gateway: Some(&name),
            ..Context::MESH
        };
        if is_of_gateway_api(written) || routes_at(view, vs, context).is_empty() {
            continue;
        }
        let told = match gateway {
            None => Some(Told {
                message: format!("there is no Gateway {name}: no request reaches these routes by it"),
                help: format!(
                    "apply Gateway {name} first, or name the one that is meant, as namespace/name where it is in another namespace"
                ),
                is_missing: true,
            }),
            Some(gateway) => at_gateway(view, vs, gateway),
        };
        findings.extend(told.map(|told| {
            let finding = Finding::new(&RULE, object.reference(), format!("spec.gateways[{index}]"));
            let finding = finding
                .about(Subject {
                    host: Some(name.clone()),
                    ..Subject::default()
                })
                .missing_if(told.is_missing);
            let gateway = gateway.map(|gateway| gateway.meta.reference(Kind::Gateway));
            finding
                .from_each(gateway, "spec.servers", "its servers")
                .says(told.message, told.help)
        }));
    }
    if findings.is_empty() && !is_open {
        findings.extend(unserved(view, object, vs, &bound));
    }
    findings
}

/// What is wrong with one gateway.
struct Told {
    message: String,
    help: String,
    is_missing: bool,
}

impl Told {
    fn new(message: String, help: impl Into<String>) -> Self {
        Self {
            message,
            help: help.into(),
            is_missing: false,
        }
    }
}

/// Why the HTTP routes of `vs` get no requests at a gateway that exists.
fn at_gateway(view: &View<'_>, vs: &VirtualService, gateway: &Gateway) -> Option<Told> {
    let serving: Vec<&Server> = gateway
        .servers
        .iter()
        .filter(|server| hosts(view, vs).any(|host| serves(server, gateway, vs, &host)))
        .collect();
    let name = gateway.meta.reference(Kind::Gateway);
    let wanted = list(&vs.hosts);
    if serving.is_empty() {
        let offered: Vec<Symbol> = gateway
            .servers
            .iter()
            .flat_map(|server| server.hosts.clone())
            .collect();
        return Some(Told::new(
            format!(
                "{name} has no server for {wanted}, only for {}: no request reaches these routes by it",
                list(&offered)
            ),
            format!(
                "add the host to a server, or route for a host that it has; `namespace/host` there is for VirtualServices of that namespace, and this one's is {}",
                vs.meta.namespace
            ),
        ));
    }
    let http: Vec<&&Server> = serving.iter().filter(|server| server.serves_http()).collect();
    if http.is_empty() {
        return (!vs.has_other_routes).then(|| {
            let how: Vec<String> = serving.iter().map(|server| kind_of(server)).collect();
            Told::new(
                format!("{name} does not take HTTP for {wanted}, only {}: HTTP routes are ignored there", how.join(", ")),
                "let a server end the TLS (protocol HTTPS, tls.mode SIMPLE or MUTUAL), or write `tls` routes by SNI, which cannot tell lanes",
            )
        });
    }
    if http.iter().all(|server| server.redirects) && !is_served_elsewhere(view, vs, gateway) {
        return Some(Told::new(
            format!(
                "{name} answers every request for {wanted} with a redirect to HTTPS (tls.httpsRedirect), and no server takes them there: they never reach these routes"
            ),
            "add a server with protocol HTTPS for the host, or bind the VirtualService to the Gateway that has it",
        ));
    }
    let pods = view.namespaces_with(&gateway.selector);
    let is_seen = pods.is_empty() || pods.iter().any(|namespace| rank(view, vs, namespace).is_some());
    (!is_seen).then(|| {
        Told::new(
            format!("the pods of {name} run in namespace {}, which the VirtualService is not exported to: no request reaches these routes by it", list(&pods)),
            format!("add {} to spec.exportTo", list(&pods)),
        )
    })
}

/// Whether another gateway of `vs` takes the requests that `gateway` sends there by a redirect.
fn is_served_elsewhere(view: &View<'_>, vs: &VirtualService, gateway: &Gateway) -> bool {
    vs.bound_gateways().any(|name| {
        view.gateway(name, &vs.meta.namespace).is_none_or(|other| {
            let is_itself =
                other.meta.name == gateway.meta.name && other.meta.namespace == gateway.meta.namespace;
            !is_itself
                && other.servers.iter().any(|server| {
                    server.serves_http()
                        && !server.redirects
                        && hosts(view, vs).any(|host| serves(server, other, vs, &host))
                })
        })
    })
}

/// The hosts that none of the gateways takes HTTP requests for, though they do for others.
fn unserved(view: &View<'_>, object: &Resource, vs: &VirtualService, bound: &[&Gateway]) -> Vec<Finding> {
    let is_served = |host: &Symbol| {
        bound.iter().any(|gateway| {
            let mut http = gateway.servers.iter().filter(|server| server.serves_http());
            http.any(|server| serves(server, gateway, vs, host))
        })
    };
    let hosts: Vec<Symbol> = hosts(view, vs).collect();
    if bound.is_empty() || !hosts.iter().any(is_served) {
        return Vec::new();
    }
    let unserved = hosts.into_iter().enumerate().filter(|(_, host)| !is_served(host));
    unserved
        .map(|(index, host)| {
            let names: Vec<String> = bound
                .iter()
                .map(|gateway| gateway.meta.reference(Kind::Gateway).to_string())
                .collect();
            Finding::new(&RULE, object.reference(), format!("spec.hosts[{index}]"))
                .about(Subject {
                    host: Some(host.clone()),
                    ..Subject::default()
                })
                .from_each(
                    bound.iter().map(|gateway| gateway.meta.reference(Kind::Gateway)),
                    "spec.servers",
                    "its servers",
                )
                .says(
                    format!(
                        "{} takes HTTP for {host}: no request for it reaches these routes",
                        none_of(&names)
                    ),
                    "add the host to a server, or take it out here",
                )
        })
        .collect()
}

fn none_of(names: &[String]) -> String {
    match names {
        [only] => format!("no server of {only}"),
        _ => format!("none of {}", names.join(", ")),
    }
}

/// The full hosts of `vs`.
fn hosts<'a>(view: &'a View<'_>, vs: &'a VirtualService) -> impl Iterator<Item = Symbol> + 'a {
    vs.hosts.iter().map(|host| view.resolve(host, &vs.meta.namespace))
}

fn serves(server: &Server, gateway: &Gateway, vs: &VirtualService, host: &Symbol) -> bool {
    !served_for(server, gateway, &vs.meta.namespace, host).is_empty()
}

/// `port 443 with TLS mode PASSTHROUGH`, `port 9000 with protocol TCP`.
fn kind_of(server: &Server) -> String {
    match &server.tls_mode {
        Some(mode) if !mode.is_empty() && server.protocol != "TCP" => {
            format!(
                "port {} with protocol {} and TLS mode {mode}",
                server.port, server.protocol
            )
        }
        _ => format!("port {} with protocol {}", server.port, server.protocol),
    }
}

/// Whether the name is that of a gateway which Istio makes of a Gateway API's one
/// (`IsInternalGatewayReference` in `pkg/config/gateway/kube/gatewayapi.go`).
fn is_of_gateway_api(name: &str) -> bool {
    name.contains("~istio-autogenerated-k8s-gateway~")
}

fn list(names: &[Symbol]) -> String {
    let names: Vec<&str> = names.iter().map(Symbol::as_str).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
