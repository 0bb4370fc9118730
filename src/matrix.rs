//! What each lane of a group reaches: for every member service and port, and for every way in, one simulated request a
//! lane.
//!
//! ```text
//!   Lanes ──members, entries──▶ Row (host, port, path) ──simulate, a request a lane──▶ Cell ──judge──▶ Reached
//! ```

mod cell;
mod entry;
mod probe;
mod step;

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

pub use self::cell::{Asked, Cell, Reached};
use self::cell::{Expected, judge};
use self::entry::entry_rows;
use self::probe::{Probe, probes};
use self::step::steps;
pub use self::step::{Part, Step};
use crate::lane::WithoutHeader;
use crate::resource::{Labels, Service};
use crate::routing::{
    Client, Groups, Lanes, Port, Protocol, Request, Simulation, Target, is_claimed_on_mesh, roots_of,
    routes_for, simulate, target_of,
};
use crate::symbol::Symbol;
use crate::world::{View, World};

/// What the lanes of one group reach.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// What messages call the group.
    pub title: String,
    /// Its namespace.
    pub namespace: Symbol,
    /// The lane header.
    pub header: Symbol,
    /// The header by which callers outside name their lane, where one is known.
    pub entry: Option<Symbol>,
    /// The lanes: the columns. After them comes one for requests that name none.
    pub lanes: Vec<Symbol>,
    /// The lane of requests that name none.
    pub default_lane: Option<Symbol>,
    /// Whether every service is to have every lane.
    pub is_strict: bool,
    /// The ways in, and then the services.
    pub rows: Vec<Row>,
}

impl Matrix {
    /// Whether every cell is as the group promises.
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(Row::is_whole)
    }

    /// The cells that are not as the group promises, with their rows.
    pub fn faults(&self) -> impl Iterator<Item = (&Row, &Cell)> {
        let cells = self
            .rows
            .iter()
            .flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
        cells.filter(|(_, cell)| !cell.is_whole)
    }
}

/// One place where requests are sent to, and what each lane's come to.
#[derive(Debug, Clone)]
pub struct Row {
    /// The gateway (`namespace/name`) that they are sent to; `None`: they come from a workload of the group.
    pub gateway: Option<Symbol>,
    /// The host that they name: of a service its name, at a gateway as callers outside write it.
    pub host: Symbol,
    /// The port.
    pub port: Port,
    /// What more the routes ask of requests: method, path, headers.
    pub probe: Probe,
    /// A cell for each lane, and one for requests that name none.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Whether it is worth a look: requests that no lane route is for are, where nobody answers them.
    fn is_shown(&self) -> bool {
        self.probe.tells_lanes || !self.is_whole()
    }

    /// Whether each cell is as the group promises.
    pub fn is_whole(&self) -> bool {
        self.cells.iter().all(|cell| cell.is_whole)
    }
}

/// `cars-aggregator:8080 (http)`, or `cars.example at shop/gateway:80`, with what more is asked of the request.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gateway {
            Some(gateway) => write!(f, "{} at {gateway}:{}", self.host, self.port.number)?,
            None => write!(f, "{}:{}", self.host, self.port)?,
        }
        write!(f, "{}", self.probe)
    }
}

/// How much is told of each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What its request comes to, and in one line why.
    Cells,
    /// Each step of the request, too.
    Steps,
}

/// The matrices of all groups that have a member, by namespace.
pub fn all(view: &View<'_>, detail: Detail) -> Vec<Matrix> {
    let groups = Groups::new(view, None);
    let namespaces = view.namespaces_with_services();
    let of_groups = namespaces
        .iter()
        .flat_map(|namespace| groups.of_namespace(namespace));
    // A plugin may imply a group in each namespace.
    let matrices =
        of_groups.map(|lanes| (lanes.group.is_implicit(), of_group(view, &groups, &lanes, detail)));
    let shown = matrices.filter(|(is_implied, matrix)| !is_implied || !matrix.rows.is_empty());
    shown.map(|(_, matrix)| matrix).collect()
}

