//! `ServiceEntry` (`networking.istio.io`).

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// Hosts that Istio knows beside the cluster's services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceEntry {
    /// Its metadata.
    pub meta: Meta,
    /// The hosts it adds; `*.` at the beginning of one stands for any name.
    pub hosts: Vec<Symbol>,
    /// Their ports.
    pub ports: Vec<EntryPort>,
    /// Endpoints that are written down.
    pub endpoints: Vec<Endpoint>,
    /// Whether requests go to the address that their caller asked for: resolution NONE, which is also meant where
    /// none is written.
    pub keeps_address: bool,
    /// The workloads and `WorkloadEntry` objects behind it.
    pub workload_selector: Option<Labels>,
    /// Whether its addresses come from DNS (`resolution: DNS`, `DNS_ROUND_ROBIN`).
    pub by_dns: bool,
    /// The namespaces that see it: `.`, `*` or names; empty means the mesh's default.
    pub export_to: Vec<Symbol>,
}

/// One entry of `spec.ports`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EntryPort {
    /// The number that callers use.
    pub number: u32,
    /// The protocol, as written.
    pub protocol: Symbol,
    /// Its name.
    pub name: Symbol,
}

/// One entry of `spec.endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The labels by which a subset chooses it.
    pub labels: Labels,
}

impl<'de> Deserialize<'de> for ServiceEntry {
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
            hosts: Vec<Symbol>,
            ports: Vec<EntryPort>,
            endpoints: Vec<Endpoint>,
            resolution: Symbol,
            workload_selector: Option<Selector>,
            export_to: Vec<Symbol>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Selector {
            labels: Labels,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            meta: metadata,
            hosts: spec.hosts,
            ports: spec.ports,
            endpoints: spec.endpoints,
            keeps_address: spec.resolution.is_empty() || spec.resolution == "NONE",
            workload_selector: spec.workload_selector.map(|selector| selector.labels),
            by_dns: spec.resolution.starts_with("DNS"),
            export_to: spec.export_to,
        })
    }
}
