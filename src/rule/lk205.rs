//! Lane routes on a port that Istio treats as TCP: no HTTP route applies there, and they have no effect.
//!
//! ## What it does
//! It takes the routes of a `VirtualService` on the mesh that match headers, and warns where a host that they are for
//! has no port on which HTTP routes apply (each is declared, or by its number taken, as TCP, TLS, HTTPS, Redis, …), and
//! where `match.port` names such a port. Ports that declare no protocol may be HTTP and are not reported here.
//!
//! ## Why it matters
//! The sidecar passes the connection on to the service as it is, without looking for headers: every lane's requests
//! reach every version, and are answered with 200.
//!
//! ## Example
//! The Service's port is named `tcp-web`, and its callers speak HTTP:
//! ```yaml
//! ports:
//! - {name: tcp-web, port: 8080}
//! ```
//! Use instead:
//! ```yaml
//! ports:
//! - {name: http-web, port: 8080}
//! ```
//!
//! ## References
//! Istio, "Protocol Selection"; `buildSidecarVirtualHostsForVirtualService` in
//! `pilot/pkg/networking/core/route/route.go`. Neither `istioctl analyze` nor Kiali compare routes with the
//! port's protocol (IST0118 and KIA0601 tell only that none is declared).

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Kind, Resource, VirtualService};
use crate::routing::{Condition, Context, Port, Route, roots_of, routes_at, target_of};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK205",
    name: "header-route-on-tcp",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk205.rs"),
    check,
};

/// A host of a `VirtualService`: its place there, its full name, and its ports; none: they are not known.
struct Called {
    index: usize,
    host: Symbol,
    ports: Vec<Port>,
}

impl Called {
    fn is_tcp(&self) -> bool {
        !self.ports.is_empty() && self.ports.iter().all(|port| !port.protocol.is_http())
    }

    fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut findings: Vec<Finding> = Vec::new();
    for root in roots_of(view, vs) {
        let mut routes = routes_at(view, root, Context::MESH);
        routes.retain(|route| route.conditions.iter().copied().any(asks_for_headers));
        if routes.is_empty() {
            continue;
        }
        let called = called(view, root);
        if std::ptr::eq(root, &raw const **vs) {
            findings.extend(
                called
                    .iter()
                    .filter(|called| called.is_tcp())
                    .map(|called| on_host(object, called)),
            );
        }
        for route in routes.iter().filter(|route| route.is_of(vs)) {
            for finding in on_ports(view, root, route, &called) {
                if findings.iter().all(|known| known.path != finding.path) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

fn asks_for_headers(condition: Condition<'_>) -> bool {
    let mut parts = condition.parts();
    parts.any(|part| !part.headers.is_empty() || !part.without_headers.is_empty())
}

fn called(view: &View<'_>, root: &VirtualService) -> Vec<Called> {
    let hosts = root.hosts.iter().enumerate();
    hosts
        .map(|(index, host)| {
            let host = view.resolve(host, &root.meta.namespace);
            Called {
                index,
                ports: target_of(view, &host).ports(),
                host,
            }
        })
        .collect()
}

fn on_host(object: &Resource, called: &Called) -> Finding {
    let path = format!("spec.hosts[{}]", called.index);
    Finding::new(&RULE, object.reference(), path)
        .about(Subject {
            host: Some(called.host.clone()),
            ..Subject::default()
        })
        .says(
            format!(
                "the routes match headers, but {} has no HTTP port, only {}: on the mesh they have no effect, and its requests reach every version",
                called.host,
                joined(&called.ports, ", ")
            ),
            "if its callers do speak HTTP, say so where the port is declared: name it `http-…` or give it appProtocol: http; of a ServiceEntry, give it protocol HTTP",
        )
}

/// The matches of a route on a port that has no HTTP routes, whichever of the hosts is called.
fn on_ports(view: &View<'_>, root: &VirtualService, route: &Route<'_>, called: &[Called]) -> Vec<Finding> {
    let is_open = called
        .iter()
        .any(|called| called.ports.is_empty() || called.host.starts_with('*'));
    if is_open || called.iter().all(Called::is_tcp) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for condition in route
        .conditions
        .iter()
        .copied()
        .filter(|condition| asks_for_headers(*condition))
    {
        let Some((at, number)) = condition.own.and_then(|(at, own)| Some((at, own.port?))) else {
            continue;
        };
        let named = called
            .iter()
            .filter_map(|called| Some((called, called.port(number)?)));
        let mut named = named.peekable();
        let Some((of, port)) = named.peek().copied() else {
            continue;
        };
        if named.any(|(_, port)| port.protocol.is_http()) || holds_at_gateway(view, root, condition, number) {
            continue;
        }
        let path = format!("{}.match[{at}].port", route.path());
        let finding = Finding::new(&RULE, route.reference(), path).about(Subject {
            host: Some(of.host.clone()),
            port: Some(number),
            ..Subject::default()
        });
        findings.push(finding.says(
            format!(
                "the match is for headers on port {port} of {}, which Istio treats as TCP: it never holds, and the port's requests reach every version",
                of.host
            ),
            "match on an HTTP port; or if the callers of this one do speak HTTP, say so in the Service: name it `http-…` or give it appProtocol: http",
        ));
    }
    findings
}

/// Whether the condition may hold at a gateway of `root`, as far as the port goes.
fn holds_at_gateway(view: &View<'_>, root: &VirtualService, condition: Condition<'_>, number: u32) -> bool {
    let mut parts = condition.parts();
    let on_mesh_only =
        parts.any(|part| !part.gateways.is_empty() && part.gateways.iter().all(|gateway| *gateway == "mesh"));
    let mut gateways = root.bound_gateways();
    !on_mesh_only
        && gateways.any(|name| {
            view.gateway(name, &root.meta.namespace)
                .is_none_or(|gateway| gateway.servers.iter().any(|server| server.port == number))
        })
}
