//! What the scenarios write.
//!
//! A *host* is a Service, a Deployment for each of its lanes, a `DestinationRule` with a subset for each, and a
//! `VirtualService` that routes to one of them.

use serde_json::{Value, json};

/// The namespace where a DELETE only warns.
pub(crate) const OPEN: &str = "open";

/// The namespace where a DELETE that breaks a route is refused.
pub(crate) const GUARDED: &str = "guarded";

/// A kind that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    DestinationRule,
    VirtualService,
}

impl Kind {
    /// The path of its objects in a namespace.
    pub(crate) fn path(self, namespace: &str) -> String {
        let (group, resource) = match self {
            Self::Deployment => ("apps/v1", "deployments"),
            Self::DestinationRule => ("networking.istio.io/v1", "destinationrules"),
            Self::VirtualService => ("networking.istio.io/v1", "virtualservices"),
        };
        format!("/apis/{group}/namespaces/{namespace}/{resource}")
    }
}

pub(crate) fn service(namespace: &str, host: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": host},
        "spec": {"selector": {"app": host}, "ports": [{"name": "http", "port": 80}]}})
}

pub(crate) fn deployment(namespace: &str, host: &str, lane: &str) -> Value {
    let name = format!("{host}-{lane}");
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"matchLabels": {"track": name}}, "template": {
            "metadata": {"labels": {"track": name, "app": host, "version": lane}},
            "spec": {"containers": [{"name": "app", "image": "app", "ports": [{"containerPort": 80}]}]}}}})
}

/// The `spec` of a `DestinationRule` with these subsets.
pub(crate) fn subsets(host: &str, lanes: &[&str]) -> Value {
    let subsets = lanes
        .iter()
        .map(|lane| json!({"name": lane, "labels": {"version": lane}}));
    json!({"host": host, "subsets": subsets.collect::<Vec<_>>()})
}

pub(crate) fn destination_rule(namespace: &str, host: &str, lanes: &[&str]) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": namespace, "name": host}, "spec": subsets(host, lanes)})
}

/// The `spec` of a `VirtualService` of one host that routes to a subset of another, or of itself.
pub(crate) fn route(host: &str, to: &str, lane: &str) -> Value {
    json!({"hosts": [host], "http": [{"route": [{"destination": {"host": to, "subset": lane}}]}]})
}

pub(crate) fn virtual_service(namespace: &str, name: &str, to: &str, lane: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": namespace, "name": name}, "spec": route(name, to, lane)})
}
