//! What the simulator foretells, and how an answer differs from it.

use std::fmt::Write as _;

use lanekeeper::resource::Resource;
use lanekeeper::routing::{Branch, Ending, NotFound, Outcome, Request, Severed, Simulation, Taken, Way};

use crate::client::{Answer, Hop};
use crate::generated::Ask;

/// What has to be foretold of some request, for the sets to show anything.
pub const OUTCOMES: [&str; 18] = [
    "no route",
    "no such host",
    "the proxy answers",
    "a redirect",
    "a host that is not known",
    "a port that is not there",
    "a subset that is not defined",
    "nothing carries it",
    "a pod",
    "one of several",
    "Istio's own route",
    "a delegate's route",
    "a copy",
    "another host",
    "another path",
    "a header less",
    "a header more",
    "gRPC",
];

/// The headers that are compared.
const HEADERS: [&str; 6] = ["bu", "buid", "x-lane", "x-mark", "x-copy", "bv"];

/// What is foretold of a request.
pub struct Predicted<'s, 'w> {
    simulation: &'s Simulation<'w>,
    is_grpc: bool,
    /// What it is, by the names in [`OUTCOMES`].
    pub outcomes: Vec<&'static str>,
}

/// One way in which a request may end.
enum End<'s, 'w> {
    /// The proxy answers it.
    Proxy { status: u16, location: Option<&'s str> },
    /// A pod does.
    Pod(&'s Branch<'w>),
}

/// The request as the simulator takes it.
pub fn request(ask: &Ask) -> Request {
    let (mut request, port) = Request::get(&ask.call.url).expect("a URL");
    assert_eq!(port, ask.port, "{ask}");
    request.method.clone_from(&ask.call.method);
    request.http2 = ask.call.http2;
    let headers = ask.call.headers.iter();
    headers.fold(request, |request, (name, value)| request.with(name, value))
}

impl<'s, 'w> Predicted<'s, 'w> {
    /// What the simulator says of a request.
    pub fn of(simulation: &'s Simulation<'w>, ask: &Ask) -> Self {
        let sent = request(ask);
        let mut outcomes = Vec::new();
        match &simulation.outcome {
            Outcome::NotFound(NotFound::Route) => outcomes.push("no route"),
            Outcome::NotFound(NotFound::Host) => outcomes.push("no such host"),
            Outcome::Refused(_) => outcomes.push("refused"),
            Outcome::Answered {
                location: Some(_), ..
            } => outcomes.push("a redirect"),
            Outcome::Answered { .. } => outcomes.push("the proxy answers"),
            Outcome::Forwarded(forwarded) => {
                let branches: Vec<&Branch<'_>> = shared(&forwarded.branches).collect();
                outcomes.extend(branches.iter().map(|branch| ending(branch)));
                if branches.len() > 1 {
                    outcomes.push("one of several");
                }
                match &forwarded.way {
                    Way::Route(Taken { route, .. }) if route.root.is_some() => {
                        outcomes.push("a delegate's route");
                    }
                    Way::Route(_) => {}
                    Way::Default => outcomes.push("Istio's own route"),
                    Way::Tcp => outcomes.push("no route for TCP"),
                    Way::NoProxy | Way::Unrouted => outcomes.push("by address"),
                }
                if !forwarded.copies.is_empty() {
                    outcomes.push("a copy");
                }
                let made = &branches[0].request;
                if made.authority != sent.authority {
                    outcomes.push("another host");
                }
                if made.path != sent.path {
                    outcomes.push("another path");
                }
                let count = |request: &Request| {
                    let there = HEADERS.iter().filter(|name| request.header(name).is_some());
                    there.count()
                };
                if count(made) < count(&sent) {
                    outcomes.push("a header less");
                }
                if count(made) > count(&sent) {
                    outcomes.push("a header more");
                }
            }
        }
        if sent.is_grpc() {
            outcomes.push("gRPC");
        }
        Self {
            simulation,
            is_grpc: sent.is_grpc(),
            outcomes,
        }
    }

    /// Whether it may go several ways.
    pub fn is_by_chance(&self) -> bool {
        self.ends().len() > 1
    }

    /// How an answer differs from all that is foretold.
    pub fn difference(&self, answer: &Answer) -> Option<String> {
        let ends = self.ends();
        let mut all = Vec::new();
        for end in &ends {
            match self.differs(end, answer) {
                None => return None,
                Some(difference) => all.push(difference),
            }
        }
        let came = match answer.hops.first() {
            Some(hop) => format!(
                "{} at {}:{}{} on {} with {:?}",
                hop.workload,
                hop.authority,
                hop.path,
                hop.method,
                hop.port,
                HEADERS.map(|name| hop.header(name))
            ),
            None => format!(
                "`{}`, gRPC {:?}, location {:?}",
                answer.text, answer.grpc_status, answer.location
            ),
        };
        Some(format!(
            "the mesh: {} {came}\n  the simulator: {}",
            answer.status,
            all.join("; or ")
        ))
    }

