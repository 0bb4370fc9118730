//! What one request comes to, in one word and with the reason.

use std::fmt;

use super::Step;
use crate::routing::{Branch, Client, Ending, Forwarded, Lanes, NotFound, Outcome, Request, Simulation, Way};
use crate::symbol::Symbol;

/// What the requests of one lane come to in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The lane that the request names; `None`: it names none.
    pub lane: Option<Symbol>,
    /// What it comes to.
    pub reached: Reached,
    /// Whether the group promises just that, or nothing.
    pub is_whole: bool,
    /// How it comes about: the route, the destination, who answers.
    pub why: String,
    /// What its request meets on its way; nothing where that is not asked for.
    pub steps: Vec<Step>,
    /// The request itself; `None`: there is none, or it is not asked for.
    pub asked: Option<Box<Asked>>,
}

/// A request, and who sends it where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who sends it.
    pub client: Client,
    /// The request.
    pub request: Request,
    /// The port that it is sent to.
    pub port: u32,
}

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Its own lane answers.
    Ok,
    /// The default lane answers.
    Default,
    /// The default lane answers, for the caller's lane filter names it.
    DefaultByFilter,
    /// No route takes it: 404.
    NotFound,
    /// Nothing carries it, or the proxy knows no such destination: 503; or there is no connection.
    Unavailable,
    /// What carries it is not ready: 503.
    NotReady,
    /// A workload answers that is not in the lane: one of these, or one of none.
    WrongLane(Vec<Symbol>),
    /// Which of these lanes answers is chance.
    Mixed(Vec<Symbol>),
    /// It gets to a port that speaks another protocol.
    WrongPort,
    /// The right workload answers, and the lane header that it gets is not the lane: what it calls goes elsewhere.
    NotTold,
    /// The proxy answers by itself, with this status.
    Answered(u16),
    /// It leaves what is known here.
    Outside,
    /// It names no lane, no lane is promised to it, and this one answers.
    Lane(Symbol),
    /// One of these, which of two objects is the older one decides.
    Either(Box<(Reached, Reached)>),
    /// No request was made: lanes are not told by a header there, or by a pattern only.
    NotAsked,
}

impl Cell {
    /// Takes note of what comes of the same request where another object is the older one.
    pub(super) fn or(&mut self, other: &Self) {
        if self.reached == other.reached {
            return;
        }
        let both = (self.reached.clone(), other.reached.clone());
        self.reached = Reached::Either(Box::new(both));
        self.is_whole &= other.is_whole;
        self.why = format!(
            "the age of objects decides, which files do not tell: {}; or {}",
            self.why, other.why
        );
        if !self.steps.is_empty() {
            self.steps.push(Step::or());
            self.steps.extend(other.steps.iter().cloned());
        }
    }

    /// No request of the lane is made, for this reason.
    pub(super) fn not_asked(lane: Option<&Symbol>, why: &str) -> Self {
        Self {
            lane: lane.cloned(),
            reached: Reached::NotAsked,
            is_whole: true,
            why: why.to_owned(),
            steps: Vec::new(),
            asked: None,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |lanes: &[Symbol]| lanes.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Default => f.write_str("default"),
            Self::DefaultByFilter => f.write_str("default (filter)"),
            Self::NotFound => f.write_str("404"),
            Self::Unavailable => f.write_str("503"),
            Self::NotReady => f.write_str("not ready"),
            Self::WrongLane(lanes) if lanes.is_empty() => f.write_str("wrong lane: none"),
            Self::WrongLane(lanes) => write!(f, "wrong lane: {}", names(lanes)),
            Self::Mixed(lanes) => write!(f, "mixed: {}", names(lanes)),
            Self::WrongPort => f.write_str("wrong port"),
            Self::NotTold => f.write_str("lane not told"),
            Self::Answered(status) => write!(f, "{status}"),
            Self::Outside => f.write_str("outside"),
            Self::Lane(lane) => f.write_str(lane),
            Self::Either(both) => write!(f, "{} or {}", both.0, both.1),
            Self::NotAsked => f.write_str("-"),
        }
    }
}

/// What a request is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The lane that it names answers.
    Lane,
    /// The default lane answers: it names none, or one that the service does not have.
    DefaultLane {
        /// Whether the group promises that; else it promises the lane that is missing.
        is_promised: bool,
    },
    /// It is refused.
    Refusal,
    /// Nothing is promised.
    Anything,
}

/// What a simulated request that names `lane` comes to. With a `header`, what it is sent on with under that name counts.
pub(super) fn judge(
    lanes: &Lanes<'_, '_>,
    simulation: &Simulation<'_>,
    lane: Option<&Symbol>,
    expected: Expected,
    header: Option<&Symbol>,
) -> Cell {
    let (reached, why) = match &simulation.outcome {
        Outcome::NotFound(NotFound::Host) => (
            Reached::NotFound,
            "the gateway does not serve the host".to_owned(),
        ),
        Outcome::NotFound(NotFound::Route) => {
            let from = simulation.virtual_host.as_ref().map(|list| list.host.to_string());
            (
                Reached::NotFound,
                format!("no route for {} takes it", from.unwrap_or_default()),
            )
        }
        Outcome::Refused(why) => (Reached::Unavailable, why.to_string()),
        Outcome::Answered { by, status, location } => {
            let by = by
                .as_ref()
                .map_or_else(|| "the gateway's server".to_owned(), |by| by.route.title());
            let to = location
                .as_ref()
                .map(|to| format!(", to {to}"))
                .unwrap_or_default();
            (Reached::Answered(*status), format!("{by} answers {status}{to}"))
        }
        Outcome::Forwarded(forwarded) => {
            let of_branches: Vec<_> = forwarded
                .branches
                .iter()
                .map(|branch| (reached_by(lanes, branch, lane, expected, header), branch))
                .collect();
            worst(lanes, of_branches, forwarded, header)
        }
    };
    let is_whole = match (expected, &reached) {
        (Expected::Anything, reached) => !matches!(
            reached,
            Reached::Unavailable | Reached::NotReady | Reached::WrongPort
        ),
        (Expected::Refusal, reached) => {
            matches!(reached, Reached::NotFound | Reached::Answered(400..=499))
        }
        (Expected::DefaultLane { is_promised: false }, _) => false,
        (_, Reached::Answered(status)) => *status < 400,
        (Expected::Lane, reached) => matches!(reached, Reached::Ok | Reached::Outside),
        (Expected::DefaultLane { .. }, reached) => {
            matches!(
                reached,
                Reached::Default | Reached::DefaultByFilter | Reached::Outside
            )
        }
    };
    let lacks = expected == Expected::DefaultLane { is_promised: false };
    let why = if lacks {
        format!("the service does not have the lane; {why}")
    } else {
        why
    };
    Cell {
        lane: lane.cloned(),
        reached,
        is_whole,
        why,
        steps: Vec::new(),
        asked: None,
    }
}

