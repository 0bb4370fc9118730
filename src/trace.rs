//! One request from hop to hop: what each proxy makes of it, what the lane filter writes, and where it leaves its lane.
//!
//! ```text
//!   Start (client, request, port) ──simulate──▶ Hop ──the branch with the most requests──▶ carrier
//!                                                ▲                                            │
//!                                                └── Call, with what the filter writes ◀──────┘
//! ```

mod question;

use std::collections::VecDeque;

pub use self::question::{Question, Unclear, gateways};

use crate::lane::Completeness;
use crate::resource::{Kind, Labels, ObjectRef, Resource};
use crate::routing::{
    Branch, Carrier, Client, Groups, Lanes, Outcome, Port, Protocol, Request, Simulation, has_sidecar,
    simulate, simulate_without_proxy, target_of,
};
use crate::symbol::Symbol;
use crate::world::View;

/// Where a trace begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// Who sends the first request.
    pub client: Client,
    /// The request.
    pub request: Request,
    /// The port that it is sent to.
    pub port: u32,
    /// Whether a proxy sends it: a workload without a sidecar has none.
    pub has_proxy: bool,
}

/// A request that an application sends for the one that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The host as the application writes it.
    pub host: String,
    /// The port; `None`: the service's first one for HTTP.
    pub port: Option<u16>,
    /// The path with the query.
    pub path: String,
}

/// What is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no call; it looks like svc, svc:8080 or svc.namespace:8080/path")]
pub struct NotACall(String);

impl std::str::FromStr for Call {
    type Err = NotACall;

    fn from_str(text: &str) -> Result<Self, NotACall> {
        let (request, port) = Request::get(text).map_err(|_| NotACall(text.to_owned()))?;
        let is_written = request.authority.len() > request.host().len();
        Ok(Self {
            host: request.host(),
            port: u16::try_from(port).ok().filter(|_| is_written),
            path: request.path,
        })
    }
}

/// What a lane filter writes or remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The plugin that installs it.
    pub plugin: ObjectRef,
    /// The lane header.
    pub header: Symbol,
    /// The lane.
    pub lane: String,
    /// Whether it is the plugin's default lane, because nothing named another.
    pub is_default: bool,
}

/// One step of a trace.
#[derive(Debug, Clone)]
pub struct Hop<'w> {
    /// The workload that sends the request; `None`: the first one is sent by whoever the trace starts with.
    pub sender: Option<ObjectRef>,
    /// The gateway whose pods try the routes; `None`: the sender's sidecar does.
    pub gateway: Option<Symbol>,
    /// The sender's namespace.
    pub namespace: Symbol,
    /// What the sender's lane filter writes on the way out.
    pub written: Option<Filtered>,
    /// The request as the routes see it.
    pub request: Request,
    /// The port that it is sent to.
    pub port: u32,
    /// What becomes of it.
    pub simulation: Simulation<'w>,
    /// The place of the branch that is followed: the one with the most requests.
    pub branch: Option<usize>,
    /// The lanes of what answers, at any of its destinations.
    pub lanes: Vec<Symbol>,
    /// The same of each destination by itself, in the order of the branches; nothing where it enters no group.
    pub lanes_of_branches: Vec<Vec<Symbol>>,
    /// What the lane filter of whoever answers remembers by the trace id.
    pub remembered: Option<Filtered>,
    /// Where the request leaves its lane, why.
    pub left: Option<Left>,
}

/// Why a request is not in its lane any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Nobody answers it in the lane.
    Unanswered,
    /// It gets to a port that speaks another protocol.
    OtherProtocol,
    /// Workloads of these lanes answer, or of none.
    Elsewhere(Vec<Symbol>),
    /// The default lane stands in for a lane that the service does not have.
    StoodIn,
    /// Its lane answers, and is not told the lane.
    NotTold,
}

/// A request, followed.
#[derive(Debug, Clone)]
pub struct Trace<'w> {
    /// The lane that it names, or the default lane of the group that it enters; `None`: it is in none.
    pub lane: Option<Symbol>,
    /// The steps, as far as it gets.
    pub hops: Vec<Hop<'w>>,
    /// The calls that are not made, because the request does not get there.
    pub unmade: Vec<Call>,
}

