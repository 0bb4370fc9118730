//! JSON for programs, whose fields only ever grow in number (`schema` 1).

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Placing, why_left};
use crate::routing::{Branch, Outcome, Request, Route};
use crate::symbol::Symbol;
use crate::trace::{Filtered, Hop, Trace};

/// Writes a trace as one JSON object.
pub fn write_trace_json(trace: &Trace<'_>, placing: Placing<'_>, out: &mut impl Write) -> io::Result<()> {
    let hops: Vec<Value> = trace.hops.iter().map(|of_trace| hop(of_trace, placing)).collect();
    let unmade: Vec<Value> = trace
        .unmade
        .iter()
        .map(|call| json!({"host": call.host, "port": call.port, "path": call.path}))
        .collect();
    let wire = json!({"schema": 1, "lane": trace.lane.as_deref(), "keepsLane": trace.keeps_lane(), "hops": hops, "notSent": unmade});
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}

fn hop(hop: &Hop<'_>, placing: Placing<'_>) -> Value {
    let passed = hop.simulation.passed.iter().map(|passed| {
        let unmet: Vec<String> = passed.unmet.iter().map(|(_, unmet)| unmet.to_string()).collect();
        json!({"route": route(&passed.route, placing), "unmet": unmet})
    });
    let passed: Vec<Value> = passed.collect();
    let (branches, copies) = match &hop.simulation.outcome {
        Outcome::Forwarded(forwarded) => (&*forwarded.branches, &*forwarded.copies),
        _ => (&[][..], &[][..]),
    };
    let all = |branches: &[Branch<'_>]| branches.iter().map(branch).collect::<Vec<_>>();
    json!({
        "gateway": hop.gateway.as_deref(),
        "sender": hop.sender.as_ref().map(ToString::to_string),
        "namespace": hop.namespace.as_str(),
        "written": hop.written.as_ref().map(filtered),
        "request": request(&hop.request),
        "port": hop.port,
        "passed": passed,
        "route": hop.simulation.outcome.taken().map(|taken| route(&taken.route, placing)),
        "outcome": hop.simulation.outcome.told(),
        "status": hop.simulation.outcome.status(),
        "branches": all(branches),
        "followed": hop.branch,
        "copies": all(copies),
        "lanes": hop.lanes.iter().map(Symbol::as_str).collect::<Vec<_>>(),
        "remembered": hop.remembered.as_ref().map(filtered),
        "left": hop.left.as_ref().map(why_left),
    })
}

fn route(route: &Route<'_>, placing: Placing<'_>) -> Value {
    let object = route.reference();
    json!({
        "object": object.to_string(),
        "path": route.path(),
        "name": route.route.name.as_deref(),
        "place": placing(&object, &route.path()),
    })
}

fn branch(branch: &Branch<'_>) -> Value {
    json!({
        "path": branch.path,
        "share": branch.weight / branch.of,
        "host": branch.host.as_str(),
        "port": branch.port.as_ref().map(|port| port.number),
        "subset": branch.subset.as_deref(),
        "destination": branch.destination(),
        "request": request(&branch.request),
        "otherProtocol": branch.is_other_protocol(),
        "status": branch.ending.status(),
        "answers": branch.ending.to_string(),
    })
}

fn request(request: &Request) -> Value {
    let headers: Vec<[&str; 2]> = request
        .headers
        .iter()
        .map(|(name, value)| [name.as_str(), value.as_str()])
        .collect();
    json!({"method": request.method, "scheme": request.scheme, "authority": request.authority, "path": request.path, "headers": headers})
}

fn filtered(filtered: &Filtered) -> Value {
    json!({
        "plugin": filtered.plugin.to_string(),
        "header": filtered.header.as_str(),
        "lane": filtered.lane,
        "isDefault": filtered.is_default,
    })
}