/// What one destination comes to.
fn reached_by(
    lanes: &Lanes<'_, '_>,
    branch: &Branch<'_>,
    lane: Option<&Symbol>,
    expected: Expected,
    header: Option<&Symbol>,
) -> Reached {
    let default = lanes.group.default_lane.as_ref();
    let carriers = match &branch.ending {
        Ending::NoCluster(_) | Ending::NoCarrier => return Reached::Unavailable,
        Ending::NotReady(_) => return Reached::NotReady,
        Ending::Outside => return Reached::Outside,
        Ending::Reaches(carriers) | Ending::ByAddress(carriers) => carriers,
    };
    if branch.is_other_protocol() {
        return Reached::WrongPort;
    }
    let of_carriers: Vec<Vec<Symbol>> = carriers
        .iter()
        .map(|carrier| lanes.lanes_of_workload(carrier.labels))
        .collect();
    let in_lane = |lane: &Symbol| of_carriers.iter().all(|of| of.contains(lane));
    // What has no lane goes on with the default one.
    let is_told = |lane: &Symbol| {
        let sent = header.map(|header| branch.request.header(header));
        sent.is_none_or(|sent| match sent.as_deref() {
            None | Some("") => default == Some(lane),
            Some(sent) => *lane == *sent,
        })
    };
    let told = |lane: &Symbol, reached: Reached| {
        if is_told(lane) { reached } else { Reached::NotTold }
    };
    if let Some(lane) = lane.filter(|lane| in_lane(lane)) {
        return told(lane, Reached::Ok);
    }
    if let Some(default) = default.filter(|default| expected != Expected::Lane && in_lane(default)) {
        // A lane that the service lacks may be one of those that it calls.
        return told(lane.unwrap_or(default), Reached::Default);
    }
    let found = branch.lanes(lanes);
    match found.as_slice() {
        [only] if lane.is_none() && expected == Expected::Anything => Reached::Lane(only.clone()),
        [] | [_] => Reached::WrongLane(found),
        _ => Reached::Mixed(found),
    }
}

/// What several destinations come to together: what is worst; different lanes are a matter of chance.
fn worst(
    lanes: &Lanes<'_, '_>,
    of_branches: Vec<(Reached, &Branch<'_>)>,
    forwarded: &Forwarded<'_>,
    header: Option<&Symbol>,
) -> (Reached, String) {
    const fn rank(reached: &Reached) -> u8 {
        match reached {
            Reached::Ok => 0,
            Reached::Outside
            | Reached::Answered(_)
            | Reached::Lane(_)
            | Reached::NotAsked
            | Reached::Either(_) => 1,
            Reached::Default | Reached::DefaultByFilter => 2,
            Reached::NotTold => 3,
            Reached::WrongLane(_) => 4,
            Reached::Mixed(_) => 5,
            Reached::WrongPort => 6,
            Reached::NotReady => 7,
            Reached::NotFound | Reached::Unavailable => 8,
        }
    }
    let branches = of_branches.iter();
    let mut answering: Vec<Symbol> = branches.flat_map(|(_, branch)| branch.lanes(lanes)).collect();
    answering.sort();
    answering.dedup();
    let is_uniform = answering.len() < 2
        || of_branches
            .windows(2)
            .all(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    let Some((reached, branch)) = of_branches.into_iter().max_by_key(|(reached, _)| rank(reached)) else {
        return (Reached::Unavailable, "the route has no destination".to_owned());
    };
    let mut why = described(&forwarded.way, branch);
    if let (Reached::NotTold, Some(header)) = (&reached, header) {
        why = match branch.request.header(header) {
            Some(sent) => format!("{why}, which is sent `{header}: {sent}`"),
            None => format!("{why}, which is sent no `{header}`"),
        };
    }
    if is_uniform || rank(&reached) > 5 {
        return (reached, why);
    }
    (Reached::Mixed(answering), why)
}

/// How a request gets to a destination, and what it finds there.
fn described(way: &Way<'_>, branch: &Branch<'_>) -> String {
    let by = match way {
        Way::Route(taken) => taken.route.title(),
        Way::Default => "no VirtualService has a route for the port, so Istio's own".to_owned(),
        Way::Tcp => "the port is not for HTTP, so the connection".to_owned(),
        Way::NoProxy => "the caller has no sidecar, so the connection".to_owned(),
        Way::Unrouted => "the caller's proxy does not know the host, so the connection".to_owned(),
    };
    format!("{by} leads to {}: {}", branch.destination(), branch.ending)
}
