//! Slim typed views of the objects that decide where a request goes.
//!
//! One file per resource, each with just the fields that some rule reads; everything else is skipped while
//! parsing. The same parser serves the admission review, the watch and the files, so what is admitted can
//! always be indexed.
//!
//! ```text
//!   JSON or YAML ──▶ Resource::parse(kind, …) ──▶ Resource::VirtualService(VirtualService { meta, hosts, … })
//! ```

mod config_map;
mod destination_rule;
mod gateway;
mod kind;
mod label;
mod lane_group;
mod mark;
mod meta;
mod pattern;
mod pod;
mod seldom;
mod service;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;
mod wasm_plugin;
mod workload;
mod workload_entry;

pub use config_map::{MeshConfig, MeshTracing, NamespaceSelector, Requirement, has_tracer};
pub use destination_rule::{ConnectionPool, DestinationRule, H2Upgrade, LoadBalancer, Subset, TrafficPolicy};
pub use gateway::{Gateway, Server};
pub use kind::{Kind, ObjectRef};
pub use label::Labels;
pub use lane_group::{
    Condition, ConditionStatus, LaneGroup, LaneGroupEntry, LaneGroupObject, LaneGroupRule, LaneGroupSpec,
    LaneGroupStatus, TraceFormat, WorkloadSelector, lane_group_rules,
};
pub use mark::Mark;
pub use meta::{Annotations, Created, INJECTED, Meta, Owner};
pub use pattern::{
    MOST_KEPT as MOST_PATTERNS_KEPT, MOST_WRITTEN as MOST_PATTERNS_WRITTEN, read as read_pattern,
};
pub use pod::Pod;
pub use seldom::{Seldom, Unwritten};
pub use service::{Ports, Service, ServicePort, TargetPort};
pub use service_entry::{Endpoint, EntryPort, ServiceEntry};
pub use sidecar::Sidecar;
pub use telemetry::{Telemetry, Tracing};
pub use virtual_service::{
    Abort, BothWays, Delegate, Destination, DestinationPath, DirectResponse, Fault, HeaderOperations,
    Headers, HttpMatch, HttpRoute, HttpRouteDestination, Mirror, MoreOfMatch, MoreOfRoute, Pairs, Percentage,
    Redirect, RegexRewrite, Rewrite, StringMatch, VirtualService,
};
pub use wasm_plugin::WasmPlugin;
pub use workload::{PodTemplate, Workload, scale_replicas};
pub use workload_entry::WorkloadEntry;

use serde::{Deserialize, Deserializer};

use crate::symbol::Symbol;

/// One object of the world, parsed. In boxes, because there are many small objects and few large ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A `DestinationRule`.
    DestinationRule(Box<DestinationRule>),
    /// A `Gateway` (of `networking.istio.io`).
    Gateway(Box<Gateway>),
    /// A `LaneGroup`.
    LaneGroup(Box<LaneGroup>),
    /// An object of which only its metadata counts: `Namespace`, `EnvoyFilter`.
    Mark(Box<Mark>),
    /// Istio's mesh configuration, from its `ConfigMap`.
    MeshConfig(Box<MeshConfig>),
    /// A `Pod`, or a `ReplicaSet` as the link between a pod and its Deployment.
    Pod(Box<Pod>),
    /// A `Service`.
    Service(Box<Service>),
    /// A `ServiceEntry`.
    ServiceEntry(Box<ServiceEntry>),
    /// A `Sidecar`.
    Sidecar(Box<Sidecar>),
    /// A `Telemetry`.
    Telemetry(Box<Telemetry>),
    /// A `VirtualService`.
    VirtualService(Box<VirtualService>),
    /// A `WasmPlugin` or a `TrafficExtension`.
    WasmPlugin(Box<WasmPlugin>),
    /// A `Deployment`, `StatefulSet` or `DaemonSet`.
    Workload(Box<Workload>),
    /// A `WorkloadEntry`.
    WorkloadEntry(Box<WorkloadEntry>),
}

