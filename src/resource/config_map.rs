//! Istio's mesh configuration, from the `ConfigMap` `istio` (or `istio-<revision>`) of the root namespace.

use serde::{Deserialize, Deserializer};

use super::{Meta, TrafficPolicy};
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
    /// The namespace whose configuration is for all.
    pub root_namespace: Option<Symbol>,
    /// Whether the mesh upgrades HTTP/1.1 upstreams to HTTP/2 (`h2UpgradePolicy: UPGRADE`).
    pub h2_upgrade: bool,
    /// What a host has that no `DestinationRule` gives a `connectionPool` (`defaultTrafficPolicy`).
    pub default_traffic_policy: TrafficPolicy,
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
            root_namespace: mesh.root_namespace.filter(|name| !name.is_empty()),
            h2_upgrade: mesh.h2_upgrade_policy.as_deref() == Some("UPGRADE"),
            default_traffic_policy: mesh.default_traffic_policy,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mesh {
    default_virtual_service_export_to: Vec<Symbol>,
    default_destination_rule_export_to: Vec<Symbol>,
    root_namespace: Option<Symbol>,
    h2_upgrade_policy: Option<Box<str>>,
    default_traffic_policy: TrafficPolicy,
}

/// The mesh configuration in the text of the key `mesh`, which is YAML; `None` where there is none or it
/// does not parse (Istio would not take it either).
fn mesh_of(text: &str) -> Option<Mesh> {
    let document = crate::yaml::documents(text).into_iter().next()?;
    Mesh::deserialize(&document.decode().ok()?).ok()
}
