//! The ways into a group: what a gateway's hosts lead to, by the header that callers outside use.

use hashbrown::HashSet;

use super::cell::{Cell, Expected, Reached, judge};
use super::probe::{Probe, probes};
use super::{Asking, Row};
use crate::lane::is_near;
use crate::resource::{Server, Service, StringMatch, VirtualService};
use crate::routing::{
    Client, HeaderState, HeaderValue, Outcome, Port, Protocol, Route, Simulation, VirtualHost, header_after,
    reached, roots_of, routes_at_gateway, simulate, simulate_among, virtual_hosts,
};
use crate::symbol::Symbol;

/// A row for each host, port and kind of request at the gateways by which requests enter the group.
pub(super) fn entry_rows<'w>(asking: &Asking<'_, '_, 'w>, members: &[&'w Service]) -> Vec<Row> {
    let mut rows = Vec::new();
    let lists = lists(asking, members);
    for at in lists
        .iter()
        .filter_map(|list| Entering::at(asking, members, list))
    {
        let headers = [&asking.lanes.group.header].into_iter().chain(&at.header);
        for probe in probes(&at.list.routes, headers) {
            let is_grpc = at
                .list
                .server
                .is_some_and(|server| server.protocol.eq_ignore_ascii_case("GRPC"));
            let probe = if is_grpc { probe.by_grpc() } else { probe };
            let cells = asking.columns().map(|lane| at.cell(&probe, lane));
            rows.push(Row {
                gateway: at.list.gateway.clone(),
                host: at.list.host.clone(),
                port: Port {
                    number: at.port,
                    name: Symbol::default(),
                    protocol: Protocol::Http,
                },
                cells: cells.collect(),
                // Where no header tells the lane, no row is missed unless nobody answers.
                probe: Probe {
                    tells_lanes: probe.tells_lanes && at.header.is_some(),
                    ..probe
                },
            });
        }
    }
    rows.retain(Row::is_shown);
    rows
}

/// One host at a gateway.
struct Entering<'a, 'v, 'w> {
    asking: &'a Asking<'a, 'v, 'w>,
    members: &'a [&'w Service],
    list: &'a VirtualHost<'w>,
    /// The header by which requests name their lane there, if there is one.
    header: Option<Symbol>,
    client: Client,
    scheme: &'static str,
    host: String,
    port: u32,
    /// The routes as the gateway's pods have them; `None`: it does not come to routes.
    routes: Option<VirtualHost<'w>>,
}

