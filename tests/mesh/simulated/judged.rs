//! What the rules say of a set, beside what became of its requests.

use lanekeeper::resource::{Kind, ObjectRef};
use lanekeeper::routing::{Branch, Ending, Forwarded, NotFound, Outcome, Simulation, Way};
use lanekeeper::rule::{Check, Finding, Level, RULES};
use lanekeeper::symbol::Symbol;
use lanekeeper::verdict::{Occasion, Settings, Standing, verdict};
use lanekeeper::world::View;

use crate::client::Answer;
use crate::generated::{Ask, CARS, LANES, Made, SERVICES, Sender, Set};

/// What became of a set's requests.
#[derive(Default)]
pub struct Judged {
    /// Those that came to nothing, or into another lane.
    lost: Vec<Lost>,
    /// The others that did not do what lanes promise.
    strayed: Vec<String>,
}

/// A request that came to nothing, or into another lane.
struct Lost {
    /// What came of it.
    told: String,
    /// The objects that had a say.
    objects: Vec<String>,
    /// The hosts that it was sent on to.
    hosts: Vec<Symbol>,
}

/// How a request's outcome is to be taken.
enum Seen {
    /// Its lane answered.
    Kept,
    /// No lane promises anything to such a request.
    Aside,
    /// It names no lane and the default lane did not answer, or it did not come to any workload, as a route says on purpose.
    Strayed,
    /// It came to nothing, or into another lane than the one it names.
    Lost(String),
}

impl Judged {
    /// Takes note of an answer.
    pub fn see(&mut self, ask: &Ask, simulation: &Simulation<'_>, answer: &Answer) {
        match seen(ask, simulation, answer) {
            Seen::Kept | Seen::Aside => {}
            Seen::Strayed => self.strayed.push(ask.to_string()),
            Seen::Lost(why) => self.lost.push(Lost {
                told: format!("{ask}: {why}"),
                objects: concerned(simulation),
                hosts: hosts(simulation),
            }),
        }
    }

    /// What is wrong with what the rules say.
    pub fn faults(&self, view: &View<'_>, set: &Set) -> Vec<String> {
        let findings = findings(view, set);
        let mut faults = Vec::new();
        for lost in &self.lost {
            let is_concerned = |object: &ObjectRef| lost.objects.contains(&object.to_string());
            let concerns = |finding: &Finding| {
                let mut evidence = finding.evidence.iter();
                is_concerned(&finding.object)
                    || evidence.any(|evidence| is_concerned(&evidence.object))
                    || finding
                        .subject
                        .host
                        .as_ref()
                        .is_some_and(|host| lost.hosts.contains(host))
            };
            if findings.iter().any(|(_, finding)| concerns(finding)) || is_known_gap(set) {
                continue;
            }
            let told: Vec<String> = findings
                .iter()
                .map(|(_, finding)| format!("{} {}", finding.code, finding.object))
                .collect();
            let (objects, told) = (lost.objects.join(", "), told.join(", "));
            faults.push(format!(
                "no finding: {}\n  of {objects}; there are {told}",
                lost.told
            ));
        }
        if self.strayed.is_empty() && self.lost.is_empty() {
            let denied = findings.iter().filter(|(level, _)| *level == Level::Deny);
            faults.extend(
                denied.map(|(_, finding)| format!("all requests keep their lanes, and yet: {finding}")),
            );
        } else if set.made == Made::Sound {
            let lost = self.lost.iter().map(|lost| &lost.told);
            faults.extend(
                lost.chain(&self.strayed)
                    .map(|request| format!("a sound set, and yet: {request}")),
            );
        }
        faults
    }
}

