//! A lane plugin's configuration is one that the lane filter refuses, or has keys without effect.
//!
//! ## What it does
//! It reads the `pluginConfig` of every plugin that names a `lane_header` with the lane filter's own parser. What the
//! filter refuses is denied; a key that it does not know, or that counts only beside another, warns. The parser is
//! lenient where one meaning is clear: `1024` and `"1024"`, any case of `type`.
//!
//! ## Why it matters
//! Envoy keeps the last good configuration when an update is refused. A new pod has none: with a `pluginConfig` that the
//! filter refuses it answers 500 to every request. So the fault shows only when pods are replaced.
//!
//! ## Example
//! ```yaml
//! pluginConfig:
//!   lane_header: bu
//!   cache_size: 0
//!   type: W3
//! ```
//! Use instead:
//! ```yaml
//! pluginConfig:
//!   lane_header: bu
//!   cache_size: 1024
//!   type: W3C
//! ```
//!
//! ## References
//! Envoy, "Wasm": a plugin whose configuration is refused fails by its policy. Istio, `WasmPlugin.pluginConfig`, is an
//! opaque object: neither Istio's own webhook nor `istioctl analyze` nor Kiali looks into it.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, WasmPlugin};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK502",
    name: "lane-filter-misconfigured",
    level: Level::Deny,
    kinds: &[Kind::WasmPlugin, Kind::TrafficExtension],
    source: include_str!("lk502.rs"),
    check,
};

fn check<'w>(_: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::WasmPlugin(plugin) = object else {
        return Vec::new();
    };
    match &plugin.config {
        None => Vec::new(),
        Some(Err(error)) => {
            let message =
                format!("{error}; the lane filter refuses it, and new pods answer 500 to every request");
            let path = if error.is_written {
                format!(".{}", error.key)
            } else {
                String::new()
            };
            vec![found(plugin, &path).says(message, "")]
        }
        Some(Ok(config)) => config
            .notes
            .iter()
            .map(|note| {
                found(plugin, &super::field(&note.key)).warning_if(true).says(
                    format!("{note}: it has no effect"),
                    "take it out, or write the key that is meant",
                )
            })
            .collect(),
    }
}

/// A finding on a field of the configuration; empty: on the whole.
fn found(plugin: &WasmPlugin, field: &str) -> Finding {
    let config = match plugin.kind {
        Kind::TrafficExtension => "spec.wasm.pluginConfig",
        _ => "spec.pluginConfig",
    };
    Finding::new(
        &RULE,
        plugin.meta.reference(plugin.kind),
        format!("{config}{field}"),
    )
    .about(Subject {
        header: plugin.lane_header.clone(),
        ..Subject::default()
    })
}
