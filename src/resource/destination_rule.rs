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
    pub subsets: Vec<Subset>,
    /// The policy for every subset that has none of its own; `None`: not written.
    pub traffic_policy: Option<TrafficPolicy>,
    /// The namespaces that see it: `.`, `*` or names; empty means the mesh's default.
    pub export_to: Vec<Symbol>,
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

/// What of a `trafficPolicy` decides the protocol and the choice of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficPolicy {
    /// `connectionPool`; `None`: not written. One that is written replaces another whole.
    pub pool: Option<ConnectionPool>,
    /// Whether the address that the caller chose is kept (`loadBalancer.simple: PASSTHROUGH`).
    pub passthrough: bool,
    /// The same by port.
    pub ports: Vec<(u32, TrafficPolicy)>,
}

/// What of a `connectionPool` decides the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// How connections to the upstream start.
    pub h2: H2Upgrade,
    /// Whether the caller's protocol is kept.
    pub use_client_protocol: bool,
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
            subsets: Vec<Subset>,
            traffic_policy: Option<TrafficPolicy>,
            export_to: Vec<Symbol>,
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
            connection_pool: Option<Pool>,
            load_balancer: LoadBalancer,
            port_level_settings: Vec<PortPolicy>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Pool {
            http: Http,
        }

        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Http {
            h2_upgrade_policy: H2Upgrade,
            use_client_protocol: bool,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct LoadBalancer {
            simple: Option<Box<str>>,
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct PortPolicy {
            #[serde(default)]
            port: Port,
            #[serde(default)]
            connection_pool: Option<Pool>,
            #[serde(default)]
            load_balancer: LoadBalancer,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Port {
            number: u32,
        }

        fn policy(pool: Option<&Pool>, balancer: &LoadBalancer) -> TrafficPolicy {
            TrafficPolicy {
                pool: pool.map(|pool| ConnectionPool {
                    h2: pool.http.h2_upgrade_policy,
                    use_client_protocol: pool.http.use_client_protocol,
                }),
                passthrough: balancer.simple.as_deref() == Some("PASSTHROUGH"),
                ports: Vec::new(),
            }
        }

        let wire = Wire::deserialize(deserializer)?;
        let ports = wire.port_level_settings.iter();
        Ok(Self {
            ports: ports
                .map(|port| {
                    (
                        port.port.number,
                        policy(port.connection_pool.as_ref(), &port.load_balancer),
                    )
                })
                .collect(),
            ..policy(wire.connection_pool.as_ref(), &wire.load_balancer)
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
        assert_eq!(policy.pool.unwrap().h2, H2Upgrade::Upgrade);
        assert!(policy.ports[0].1.passthrough && policy.ports[0].1.pool.is_none());
        assert!(rule.workload_selector.is_some());
    }
}
