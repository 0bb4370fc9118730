//! `Deployment`, `StatefulSet` and `DaemonSet`: what makes pods from a template.

use serde::{Deserialize, Deserializer};

use super::{Kind, Labels, Meta, Ports, ServicePort};
use crate::symbol::Symbol;

/// A workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet` or `DaemonSet`.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// How many pods it asks for; a `DaemonSet`, which says nothing, counts as one.
    pub replicas: u32,
    /// What its pods are made from.
    pub template: PodTemplate,
}

/// `spec.template` of a workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodTemplate {
    /// The pods' labels.
    pub labels: Labels,
    /// The pods' annotations.
    pub annotations: super::Annotations,
    /// The named ports of the containers, and those of init containers that stay.
    pub ports: Ports,
    /// Whether the pods are in the network of their node.
    pub host_network: bool,
}

impl Workload {
    /// Parses a workload of `kind`.
    pub fn parse<'de, D: Deserializer<'de>>(kind: Kind, object: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(object)?;
        let template = wire.spec.template.unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        let spec = template.spec.unwrap_or_default();
        Ok(Self {
            kind,
            meta: wire.metadata,
            replicas: wire.spec.replicas.unwrap_or(1),
            template: PodTemplate {
                labels: meta.labels,
                annotations: meta.annotations,
                host_network: spec.host_network.unwrap_or(false),
                ports: spec.named_ports(),
            },
        })
    }

    /// Whether its template carries traffic: it asks for pods and is not being deleted [s2, s7].
    pub fn carries(&self) -> bool {
        self.replicas > 0 && !self.meta.deleting
    }
}

/// `spec.replicas` of a `Scale`, the body of a write to `deployments/scale`; none written is 0.
pub fn scale_replicas<'de, D: Deserializer<'de>>(scale: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    struct Scale {
        spec: Option<Spec>,
    }

    #[derive(Deserialize)]
    struct Spec {
        replicas: Option<u32>,
    }

    let scale = Scale::deserialize(scale)?;
    Ok(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))
}

#[derive(Deserialize)]
struct Wire {
    metadata: Meta,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    replicas: Option<u32>,
    template: Option<Template>,
}

#[derive(Deserialize, Default)]
struct Template {
    metadata: Option<Meta>,
    spec: Option<PodSpec>,
}

/// `spec` of a pod, as far as its network goes.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    host_network: Option<bool>,
}

impl PodSpec {
    /// The named ports of everything that runs as long as the pod does: containers, and init containers
    /// with `restartPolicy: Always`.
    pub(super) fn named_ports(self) -> Ports {
        let stays = |container: &Container| container.restart_policy.as_deref() == Some("Always");
        let sidecars = self.init_containers.into_iter().flatten().filter(stays);
        let containers = self.containers.into_iter().flatten().chain(sidecars);
        containers
            .flat_map(|container| container.ports.unwrap_or_default())
            .filter(|port| !port.name.is_empty())
            .map(|port| ServicePort {
                name: port.name,
                number: port.number,
                not_tcp: port.protocol.is_some_and(|protocol| &*protocol != "TCP"),
                ..ServicePort::default()
            })
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    ports: Option<Vec<ContainerPort>>,
    restart_policy: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    #[serde(default)]
    name: Symbol,
    #[serde(rename = "containerPort")]
    number: u16,
    protocol: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_carries_unless_it_is_scaled_to_zero_or_being_deleted() {
        let carries = |object| Workload::parse(Kind::Deployment, object).unwrap().carries();
        assert!(carries(json!({"metadata": {"name": "a"}, "spec": {}})));
        assert!(!carries(
            json!({"metadata": {"name": "a"}, "spec": {"replicas": 0}})
        ));
        assert!(!carries(
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-11-01T00:00:00Z"}, "spec": {}})
        ));
    }

    #[test]
    fn ports_of_native_sidecars_count_and_those_of_plain_init_containers_do_not() {
        let port = |name: &str, number: u16| json!([{"name": name, "containerPort": number}]);
        let workload = Workload::parse(
            Kind::Deployment,
            json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
            "containers": [{"name": "app", "ports": port("http", 8080)}],
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "ports": port("admin", 15000)},
                {"name": "migrate", "ports": port("done", 1)}]}}}}),
        )
        .unwrap();
        let names: Vec<_> = workload
            .template
            .ports
            .iter()
            .map(|port| port.name.to_string())
            .collect();
        assert_eq!(names, ["http", "admin"]);
    }

    #[test]
    fn a_scale_without_replicas_is_zero() {
        assert_eq!(scale_replicas(json!({"spec": {"replicas": 3}})).unwrap(), 3);
        assert_eq!(scale_replicas(json!({"spec": {}})).unwrap(), 0);
    }
}
