//! Istio's mesh configuration, from the `ConfigMap` `istio` (or `istio-<revision>`) of the root namespace.

use serde::{Deserialize, Deserializer};

use super::{ConnectionPool, Labels, Meta};
use crate::symbol::Symbol;

/// What of the mesh configuration decides where a request goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeshConfig {
    /// The metadata of its `ConfigMap`.
    pub meta: Meta,
    /// Where an unset `exportTo` of a `VirtualService` leads.
    pub default_virtual_service_export_to: Vec<Symbol>,
    /// Where an unset `exportTo` of a `DestinationRule` leads.
    pub default_destination_rule_export_to: Vec<Symbol>,
    /// Where a `Service` or `ServiceEntry` is seen that does not say so itself.
    pub default_service_export_to: Vec<Symbol>,
    /// The namespace whose configuration is for all.
    pub root_namespace: Option<Symbol>,
    /// Whether the mesh upgrades HTTP/1.1 upstreams to HTTP/2 (`h2UpgradePolicy: UPGRADE`).
    pub h2_upgrade: bool,
    /// The `connectionPool` of destinations whose rules have none (`defaultTrafficPolicy`).
    pub connection_pool: Option<ConnectionPool>,
    /// Whether sidecars refuse hosts that Istio does not know (`outboundTrafficPolicy: REGISTRY_ONLY`).
    pub registry_only: bool,
    /// Which namespaces Istio looks at: those that one of these selects; empty: all.
    pub discovery_selectors: Vec<NamespaceSelector>,
}

/// A label selector for namespaces.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// Labels that a namespace must have.
    pub match_labels: Labels,
    /// Requirements that it must meet.
    pub match_expressions: Vec<Requirement>,
}

/// One of a selector's `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// The label's key.
    pub key: Symbol,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Box<str>,
    /// The values, for the first two.
    pub values: Vec<Symbol>,
}

impl NamespaceSelector {
    /// Whether it selects a namespace with these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.match_labels.select(labels)
            && self
                .match_expressions
                .iter()
                .all(|wanted| wanted.is_met_by(labels))
    }
}

impl Requirement {
    fn is_met_by(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &*self.operator {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // Istio refuses a selector with another operator and keeps those it had: nothing can be said.
            _ => true,
        }
    }
}

impl<'de> Deserialize<'de> for MeshConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            data: Data,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Data {
            mesh: String,
        }

        let Wire { metadata, data } = Wire::deserialize(deserializer)?;
        let mesh = mesh_of(&data.mesh).unwrap_or_default();
        Ok(Self {
            meta: metadata,
            default_virtual_service_export_to: mesh.default_virtual_service_export_to,
            default_destination_rule_export_to: mesh.default_destination_rule_export_to,
            default_service_export_to: mesh.default_service_export_to,
            root_namespace: mesh.root_namespace.filter(|name| !name.is_empty()),
            h2_upgrade: mesh.h2_upgrade_policy.as_deref() == Some("UPGRADE"),
            connection_pool: mesh.default_traffic_policy.connection_pool,
            registry_only: mesh.outbound_traffic_policy.mode.as_deref() == Some("REGISTRY_ONLY"),
            discovery_selectors: mesh.discovery_selectors,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mesh {
    default_virtual_service_export_to: Vec<Symbol>,
    default_destination_rule_export_to: Vec<Symbol>,
    default_service_export_to: Vec<Symbol>,
    root_namespace: Option<Symbol>,
    h2_upgrade_policy: Option<Box<str>>,
    default_traffic_policy: DefaultPolicy,
    outbound_traffic_policy: OutboundPolicy,
    discovery_selectors: Vec<NamespaceSelector>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutboundPolicy {
    mode: Option<Box<str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DefaultPolicy {
    connection_pool: Option<ConnectionPool>,
}

/// The mesh configuration in the text of the key `mesh`, which is YAML; `None` where there is none or it
/// does not parse (Istio would not take it either).
fn mesh_of(text: &str) -> Option<Mesh> {
    let document = crate::yaml::documents(text).into_iter().next()?;
    Mesh::deserialize(&document.decode().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::H2Upgrade;

    #[test]
    fn the_mesh_is_read_with_all_that_decides_where_a_request_goes() {
        let mesh = "\
defaultServiceExportTo: [.]
h2UpgradePolicy: UPGRADE
rootNamespace: config
defaultTrafficPolicy:
  connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}
discoverySelectors:
- matchLabels: {team: shop}
- matchExpressions:
  - {key: env, operator: In, values: [prod, test]}
";
        let config: MeshConfig =
            serde_json::from_value(json!({"metadata": {"name": "istio"}, "data": {"mesh": mesh}})).unwrap();
        assert_eq!(config.default_service_export_to, ["."]);
        assert!(config.h2_upgrade);
        assert_eq!(config.root_namespace.unwrap(), "config");
        assert_eq!(config.connection_pool.unwrap().h2, H2Upgrade::DoNotUpgrade);
        assert_eq!(config.discovery_selectors.len(), 2);
    }

    #[test]
    fn a_namespace_selector_asks_for_all_its_labels_and_requirements() {
        let labels = Labels::new([("env".into(), "prod".into())]);
        let selects = |selector: serde_json::Value| {
            let selector: NamespaceSelector = serde_json::from_value(selector).unwrap();
            selector.selects(&labels)
        };
        let needs = |key: &str, operator: &str, values: &[&str]| {
            selects(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert!(selects(json!({})));
        assert!(selects(json!({"matchLabels": {"env": "prod"}})));
        assert!(!selects(json!({"matchLabels": {"env": "test"}})));
        assert!(needs("env", "In", &["prod"]) && !needs("env", "In", &["test"]));
        assert!(needs("env", "NotIn", &["test"]) && !needs("env", "NotIn", &["prod"]));
        assert!(needs("env", "Exists", &[]) && !needs("team", "Exists", &[]));
        assert!(needs("team", "DoesNotExist", &[]) && !needs("env", "DoesNotExist", &[]));
    }
}
