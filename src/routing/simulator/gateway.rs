//! Which list of routes a request to a gateway is tried against.

use super::{Client, NotFound, Outcome, Refusal, Simulation, among};
use crate::resource::{Gateway, Server};
use crate::routing::Request;
use crate::routing::virtual_host::{VirtualHost, routes_of_host, served_host_of};
use crate::symbol::Symbol;
use crate::world::{View, host_includes};

pub(super) fn simulate<'w>(
    view: &View<'w>,
    client: &Client,
    name: &Symbol,
    request: &Request,
    port: u32,
) -> Simulation<'w> {
    let ended = |outcome| Simulation {
        virtual_host: None,
        passed: Vec::new(),
        outcome,
    };
    let Some(gateway) = view.gateway(name, &Symbol::default()) else {
        return ended(Outcome::Refused(Refusal::NoGateway));
    };
    let siblings = view.gateways_with(gateway);
    let Some((gateway, server)) = server_for(gateway, &siblings, request, port) else {
        return ended(Outcome::Refused(Refusal::NoServer));
    };
    let Some(host) = served_host_of(view, (gateway, server), &siblings, &request.host()) else {
        return ended(Outcome::NotFound(NotFound::Host));
    };
    if server.redirects && !server.is_tls() {
        return ended(Outcome::Answered {
            by: None,
            status: 301,
            location: Some(format!("https://{}{}", request.authority, request.path)),
        });
    }
    let (routes, dropped) = routes_of_host(view, (gateway, server), &siblings, &host);
    let host = VirtualHost {
        host,
        gateway: Some(name.clone()),
        port: Some(port),
        server: Some(server),
        source: None,
        routes,
        dropped,
    };
    among(view, client, host, request, port)
}

/// The server that takes requests to the port: of those in the clear any, for they are one listener; of those with TLS
/// the one with the most specific host for the name that the caller asks for.
fn server_for<'w>(
    gateway: &'w Gateway,
    siblings: &[&'w Gateway],
    request: &Request,
    port: u32,
) -> Option<(&'w Gateway, &'w Server)> {
    let is_tls = request.scheme == "https";
    let own = [gateway].into_iter();
    let others = siblings
        .iter()
        .copied()
        .filter(|other| !std::ptr::eq(*other, gateway));
    let servers = own
        .chain(others)
        .flat_map(|gateway| gateway.servers.iter().map(move |server| (gateway, server)));
    let mut fitting = servers
        .filter(|(_, server)| server.port == port && server.serves_http() && server.is_tls() == is_tls);
    if !is_tls {
        return fitting.next();
    }
    let host = request.host();
    let specific = |server: &Server| {
        let hosts = server
            .hosts
            .iter()
            .map(|written| written.rsplit('/').next().unwrap_or(written));
        let taking = hosts.filter(|offered| host_includes(offered, &host));
        taking
            .map(|offered| (!offered.starts_with('*'), offered.len()))
            .max()
    };
    let ranked = fitting.filter_map(|(gateway, server)| Some((specific(server)?, (gateway, server))));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
}
