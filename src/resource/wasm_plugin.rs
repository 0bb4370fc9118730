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
    /// What the lane filter makes of the whole `pluginConfig`; `None`: nothing in it is a `lane_header`.
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
        let config = value["lane_header"]
            .is_string()
            .then(|| Config::parse(value.to_string().as_bytes()));
        let told = match &config {
            Some(Ok(config)) => Told {
                lane_header: Some(Symbol::new(&config.lane_header)),
                traffic_lane: config.default_lane.as_deref().map(Symbol::new),
                lanes: (!config.lanes.is_empty())
                    .then(|| config.lanes.iter().map(|lane| Symbol::new(lane)).collect()),
            },
            Some(Err(_)) => Told::of_refused(&value),
            None => Told::default(),
        };
        Ok(Self {
            kind,
            meta: metadata,
            selector: spec.selector.map(|selector| selector.match_labels),
            has_target_refs: !spec.target_refs.unwrap_or_default().is_empty() || spec.target_ref.is_some(),
            lane_header: told.lane_header,
            traffic_lane: told.traffic_lane,
            lanes: told.lanes,
            config,
        })
    }

    /// Whether it is for pods with these labels, as far as its selector goes.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector
            .as_ref()
            .is_none_or(|selector| selector.select(labels))
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

/// What a configuration tells of lanes.
#[derive(Default)]
struct Told {
    lane_header: Option<Symbol>,
    traffic_lane: Option<Symbol>,
    lanes: Option<Vec<Symbol>>,
}

impl Told {
    /// What a configuration that the filter refuses means to tell: its other faults do not hide its lanes.
    fn of_refused(config: &Value) -> Self {
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(Symbol::new)
        };
        Self {
            lane_header: text(&config["lane_header"]).map(|header| Symbol::from(header.to_ascii_lowercase())),
            traffic_lane: text(&config["traffic_lane"]),
            lanes: config["lanes"]
                .as_array()
                .map(|lanes| lanes.iter().filter_map(text).collect()),
        }
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

    #[test]
    fn a_configuration_tells_what_the_filter_reads_in_it() {
        let told = |config: Value| {
            let object = json!({"metadata": {"name": "x"}, "spec": {"pluginConfig": config}});
            let plugin = WasmPlugin::parse(Kind::WasmPlugin, object).unwrap();
            let is_taken = plugin.config.as_ref().map(Result::is_ok);
            (plugin.lane_header, plugin.traffic_lane, plugin.lanes, is_taken)
        };
        let symbol = |text: &str| Some(Symbol::new(text));
        let lenient = json!({"lane_header": " Bu ", "traffic_lane": 1, "lanes": []});
        assert_eq!(told(lenient), (symbol("bu"), symbol("1"), None, Some(true)));
        let refused = json!({"lane_header": "bu", "traffic_lane": "blue", "lanes": "green"});
        assert_eq!(told(refused), (symbol("bu"), symbol("blue"), None, Some(false)));
        assert_eq!(told(json!({"lane_header": ""})), (None, None, None, Some(false)));
        assert_eq!(told(json!({"cache_size": 1})), (None, None, None, None));
    }
}
