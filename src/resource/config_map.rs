//! Istio's mesh configuration, from the `ConfigMap` `istio` (or `istio-<revision>`) of the root namespace.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    /// What it says of tracing; `None` where it cannot be read.
    pub tracing: Option<MeshTracing>,
}

/// What the mesh configuration says of tracing.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshTracing {
    /// `enableTracing`, which counts only where neither a `Telemetry` nor a default provider says anything; on where
    /// nothing is written (`DefaultMeshConfig` in `pkg/config/mesh/mesh.go`).
    pub is_enabled: bool,
    /// Whether the proxies are started with a tracer (`defaultConfig.tracing`).
    pub has_tracer: bool,
    /// `defaultProviders.tracing`, the first of which alone counts.
    pub default_provider: Option<Symbol>,
    /// The names of `extensionProviders`, each with whether it may be one that traces.
    pub providers: Vec<(Symbol, bool)>,
}

impl MeshTracing {
    /// Whether the provider of this name may trace, in any case of it; `None`: there is none. Istio brings three of its
    /// own (`DefaultMeshConfig`).
    pub fn may_trace(&self, name: &str) -> Option<bool> {
        const OWN: [(&str, bool); 3] = [("prometheus", false), ("stackdriver", true), ("envoy", false)];
        let written = self.providers.iter().map(|(known, may)| (known.as_str(), *may));
        let mut all = written.chain(OWN);
        all.find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, may)| may)
    }
}

/// Whether `tracing` of a proxy's configuration names a tracer: a sampling rate alone is none
/// (`getProxyConfigOptions` in `pkg/bootstrap/config.go`).
pub fn has_tracer(tracing: &Value) -> bool {
    const TRACERS: [&str; 5] = ["zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"];
    TRACERS.iter().any(|tracer| !tracing[tracer].is_null())
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
        let mesh: Mesh = mesh_of(&data.mesh).unwrap_or_default();
        let whole: Option<Value> = mesh_of(&data.mesh);
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
            tracing: whole.and_then(|mesh| tracing_of(&mesh)),
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
fn mesh_of<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    let document = crate::yaml::documents(text).into_iter().next()?;
    T::deserialize(&document.decode().ok()?).ok()
}

/// Read by itself: what is odd in it spoils nothing else.
fn tracing_of(mesh: &Value) -> Option<MeshTracing> {
    /// The providers that do not trace (`configureFromProviderConfig` in `pilot/pkg/networking/core/tracing.go`).
    const OTHERS: [&str; 8] = [
        "envoyExtAuthzHttp",
        "envoyExtAuthzGrpc",
        "envoyHttpAls",
        "envoyTcpAls",
        "envoyOtelAls",
        "envoyFileAccessLog",
        "sds",
        "prometheus",
    ];
    let provider = |provider: &Value| {
        let may_trace = OTHERS.iter().all(|other| provider[other].is_null());
        provider["name"]
            .as_str()
            .map(|name| (Symbol::new(name), may_trace))
    };
    mesh.is_object().then(|| MeshTracing {
        is_enabled: mesh["enableTracing"].as_bool().unwrap_or(true),
        has_tracer: has_tracer(&mesh["defaultConfig"]["tracing"]),
        default_provider: mesh["defaultProviders"]["tracing"][0].as_str().map(Symbol::new),
        providers: mesh["extensionProviders"]
            .as_array()
            .map(|all| all.iter().filter_map(provider).collect())
            .unwrap_or_default(),
    })
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

    fn tracing(mesh: &str) -> Option<MeshTracing> {
        let object = json!({"metadata": {"name": "istio"}, "data": {"mesh": mesh}});
        serde_json::from_value::<MeshConfig>(object).unwrap().tracing
    }

    #[test]
    fn what_a_mesh_says_of_tracing_is_read_with_its_defaults() {
        let plain = tracing("rootNamespace: config\ndefaultConfig: {tracing: {sampling: 100}}\n").unwrap();
        assert!(plain.is_enabled && !plain.has_tracer && plain.default_provider.is_none());
        assert_eq!(plain.may_trace("envoy"), Some(false));
        assert_eq!(plain.may_trace("otel"), None);

        let mesh = "\
enableTracing: false
defaultConfig: {tracing: {zipkin: {address: zipkin.tracing:9411}}}
defaultProviders: {tracing: [otel, zipkin]}
extensionProviders:
- {name: otel, opentelemetry: {service: collector.tracing, port: 4317}}
- {name: authz, envoyExtAuthzGrpc: {service: authz.shop, port: 9000}}
";
        let traced = tracing(mesh).unwrap();
        assert!(!traced.is_enabled && traced.has_tracer);
        assert_eq!(traced.default_provider.as_deref(), Some("otel"));
        assert_eq!(traced.may_trace("OTel"), Some(true));
        assert_eq!(traced.may_trace("authz"), Some(false));
    }

    #[test]
    fn a_mesh_that_is_not_there_or_no_mapping_says_nothing_of_tracing() {
        assert_eq!(tracing(""), None);
        assert_eq!(tracing("- a"), None);
        assert_eq!(tracing("defaultConfig: {tracing: {\n"), None);
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