impl<'a, 'v, 'w> Entering<'a, 'v, 'w> {
    fn at(
        asking: &'a Asking<'a, 'v, 'w>,
        members: &'a [&'w Service],
        list: &'a VirtualHost<'w>,
    ) -> Option<Self> {
        let view = asking.view;
        let client = Client::at_gateway(view, list.gateway.as_ref()?, &Symbol::default());
        // A gateway that is not there has no port.
        let port = list.port.unwrap_or(80);
        let is_tls = list.server.is_some_and(Server::is_tls);
        let scheme = if is_tls { "https" } else { "http" };
        let host = host_for(&list.host);
        let plain = Probe::default().request(scheme, &host);
        Some(Self {
            asking,
            members,
            header: header_at(asking, list),
            routes: routes_at_gateway(view, &client, &plain, port),
            list,
            client,
            scheme,
            host,
            port,
        })
    }

    fn cell(&self, probe: &Probe, lane: Option<&Symbol>) -> Cell {
        let cell = self.ask(probe, lane);
        // Who calls a port for gRPC over the gateway speaks gRPC.
        if cell.reached == Reached::WrongPort && !probe.is_grpc {
            let by_grpc = self.ask(&probe.clone().by_grpc(), lane);
            if by_grpc.reached != Reached::WrongPort {
                return by_grpc;
            }
        }
        cell
    }

    fn ask(&self, probe: &Probe, lane: Option<&Symbol>) -> Cell {
        let asking = self.asking;
        let mut request = probe.request(self.scheme, &self.host);
        if let Some(lane) = lane {
            let Some(header) = &self.header else {
                return Cell::not_asked(Some(lane), "no route there asks for a header that names the lane");
            };
            let Some(value) = value_for(asking, self.list, header, lane) else {
                return Cell::not_asked(Some(lane), "only a pattern leads to the lane there");
            };
            request.set(header, Some(&value));
        }
        let simulation = match &self.routes {
            Some(routes) => simulate_among(asking.view, &self.client, routes.clone(), &request, self.port),
            None => simulate(asking.view, &self.client, &request, self.port),
        };
        let expected = self.expected(&simulation, probe, lane);
        let cell = judge(
            asking.lanes,
            &simulation,
            lane,
            expected,
            Some(&asking.lanes.group.header),
        );
        asking.explained(cell, &self.client, &request, self.port, &simulation)
    }

    /// What a request is to come to: that is for the service to say that it leads to, if it leads to one.
    fn expected(&self, simulation: &Simulation<'w>, probe: &Probe, lane: Option<&Symbol>) -> Expected {
        let first = match &simulation.outcome {
            Outcome::Forwarded(forwarded) => forwarded.branches.first(),
            _ => None,
        };
        let service = first.and_then(|branch| self.asking.view.service_of(&branch.host));
        let is_member = |service: &Service| self.members.iter().any(|member| member.meta == service.meta);
        if self.header.is_none() || (first.is_some() && !service.is_some_and(is_member)) {
            return Expected::Anything;
        }
        self.asking.expected(service, probe, lane)
    }
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
    for list in bound.into_iter().flat_map(|vs| virtual_hosts(view, vs).lists) {
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

/// The header by which requests name their lane there: the group's entry header, or else the lane header itself, where a
/// route asks for it. `None`: nothing there tells lanes apart by a header.
fn header_at(asking: &Asking<'_, '_, '_>, list: &VirtualHost<'_>) -> Option<Symbol> {
    let is_asked = |header: &&Symbol| {
        let mut conditions = list.routes.iter().flat_map(|route| &route.conditions);
        conditions.any(|condition| {
            let mut parts = condition.parts();
            condition.header(header).is_some()
                || parts.any(|part| part.without_headers.named(header).next().is_some())
        })
    };
    let entry = asking.lanes.entry().filter(|entry| {
        let gateway = list.gateway.as_ref();
        gateway.is_some_and(|gateway| entry.is_at(gateway))
    });
    let headers = entry.map(|entry| &entry.header).into_iter();
    let mut headers = headers.chain([&asking.lanes.group.header]);
    headers.find(is_asked).cloned()
}

/// A host that the gateway takes for the one of the list: of a wildcard any name.
fn host_for(host: &Symbol) -> String {
    match host.strip_prefix('*') {
        None => host.to_string(),
        Some("") => "any.example".to_owned(),
        Some(end) => format!("any{end}"),
    }
}

/// What callers outside write for a lane: its name, unless the routes give it by other values only [s30]. `None`: a
/// pattern does, of which no value is known.
fn value_for(
    asking: &Asking<'_, '_, '_>,
    list: &VirtualHost<'_>,
    header: &Symbol,
    lane: &Symbol,
) -> Option<String> {
    let lanes = asking.lanes;
    let asked = list.routes.iter().flat_map(|route| {
        let conditions = route.conditions.iter();
        conditions.filter_map(move |condition| Some((route, condition.header(header)?)))
    });
    let asked: Vec<(&Route<'_>, &StringMatch)> = asked.collect();
    let is_default = lanes.group.default_lane.as_ref() == Some(lane);
    if is_default || asked.iter().any(|(_, value)| value.matches(lane) == Some(true)) {
        return Some(lane.to_string());
    }
    let giving = asked.iter().filter(|(route, _)| gives(route, asking, lane));
    for (_, value) in giving {
        match value {
            // A slip in a lane's name, or another lane's, is no other word for it.
            StringMatch::Exact(text) if !lanes.contains(text) && !is_near(text, lane) => {
                return Some(text.to_string());
            }
            StringMatch::Prefix(text) if !text.is_empty() => return Some(text.to_string()),
            StringMatch::Regex(_) => return None,
            _ => {}
        }
    }
    Some(lane.to_string())
}

/// Whether the route gives its requests the lane: by the header that it sets, or by where it leads.
fn gives(route: &Route<'_>, asking: &Asking<'_, '_, '_>, lane: &Symbol) -> bool {
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