impl Resource {
    /// Parses an object of `kind`. Whatever `kind` it claims inside is not looked at.
    pub fn parse<'de, D: Deserializer<'de>>(kind: Kind, object: D) -> Result<Self, D::Error> {
        Ok(match kind {
            Kind::DestinationRule => Self::DestinationRule(Box::deserialize(object)?),
            Kind::Gateway => Self::Gateway(Box::deserialize(object)?),
            Kind::LaneGroup => Self::LaneGroup(Box::deserialize(object)?),
            Kind::ConfigMap => Self::MeshConfig(Box::deserialize(object)?),
            Kind::EnvoyFilter | Kind::Namespace => Self::Mark(Box::new(Mark::parse(kind, object)?)),
            Kind::Pod | Kind::ReplicaSet => Self::Pod(Box::new(Pod::parse(kind, object)?)),
            Kind::Service => Self::Service(Box::deserialize(object)?),
            Kind::ServiceEntry => Self::ServiceEntry(Box::deserialize(object)?),
            Kind::Sidecar => Self::Sidecar(Box::deserialize(object)?),
            Kind::Telemetry => Self::Telemetry(Box::deserialize(object)?),
            Kind::VirtualService => Self::VirtualService(Box::deserialize(object)?),
            Kind::TrafficExtension | Kind::WasmPlugin => {
                Self::WasmPlugin(Box::new(WasmPlugin::parse(kind, object)?))
            }
            Kind::DaemonSet | Kind::Deployment | Kind::StatefulSet => {
                Self::Workload(Box::new(Workload::parse(kind, object)?))
            }
            Kind::WorkloadEntry => Self::WorkloadEntry(Box::deserialize(object)?),
        })
    }

    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::Gateway(_) => Kind::Gateway,
            Self::LaneGroup(_) => Kind::LaneGroup,
            Self::Mark(mark) => mark.kind,
            Self::MeshConfig(_) => Kind::ConfigMap,
            Self::Pod(pod) => pod.kind,
            Self::Service(_) => Kind::Service,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::Telemetry(_) => Kind::Telemetry,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::WasmPlugin(plugin) => plugin.kind,
            Self::Workload(workload) => workload.kind,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
        }
    }

    /// The object's metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::DestinationRule(object) => &object.meta,
            Self::Gateway(object) => &object.meta,
            Self::LaneGroup(object) => &object.meta,
            Self::Mark(object) => &object.meta,
            Self::MeshConfig(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::ServiceEntry(object) => &object.meta,
            Self::Sidecar(object) => &object.meta,
            Self::Telemetry(object) => &object.meta,
            Self::VirtualService(object) => &object.meta,
            Self::WasmPlugin(object) => &object.meta,
            Self::Workload(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
        }
    }

    /// The object's metadata, to fill in what its reader knows better (a namespace from the command line,
    /// a name that the API server is yet to generate).
    pub fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::DestinationRule(object) => &mut object.meta,
            Self::Gateway(object) => &mut object.meta,
            Self::LaneGroup(object) => &mut object.meta,
            Self::Mark(object) => &mut object.meta,
            Self::MeshConfig(object) => &mut object.meta,
            Self::Pod(object) => &mut object.meta,
            Self::Service(object) => &mut object.meta,
            Self::ServiceEntry(object) => &mut object.meta,
            Self::Sidecar(object) => &mut object.meta,
            Self::Telemetry(object) => &mut object.meta,
            Self::VirtualService(object) => &mut object.meta,
            Self::WasmPlugin(object) => &mut object.meta,
            Self::Workload(object) => &mut object.meta,
            Self::WorkloadEntry(object) => &mut object.meta,
        }
    }

    /// Kind, namespace and name.
    pub fn reference(&self) -> ObjectRef {
        self.meta().reference(self.kind())
    }

    /// Whether it is the object that `reference` names.
    pub fn is(&self, reference: &ObjectRef) -> bool {
        let meta = self.meta();
        meta.name == reference.name && meta.namespace == reference.namespace && self.kind() == reference.kind
    }

    /// The labels by which a selector chooses this object to carry traffic: a workload's pod template, a
    /// pod, a `WorkloadEntry`; `None` for every other kind, and for what carries nothing [s2, s7].
    pub fn carrier_labels(&self) -> Option<&Labels> {
        match self {
            Self::Pod(pod) if pod.kind == Kind::Pod && pod.carries() => Some(&pod.meta.labels),
            Self::Workload(workload) if workload.carries() => Some(&workload.template.labels),
            Self::WorkloadEntry(entry) if !entry.meta.deleting => Some(&entry.labels),
            _ => None,
        }
    }
}

/// The namespace that an object without one belongs to, as `kubectl` has it.
pub fn default_namespace() -> Symbol {
    Symbol::new("default")
}