    /// Every way in which the request may end; none: it is not foretold.
    fn ends(&self) -> Vec<End<'s, 'w>> {
        let proxy = |status, location| End::Proxy { status, location };
        match &self.simulation.outcome {
            Outcome::NotFound(_) => vec![proxy(404, None)],
            Outcome::Refused(_) => Vec::new(),
            Outcome::Answered { status, location, .. } => vec![proxy(*status, location.as_deref())],
            Outcome::Forwarded(forwarded) => {
                let abort = forwarded.abort.map(|(_, status)| proxy(status, None));
                let branches = shared(&forwarded.branches).map(|branch| match branch.ending.status() {
                    Some(status) => proxy(status, None),
                    None => End::Pod(branch),
                });
                abort.into_iter().chain(branches).collect()
            }
        }
    }

    fn differs(&self, end: &End<'_, '_>, answer: &Answer) -> Option<String> {
        match end {
            End::Proxy { status, location } => {
                let is_so = if self.is_grpc {
                    answer.status == 200 && answer.grpc_status.as_deref() == Some(grpc_status(*status))
                } else {
                    answer.status == *status && answer.location.as_deref() == *location
                };
                (!is_so || !answer.hops.is_empty())
                    .then(|| format!("the proxy answers {status}, location {location:?}"))
            }
            End::Pod(branch) => {
                let Some(hop) = answer.hops.first().filter(|_| answer.status == 200) else {
                    return Some(format!("a pod answers: {}", names(branch).join(", ")));
                };
                arrives(branch, hop)
            }
        }
    }
}

/// The branches that get any request.
fn shared<'s, 'w>(branches: &'s [Branch<'w>]) -> impl Iterator<Item = &'s Branch<'w>> {
    branches.iter().filter(|branch| branch.weight > 0.0)
}

fn ending(branch: &Branch<'_>) -> &'static str {
    match &branch.ending {
        Ending::Reaches(_) => "a pod",
        Ending::ByAddress(_) => "the pod of an address",
        Ending::Outside => "what is not known",
        Ending::NoCluster(Severed::Host) => "a host that is not known",
        Ending::NoCluster(Severed::Port) => "a port that is not there",
        Ending::NoCluster(Severed::Subset) => "a subset that is not defined",
        Ending::NoCluster(_) => "another cluster that is not there",
        Ending::NoCarrier => "nothing carries it",
        Ending::NotReady(_) => "nothing is ready",
    }
}

/// The Deployments of which one answers.
fn names(branch: &Branch<'_>) -> Vec<String> {
    let (Ending::Reaches(carriers) | Ending::ByAddress(carriers)) = &branch.ending else {
        return Vec::new();
    };
    let objects = carriers.iter().filter_map(|carrier| carrier.object);
    objects
        .map(|object: &Resource| object.meta().name.to_string())
        .collect()
}

/// How a request that came to a pod differs from the one that was to come.
fn arrives(branch: &Branch<'_>, hop: &Hop) -> Option<String> {
    let mut wrong = Vec::new();
    let names = names(branch);
    if !names.contains(&hop.workload) {
        wrong.push(format!("one of {}", names.join(", ")));
    }
    let port = branch.port.as_ref().map(|port| port.number);
    if port != Some(u32::from(hop.port)) {
        wrong.push(format!("port {port:?}"));
    }
    let request = &branch.request;
    if request.path != hop.path {
        wrong.push(format!("path {}", request.path));
    }
    if request.authority != hop.authority {
        wrong.push(format!("host {}", request.authority));
    }
    if request.method != hop.method {
        wrong.push(format!("method {}", request.method));
    }
    for name in HEADERS {
        let (told, found) = (request.header(name), hop.header(name));
        if told != found {
            wrong.push(format!("{name}: {told:?}"));
        }
    }
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// The status of gRPC that Envoy's own answers have: HTTP's is 200 (`Grpc::Utility::httpToGrpcStatus`).
fn grpc_status(http: u16) -> &'static str {
    match http {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// What the simulator says, for people.
pub fn told(simulation: &Simulation<'_>) -> String {
    let mut told = String::new();
    for passed in &simulation.passed {
        let name = (passed.route.reference().to_string(), passed.route.path());
        let unmet: Vec<String> = passed.unmet.iter().map(|(_, unmet)| unmet.to_string()).collect();
        let _ = writeln!(told, "  not {} {}: {}", name.0, name.1, unmet.join("; "));
    }
    let taken = match &simulation.outcome {
        Outcome::Answered { by, .. } => by.as_ref(),
        Outcome::Forwarded(forwarded) => match &forwarded.way {
            Way::Route(taken) => Some(taken),
            _ => None,
        },
        _ => None,
    };
    if let Some(taken) = taken {
        let _ = writeln!(told, "  but {} {}", taken.route.reference(), taken.route.path());
    }
    if let Outcome::Forwarded(forwarded) = &simulation.outcome {
        for branch in &forwarded.branches {
            let (weight, of) = (branch.weight, branch.of);
            let (host, subset) = (&branch.host, &branch.subset);
            let port = branch.port.as_ref().map(|port| port.number);
            let _ = writeln!(
                told,
                "    {weight} of {of} to {host}:{port:?} {subset:?}: {}, {:?}",
                ending(branch),
                names(branch)
            );
        }
    }
    told
}