impl Trace<'_> {
    /// Whether each step is answered, and in the request's lane, if it has one.
    pub fn keeps_lane(&self) -> bool {
        let has_left = |hop: &Hop<'_>| hop.left.as_ref().is_some_and(|left| *left != Left::StoodIn);
        self.is_answered() && !self.hops.iter().any(has_left)
    }

    /// Whether the request, and each that is sent for it, is answered by a workload, or by a proxy on purpose.
    pub fn is_answered(&self) -> bool {
        self.unmade.is_empty() && self.hops.iter().all(Hop::is_answered)
    }
}

impl<'w> Hop<'w> {
    /// Whether someone answers who is not a proxy in trouble.
    fn is_answered(&self) -> bool {
        match &self.simulation.outcome {
            Outcome::NotFound(_) | Outcome::Refused(_) => false,
            Outcome::Answered { status, .. } => *status < 400,
            Outcome::Forwarded(forwarded) => {
                let mut endings = forwarded.branches.iter().map(|branch| branch.ending.status());
                endings.all(|status| status.is_none())
            }
        }
    }

    /// All branches.
    pub fn branches(&self) -> &[Branch<'w>] {
        match &self.simulation.outcome {
            Outcome::Forwarded(forwarded) => &forwarded.branches,
            _ => &[],
        }
    }

    /// The branch that is followed.
    pub fn followed(&self) -> Option<&Branch<'w>> {
        self.branches().get(self.branch?)
    }

    /// Who answers, of those that may: the first by name.
    pub fn answering(&self) -> Option<&Carrier<'w>> {
        self.followed()?.ending.carriers().first()
    }
}

/// Follows a request, and after it the calls that the applications send, each for the one that it got. Applications pass
/// trace ids on, and no lane header. Where no `calls` are said, they are those of the group that the request enters
/// (`spec.chain` of a `LaneGroup`), from where it enters; one of them that cannot be read ends them.
pub fn follow<'w>(view: &View<'w>, start: Start, calls: Option<&[Call]>) -> Trace<'w> {
    let groups = Groups::new(view, None);
    let tracing = Tracing {
        view,
        groups: &groups,
    };
    let mut lane: Option<Symbol> = None;
    let mut hops: Vec<Hop<'w>> = Vec::new();
    let mut next = Some((start, None, None));
    let mut left: VecDeque<Call> = calls.unwrap_or_default().to_vec().into();
    while let Some((start, sender, written)) = next.take() {
        let hop = tracing.hop(start, sender, written, &mut lane);
        let answering = hop.answering().filter(|_| hop.left != Some(Left::OtherProtocol));
        let after = answering
            .copied()
            .zip(hop.followed().map(|branch| branch.host.clone()));
        next = after.and_then(|(carrier, host)| {
            if hops.is_empty() && calls.is_none() {
                left.extend(
                    groups
                        .of_host(&host)
                        .iter()
                        .flat_map(|lanes| chain_after(lanes, &host)),
                );
            }
            let call = left.front()?;
            let sent = tracing.call(&carrier, &host, hop.remembered.as_ref(), call)?;
            left.pop_front();
            Some(sent)
        });
        hops.push(hop);
    }
    Trace {
        lane,
        hops,
        unmade: left.into(),
    }
}

/// The calls of the group after the one to `host`; all of them where it is none of them.
fn chain_after(lanes: &Lanes<'_, '_>, host: &Symbol) -> Vec<Call> {
    let chain = lanes.group.chain.iter().map_while(|call| call.parse().ok());
    let mut chain: Vec<Call> = chain.collect();
    let name = |host: &str| host.split('.').next().unwrap_or_default().to_owned();
    let at = chain.iter().position(|call| name(&call.host) == name(host));
    chain.split_off(at.map_or(0, |at| at + 1))
}

/// A request to be sent, the workload that sends it, and what its lane filter writes.
type Sent = (Start, Option<ObjectRef>, Option<Filtered>);

struct Tracing<'a, 'v, 'w> {
    view: &'v View<'w>,
    groups: &'a Groups<'v, 'w>,
}

