//! What there is to say of a hop, line by line, for whatever it is written on.

use super::{Placing, filtered, why_left};
use crate::routing::{Outcome, Route};
use crate::symbol::Symbol;
use crate::trace::{Hop, Left, Trace};

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::report) struct Line {
    /// What it is about, in a word.
    pub(in crate::report) what: &'static str,
    /// What there is to say.
    pub(in crate::report) text: String,
    /// Whether it is what is wrong.
    pub(in crate::report) is_bad: bool,
}

/// All that there is to say of a hop of a request in `lane`.
pub(in crate::report) fn lines(hop: &Hop<'_>, lane: Option<&Symbol>, placing: Placing<'_>) -> Vec<Line> {
    let mut lines = Lines(Vec::new());
    lines.say(
        "from",
        match (&hop.gateway, &hop.sender) {
            (Some(gateway), _) => format!("outside, at gateway {gateway}:{}", hop.port),
            (None, Some(sender)) => sender.to_string(),
            (None, None) => format!("a workload of namespace {}", hop.namespace),
        },
    );
    if let Some(written) = &hop.written {
        lines.say("filter", format!("writes {}", filtered(written)));
    }
    for (name, value) in &hop.request.headers {
        lines.say("header", format!("{name}: {value}"));
    }
    for passed in &hop.simulation.passed {
        let why = passed.reasons();
        lines.say("passes", format!("{}: {why}", route(&passed.route, placing)));
    }
    let outcome = &hop.simulation.outcome;
    if let Some(taken) = outcome.taken() {
        lines.say("takes", route(&taken.route, placing));
    }
    if let Some(told) = outcome.told() {
        lines.say("so", told);
    }
    lines.say_branches(hop);
    if let Some(left) = &hop.left {
        let of = lane.map(|lane| format!("lane {lane}: ")).unwrap_or_default();
        lines.0.push(Line {
            what: "leaves",
            text: format!("{of}{}", why_left(left)),
            is_bad: *left != Left::StoodIn,
        });
    }
    lines.0
}

/// Whether the request stays where it belongs, and that in words.
pub(in crate::report) fn verdict(trace: &Trace<'_>) -> (bool, String) {
    match &trace.lane {
        Some(lane) if trace.keeps_lane() => (true, format!("The request stays in lane {lane}.")),
        Some(lane) => (false, format!("The request does not stay in lane {lane}.")),
        None if trace.is_answered() => (true, "The request is in no lane group.".to_owned()),
        None => (false, "The request is not answered.".to_owned()),
    }
}

struct Lines(Vec<Line>);

impl Lines {
    fn say(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push(Line {
            what,
            text: text.into(),
            is_bad: false,
        });
    }

    fn say_branches(&mut self, hop: &Hop<'_>) {
        let Outcome::Forwarded(forwarded) = &hop.simulation.outcome else {
            return;
        };
        if let Some((share, status)) = forwarded.abort {
            self.say("fault", format!("{share} % are answered {status} by the proxy"));
        }
        for (at, branch) in forwarded.branches.iter().enumerate() {
            let share = if forwarded.branches.len() > 1 {
                let percent = 100.0 * branch.weight / branch.of;
                let followed = if Some(at) == hop.branch {
                    ", followed here"
                } else {
                    ""
                };
                format!("{percent:.0} %{followed}: ")
            } else {
                String::new()
            };
            self.say("to", format!("{share}{}", branch.destination()));
            let before = &hop.request;
            for (name, value) in branch.changed(before) {
                self.say("with", format!("{name}: {value}"));
            }
            for name in branch.removed(before) {
                self.say("without", name);
            }
            if branch.is_rewritten(before) {
                self.say("as", branch.request.to_string());
            }
            self.say("answers", branch.ending.to_string());
        }
        for copy in &forwarded.copies {
            self.say("copy to", format!("{}: {}", copy.destination(), copy.ending));
        }
        if let Some(remembered) = &hop.remembered {
            self.say("filter", format!("remembers {}", filtered(remembered)));
        }
    }
}

fn route(route: &Route<'_>, placing: Placing<'_>) -> String {
    let place = placing(&route.reference(), &route.path());
    let place = place.map(|place| format!(", {place}")).unwrap_or_default();
    format!("{}{place}", route.title())
}
