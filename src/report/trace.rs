//! A followed request, on paper: for people, and as JSON for programs.

mod json;
mod text;

pub use json::write_trace_json;
pub use text::write_trace_text;

use crate::resource::ObjectRef;
use crate::routing::{NotFound, Outcome, Refusal, Taken, Way};
use crate::symbol::Symbol;
use crate::trace::{Filtered, Hop, Left};

/// Where a field of an object stands, in files: `examples/cars/50-cars-api-portal.yaml:97:5`.
pub type Placing<'p> = &'p dyn Fn(&ObjectRef, &str) -> Option<String>;

/// The route that takes the request, if one does.
fn taken<'h, 'w>(hop: &'h Hop<'w>) -> Option<&'h Taken<'w>> {
    match &hop.simulation.outcome {
        Outcome::Answered { by, .. } => by.as_ref(),
        Outcome::Forwarded(forwarded) => match &forwarded.way {
            Way::Route(taken) => Some(taken),
            Way::Default | Way::Tcp | Way::NoProxy | Way::Unrouted => None,
        },
        Outcome::NotFound(_) | Outcome::Refused(_) => None,
    }
}

/// What comes of the request, where no destination tells it.
fn outcome(hop: &Hop<'_>) -> Option<String> {
    Some(match &hop.simulation.outcome {
        Outcome::NotFound(NotFound::Host) => "404: the gateway does not serve the host".to_owned(),
        Outcome::NotFound(NotFound::Route) => "404: no route takes the request".to_owned(),
        Outcome::Refused(why @ Refusal::RegistryOnly) => format!("502: {why}"),
        Outcome::Refused(why) => format!("no connection: {why}"),
        Outcome::Answered { status, location, .. } => {
            let to = location
                .as_ref()
                .map(|to| format!(", to {to}"))
                .unwrap_or_default();
            format!("{status}: the proxy answers by itself{to}")
        }
        Outcome::Forwarded(forwarded) => match forwarded.way {
            Way::Route(_) => return None,
            Way::Default => {
                "no VirtualService has a route for the port: Istio's own leads to every pod".to_owned()
            }
            Way::Tcp => "the port is not for HTTP: no route applies, and every pod may answer".to_owned(),
            Way::NoProxy => {
                "the sender has no sidecar: no route applies, and every pod may answer".to_owned()
            }
            Way::Unrouted => "the sender's proxy does not know the host: no route applies".to_owned(),
        },
    })
}

/// What a filter writes or remembers: `bu: wicph (WasmPlugin shop/lane)`.
fn filtered(filtered: &Filtered) -> String {
    let default = if filtered.is_default {
        ", its default lane"
    } else {
        ""
    };
    format!(
        "{}: {} ({}{default})",
        filtered.header, filtered.lane, filtered.plugin
    )
}

/// Why a request is not in its lane.
fn why_left(left: &Left) -> String {
    match left {
        Left::Unanswered => "nobody answers it".to_owned(),
        Left::OtherProtocol => "the port speaks another protocol".to_owned(),
        Left::Elsewhere(lanes) if lanes.is_empty() => "what answers is in no lane".to_owned(),
        Left::Elsewhere(lanes) => {
            let names: Vec<&str> = lanes.iter().map(Symbol::as_str).collect();
            let kind = if names.len() == 1 { "lane" } else { "one of lanes" };
            format!("{kind} {} answers", names.join(", "))
        }
        Left::StoodIn => "the service does not have the lane, and the default lane stands in".to_owned(),
        Left::NotTold => {
            "its lane answers, and the lane header does not name it: what it calls goes elsewhere".to_owned()
        }
    }
}
