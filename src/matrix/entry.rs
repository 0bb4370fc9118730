//! The ways into a group: what a gateway's hosts lead to, by the header that callers outside use.

use hashbrown::HashSet;

use super::cell::{Cell, judge};
use super::probe::{Probe, probes};
use super::{Asking, Row};
use crate::resource::{Server, Service, StringMatch, VirtualService};
use crate::routing::{
    Client, HeaderState, HeaderValue, Outcome, Port, Protocol, Route, Simulation, VirtualHost, header_after,
    reached, roots_of, simulate, virtual_hosts,
};
use crate::symbol::Symbol;

/// A row for each host, port and kind of request at the gateways by which requests enter the group.
pub(super) fn entry_rows<'w>(asking: &Asking<'_, '_, 'w>, members: &[&'w Service]) -> Vec<Row> {
    let mut rows = Vec::new();
    for list in lists(asking, members) {
        let Some(header) = header_at(asking, &list) else {
            continue;
        };
        let Some(gateway) = &list.gateway else { continue };
        // A gateway that is not there has no port.
        let number = list.port.unwrap_or(80);
        let is_tls = list.server.is_some_and(Server::is_tls);
        let scheme = if is_tls { "https" } else { "http" };
        let client = Client::at_gateway(asking.view, gateway, &Symbol::default());
        for probe in probes(&list.routes, [&asking.lanes.group.header, &header].into_iter()) {
            let cells = asking.columns().map(|lane| {
                let mut request = probe.request(scheme, &host_for(&list.host));
                if let Some(lane) = lane {
                    request.set(&header, Some(&value_for(asking, &list, &header, lane)));
                }
                let simulation = simulate(asking.view, &client, &request, number);
                cell(asking, &simulation, &probe, lane)
            });
            rows.push(Row {
                gateway: Some(gateway.clone()),
                host: list.host.clone(),
                port: Port {
                    number,
                    name: Symbol::default(),
                    protocol: Protocol::Http,
                },
                cells: cells.collect(),
                probe,
            });
        }
    }
    rows.retain(Row::is_shown);
    rows
}

/// What a request comes to; which lane is to answer it is for the service to say that it leads to.
fn cell(
    asking: &Asking<'_, '_, '_>,
    simulation: &Simulation<'_>,
    probe: &Probe,
    lane: Option<&Symbol>,
) -> Cell {
    let service = match &simulation.outcome {
        Outcome::Forwarded(forwarded) => {
            let first = forwarded.branches.first();
            first.and_then(|branch| asking.view.service_of(&branch.host))
        }
        _ => None,
    };
    let expected = match service {
        Some(service) => asking.expected(service, probe, lane),
        None => asking.expected(&Service::default(), probe, lane),
    };
    judge(
        asking.lanes,
        simulation,
        lane,
        expected,
        Some(&asking.lanes.group.header),
    )
}

/// The lists of routes at gateways with a route to a member, each host and port once.
fn lists<'w>(asking: &Asking<'_, '_, 'w>, members: &[&'w Service]) -> Vec<VirtualHost<'w>> {
    let view = asking.view;
    let hosts: HashSet<Symbol> = members.iter().map(|service| view.host_of(service)).collect();
    let leading = hosts.iter().flat_map(|host| view.virtual_services_to(host));
    let mut bound: Vec<&'w VirtualService> = leading.flat_map(|vs| roots_of(view, vs)).collect();
    bound.sort_by_key(|vs| (&vs.meta.namespace, &vs.meta.name));
    bound.dedup_by_key(|vs| (&vs.meta.namespace, &vs.meta.name));
    let mut known = HashSet::new();
    let mut found: Vec<VirtualHost<'w>> = Vec::new();
    for list in bound.into_iter().flat_map(|vs| virtual_hosts(view, vs)) {
        let is_tls = list.server.is_some_and(Server::is_tls);
        let key = (list.gateway.clone(), list.host.clone(), list.port, is_tls);
        if list.gateway.is_some() && known.insert(key) && leads_to(asking, &list, &hosts) {
            found.push(list);
        }
    }
    let order = |list: &VirtualHost<'_>| (list.gateway.clone(), list.port, list.host.clone());
    found.sort_by_key(order);
    found
}

fn leads_to(asking: &Asking<'_, '_, '_>, list: &VirtualHost<'_>, hosts: &HashSet<Symbol>) -> bool {
    list.routes.iter().any(|route| {
        let mut reached = reached(route.route);
        reached.any(|(_, to)| hosts.contains(&route.host_of(asking.view, &to.destination)))
    })
}

/// The header by which requests name their lane there: the group's entry header; else the lane header itself, where a
/// route asks for it. `None`: nothing there tells lanes apart by a header.
fn header_at(asking: &Asking<'_, '_, '_>, list: &VirtualHost<'_>) -> Option<Symbol> {
    let is_asked = |header: &Symbol| {
        let mut conditions = list.routes.iter().flat_map(|route| &route.conditions);
        conditions.any(|condition| condition.header(header).is_some())
    };
    let entry = asking.lanes.entry().filter(|entry| {
        let gateway = list.gateway.as_ref();
        gateway.is_some_and(|gateway| entry.is_at(gateway))
    });
    match entry {
        Some(entry) => Some(entry.header.clone()),
        None => Some(asking.lanes.group.header.clone()).filter(is_asked),
    }
}

/// A host that the gateway takes for the one of the list: of a wildcard any name.
fn host_for(host: &Symbol) -> String {
    match host.strip_prefix('*') {
        None => host.to_string(),
        Some("") => "any.example".to_owned(),
        Some(end) => format!("any{end}"),
    }
}

/// What callers outside write for a lane: its name, unless the routes give it by other values only [s30].
fn value_for(asking: &Asking<'_, '_, '_>, list: &VirtualHost<'_>, header: &Symbol, lane: &Symbol) -> String {
    let asked = list.routes.iter().flat_map(|route| {
        let conditions = route.conditions.iter();
        conditions.filter_map(move |condition| Some((route, condition.header(header)?)))
    });
    let asked: Vec<(&Route<'_>, &StringMatch)> = asked.collect();
    if asked.iter().any(|(_, value)| value.matches(lane)) {
        return lane.to_string();
    }
    let mut exact = asked
        .iter()
        .filter_map(|(route, value)| Some((route, value.exact()?)));
    let leading = exact.find(|(route, _)| sets(route, asking, lane));
    leading.map_or_else(|| lane.to_string(), |(_, value)| value.to_owned())
}

/// Whether the route gives its requests the lane: by the header that it sets, or by where it leads.
fn sets(route: &Route<'_>, asking: &Asking<'_, '_, '_>, lane: &Symbol) -> bool {
    let lanes = asking.lanes;
    reached(route.route).any(|(at, to)| {
        let set = match header_after(route, at, &lanes.group.header).state {
            HeaderState::Set(effect) => match effect.value {
                HeaderValue::Text(text) => *lane == *text,
                HeaderValue::Copy(_) | HeaderValue::Computed(_) => false,
            },
            HeaderState::AsSent | HeaderState::Removed(_) | HeaderState::Added(_) => false,
        };
        let host = route.host_of(asking.view, &to.destination);
        let reach = lanes.reach_of(&host, &to.destination);
        set || reach.is_some_and(|reach| reach.only() == Some(lane))
    })
}