/// The matrices of all groups that have a member; where ages decide that are not known, as in files, both outcomes are
/// told [s37].
pub fn in_either_order(world: &World, detail: Detail) -> Vec<Matrix> {
    let mut matrices = all(&View::new(world), detail);
    let reversed = world.with_ages_reversed();
    let others: Vec<Matrix> = reversed
        .iter()
        .flat_map(|world| all(&View::new(world), detail))
        .collect();
    for matrix in &mut matrices {
        let is_same =
            |other: &&Matrix| (&other.namespace, &other.title) == (&matrix.namespace, &matrix.title);
        let Some(other) = others.iter().find(is_same) else {
            continue;
        };
        for row in &mut matrix.rows {
            // The same place: other routes may tell other requests apart.
            let place = row.to_string();
            let Some(other) = other.rows.iter().find(|other| other.to_string() == place) else {
                continue;
            };
            for (cell, other) in row.cells.iter_mut().zip(&other.cells) {
                cell.or(other);
            }
        }
    }
    matrices
}

/// The matrix of one group.
pub fn of_group<'v, 'w>(
    view: &'v View<'w>,
    groups: &Groups<'v, 'w>,
    lanes: &Rc<Lanes<'v, 'w>>,
    detail: Detail,
) -> Matrix {
    let asking = Asking {
        view,
        lanes,
        detail,
        is_filtered: OnceCell::new(),
    };
    let members = members(view, groups, lanes);
    let mut rows = entry_rows(&asking, &members);
    for service in members {
        rows.extend(asking.service_rows(service));
    }
    Matrix {
        title: lanes.group.title(),
        namespace: lanes.group.namespace.clone(),
        header: lanes.group.header.clone(),
        entry: lanes.entry().map(|entry| entry.header.clone()),
        lanes: lanes.all().to_vec(),
        default_lane: lanes.group.default_lane.clone(),
        is_strict: lanes.group.is_strict(),
        rows,
    }
}

/// The services of the group that take part in its lanes, by name.
fn members<'v, 'w>(view: &View<'w>, groups: &Groups<'v, 'w>, lanes: &Rc<Lanes<'v, 'w>>) -> Vec<&'w Service> {
    let services = view.services_in(&lanes.group.namespace).into_iter();
    let is_of_group = |service: &&Service| {
        let group = groups.of_service(service);
        group.is_some_and(|group| Rc::ptr_eq(&group, lanes)) && lanes.has_member(service)
    };
    services
        .filter(|service| !service.selector.is_empty() && service.external_name.is_none())
        .filter(is_of_group)
        .collect()
}

/// Requests of one group.
struct Asking<'a, 'v, 'w> {
    view: &'a View<'w>,
    lanes: &'a Lanes<'v, 'w>,
    detail: Detail,
    /// Whether each workload of the group has a lane filter that knows the default lane.
    is_filtered: OnceCell<bool>,
}

impl<'w> Asking<'_, '_, 'w> {
    /// What is asked for: each lane, and none.
    fn columns(&self) -> impl Iterator<Item = Option<&Symbol>> {
        self.lanes.all().iter().map(Some).chain([None])
    }

    /// The rows of a service: one a port, and more where its routes tell requests apart otherwise.
    fn service_rows(&self, service: &'w Service) -> Vec<Row> {
        let mut rows = Vec::new();
        let host = self.view.host_of(service);
        // What only gateways and other hosts lead to, the mesh does not call.
        let is_claimed =
            !self.view.virtual_services_of(&host).is_empty() || is_claimed_on_mesh(self.view, &host);
        if !is_claimed && self.is_routed_elsewhere(&host) {
            return rows;
        }
        for port in self.ports(service, &host) {
            let routes = routes_for(self.view, &self.client(None), &host, port.number);
            let routes = routes.map(|list| list.routes).unwrap_or_default();
            for probe in probes(&routes, self.lanes.headers()) {
                let probe = if port.protocol == Protocol::Grpc {
                    probe.by_grpc()
                } else {
                    probe
                };
                let cells = self
                    .columns()
                    .map(|lane| self.cell(service, &host, &port, &probe, lane));
                rows.push(Row {
                    gateway: None,
                    host: service.meta.name.clone(),
                    cells: cells.collect(),
                    port: port.clone(),
                    probe,
                });
            }
        }
        rows.retain(Row::is_shown);
        rows
    }

    /// Whether gateways, or routes of another host that is there, lead to the full host `host`.
    fn is_routed_elsewhere(&self, host: &Symbol) -> bool {
        let leading = self.view.virtual_services_to(host).into_iter();
        let mut roots = leading.flat_map(|vs| roots_of(self.view, vs));
        roots.any(|vs| {
            let mut hosts = vs
                .hosts
                .iter()
                .map(|host| self.view.resolve(host, &vs.meta.namespace));
            vs.bound_gateways().next().is_some()
                || hosts.any(|host| !matches!(target_of(self.view, &host), Target::Unknown))
        })
    }

