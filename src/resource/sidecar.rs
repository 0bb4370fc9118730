//! `Sidecar` (`networking.istio.io`), as far as it says what is imported.

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// What the sidecars of a namespace get to know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sidecar {
    /// Its metadata.
    pub meta: Meta,
    /// The workloads it is for; `None`: all of its namespace that no other one is for, and in the root namespace
    /// all of the mesh.
    pub workload_selector: Option<Labels>,
    /// The hosts that each listener imports, as `namespace/host`; no listener: everything.
    pub egress: Vec<Vec<Symbol>>,
}

impl<'de> Deserialize<'de> for Sidecar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }

        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            workload_selector: Option<Selector>,
            egress: Vec<Listener>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Selector {
            labels: Labels,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Listener {
            hosts: Vec<Symbol>,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let listeners = spec.egress.into_iter();
        Ok(Self {
            meta: metadata,
            workload_selector: spec.workload_selector.map(|selector| selector.labels),
            egress: listeners.map(|listener| listener.hosts).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sidecar_is_read_with_the_hosts_of_its_listeners() {
        let sidecar: Sidecar = serde_json::from_value(json!({"metadata": {"name": "default"}, "spec": {
            "workloadSelector": {"labels": {"app": "a"}},
            "egress": [{"port": {"number": 80}, "hosts": ["./*"]}, {"hosts": ["shop/a.b", "~/*"]}]}}))
        .unwrap();
        assert_eq!(sidecar.egress, [vec!["./*"], vec!["shop/a.b", "~/*"]]);
        assert_eq!(sidecar.workload_selector.unwrap().get("app").unwrap(), "a");
    }

    #[test]
    fn a_sidecar_without_listeners_or_a_selector_says_so() {
        let sidecar: Sidecar = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        assert!(sidecar.egress.is_empty() && sidecar.workload_selector.is_none());
    }
}
