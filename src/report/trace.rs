//! A followed request, on paper: for people, and as JSON for programs.

mod json;
mod lines;
mod text;

pub use json::write_trace_json;
pub(super) use lines::{Line, lines, verdict};
pub use text::write_trace_text;

use crate::resource::ObjectRef;
use crate::symbol::Symbol;
use crate::trace::{Filtered, Left};

/// Where a field of an object stands, in files: `examples/cars/50-cars-api-portal.yaml:97:5`.
pub type Placing<'p> = &'p dyn Fn(&ObjectRef, &str) -> Option<String>;

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