    /// The ports of a service for HTTP, and those that its routes ask for, whatever they are.
    fn ports(&self, service: &Service, host: &Symbol) -> Vec<Port> {
        let claiming = self.view.virtual_services_of(host);
        let matches = claiming
            .iter()
            .flat_map(|vs| &vs.http)
            .flat_map(|route| &route.matches);
        let mut asked: Vec<u32> = matches.filter_map(|part| part.port).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut ports = Target::Service(service).ports();
        ports.retain(|port| port.protocol.is_http() || asked.contains(&port.number));
        let has = |ports: &[Port], number: u32| ports.iter().any(|port| port.number == number);
        for number in asked {
            if !has(&ports, number) {
                ports.push(Port {
                    number,
                    name: Symbol::default(),
                    protocol: Protocol::Undeclared,
                });
            }
        }
        ports
    }

    /// A workload of the group, in a lane.
    fn client(&self, lane: Option<&Symbol>) -> Client {
        let group = &self.lanes.group;
        let of_lane = self
            .lanes
            .lane_label()
            .cloned()
            .zip(lane.or(group.default_lane.as_ref()).cloned());
        let labels = Labels::new(group.workloads.iter().cloned().chain(of_lane));
        Client::in_mesh(group.namespace.clone(), labels)
    }

    fn cell(
        &self,
        service: &Service,
        host: &Symbol,
        port: &Port,
        probe: &Probe,
        lane: Option<&Symbol>,
    ) -> Cell {
        let header = &self.lanes.group.header;
        let client = self.client(lane);
        let expected = self.expected(Some(service), probe, lane);
        let ask = |named: Option<&Symbol>| {
            let mut request = probe.request("http", host);
            request.set(header, named.map(Symbol::as_str));
            let simulation = simulate(self.view, &client, &request, port.number);
            let cell = judge(self.lanes, &simulation, lane, expected, None);
            self.explained(cell, &client, &request, port.number, &simulation)
        };
        let cell = ask(lane);
        if lane.is_some() || cell.is_whole {
            return cell;
        }
        // The lane filter of each caller writes the default lane.
        let default = self
            .lanes
            .group
            .default_lane
            .as_ref()
            .filter(|_| self.is_filtered());
        let Some(default) = default else { return cell };
        let filtered = ask(Some(default));
        if filtered.reached == Reached::Default {
            Cell {
                reached: Reached::DefaultByFilter,
                ..filtered
            }
        } else {
            cell
        }
    }

    /// The cell with its request and the steps of it, where these are asked for.
    fn explained(
        &self,
        cell: Cell,
        client: &Client,
        request: &Request,
        port: u32,
        simulation: &Simulation<'w>,
    ) -> Cell {
        match self.detail {
            Detail::Cells => cell,
            Detail::Steps => Cell {
                steps: steps(self.view, self.lanes, request, simulation),
                asked: Some(Box::new(Asked {
                    client: client.clone(),
                    request: request.clone(),
                    port,
                })),
                ..cell
            },
        }
    }

    /// What a request to the service, or to none that is known, is to come to.
    fn expected(&self, service: Option<&Service>, probe: &Probe, lane: Option<&Symbol>) -> Expected {
        if !probe.tells_lanes {
            return Expected::Anything;
        }
        let group = &self.lanes.group;
        let Some(lane) = lane else {
            return match (group.without_header, &group.default_lane) {
                (WithoutHeader::Reject, _) => Expected::Refusal,
                (WithoutHeader::DefaultLane, Some(_)) => Expected::DefaultLane { is_promised: true },
                (WithoutHeader::DefaultLane, None) => Expected::Anything,
            };
        };
        let has_lane = |service: &Service| {
            let reach = self.lanes.reach(service, None);
            reach.is_some_and(|reach| reach.lanes.contains(lane))
        };
        let is_there = service.is_none_or(has_lane);
        match &group.default_lane {
            _ if is_there => Expected::Lane,
            Some(_) => Expected::DefaultLane {
                is_promised: !group.is_strict(),
            },
            None => Expected::Anything,
        }
    }

    fn is_filtered(&self) -> bool {
        let namespace = &self.lanes.group.namespace;
        *self.is_filtered.get_or_init(|| self.lanes.is_filtered(namespace))
    }
}
