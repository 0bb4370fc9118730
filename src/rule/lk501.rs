//! A workload of a lane group has no lane filter, though its namespace has one.
//!
//! ## What it does
//! It takes the workloads behind the services of a lane group and looks for a plugin that carries the group's lane header
//! into their sidecars: a `WasmPlugin` or `TrafficExtension` of their namespace or of the root namespace whose
//! `pluginConfig` names the header and whose selector, if it has one, chooses their pods. Sidecars ignore a plugin with
//! `targetRefs`. It is quiet where no plugin carries the header, for then the applications do it themselves; one of the
//! root namespace counts where it chooses anything. It is quiet also where an `EnvoyFilter` of the namespace or the root
//! namespace may install the filter, and for pods without a sidecar of Envoy: in ambient mode, with injection switched off,
//! or with proxyless gRPC. At admission it tells also of the change that takes the last plugin away.
//!
//! ## Why it matters
//! Applications forward the trace id and not the lane header. Without the filter in its sidecar a workload's calls have
//! no lane, and go on in the default lane or to 404. Everything that is called before it is in the right lane.
//!
//! ## Example
//! ```yaml
//! kind: WasmPlugin
//! spec:
//!   selector: {matchLabels: {app.kubernetes.io/part-of: cars}}
//! ---
//! kind: Deployment
//! spec:
//!   template:
//!     metadata:
//!       labels: {app: cars-rti-adapter, version: wicph}
//! ```
//! Use instead:
//! ```yaml
//! kind: Deployment
//! spec:
//!   template:
//!     metadata:
//!       labels: {app: cars-rti-adapter, version: wicph, app.kubernetes.io/part-of: cars}
//! ```
//!
//! ## References
//! Istio, `WasmPlugin.selector` and `targetRefs`; `TrafficExtensions` in `pilot/pkg/model/push_context.go`: those of
//! the root namespace count everywhere. Neither `istioctl analyze` nor Kiali knows which workloads need a plugin.

use std::collections::BTreeSet;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Labels, Resource, WasmPlugin, Workload};
use crate::routing::{Groups, Injection, WhyOff, injection};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK501",
    name: "lane-filter-missing",
    level: Level::Warn,
    kinds: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    source: include_str!("lk501.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Workload(workload) = object else {
        return Vec::new();
    };
    let namespace = &workload.meta.namespace;
    // Without a sidecar there is nothing to have a filter in, which is LK503's to tell; where nobody asks for one, the
    // mesh may still give it.
    let has_sidecar = match injection(check.view, workload) {
        Injection::Sidecar | Injection::Unknown | Injection::Off(WhyOff::NotAsked) => true,
        Injection::OtherDataPlane | Injection::Off(_) => false,
    };
    if workload.meta.deleting || !has_sidecar || may_have_it_otherwise(check.view, namespace) {
        return Vec::new();
    }
    let labels = &workload.template.labels;
    let headers = |groups: &Groups<'_, 'w>| {
        let memberships = groups.of_workload(namespace, labels).into_iter();
        memberships
            .map(|(lanes, _)| lanes.group.header.clone())
            .collect::<BTreeSet<_>>()
    };
    let mut of_groups = headers(&check.groups);
    if let Some(before) = &check.groups_before {
        // A group that only a plugin implied has gone with it.
        of_groups.extend(headers(before));
    }
    of_groups
        .iter()
        .filter_map(|header| judge(check, workload, header))
        .collect()
}

