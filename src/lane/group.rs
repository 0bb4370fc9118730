//! What a lane group says: which header carries the lane, which lanes there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::symbol::Symbol;

/// A set of services that share lanes, a lane header and a default lane, in one namespace.
///
/// Built from a `LaneGroup` object (everything is written down) or from a lane `WasmPlugin` (an implicit
/// group: its lanes are the names that the routes and the workloads confirm).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneGroup {
    /// The namespace whose services it joins.
    pub namespace: Symbol,
    /// The object that defines it, for messages: `LaneGroup cars` or `WasmPlugin cars-traffic-lane`.
    pub source: String,
    /// The lane header inside the mesh, lower case.
    pub header: Symbol,
    /// How callers outside name their lane; `None` where nothing is known of it.
    pub entry: Option<Entry>,
    /// The lanes that are written down; `None` in an implicit group, whose lanes the world confirms.
    pub lanes: Option<Vec<Symbol>>,
    /// Where a request without the lane header goes.
    pub default_lane: Option<Symbol>,
    /// What becomes of a request without the lane header.
    pub without_header: WithoutHeader,
    /// What a service without a version for some lane means; `None` in an implicit group: it promises
    /// nothing.
    pub completeness: Option<Completeness>,
    /// The label whose value is the lane; `None`: told by the subsets' labels.
    pub lane_label: Option<Symbol>,
    /// The labels that its workloads share, sorted by key; empty: every workload of the namespace.
    pub workloads: Vec<(Symbol, Symbol)>,
    /// What applications call for a request, one after the other, as it is written: `cart:8080`; empty: nothing is known.
    pub chain: Vec<String>,
}

impl LaneGroup {
    /// Whether the group is inferred from a plugin, not written down.
    pub fn is_implicit(&self) -> bool {
        self.completeness.is_none()
    }

    /// What messages call it: `LaneGroup shop/cars`, or the plugin that implies it.
    pub fn title(&self) -> String {
        if self.is_implicit() {
            self.source.clone()
        } else {
            format!("LaneGroup {}/{}", self.namespace, self.source)
        }
    }

    /// Whether every service of the group is to have every lane.
    pub fn is_strict(&self) -> bool {
        self.completeness == Some(Completeness::Strict)
    }
}

/// How callers outside the mesh name their lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry header, lower case.
    pub header: Symbol,
    /// The gateways it counts at, as `namespace/name`; empty: every gateway.
    pub gateways: Vec<Symbol>,
}

impl Entry {
    /// Whether it counts at the gateway `namespace/name`.
    pub fn is_at(&self, gateway: &Symbol) -> bool {
        self.gateways.is_empty() || self.gateways.contains(gateway)
    }
}

/// What becomes of a request that names no lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WithoutHeader {
    /// It goes to the default lane.
    #[default]
    DefaultLane,
    /// It is refused (no route matches: 404).
    Reject,
}

/// What it means that a service has no version for some lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Completeness {
    /// Every service has every lane; a missing one is a fault.
    #[default]
    Strict,
    /// A missing one is served by the default lane.
    Fallback,
}
