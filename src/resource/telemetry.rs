//! `Telemetry` (`telemetry.istio.io`), as far as it says which proxies trace.

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// What a namespace's or a workload's proxies do with traces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// Its metadata.
    pub meta: Meta,
    /// The labels of the pods that it is for; empty: all of its namespace, and in the root namespace all of the mesh.
    pub selector: Labels,
    /// Whether it is attached by `targetRefs`, which only waypoints and gateways of the Gateway API read.
    pub has_target_refs: bool,
    /// The entries of `spec.tracing`, of which later ones override earlier ones.
    pub tracing: Vec<Tracing>,
}

/// One entry of `spec.tracing`. What it samples is not read: Envoy hands on the trace id of a request that it does not
/// sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracing {
    /// Whether it is for the requests that come to the application only (`match.mode: SERVER`).
    pub is_for_servers: bool,
    /// The first of its providers, the only one that counts.
    pub provider: Option<Symbol>,
    /// `disableSpanReporting`, where it is written: the proxy has no tracer then.
    pub disable_span_reporting: Option<bool>,
    /// `disableContextPropagation`, where it is written: the proxy traces, and hands no trace id on.
    pub disable_context_propagation: Option<bool>,
}

impl Telemetry {
    /// Whether it is for every pod of its namespace.
    pub fn is_namespace_wide(&self) -> bool {
        self.selector.is_empty() && !self.has_target_refs
    }
}

impl<'de> Deserialize<'de> for Telemetry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let spec = spec.unwrap_or_default();
        let tracing = spec.tracing.unwrap_or_default().into_iter();
        Ok(Self {
            meta: metadata,
            selector: spec
                .selector
                .map(|selector| selector.match_labels)
                .unwrap_or_default(),
            has_target_refs: !spec.target_refs.unwrap_or_default().is_empty() || spec.target_ref.is_some(),
            tracing: tracing.map(Entry::read).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Meta,
    spec: Option<Spec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Option<Selector>,
    target_ref: Option<serde::de::IgnoredAny>,
    target_refs: Option<Vec<serde::de::IgnoredAny>>,
    tracing: Option<Vec<Entry>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Labels,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    r#match: Option<Match>,
    providers: Option<Vec<Provider>>,
    disable_span_reporting: Option<bool>,
    disable_context_propagation: Option<bool>,
}

#[derive(Deserialize)]
struct Match {
    mode: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Provider {
    name: Symbol,
}

impl Entry {
    fn read(self) -> Tracing {
        let mode = self.r#match.and_then(|only| only.mode);
        let first = self.providers.unwrap_or_default().into_iter().next();
        Tracing {
            is_for_servers: mode.as_deref() == Some("SERVER"),
            provider: first.map(|provider| provider.name),
            disable_span_reporting: self.disable_span_reporting,
            disable_context_propagation: self.disable_context_propagation,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn telemetry(spec: &serde_json::Value) -> Telemetry {
        serde_json::from_value(json!({"metadata": {"name": "default"}, "spec": spec})).unwrap()
    }

    #[test]
    fn telemetry_is_read_with_whom_it_is_for_and_what_it_says_of_traces() {
        let read = telemetry(&json!({"selector": {"matchLabels": {"app": "a"}}, "tracing": [
            {"providers": [{"name": "otel"}, {"name": "zipkin"}], "randomSamplingPercentage": 1.5},
            {"match": {"mode": "SERVER"}, "disableSpanReporting": true},
            {"match": {"mode": "CLIENT_AND_SERVER"}, "disableContextPropagation": false}]}));
        assert_eq!(read.selector.get("app").unwrap(), "a");
        assert!(!read.is_namespace_wide());
        let [first, second, third] = read.tracing.as_slice() else {
            panic!("{read:?} has three entries");
        };
        assert_eq!(first.provider.as_deref(), Some("otel"));
        assert!(second.is_for_servers && second.disable_span_reporting == Some(true));
        assert!(!third.is_for_servers && third.disable_context_propagation == Some(false));
    }

    #[test]
    fn telemetry_without_a_selector_or_targets_is_for_its_namespace() {
        assert!(telemetry(&json!({"metrics": [{}]})).is_namespace_wide());
        assert!(telemetry(&json!({"selector": {"matchLabels": {}}, "targetRefs": []})).is_namespace_wide());
        assert!(
            !telemetry(&json!({"targetRefs": [{"kind": "Gateway", "name": "edge"}]})).is_namespace_wide()
        );
        assert!(!telemetry(&json!({"targetRef": {"kind": "Gateway", "name": "edge"}})).is_namespace_wide());
    }
}
