//! How a cell comes about: what its request meets on its way, one after the other.

use crate::resource::{Kind, ObjectRef, Resource};
use crate::routing::{Branch, Carrier, Ending, Lanes, Outcome, Readiness, Request, Simulation, target_of};
use crate::symbol::Symbol;
use crate::world::View;

/// How many routes that do not take a request are told one by one.
const MOST_PASSED: usize = 10;

/// One thing that a request meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub part: Part,
    /// The object, where it is one.
    pub object: Option<ObjectRef>,
    /// The field of the object, as Kubernetes writes it; empty for the object as a whole.
    pub path: String,
    /// What is to be said of it; may be empty.
    pub text: String,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The request that is made.
    Request,
    /// A route that does not take it.
    Passed,
    /// The route that takes it.
    Route,
    /// The service that the route leads to.
    Service,
    /// What the request is made into on its way there.
    Sent,
    /// Where the subset is defined that the route names.
    Subset,
    /// Who may answer.
    Carrier,
    /// Who would, and is not ready.
    NotReady,
    /// What a proxy does by itself.
    Proxy,
    /// Where a copy goes.
    Copy,
    /// What follows is of the same request, where another object is the older one.
    Or,
}

impl Part {
    /// Its name, for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Passed => "passes",
            Self::Route => "route",
            Self::Service => "service",
            Self::Sent => "sent",
            Self::Subset => "subset",
            Self::Carrier => "answers",
            Self::NotReady => "not ready",
            Self::Proxy => "proxy",
            Self::Copy => "copy",
            Self::Or => "or",
        }
    }
}

impl Step {
    /// What divides two outcomes.
    pub(super) fn or() -> Self {
        Self::new(Part::Or, "where another object is the older one:")
    }

    fn new(part: Part, text: impl Into<String>) -> Self {
        Self {
            part,
            object: None,
            path: String::new(),
            text: text.into(),
        }
    }

    fn at(part: Part, object: ObjectRef, path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            object: Some(object),
            path: path.into(),
            ..Self::new(part, text)
        }
    }
}

/// The steps of a request.
pub(super) fn steps(
    view: &View<'_>,
    lanes: &Lanes<'_, '_>,
    request: &Request,
    simulation: &Simulation<'_>,
) -> Vec<Step> {
    let mut steps = vec![Step::new(Part::Request, asked(request))];
    // Those that come last are the nearest.
    let passed = &simulation.passed;
    let untold = passed.len().saturating_sub(MOST_PASSED);
    if untold > 0 {
        steps.push(Step::new(Part::Passed, format!("{untold} routes before these")));
    }
    steps.extend(passed.iter().skip(untold).map(|passed| {
        let route = &passed.route;
        Step::at(Part::Passed, route.reference(), route.path(), passed.reasons())
    }));
    let outcome = &simulation.outcome;
    steps.extend(outcome.taken().map(|taken| {
        let route = &taken.route;
        let name = route.route.name.as_deref().map(|name| format!("`{name}`"));
        let root = route.root.map(|root| {
            let vs = root.vs.meta.reference(Kind::VirtualService);
            format!("delegated by {vs}")
        });
        let text: Vec<String> = name.into_iter().chain(root).collect();
        Step::at(Part::Route, route.reference(), route.path(), text.join(", "))
    }));
    steps.extend(outcome.told().map(|told| Step::new(Part::Proxy, told)));
    if let Outcome::Forwarded(forwarded) = outcome {
        if let Some((share, status)) = forwarded.abort {
            let text = format!("answers {share} % with {status} by itself (fault.abort)");
            steps.push(Step::new(Part::Proxy, text));
        }
        let is_one = forwarded.branches.len() == 1;
        let branches = forwarded.branches.iter();
        steps.extend(branches.flat_map(|branch| led_to(view, lanes, request, branch, is_one)));
        let copies = forwarded.copies.iter();
        steps.extend(copies.map(|copy| {
            let text = format!("{}: {}", copy.destination(), copy.ending);
            Step::new(Part::Copy, text)
        }));
    }
    steps
}

/// The request in one line, with its headers: `GET http://cart:8080/ with bu: blue`.
fn asked(request: &Request) -> String {
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if headers.is_empty() {
        request.to_string()
    } else {
        format!("{request} with {}", headers.join(", "))
    }
}

/// A destination, and who answers there.
fn led_to(
    view: &View<'_>,
    lanes: &Lanes<'_, '_>,
    request: &Request,
    branch: &Branch<'_>,
    is_only: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let share = if is_only {
        String::new()
    } else {
        format!("{:.0} % to ", 100.0 * branch.weight / branch.of)
    };
    let other = if branch.is_other_protocol() {
        "; the port speaks another protocol"
    } else {
        ""
    };
    let text = format!("{share}{}{other}", branch.destination());
    let object = target_of(view, &branch.host).references().into_iter().next();
    steps.push(Step {
        object,
        ..Step::new(Part::Service, text)
    });
    let mut sent: Vec<String> = branch
        .changed(request)
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    sent.extend(branch.removed(request).map(|name| format!("without {name}")));
    if branch.is_rewritten(request) {
        sent.push(format!("as {}", branch.request));
    }
    if !sent.is_empty() {
        steps.push(Step::new(Part::Sent, sent.join(", ")));
    }
    if let Some(defined) = &branch.defined {
        let rule = defined.rule;
        let at = rule
            .subsets
            .iter()
            .position(|subset| subset.name == defined.subset.name);
        let path = at.map(|at| format!("spec.subsets[{at}]")).unwrap_or_default();
        let labels = defined.subset.labels.pairs().iter();
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        let object = rule.meta.reference(Kind::DestinationRule);
        steps.push(Step::at(Part::Subset, object, path, labels.join(", ")));
    }
    let (part, carriers): (Part, &[Carrier<'_>]) = match &branch.ending {
        Ending::NotReady(carriers) => (Part::NotReady, carriers),
        ending => (Part::Carrier, ending.carriers()),
    };
    if carriers.is_empty() || part == Part::NotReady {
        steps.push(Step::new(Part::Proxy, branch.ending.to_string()));
    }
    steps.extend(carriers.iter().map(|carrier| Step {
        object: carrier.object.map(Resource::reference),
        ..Step::new(part, described(lanes, carrier))
    }));
    steps
}

/// The lanes of a carrier, and whether it is ready.
fn described(lanes: &Lanes<'_, '_>, carrier: &Carrier<'_>) -> String {
    let of: Vec<Symbol> = lanes.lanes_of_workload(carrier.labels);
    let of: Vec<&str> = of.iter().map(Symbol::as_str).collect();
    let lane = match of.as_slice() {
        [] => "in no lane".to_owned(),
        [one] => format!("in lane {one}"),
        several => format!("in lanes {}", several.join(", ")),
    };
    let ready = match carrier.readiness {
        Readiness::Ready => ", ready",
        Readiness::NotReady => ", no pod is ready",
        Readiness::Unknown => "",
    };
    let endpoint = if carrier.object.is_none() {
        "an endpoint of a ServiceEntry, "
    } else {
        ""
    };
    format!("{endpoint}{lane}{ready}")
}
