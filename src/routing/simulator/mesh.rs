//! Which list of routes a request of a sidecar is tried against.
//!
//! The sidecar goes by the port that is called and by the host that the request names. It knows each service by the names
//! that are looked up in its own namespace (`generateVirtualHostDomains` in `pilot/pkg/networking/core/httproute.go`).

use super::branch::{all_pods, registered};
use super::{Client, Forwarded, Outcome, Refusal, Simulation, Way, simulate_among};
use crate::routing::import::is_host_imported;
use crate::routing::route::all_routes_at;
use crate::routing::virtual_host::{VirtualHost, on_mesh_in_order};
use crate::routing::{Context, Port, Request, Source, Target, target_of};
use crate::symbol::Symbol;
use crate::world::{View, host_includes};

pub(super) fn simulate<'w>(view: &View<'w>, client: &Client, request: &Request, port: u32) -> Simulation<'w> {
    let namespace = &client.caller.namespace;
    let host = registered_host(view, namespace, &request.host());
    let target = target_of(view, &host);
    let is_known = is_known(view, &host, &target, namespace);
    if matches!(target, Target::Unknown) || !is_known {
        return unknown(view, client, request, (&host, &target), port);
    }
    let Some(of_host) = target.port(port) else {
        return ended(Outcome::Refused(Refusal::NoPort));
    };
    if !of_host.protocol.is_http() {
        return on_its_own(view, client, request, (&host, &target), (&of_host, Way::Tcp));
    }
    match routes_for(view, client, &host, port) {
        Some(list) => simulate_among(view, client, list, request, port),
        None => on_its_own(view, client, request, (&host, &target), (&of_host, Way::Default)),
    }
}

/// What becomes of a request of a caller without a sidecar: no route applies, and any pod of the service may answer.
pub fn simulate_without_proxy<'w>(
    view: &View<'w>,
    client: &Client,
    request: &Request,
    port: u32,
) -> Simulation<'w> {
    let host = registered_host(view, &client.caller.namespace, &request.host());
    let target = target_of(view, &host);
    let of_host = match target.port(port) {
        Some(of_host) => of_host,
        None if !matches!(target, Target::Unknown) => return ended(Outcome::Refused(Refusal::NoPort)),
        None if view.read_host(&host).namespace().is_some() => {
            return ended(Outcome::Refused(Refusal::NoService));
        }
        None => registered(port),
    };
    on_its_own(view, client, request, (&host, &target), (&of_host, Way::NoProxy))
}

fn ended(outcome: Outcome<'_>) -> Simulation<'_> {
    Simulation {
        virtual_host: None,
        passed: Vec::new(),
        outcome,
    }
}

/// The host by which Istio has registered what callers of `namespace` call `host`: a name as it is looked up there, as far
/// as there is such a service; a wildcard of a `ServiceEntry` where nothing else is for it.
fn registered_host(view: &View<'_>, namespace: &Symbol, host: &str) -> Symbol {
    let host = host.strip_suffix('.').unwrap_or(host);
    let written = Symbol::new(host);
    let domain = &view.settings().cluster_domain;
    let (name, of) = match host.split_once('.') {
        None => (host, namespace.as_str()),
        Some((name, rest)) => {
            let rest = rest.strip_suffix(&format!(".svc.{domain}")).unwrap_or(rest);
            (name, rest.strip_suffix(".svc").unwrap_or(rest))
        }
    };
    let entries = view.service_entries_of(&written);
    let is_exact = |hosts: &[Symbol]| hosts.iter().any(|entry| entry.eq_ignore_ascii_case(host));
    if entries.iter().any(|entry| is_exact(&entry.hosts)) {
        return written;
    }
    let is_name = !name.is_empty() && !of.contains('.');
    if let Some(service) = view.service(of, name).filter(|_| is_name) {
        return view.host_of(service);
    }
    let hosts = entries.iter().flat_map(|entry| &entry.hosts);
    let wildcards = hosts.filter(|entry| host_includes(entry, host));
    wildcards
        .max_by_key(|entry| entry.len())
        .cloned()
        .unwrap_or(written)
}

/// Whether the sidecars of `namespace` know the host: it is exported to them, and their `Sidecar` imports it.
fn is_known(view: &View<'_>, host: &Symbol, target: &Target<'_>, namespace: &Symbol) -> bool {
    let references = target.references();
    let is_imported = || {
        let mut homes = references.iter().map(|object| &object.namespace);
        homes.any(|home| is_host_imported(view, host, home, namespace))
    };
    let is_discovered = || {
        references
            .iter()
            .any(|object| view.is_discovered(&object.namespace))
    };
    references.is_empty() || (target.is_visible_to(view, namespace) && is_discovered() && is_imported())
}

/// The routes that the sidecar of `client` tries for `port` of a registered host: those of the first `VirtualService`
/// that has any there; `None`: Istio makes its own.
pub fn routes_for<'w>(view: &View<'w>, client: &Client, host: &Symbol, port: u32) -> Option<VirtualHost<'w>> {
    let namespace = &client.caller.namespace;
    let context = Context {
        gateway: None,
        port: Some(port),
        source: Some(Source {
            namespace: Some(namespace),
            labels: Some(&client.labels),
        }),
    };
    on_mesh_in_order(view, host, namespace)
        .into_iter()
        .find_map(|vs| {
            let (routes, dropped) = all_routes_at(view, vs, context);
            (!routes.is_empty()).then(|| VirtualHost {
                host: host.clone(),
                gateway: None,
                port: Some(port),
                server: None,
                source: None,
                routes,
                dropped,
            })
        })
}

/// A host that the sidecar does not know as a service. On port 80 a `VirtualService` may be for it all the same; else the
/// connection goes to the address that the caller looked up, if the mesh lets it.
fn unknown<'w>(
    view: &View<'w>,
    client: &Client,
    request: &Request,
    (host, target): (&Symbol, &Target<'w>),
    port: u32,
) -> Simulation<'w> {
    let is_taken = matches!(target, Target::Unknown) && port == 80;
    if let Some(list) = routes_for(view, client, host, port).filter(|_| is_taken) {
        return simulate_among(view, client, list, request, port);
    }
    let config = view.mesh_config_of(&client.caller.namespace);
    if config.is_some_and(|config| config.registry_only) {
        return ended(Outcome::Refused(Refusal::RegistryOnly));
    }
    if matches!(target, Target::Unknown) && view.read_host(host).namespace().is_some() {
        return ended(Outcome::Refused(Refusal::NoService));
    }
    let port = match target.port(port) {
        Some(port) => port,
        None if matches!(target, Target::Unknown) => registered(port),
        None => return ended(Outcome::Refused(Refusal::NoPort)),
    };
    on_its_own(view, client, request, (host, target), (&port, Way::Unrouted))
}

/// The request goes to all pods of the service, as it is.
fn on_its_own<'w>(
    view: &View<'w>,
    client: &Client,
    request: &Request,
    (host, target): (&Symbol, &Target<'w>),
    (port, way): (&Port, Way<'w>),
) -> Simulation<'w> {
    let is_routed = matches!(way, Way::Default | Way::Tcp);
    let branch = all_pods(view, client, request, (host, target), (port, is_routed));
    ended(Outcome::Forwarded(Forwarded {
        way,
        abort: None,
        branches: vec![branch],
        copies: Vec::new(),
    }))
}