/// What no rule tells, with the reason.
fn is_known_gap(set: &Set) -> bool {
    let Made::Faulty(fault) = set.made else {
        return false;
    };
    // The rules know the routes of a lane by a match on its exact name. Where `withoutHeaders` alone tells the lanes apart,
    // a lane's requests are those of the route after it, and no rule looks at where those go: LK303 and LK305 do not see
    // that they are crossed or shadowed, and LK306 only asks for routes of requests without a lane. To LK303 a pattern
    // that spells a lane's name, and nothing else, is no name.
    let mut routes = set.objects().filter(|object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["kind"] == "VirtualService" && name.starts_with(SERVICES[1].name)
    });
    let by_other_means = routes.any(|object| {
        let http = object["spec"]["http"].to_string();
        http.contains("withoutHeaders") || http.contains(&format!(r#""regex":"{}""#, LANES[1]))
    });
    // A route for a port that its service does not have is in no proxy's list, and so no rule looks at it: LK105 asks for
    // the ports of destinations.
    by_other_means || fault == "a route for a port that nobody calls"
}

/// The hosts that a request is sent on to.
fn hosts(simulation: &Simulation<'_>) -> Vec<Symbol> {
    match &simulation.outcome {
        Outcome::Forwarded(forwarded) => forwarded
            .branches
            .iter()
            .map(|branch| branch.host.clone())
            .collect(),
        _ => Vec::new(),
    }
}

fn seen(ask: &Ask, simulation: &Simulation<'_>, answer: &Answer) -> Seen {
    let is_first_hop = |branch: &Branch<'_>| *branch.host == SERVICES[0].full();
    match &simulation.outcome {
        // A host that nobody has routes for at the gateway is nobody's.
        Outcome::NotFound(NotFound::Host) => return Seen::Aside,
        // The gateway alone calls the first hop: no lane is promised to callers in the mesh, and LK307 is quiet about a
        // service that no route of the mesh leads to.
        Outcome::Forwarded(Forwarded {
            way: Way::Default,
            branches,
            ..
        }) if branches.iter().all(is_first_hop) => return Seen::Aside,
        Outcome::Answered { .. } | Outcome::Refused(_) => return Seen::Strayed,
        Outcome::Forwarded(forwarded) if forwarded.abort.is_some() => return Seen::Strayed,
        Outcome::NotFound(NotFound::Route) | Outcome::Forwarded(_) => {}
    }
    let Some(hop) = answer.hops.first() else {
        let status = answer.grpc_status.clone();
        let status = status.unwrap_or_else(|| answer.status.to_string());
        return Seen::Lost(format!("answered {status} by the proxy"));
    };
    let reached = LANES.into_iter().find(|lane| hop.workload.ends_with(lane));
    let is_marked = ask.from != Sender::Outside || hop.header("bu").as_deref() == reached;
    match *ask.lanes() {
        [_, _, ..] => Seen::Aside,
        [named] if LANES.contains(&named) && reached != Some(named) => {
            Seen::Lost(format!("reached {}", hop.workload))
        }
        [named] if reached == Some(named) && is_marked => Seen::Kept,
        _ if reached == Some(LANES[0]) && is_marked => Seen::Kept,
        _ => Seen::Strayed,
    }
}

/// The objects that had a say in what became of a request.
fn concerned(simulation: &Simulation<'_>) -> Vec<String> {
    let mut objects = Vec::new();
    if let Some(host) = &simulation.virtual_host {
        for route in host.routes.iter().chain(&host.dropped) {
            objects.push(route.reference().to_string());
            if let Some(root) = &route.root {
                objects.push(root.vs.meta.reference(Kind::VirtualService).to_string());
            }
        }
    }
    for passed in &simulation.passed {
        objects.push(passed.route.reference().to_string());
    }
    if let Outcome::Forwarded(forwarded) = &simulation.outcome {
        for branch in &forwarded.branches {
            if let Some(defined) = &branch.defined {
                objects.push(defined.rule.meta.reference(Kind::DestinationRule).to_string());
            }
            if let Ending::Reaches(carriers) = &branch.ending {
                let carriers = carriers.iter().filter_map(|carrier| carrier.object);
                objects.extend(carriers.map(|carrier| carrier.reference().to_string()));
            }
        }
        if matches!(forwarded.way, Way::Default) {
            objects.extend(forwarded.branches.iter().filter_map(|branch| {
                let name = branch.host.split('.').next()?;
                Some(format!("Service {CARS}/{name}"))
            }));
        }
    }
    objects.sort();
    objects.dedup();
    objects
}

/// What `check` says of the objects of the world, with its level.
fn findings(view: &View<'_>, set: &Set) -> Vec<(Level, Finding)> {
    let check = Check::new(view, None);
    let references = set.objects().map(reference);
    let services = SERVICES
        .iter()
        .map(|service| ObjectRef::new(Kind::Service, CARS, service.name));
    let references: Vec<ObjectRef> = references.chain(services).collect();
    let found = check.objects(RULES, &references);
    let occasion = Occasion::Files { partial: false };
    let level = |finding: &Finding| verdict(finding, &Standing::default(), &occasion, &Settings::default());
    found
        .into_iter()
        .map(|finding| (level(&finding), finding))
        .collect()
}

fn reference(object: &serde_json::Value) -> ObjectRef {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let kind = Kind::of(&text(&object["apiVersion"]), &text(&object["kind"]));
    let meta = &object["metadata"];
    ObjectRef::new(
        kind.expect("a kind that is known"),
        text(&meta["namespace"]).as_str(),
        text(&meta["name"]).as_str(),
    )
}
