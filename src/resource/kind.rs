//! The kinds that Lanekeeper knows, and how the API server serves them.

use std::fmt;

use crate::symbol::Symbol;

/// Istio's traffic API, newest version first; a cluster serves one or more of these.
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

macro_rules! kinds {
    ($($kind:ident $plural:literal in $group:expr, $versions:expr;)*) => {
        /// A kind of object in the world.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each is the Kubernetes or Istio kind of that name")]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// Every kind, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name in `kind:`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),* }
            }

            /// The resource's name in URLs and in RBAC, lower case and plural.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural),* }
            }

            /// The API group, empty for the core group.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$kind => $group),* }
            }

            /// The versions it can be read in, the preferred one first.
            pub const fn versions(self) -> &'static [&'static str] {
                match self { $(Self::$kind => $versions),* }
            }
        }
    };
}

kinds! {
    ConfigMap "configmaps" in "", &["v1"];
    DaemonSet "daemonsets" in "apps", &["v1"];
    Deployment "deployments" in "apps", &["v1"];
    DestinationRule "destinationrules" in "networking.istio.io", NETWORKING_VERSIONS;
    EnvoyFilter "envoyfilters" in "networking.istio.io", &["v1alpha3"];
    Gateway "gateways" in "networking.istio.io", NETWORKING_VERSIONS;
    LaneGroup "lanegroups" in "lanekeeper.dev", &["v1alpha1"];
    Namespace "namespaces" in "", &["v1"];
    Pod "pods" in "", &["v1"];
    ReplicaSet "replicasets" in "apps", &["v1"];
    Service "services" in "", &["v1"];
    ServiceEntry "serviceentries" in "networking.istio.io", NETWORKING_VERSIONS;
    Sidecar "sidecars" in "networking.istio.io", NETWORKING_VERSIONS;
    StatefulSet "statefulsets" in "apps", &["v1"];
    Telemetry "telemetries" in "telemetry.istio.io", &["v1", "v1alpha1"];
    TrafficExtension "trafficextensions" in "extensions.istio.io", &["v1alpha1"];
    VirtualService "virtualservices" in "networking.istio.io", NETWORKING_VERSIONS;
    WasmPlugin "wasmplugins" in "extensions.istio.io", &["v1alpha1"];
    WorkloadEntry "workloadentries" in "networking.istio.io", NETWORKING_VERSIONS;
}

impl Kind {
    /// The kind that `api_version` (`group/version`, or `version` for the core group) and `kind` name, in
    /// whatever version; `None` for kinds that no rule reads.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.name() == kind && known.group() == group)
    }

    /// The kind of a resource by its group and plural name, as an admission review names it.
    pub fn of_resource(group: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.plural() == plural && known.group() == group)
    }

    /// Whether changes of this kind are judged at admission.
    pub const fn is_admitted(self) -> bool {
        !matches!(
            self,
            Self::ConfigMap
                | Self::EnvoyFilter
                | Self::Namespace
                | Self::Pod
                | Self::ReplicaSet
                | Self::Sidecar
                | Self::Telemetry
        )
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace)
    }

    /// Whether the kind is a workload: it makes pods from a template.
    pub const fn is_workload(self) -> bool {
        matches!(self, Self::DaemonSet | Self::Deployment | Self::StatefulSet)
    }

    /// The field with the labels by which objects of this kind carry.
    pub const fn carrier_labels_path(self) -> &'static str {
        match self {
            Self::DaemonSet | Self::Deployment | Self::StatefulSet | Self::ReplicaSet => {
                "spec.template.metadata.labels"
            }
            Self::WorkloadEntry => "spec.labels",
            _ => "metadata.labels",
        }
    }

    /// The `apiVersion` in the preferred version.
    pub fn api_version(self) -> String {
        let version = self.versions().first().copied().unwrap_or("v1");
        if self.group().is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group())
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Kind, namespace (empty for cluster-wide kinds) and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind, whatever its version.
    pub kind: Kind,
    /// The namespace; empty for a kind that has none.
    pub namespace: Symbol,
    /// The name.
    pub name: Symbol,
}

impl ObjectRef {
    /// The reference to `kind` `namespace/name`.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: Symbol::new(namespace),
            name: Symbol::new(name),
        }
    }
}

/// `VirtualService cars/portal`, or `Namespace cars`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_in_any_version_of_its_group_only() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let api_version = format!("networking.istio.io/{version}");
            assert_eq!(
                Kind::of(&api_version, "VirtualService"),
                Some(Kind::VirtualService)
            );
        }
        assert_eq!(Kind::of("v1", "Service"), Some(Kind::Service));
        assert_eq!(Kind::of("serving.knative.dev/v1", "Service"), None);
        assert_eq!(Kind::of("gateway.networking.k8s.io/v1", "Gateway"), None);
        assert_eq!(Kind::of_resource("apps", "deployments"), Some(Kind::Deployment));
    }

    #[test]
    fn the_kinds_are_in_the_order_of_their_names() {
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.name()));
    }
}
