//! `DestinationRule` (`networking.istio.io`).

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// Istio's subsets and policies for a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DestinationRule {
    /// Its metadata.
    pub meta: Meta,
    /// The host it is for; a name without a dot is a service of its own namespace.
    pub host: Symbol,
    /// The subsets, in order.
    pub subsets: Box<[Subset]>,
    /// The policy for every subset, as far as a subset's own does not say otherwise; `None`: none is written.
    pub traffic_policy: Option<TrafficPolicy>,
    /// The namespaces that see it: `.`, `*` or names; empty means the mesh's default.
    pub export_to: Box<[Symbol]>,
    /// The callers it is for; `None`: all.
    pub workload_selector: Option<Labels>,
}

/// One entry of `spec.subsets`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Its name, by which routes choose it.
    pub name: Symbol,
    /// The labels of its endpoints, in addition to the service's selector.
    pub labels: Labels,
    /// Its own policy.
    pub traffic_policy: TrafficPolicy,
}

/// What of a `trafficPolicy` decides the protocol and the choice of a pod. A part that is written stands in whole
/// for the same part of a wider policy, whatever it leaves out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficPolicy {
    /// How connections are kept; `None`: nothing is written.
    pub connection_pool: Option<ConnectionPool>,
    /// How a pod is chosen; `None`: nothing is written.
    pub load_balancer: Option<LoadBalancer>,
    /// The same by port.
    pub ports: Box<[(u32, TrafficPolicy)]>,
}

/// `connectionPool`, as far as it decides the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// How connections to the upstream start.
    pub h2: H2Upgrade,
    /// Whether the caller's protocol is kept, which comes before `h2`.
    pub use_client_protocol: bool,
}

/// `loadBalancer`, as far as it decides whether a pod is chosen at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Whether the address that the caller chose is kept (`simple: PASSTHROUGH`).
    pub passthrough: bool,
}

/// `connectionPool.http.h2UpgradePolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2Upgrade {
    /// Nothing said: the mesh decides.
    #[default]
    Default,
    /// HTTP/1.1 connections are not upgraded.
    DoNotUpgrade,
    /// HTTP/1.1 connections are upgraded to HTTP/2.
    Upgrade,
}

impl DestinationRule {
    /// The subset of this name; of two, the first counts.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}

impl<'de> Deserialize<'de> for DestinationRule {
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
            host: Symbol,
            subsets: Box<[Subset]>,
            traffic_policy: Option<TrafficPolicy>,
            export_to: Box<[Symbol]>,
            workload_selector: Option<Selector>,
        }

        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Selector {
            match_labels: Labels,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            meta: metadata,
            host: spec.host,
            subsets: spec.subsets,
            traffic_policy: spec.traffic_policy,
            export_to: spec.export_to,
            workload_selector: spec.workload_selector.map(|selector| selector.match_labels),
        })
    }
}

impl<'de> Deserialize<'de> for TrafficPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Wire {
            connection_pool: Option<ConnectionPool>,
            load_balancer: Option<LoadBalancer>,
            port_level_settings: Vec<PortPolicy>,
        }

        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct PortPolicy {
            port: Port,
            connection_pool: Option<ConnectionPool>,
            load_balancer: Option<LoadBalancer>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Port {
            number: u32,
        }

        let wire = Wire::deserialize(deserializer)?;
        let of_port = |port: PortPolicy| {
            let policy = Self {
                connection_pool: port.connection_pool,
                load_balancer: port.load_balancer,
                ports: Box::default(),
            };
            (port.port.number, policy)
        };
        Ok(Self {
            connection_pool: wire.connection_pool,
            load_balancer: wire.load_balancer,
            ports: wire.port_level_settings.into_iter().map(of_port).collect(),
        })
    }
}

impl<'de> Deserialize<'de> for ConnectionPool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            http: Http,
        }

        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Http {
            h2_upgrade_policy: H2Upgrade,
            use_client_protocol: bool,
        }

        let Wire { http } = Wire::deserialize(deserializer)?;
        Ok(Self {
            h2: http.h2_upgrade_policy,
            use_client_protocol: http.use_client_protocol,
        })
    }
}

impl<'de> Deserialize<'de> for LoadBalancer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            simple: Option<Box<str>>,
        }

        let Wire { simple } = Wire::deserialize(deserializer)?;
        Ok(Self {
            passthrough: simple.as_deref() == Some("PASSTHROUGH"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_read_with_its_subsets_and_policies() {
        let rule: DestinationRule = serde_json::from_value(json!({"metadata": {"name": "portal"}, "spec": {
            "host": "portal", "exportTo": ["."], "workloadSelector": {"matchLabels": {"app": "a"}},
            "trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}},
                "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "PASSTHROUGH"}}]},
            "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v1", "labels": {"version": "v2"}}]}}))
        .unwrap();
        assert_eq!(rule.subset("v1").unwrap().labels.get("version").unwrap(), &"v1");
        let policy = rule.traffic_policy.as_ref().unwrap();
        assert_eq!(policy.connection_pool.unwrap().h2, H2Upgrade::Upgrade);
        assert_eq!(policy.load_balancer, None);
        assert!(policy.ports[0].1.load_balancer.unwrap().passthrough);
        assert_eq!(policy.ports[0].1.connection_pool, None);
        assert!(rule.workload_selector.is_some());
    }
}
