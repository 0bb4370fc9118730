//! Hop by hop, for a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Placing, filtered, outcome, taken, why_left};
use crate::report::one_line;
use crate::routing::{Outcome, Passed, Route};
use crate::trace::{Hop, Left, Trace};

/// Writes a trace as text; `placing` tells where routes stand.
pub fn write_trace_text(
    trace: &Trace<'_>,
    placing: Placing<'_>,
    colour: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let styled = |style: Style| if colour { style } else { Style::new() };
    let (bold, bad, good) = (
        styled(Style::new().bold()),
        styled(AnsiColor::Red.on_default().bold()),
        styled(AnsiColor::Green.on_default()),
    );
    for (at, hop) in trace.hops.iter().enumerate() {
        let number = at + 1;
        let request = one_line(&hop.request.to_string());
        writeln!(out, "{bold}{number}  {request}{bold:#}")?;
        write_hop(hop, placing, out)?;
        if let Some(left) = &hop.left {
            let style = if *left == Left::StoodIn { Style::new() } else { bad };
            let lane = trace
                .lane
                .as_ref()
                .map(|lane| format!(" lane {lane}"))
                .unwrap_or_default();
            line(
                out,
                "leaves",
                &format!("{style}{lane}: {}{style:#}", one_line(&why_left(left)))
                    .trim_start()
                    .replace("  ", " "),
            )?;
        }
        writeln!(out)?;
    }
    for call in &trace.unmade {
        writeln!(
            out,
            "{bad}not sent{bad:#}  {}",
            one_line(&format!("{}{}", call.host, call.path))
        )?;
    }
    match &trace.lane {
        Some(lane) if trace.keeps_lane() => writeln!(out, "{good}The request stays in lane {lane}.{good:#}"),
        Some(lane) => writeln!(out, "{bad}The request does not stay in lane {lane}.{bad:#}"),
        None if trace.is_answered() => writeln!(out, "The request is in no lane group."),
        None => writeln!(out, "{bad}The request is not answered.{bad:#}"),
    }
}

fn line(out: &mut impl Write, what: &str, text: &str) -> io::Result<()> {
    writeln!(out, "   {what:9} {text}")
}

fn write_hop(hop: &Hop<'_>, placing: Placing<'_>, out: &mut impl Write) -> io::Result<()> {
    let from = match (&hop.gateway, &hop.sender) {
        (Some(gateway), _) => format!("outside, at gateway {gateway}:{}", hop.port),
        (None, Some(sender)) => sender.to_string(),
        (None, None) => format!("a workload of namespace {}", hop.namespace),
    };
    line(out, "from", &one_line(&from))?;
    if let Some(written) = &hop.written {
        line(out, "filter", &one_line(&format!("writes {}", filtered(written))))?;
    }
    for (name, value) in &hop.request.headers {
        line(out, "header", &one_line(&format!("{name}: {value}")))?;
    }
    for passed in &hop.simulation.passed {
        line(
            out,
            "passes",
            &one_line(&format!("{}: {}", route(&passed.route, placing), reasons(passed))),
        )?;
    }
    if let Some(taken) = taken(hop) {
        line(out, "takes", &one_line(&route(&taken.route, placing)))?;
    }
    if let Some(outcome) = outcome(hop) {
        line(out, "so", &one_line(&outcome))?;
    }
    let Outcome::Forwarded(forwarded) = &hop.simulation.outcome else {
        return Ok(());
    };
    if let Some((share, status)) = forwarded.abort {
        line(
            out,
            "fault",
            &format!("{share} % are answered {status} by the proxy"),
        )?;
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
        line(out, "to", &one_line(&format!("{share}{}", branch.destination())))?;
        let changed = branch
            .request
            .headers
            .iter()
            .filter(|header| !hop.request.headers.contains(header));
        for (name, value) in changed {
            line(out, "with", &one_line(&format!("{name}: {value}")))?;
        }
        let is_gone = |name: &String| branch.request.header(name).is_none();
        for (name, _) in hop.request.headers.iter().filter(|(name, _)| is_gone(name)) {
            line(out, "without", &one_line(name))?;
        }
        let (before, after) = (&hop.request, &branch.request);
        if (&before.authority, &before.path) != (&after.authority, &after.path) {
            line(out, "as", &one_line(&after.to_string()))?;
        }
        line(out, "answers", &one_line(&branch.ending.to_string()))?;
    }
    for copy in &forwarded.copies {
        line(
            out,
            "copy to",
            &one_line(&format!("{}: {}", copy.destination(), copy.ending)),
        )?;
    }
    if let Some(remembered) = &hop.remembered {
        line(
            out,
            "filter",
            &one_line(&format!("remembers {}", filtered(remembered))),
        )?;
    }
    Ok(())
}

fn route(route: &Route<'_>, placing: Placing<'_>) -> String {
    let place = placing(&route.reference(), &route.path());
    let place = place.map(|place| format!(", {place}")).unwrap_or_default();
    format!("{}{place}", route.title())
}

/// Why a route does not take the request.
fn reasons(passed: &Passed<'_>) -> String {
    if passed.unmet.is_empty() {
        return "it is for another gateway, port or sender".to_owned();
    }
    let reasons: Vec<String> = passed.unmet.iter().map(|(_, unmet)| unmet.to_string()).collect();
    reasons.join("; or ")
}
