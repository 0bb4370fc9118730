//! `Pod`, and `ReplicaSet` as the link between a pod and its Deployment.

use serde::{Deserialize, Deserializer};

use super::{Kind, Labels, Meta, ObjectRef, Ports, workload::PodSpec};
use crate::symbol::Symbol;

/// A pod, or a `ReplicaSet` of which only the owner counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// `Pod` or `ReplicaSet`.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// Whether the pod has ended (phase `Succeeded` or `Failed`).
    pub ended: bool,
    /// Whether the condition `Ready` is true; `None`: the pod has no conditions, as in files or before anything happened to it.
    pub ready: Option<bool>,
    /// The named ports of its containers, and those of init containers that stay.
    pub ports: Ports,
}

impl Pod {
    /// Parses a pod or a `ReplicaSet`.
    pub fn parse<'de, D: Deserializer<'de>>(kind: Kind, object: D) -> Result<Self, D::Error> {
        if kind == Kind::ReplicaSet {
            let link = super::Mark::parse(kind, object)?;
            // Nothing selects it, and there are many that have no pods any more.
            let labels = Labels::default();
            return Ok(Self {
                kind,
                meta: Meta { labels, ..link.meta },
                ended: false,
                ready: None,
                ports: Ports::default(),
            });
        }
        let wire = Wire::deserialize(object)?;
        let status = wire.status.unwrap_or_default();
        Ok(Self {
            kind,
            meta: wire.metadata,
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: status
                .conditions
                .filter(|conditions| !conditions.is_empty())
                .map(|conditions| conditions.iter().any(Condition::is_ready)),
            ports: wire.spec.unwrap_or_default().named_ports(),
        })
    }

    /// Whether the pod can take traffic at all: it is neither ended nor being deleted [s2].
    pub fn carries(&self) -> bool {
        !self.ended && !self.meta.deleting
    }

    /// The Deployment that a pod of a `ReplicaSet` belongs to by the Deployment controller's naming:
    /// `ReplicaSet` `D-<pod-template-hash>` is D's.
    pub fn deployment_by_name(&self) -> Option<ObjectRef> {
        let owner = self
            .meta
            .owner
            .as_ref()
            .filter(|owner| owner.kind_name() == "ReplicaSet")?;
        let hash = self.meta.labels.get("pod-template-hash")?;
        let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        Some(ObjectRef {
            kind: Kind::Deployment,
            namespace: self.meta.namespace.clone(),
            name: Symbol::new(name),
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Meta,
    spec: Option<PodSpec>,
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
struct Status {
    phase: Option<Box<str>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: Box<str>,
    status: Box<str>,
}

impl Condition {
    fn is_ready(&self) -> bool {
        &*self.r#type == "Ready" && &*self.status == "True"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(object: serde_json::Value) -> Pod {
        Pod::parse(Kind::Pod, object).unwrap()
    }

    #[test]
    fn a_pod_belongs_to_the_deployment_that_its_replica_set_is_named_for() {
        let pod = pod(json!({"metadata": {"namespace": "cars", "name": "portal-5d9f-x",
            "labels": {"pod-template-hash": "5d9f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "portal-5d9f", "controller": true}]}}));
        assert_eq!(
            pod.deployment_by_name(),
            Some(ObjectRef::new(Kind::Deployment, "cars", "portal"))
        );
    }

    #[test]
    fn ended_and_deleted_pods_carry_nothing() {
        assert!(pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Pending"}})).carries());
        assert!(!pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Failed"}})).carries());
        assert!(
            !pod(json!({"metadata": {"name": "a", "deletionTimestamp": "2026-11-01T00:00:00Z"}})).carries()
        );
    }

    #[test]
    fn ready_is_the_condition_ready() {
        let with = |status: &str| json!({"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert_eq!(pod(with("True")).ready, Some(true));
        assert_eq!(pod(with("False")).ready, Some(false));
        let scheduled = json!([{"type": "PodScheduled", "status": "False"}]);
        let pending =
            json!({"metadata": {"name": "a"}, "status": {"phase": "Pending", "conditions": scheduled}});
        assert_eq!(pod(pending).ready, Some(false));
        assert_eq!(
            pod(json!({"metadata": {"name": "a"}, "status": {"conditions": []}})).ready,
            None
        );
    }
}
