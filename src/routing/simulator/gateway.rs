//! Which list of routes a request to a gateway is tried against.

use super::{Client, NotFound, Outcome, Refusal, Simulation, simulate_among};
use crate::resource::{Gateway, Server};
use crate::routing::virtual_host::{VirtualHost, is_redirected, routes_of_host_by, served_host_of};
use crate::routing::{Request, Source};
use crate::symbol::Symbol;
use crate::world::{View, host_includes};

pub(super) fn simulate<'w>(
    view: &View<'w>,
    client: &Client,
    name: &Symbol,
    request: &Request,
    port: u32,
) -> Simulation<'w> {
    match find(view, client, name, request, port) {
        Ok(list) => simulate_among(view, client, list, request, port),
        Err(outcome) => Simulation {
            virtual_host: None,
            passed: Vec::new(),
            outcome: *outcome,
        },
    }
}

/// The routes that the pods of the gateway which `client` is try for the host of `request`; `None`: it does not come to
/// routes.
pub fn routes_at_gateway<'w>(
    view: &View<'w>,
    client: &Client,
    request: &Request,
    port: u32,
) -> Option<VirtualHost<'w>> {
    let name = client.caller.gateway.as_ref()?;
    find(view, client, name, request, port).ok()
}

fn find<'w>(
    view: &View<'w>,
    client: &Client,
    name: &Symbol,
    request: &Request,
    port: u32,
) -> Result<VirtualHost<'w>, Box<Outcome<'w>>> {
    let Some(gateway) = view.gateway(name, &Symbol::default()) else {
        return Err(Box::new(Outcome::Refused(Refusal::NoGateway)));
    };
    let siblings = view.gateways_with(gateway);
    let Some((gateway, server)) = server_for(gateway, &siblings, request, port) else {
        return Err(Box::new(Outcome::Refused(Refusal::NoServer)));
    };
    let Some(host) = served_host_of(view, (gateway, server), &siblings, &request.host()) else {
        return Err(Box::new(Outcome::NotFound(NotFound::Host)));
    };
    if is_redirected(view, (gateway, server), &siblings, &host) {
        return Err(Box::new(Outcome::Answered {
            by: None,
            status: 301,
            location: Some(format!("https://{}{}", request.authority, request.path)),
        }));
    }
    let pods = Source {
        namespace: Some(&client.caller.namespace),
        labels: Some(&client.labels),
    };
    let (routes, dropped) = routes_of_host_by(view, (gateway, server), &siblings, &host, Some(pods));
    Ok(VirtualHost {
        host,
        gateway: Some(name.clone()),
        port: Some(port),
        server: Some(server),
        source: None,
        routes,
        dropped,
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::routing::simulate;
    use crate::world::{Settings, World};

    #[test]
    fn the_source_at_a_gateway_is_its_own_pods() {
        let meta = |name: &str| json!({"name": name, "namespace": "ingress"});
        let gateway = json!({"metadata": meta("gw"), "spec": {"selector": {"istio": "gw"},
            "servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}]}});
        let pods = json!({"metadata": meta("gw"), "spec": {"selector": {"matchLabels": {"istio": "gw"}},
            "template": {"metadata": {"labels": {"istio": "gw", "zone": "a"}}}}});
        let answering = |status: u16, source: serde_json::Value| json!({"match": [source], "directResponse": {"status": status}});
        let routes = json!({"metadata": meta("vs"), "spec": {"hosts": ["*"], "gateways": ["gw"], "http": [
            answering(500, json!({"sourceLabels": {"app": "portal"}})),
            answering(501, json!({"sourceNamespace": "cars"})),
            answering(200, json!({"sourceLabels": {"zone": "a"}, "sourceNamespace": "ingress"})),
        ]}});
        let parse = |kind, object| Resource::parse(kind, object).unwrap();
        let world = World::of(
            Settings::default(),
            [
                parse(Kind::Gateway, &gateway),
                parse(Kind::Deployment, &pods),
                parse(Kind::VirtualService, &routes),
            ],
        );
        let view = View::new(&world);
        let client = Client::at_gateway(&view, &"gw".into(), &"ingress".into());
        let (request, port) = Request::get("http://cars.example/").unwrap();
        let simulation = simulate(&view, &client, &request, port);
        assert_eq!(simulation.outcome.status(), Some(200));
    }
}