fn judge(check: &Check<'_, '_>, workload: &Workload, header: &Symbol) -> Option<Finding> {
    let namespace = &workload.meta.namespace;
    let plugins = carrying(check.view, namespace, header);
    let gone = || {
        let before = check.before.map(|before| carrying(before, namespace, header));
        before.is_some_and(|before| !before.is_empty())
    };
    if plugins
        .iter()
        .any(|plugin| plugin.selects(&workload.template.labels))
        || (plugins.is_empty() && !gone())
    {
        return None;
    }
    let (message, help) = match plugins.as_slice() {
        [] => (
            format!("no plugin carries the lane header `{header}` any more"),
            "leave a lane plugin for the workload, or let the application forward the header".to_owned(),
        ),
        plugins => (
            format!(
                "no plugin that carries the lane header `{header}` selects its pods ({})",
                plugins
                    .iter()
                    .map(|plugin| described(plugin))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "add the labels to its pods, or make the plugin's selector wider".to_owned(),
        ),
    };
    let evidence = plugins.iter().map(|plugin| plugin.meta.reference(plugin.kind));
    Some(
        Finding::new(
            &RULE,
            workload.meta.reference(workload.kind),
            workload.kind.carrier_labels_path(),
        )
        .about(Subject {
            header: Some(header.clone()),
            ..Subject::default()
        })
        .missing_if(true)
        .from_each(evidence, "spec.selector", "its selector")
        .says(
            format!("{message}: what it calls gets no lane from the requests that come to it"),
            help,
        ),
    )
}

/// The plugins that the sidecars of a namespace may load and that carry the header; of the root namespace's, which are
/// for other namespaces too, those that choose a workload of it.
fn carrying<'w>(view: &View<'w>, namespace: &Symbol, header: &Symbol) -> Vec<&'w WasmPlugin> {
    let mut plugins = view.lane_plugins_for(namespace);
    plugins.retain(|plugin| {
        let chooses = |labels: &Labels| !view.carriers(namespace, labels).is_empty();
        plugin.lane_header.as_ref() == Some(header)
            && (plugin.meta.namespace == *namespace || plugin.selector.as_ref().is_none_or(chooses))
    });
    plugins
}

/// A plugin and the labels that it wants.
fn described(plugin: &WasmPlugin) -> String {
    let selector = plugin.selector.as_ref().map(ToString::to_string);
    format!(
        "{} selects {}",
        plugin.meta.reference(plugin.kind),
        selector.unwrap_or_default()
    )
}

/// Whether the filter may come in another way.
fn may_have_it_otherwise(view: &View<'_>, namespace: &Symbol) -> bool {
    let mut namespaces = [namespace, view.root_namespace()].into_iter();
    namespaces.any(|namespace| view.has_envoy_filters(namespace))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::ObjectRef;
    use crate::rule::affected;
    use crate::world::{Settings, World};

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    /// A cart of a written group, with a plugin whose selector asks for these labels, if there is one.
    fn cart(plugin_for: Option<Value>) -> World {
        let group = json!({"header": "lane", "workloads": {"matchLabels": {"app": "cart"}}, "lanes": ["blue"],
            "defaultLane": "blue", "laneLabel": "version"});
        let ports = json!([{"name": "http", "port": 80}]);
        let labels = json!({"app": "cart", "version": "blue"});
        let plugin = plugin_for.map(|labels| {
            let spec = json!({"selector": {"matchLabels": labels}, "pluginConfig": {"lane_header": "lane"}});
            object(Kind::WasmPlugin, "lanes", &spec)
        });
        let others = [
            object(Kind::LaneGroup, "shop", &group),
            object(
                Kind::Service,
                "cart",
                &json!({"selector": {"app": "cart"}, "ports": ports}),
            ),
            object(
                Kind::Deployment,
                "cart",
                &json!({"template": {"metadata": {"labels": labels}}}),
            ),
        ];
        World::of(Settings::default(), others.into_iter().chain(plugin))
    }

    fn messages(before: Option<&World>, after: &World) -> Vec<String> {
        let before = before.map(View::new);
        let view = View::new(after);
        let check = Check::new(&view, before.as_ref());
        let workload = ObjectRef::new(Kind::Deployment, "shop", "cart");
        let findings = check.object(&[RULE], after.get(&workload).unwrap());
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_change_that_takes_the_last_plugin_away_is_told_and_a_group_that_never_had_one_is_not() {
        let (with, without) = (cart(Some(json!({"app": "cart"}))), cart(None));
        assert_eq!(messages(None, &with), Vec::<String>::new());
        assert_eq!(messages(None, &without), Vec::<String>::new());
        let told = messages(Some(&with), &without);
        assert!(
            told.len() == 1 && told[0].starts_with("no plugin carries the lane header `lane` any more"),
            "{told:?}"
        );
    }

    #[test]
    fn a_plugin_concerns_also_the_workloads_that_it_does_not_select() {
        let world = cart(Some(json!({"app": "pay"})));
        let view = View::new(&world);
        let plugin = world
            .get(&ObjectRef::new(Kind::WasmPlugin, "shop", "lanes"))
            .unwrap();
        let workload = ObjectRef::new(Kind::Deployment, "shop", "cart");
        assert!(affected(&view, plugin).contains(&workload));
        assert_eq!(messages(None, &world).len(), 1);
    }
}
