//! A lane plugin's configuration is one that the lane filter refuses, contradicts its group, or has keys without effect.
//!
//! ## What it does
//! It reads the `pluginConfig` of every plugin that names a `lane_header` with the lane filter's own parser. What the
//! filter refuses is denied; a key that it does not know, or that counts only beside another, warns. The parser is
//! lenient where one meaning is clear: `1024` and `"1024"`, any case of `type`. Beside a written `LaneGroup` of the
//! plugin's namespace whose lane header it carries, another `traffic_lane` than its default lane is denied, and a list
//! `lanes` that lacks one of its lanes. A plugin with another vendor's filter is judged too, for its configuration is the
//! same; `lanekeeper.dev/allow: LK502` lets a key through that only that filter knows.
//!
//! ## Why it matters
//! Envoy keeps the last good configuration when an update is refused. A new pod has none: with a `pluginConfig` that the
//! filter refuses it answers 500 to every request. So the fault shows only when pods are replaced. A default lane that is
//! another than the group's takes every request without the lane header past the group's default routes, and the filter
//! leaves requests of a lane alone that its list lacks.
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

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Kind, Labels, LaneGroup, Resource, WasmPlugin};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK502",
    name: "lane-filter-misconfigured",
    level: Level::Deny,
    kinds: &[Kind::WasmPlugin, Kind::TrafficExtension],
    source: include_str!("lk502.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
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
            vec![found(plugin, &path).says(
                message,
                "the keys and what they take are in the lane filter's README",
            )]
        }
        Some(Ok(config)) => {
            let notes = config.notes.iter().map(|note| {
                found(plugin, &super::field(&note.key)).warning_if(true).says(
                    format!("{note}: it has no effect"),
                    "take it out, or write the key that is meant",
                )
            });
            let groups = check.view.lane_groups(&plugin.meta.namespace).into_iter();
            let contradictions = groups.flat_map(|group| contradictions(plugin, group));
            notes.chain(contradictions).collect()
        }
    }
}

/// What a plugin says of lanes that its written group says otherwise.
fn contradictions(plugin: &WasmPlugin, written: &LaneGroup) -> Vec<Finding> {
    let group = written.group();
    let of_group = Labels::new(group.workloads.iter().cloned());
    let is_for_it = plugin
        .selector
        .as_ref()
        .is_none_or(|selector| selector.agree_with(&of_group));
    if plugin.lane_header.as_ref() != Some(&group.header) || !is_for_it {
        return Vec::new();
    }
    let title = group.title();
    let told_by = |finding: Finding, field| {
        finding.from_field(
            written.meta.reference(Kind::LaneGroup),
            format!("spec.{field}"),
            "the group's",
        )
    };
    let mut contradictions = Vec::new();
    if let (Some(own), Some(default)) = (&plugin.traffic_lane, &group.default_lane)
        && own != default
    {
        let finding = found(plugin, ".traffic_lane").says(
            format!("requests without the lane header are given lane `{own}`, and the default lane of {title} is `{default}`"),
            format!("write `traffic_lane: {default}`, or change the group"),
        );
        contradictions.push(told_by(finding, "defaultLane"));
    }
    let lacking = plugin.lanes.as_ref().map_or_else(Vec::new, |own| {
        let is_lacking = |lane: &&Symbol| !own.contains(lane) && plugin.traffic_lane.as_ref() != Some(*lane);
        let lanes = group.lanes.iter().flatten().filter(is_lacking);
        lanes.map(|lane| format!("`{lane}`")).collect()
    });
    if !lacking.is_empty() {
        let lacking = joined(&lacking, ", ");
        let finding = found(plugin, ".lanes").says(
            format!("the list lacks {lacking} of {title}: the filter leaves their requests alone, and the next hop is in the default lane"),
            format!("add {lacking}, or leave `lanes` out: then every lane counts"),
        );
        contradictions.push(told_by(finding, "lanes"));
    }
    contradictions
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
