//! `WasmPlugin` and `TrafficExtension` (`extensions.istio.io`), as far as they install a lane filter.

use lanekeeper_filter_core::{Config, ConfigError};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Kind, Labels, Meta};
use crate::symbol::Symbol;

/// A plugin, which is a *lane plugin* when its configuration names a lane header.
#[derive(Debug, Clone, PartialEq)]
pub struct WasmPlugin {
    /// `WasmPlugin` or `TrafficExtension`.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// The labels of the workloads it is for; `None`: all of its namespace.
    pub selector: Option<Labels>,
    /// Whether it is attached by `targetRefs` instead, which sidecars ignore.
    pub has_target_refs: bool,
    /// `pluginConfig.lane_header`, lower case; `None`: it is no lane plugin.
    pub lane_header: Option<Symbol>,
    /// `pluginConfig.traffic_lane`: the default lane.
    pub traffic_lane: Option<Symbol>,
    /// `pluginConfig.lanes`, where it is written.
    pub lanes: Option<Vec<Symbol>>,
    /// What the lane filter makes of the whole `pluginConfig`; `None`: it is no lane plugin.
    pub config: Option<Result<Config, ConfigError>>,
}

impl WasmPlugin {
    /// Parses a plugin of `kind`.
    pub fn parse<'de, D: Deserializer<'de>>(kind: Kind, object: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec } = Wire::deserialize(object)?;
        let config = match kind {
            Kind::TrafficExtension => spec.wasm.unwrap_or_default().plugin_config,
            _ => spec.plugin_config,
        };
        let value = Value::Object(config.unwrap_or_default());
        // Another plugin may have anything here.
        let config = PluginConfig::deserialize(&value).unwrap_or_default();
        let not_empty = |text: Text| text.0.filter(|text| !text.is_empty());
        let lane_header =
            not_empty(config.lane_header).map(|header| Symbol::from(header.to_ascii_lowercase()));
        Ok(Self {
            config: lane_header
                .as_ref()
                .map(|_| Config::parse(value.to_string().as_bytes())),
            lane_header,
            kind,
            meta: metadata,
            selector: spec.selector.map(|selector| selector.match_labels),
            has_target_refs: !spec.target_refs.unwrap_or_default().is_empty() || spec.target_ref.is_some(),
            traffic_lane: not_empty(config.traffic_lane),
            lanes: config
                .lanes
                .map(|lanes| lanes.into_iter().filter_map(not_empty).collect()),
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Option<Selector>,
    target_ref: Option<serde::de::IgnoredAny>,
    target_refs: Option<Vec<serde::de::IgnoredAny>>,
    plugin_config: Option<serde_json::Map<String, Value>>,
    wasm: Option<WasmConfig>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WasmConfig {
    plugin_config: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Labels,
}

/// The keys are the filter's own, not Kubernetes'.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PluginConfig {
    lane_header: Text,
    traffic_lane: Text,
    lanes: Option<Vec<Text>>,
}

/// A string; anything else counts as not written, for a plugin that is no lane plugin may use these keys
/// otherwise.
#[derive(Default)]
struct Text(Option<Symbol>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(value.as_str().map(Symbol::new)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugin_with_a_lane_header_is_a_lane_plugin() {
        let plugin = WasmPlugin::parse(
            Kind::WasmPlugin,
            json!({"metadata": {"name": "lanes"}, "spec": {"selector": {"matchLabels": {"part-of": "cars"}},
                "pluginConfig": {"lane_header": "Bu", "traffic_lane": "wtchk", "cache_size": 1024}}}),
        )
        .unwrap();
        assert_eq!(plugin.lane_header.unwrap(), "bu");
        assert_eq!(plugin.traffic_lane.unwrap(), "wtchk");
        assert_eq!(plugin.lanes, None);
    }

    #[test]
    fn a_traffic_extension_has_its_configuration_under_wasm() {
        let plugin = WasmPlugin::parse(
            Kind::TrafficExtension,
            json!({"metadata": {"name": "lanes"}, "spec": {"wasm": {"pluginConfig": {"lane_header": "bu"}}}}),
        )
        .unwrap();
        assert_eq!(plugin.lane_header.unwrap(), "bu");
    }

    #[test]
    fn another_plugin_may_use_the_keys_otherwise() {
        let spec = json!({"pluginConfig": {"lane_header": 3, "rules": []}});
        let plugin =
            WasmPlugin::parse(Kind::WasmPlugin, json!({"metadata": {"name": "x"}, "spec": spec})).unwrap();
        assert_eq!(plugin.lane_header, None);
    }
}