impl<'w> Tracing<'_, '_, 'w> {
    fn hop(
        &self,
        start: Start,
        sender: Option<ObjectRef>,
        written: Option<Filtered>,
        lane: &mut Option<Symbol>,
    ) -> Hop<'w> {
        let Start {
            client,
            request,
            port,
            has_proxy,
        } = start;
        let simulation = if has_proxy {
            simulate(self.view, &client, &request, port)
        } else {
            simulate_without_proxy(self.view, &client, &request, port)
        };
        let mut hop = Hop {
            sender,
            gateway: client.caller.gateway.clone(),
            namespace: client.caller.namespace,
            written,
            request,
            port,
            branch: None,
            lanes: Vec::new(),
            lanes_of_branches: Vec::new(),
            remembered: None,
            left: None,
            simulation,
        };
        if let Outcome::Forwarded(forwarded) = &hop.simulation.outcome {
            let branches = forwarded.branches.iter().enumerate();
            // Of equal ones the first.
            let most = branches
                .rev()
                .max_by(|(_, a), (_, b)| a.weight.total_cmp(&b.weight));
            hop.branch = most.map(|(at, _)| at);
        }
        let Some(branch) = hop.followed().cloned() else {
            hop.left = lane.is_some().then_some(Left::Unanswered);
            return hop;
        };
        let group = self.groups.of_host(&branch.host);
        if let (Some(lanes), None) = (&group, &lane) {
            *lane = named(&hop, lanes);
        }
        let Some(carrier) = hop.answering().copied() else {
            hop.left = (branch.ending.status().is_some() && lane.is_some()).then_some(Left::Unanswered);
            return hop;
        };
        if branch.is_other_protocol() {
            hop.left = Some(Left::OtherProtocol);
            return hop;
        }
        if let Some(lanes) = &group {
            let branches = hop.branches();
            let of_branches: Vec<Vec<Symbol>> = branches.iter().map(|branch| branch.lanes(lanes)).collect();
            let mut reached: Vec<Symbol> = of_branches.iter().flatten().cloned().collect();
            reached.sort();
            reached.dedup();
            // Each destination that has a share of the requests has to be in the lane.
            let all = lane.as_ref().map(|lane| {
                let mut left = branches.iter().map(|branch| left(lanes, branch, &reached, lane));
                left.find(|left| left.as_ref().is_some_and(|left| *left != Left::StoodIn))
            });
            let own = lane
                .as_ref()
                .and_then(|lane| left(lanes, &branch, &reached, lane));
            hop.left = all.flatten().flatten().or(own);
            hop.lanes = reached;
            hop.lanes_of_branches = of_branches;
        }
        let home = carrier_home(&carrier, self.view, &branch.host).filter(|_| self.has_proxy(&carrier));
        hop.remembered =
            home.and_then(|home| self.filter(&home, carrier.labels, |header| branch.request.header(header)));
        hop
    }

    /// What the lane filter of pods of `namespace` with these labels makes of a lane header's `value`.
    fn filter(
        &self,
        namespace: &Symbol,
        labels: &Labels,
        value: impl Fn(&str) -> Option<String>,
    ) -> Option<Filtered> {
        let plugins = self.view.lane_plugins_for(namespace).into_iter();
        let mut loaded =
            plugins.filter(|plugin| plugin.selects(labels) && matches!(plugin.config, Some(Ok(_))));
        let plugin = loaded.next()?;
        let header = plugin.lane_header.clone()?;
        let named = value(&header).filter(|value| !value.is_empty());
        let is_default = named.is_none();
        let lane = named.or_else(|| plugin.traffic_lane.as_ref().map(ToString::to_string))?;
        Some(Filtered {
            plugin: plugin.meta.reference(plugin.kind),
            header,
            lane,
            is_default,
        })
    }

    /// The call that the application of `carrier` sends; `None`: nothing is known of where it runs.
    fn call(
        &self,
        carrier: &Carrier<'w>,
        host: &Symbol,
        remembered: Option<&Filtered>,
        call: &Call,
    ) -> Option<Sent> {
        let namespace = carrier_home(carrier, self.view, host)?;
        let client = Client::in_mesh(namespace.clone(), carrier.labels.clone());
        let port = match call.port {
            Some(port) => self.port_of(&namespace, &call.host, |known| known.number == u32::from(port)),
            None => self.port_of(&namespace, &call.host, |known| known.protocol.is_http()),
        };
        let number = call
            .port
            .map(u32::from)
            .or(port.as_ref().map(|port| port.number))
            .unwrap_or(80);
        let is_grpc = port.is_some_and(|port| port.protocol == Protocol::Grpc);
        let mut request = Request {
            method: if is_grpc { "POST" } else { "GET" }.to_owned(),
            scheme: "http".to_owned(),
            authority: match number {
                80 => call.host.clone(),
                number => format!("{}:{number}", call.host),
            },
            path: call.path.clone(),
            headers: Vec::new(),
            http2: is_grpc,
        };
        if is_grpc {
            request.set("content-type", Some("application/grpc"));
        }
        let has_proxy = self.has_proxy(carrier);
        let written = self.filter(&namespace, carrier.labels, |header| {
            let of_header = remembered.filter(|remembered| remembered.header == *header);
            of_header.map(|remembered| remembered.lane.clone())
        });
        let written = written.map(|written| Filtered {
            is_default: remembered.is_none_or(|remembered| remembered.is_default),
            ..written
        });
        let written = written.filter(|_| has_proxy);
        if let Some(written) = &written {
            request.set(&written.header, Some(&written.lane));
        }
        let start = Start {
            client,
            request,
            port: number,
            has_proxy,
        };
        Some((start, carrier.object.map(Resource::reference), written))
    }

    /// Whether a carrier has a sidecar, as far as it is known.
    fn has_proxy(&self, carrier: &Carrier<'w>) -> bool {
        match carrier.object {
            Some(Resource::Workload(workload)) => has_sidecar(self.view, workload),
            _ => true,
        }
    }

    /// The first port of what `host` names in `namespace` that is one of those meant.
    fn port_of(&self, namespace: &Symbol, host: &str, is_meant: impl Fn(&Port) -> bool) -> Option<Port> {
        let (name, of) = host.split_once('.').unwrap_or((host, namespace));
        let of = of.split('.').next().unwrap_or(of);
        let ports = match self.view.service(of, name) {
            Some(service) => target_of(self.view, &self.view.host_of(service)).ports(),
            None => target_of(self.view, &host.into()).ports(),
        };
        ports.into_iter().find(|port| is_meant(port))
    }
}

