//! The `WasmPlugin` that puts the lane filter into the group's sidecars.

use serde_json::{Map, Value, json};

use super::object::{object, spec_of};
use super::{Generated, Maker};
use crate::resource::{Kind, LaneGroup, WasmPlugin};

/// Where the module is as long as nobody says where: the address that Lanekeeper's server has for it, with the module's
/// sha256 still to be written (`make wasm` does so in the manifests).
pub const PLUGIN_URL: &str =
    "http://lanekeeper.lanekeeper-system.svc.cluster.local:8080/wasm/lane-SHA256.wasm";

impl Maker<'_, '_, '_> {
    /// Makes the plugin. Of the one that carries the lane header already the module and its other settings stay.
    pub(super) fn plugin(&self, written: &LaneGroup, url: Option<&str>, made: &mut Generated) {
        let group = &self.lanes.group;
        let plugins = self.view.lane_plugins_for(&group.namespace).into_iter();
        let carriers = plugins.filter(|plugin| plugin.lane_header.as_ref() == Some(&group.header));
        let (mut own, others): (Vec<_>, Vec<_>) = carriers
            .filter(|plugin| self.is_for_group(plugin))
            .partition(|plugin| plugin.kind == Kind::WasmPlugin && plugin.meta.namespace == group.namespace);
        if let Some(other) = others.first() {
            made.note(format!(
                "{} carries header `{}` already: no WasmPlugin is made",
                other.meta.reference(other.kind),
                group.header
            ));
            return;
        }
        let selector = group.workloads.as_slice();
        own.sort_by_key(|plugin| {
            let is_same = plugin
                .selector
                .as_ref()
                .is_some_and(|own| own.pairs() == selector);
            (!is_same, &plugin.meta.name)
        });
        let own = own.first().map(|plugin| plugin.meta.reference(Kind::WasmPlugin));
        let name = format!("{}-traffic-lane", group.source);
        let reference =
            own.unwrap_or_else(|| self.new_name(Kind::WasmPlugin, &group.namespace, &[name], made));
        let known = self.known(&reference, made);
        let mut spec = spec_of(known.as_ref());
        spec.remove("selector");
        if !selector.is_empty() {
            let labels = selector
                .iter()
                .map(|(key, value)| (key.to_string(), json!(value)));
            let labels: Map<String, Value> = labels.collect();
            spec.insert("selector".to_owned(), json!({ "matchLabels": labels }));
        }
        if let Some(url) = url.filter(|url| spec.get("url").is_none_or(|known| known != url)) {
            // The sum is that of the module which was there.
            spec.remove("sha256");
            spec.insert("url".to_owned(), json!(url));
        }
        let mut or_else = |field: &str, value: Value| {
            spec.entry(field).or_insert(value);
        };
        or_else("url", json!(PLUGIN_URL));
        if known.is_none() {
            or_else("phase", json!("STATS"));
            or_else("priority", json!(10));
            or_else("failStrategy", json!("FAIL_RELOAD"));
        }
        let config = spec.remove("pluginConfig");
        let mut config = config
            .and_then(|config| config.as_object().cloned())
            .unwrap_or_default();
        config.insert("lane_header".to_owned(), json!(group.header));
        // The filter gives a request without a lane this one, and then no route can tell that it named none.
        config.remove("traffic_lane");
        if self.has_default_route() {
            config.insert("traffic_lane".to_owned(), json!(self.default));
        }
        config.insert("lanes".to_owned(), json!(self.all));
        // A group has no word for several formats, nor for a header of one's own.
        let is_other = |format: &Value| {
            let name = format.as_str();
            name.is_none_or(|name| name.eq_ignore_ascii_case("CUSTOM"))
        };
        if !config.get("type").is_some_and(is_other) {
            config.insert("type".to_owned(), json!(written.trace));
        }
        if known.is_none() {
            config.insert("cache_size".to_owned(), json!(1024));
        }
        spec.insert("pluginConfig".to_owned(), Value::Object(config));
        if spec.get("url").is_some_and(|url| url == PLUGIN_URL) {
            made.note(format!(
                "{reference}: spec.url is to have the module's sha256 yet; --plugin-url says where the module is"
            ));
        }
        let plugin = object(&reference, known.as_ref(), spec);
        made.objects.insert(reference, plugin);
    }

    /// Whether the plugin is in the sidecars of some of the group's workloads.
    fn is_for_group(&self, plugin: &WasmPlugin) -> bool {
        let of_group = self.lanes.selector();
        plugin
            .selector
            .as_ref()
            .is_none_or(|selector| selector.agree_with(&of_group))
    }
}
