//! `WorkloadEntry` (`networking.istio.io`): a workload outside Kubernetes.

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};

/// An endpoint that is no pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkloadEntry {
    /// Its metadata.
    pub meta: Meta,
    /// The labels by which services and subsets choose it: those of the spec, else of the object
    /// (`pilot/pkg/serviceregistry/serviceentry/conversion.go` takes both together).
    pub labels: Labels,
}

impl<'de> Deserialize<'de> for WorkloadEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Spec {
            labels: Labels,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let labels = Labels::new(metadata.labels.pairs().iter().chain(spec.labels.pairs()).cloned());
        Ok(Self {
            meta: metadata,
            labels,
        })
    }
}