/// The lane that the first request names: in the lane header as it arrives, or as it was sent, else the default one.
fn named(hop: &Hop<'_>, lanes: &Lanes<'_, '_>) -> Option<Symbol> {
    let sent = lanes.headers().filter_map(|header| hop.request.header(header));
    let mut named = sent.filter(|value| lanes.contains(value));
    let named = named.next().map(Symbol::from);
    let arrived = || {
        let arrived = hop.followed()?.request.header(&lanes.group.header)?;
        lanes.contains(&arrived).then(|| Symbol::from(arrived))
    };
    named
        .or_else(arrived)
        .or_else(|| lanes.group.default_lane.clone())
}

/// The namespace where a carrier runs.
fn carrier_home(carrier: &Carrier<'_>, view: &View<'_>, host: &Symbol) -> Option<Symbol> {
    let of_host = || view.read_host(host).namespace().map(Symbol::new);
    let is_pod = |kind: Kind| kind != Kind::WorkloadEntry;
    let object = carrier.object.filter(|object| is_pod(object.kind()));
    object
        .map(|object| object.meta().namespace.clone())
        .or_else(of_host)
}

/// Why a request of `lane` is not in it any more at the end of a branch, if it is not.
fn left(lanes: &Lanes<'_, '_>, branch: &Branch<'_>, reached: &[Symbol], lane: &Symbol) -> Option<Left> {
    if branch.ending.status().is_some() {
        return Some(Left::Unanswered);
    }
    let default = lanes.group.default_lane.as_ref();
    let sent = branch.request.header(&lanes.group.header);
    let is_told = match sent.as_deref() {
        None | Some("") => default == Some(lane),
        Some(sent) => *lane == *sent,
    };
    match reached {
        [only] if only == lane => (!is_told).then_some(Left::NotTold),
        [only] if Some(only) == default && lanes.group.completeness != Some(Completeness::Strict) => {
            let is_there = lanes.serves(&branch.host, lane);
            Some(if is_there || !is_told {
                Left::Elsewhere(reached.to_vec())
            } else {
                Left::StoodIn
            })
        }
        _ => Some(Left::Elsewhere(reached.to_vec())),
    }
}
