//! Makes what a lane group needs in Istio from the group, its services and its workloads.
//!
//! ```text
//!   LaneGroup ─┬─ members: services with an HTTP port and workloads in lanes
//!              │     ├─▶ a DestinationRule each: a subset for each lane that something carries
//!              │     └─▶ a VirtualService each: a route for each lane, then one for requests without the lane header
//!              ├─ gateway routes to members ─▶ the same by the entry header, and what sets the lane header (`rewrite`)
//!              └─▶ the WasmPlugin
//! ```
//!
//! Where an object for the same thing is there already, what is made stands in for it: it has its name, and keeps what
//! the lanes say nothing of. So making it twice changes nothing.

mod destination_rule;
mod gateway_routes;
mod label;
mod member;
mod object;
mod plugin;
mod routes;
mod virtual_service;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use self::member::Member;
use crate::lane::{Completeness, WithoutHeader};
use crate::resource::{LaneGroup, ObjectRef, Resource, VirtualService};
use crate::rewrite::{apply, edits};
use crate::routing::{Groups, Lanes};
use crate::symbol::Symbol;
use crate::world::{View, World};

pub use self::object::{ORDER, comparable};
pub use self::plugin::PLUGIN_URL;

/// An object as it is there now, whole, if it is.
pub type Written<'a> = dyn Fn(&ObjectRef) -> Option<Value> + 'a;

/// What the group itself does not tell.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the sidecars get the lane filter; `None`: where the plugin that is there has it, else [`PLUGIN_URL`].
    pub plugin_url: Option<String>,
    /// Where requests enter the group, if no route at its gateways leads to a member yet.
    pub entry: Option<EntryPoint>,
}

/// A service that a gateway is to lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// The service's name.
    pub service: String,
    /// Its port; `None`: its first for plain HTTP.
    pub port: Option<u32>,
    /// The hosts that the gateway takes for it.
    pub hosts: Vec<String>,
}

/// What was made.
#[derive(Debug, Clone, Default)]
pub struct Generated {
    /// The objects, by kind, namespace and name.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// What is worth telling.
    pub notes: Vec<Note>,
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub text: String,
    /// Whether the group promises what could not be made.
    pub is_lacking: bool,
}

/// Why nothing can be made for a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// No service is for workloads of the group.
    #[error(
        "{0}: no service of its namespace has an HTTP port and selects workloads with the labels in spec.workloads"
    )]
    NoService(String),
    /// No label tells the lane of a workload.
    #[error(
        "{0}: no label of the workloads behind its services has a lane's name as its value; label the pods with their lane, or write spec.laneLabel"
    )]
    NoLabel(String),
    /// Several labels do.
    #[error("{group}: each of the labels {} has lanes as its values; write spec.laneLabel to say which one tells the lane", .keys.join(", "))]
    SeveralLabels {
        /// The group.
        group: String,
        /// The labels' keys, in quotes.
        keys: Vec<String>,
    },
    /// The service of [`Options::entry`] is none of the group's.
    #[error("{group}: {service} is no service of it with workloads in its lanes; they are {}", .members.join(", "))]
    NoMember {
        /// The group.
        group: String,
        /// The service's name.
        service: String,
        /// The services that are.
        members: Vec<String>,
    },
    /// The port of [`Options::entry`] is none of the service's.
    #[error("service {service} has no HTTP port {port}")]
    NoPort {
        /// The service's name.
        service: String,
        /// The port.
        port: u32,
    },
    /// A service enters where the group has no entry, or no gateway.
    #[error("{0}: to lead requests in, spec.entry has to name a header and a gateway")]
    NoEntry(String),
}

impl Generated {
    fn note(&mut self, text: impl Into<String>) {
        self.tell(text.into(), false);
    }

    fn tell(&mut self, text: String, is_lacking: bool) {
        let note = Note { text, is_lacking };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Makes the objects of each of `groups`.
pub fn generate(
    world: &World,
    written: &Written<'_>,
    groups: &[&LaneGroup],
    options: &Options,
) -> Result<Generated, GenerateError> {
    let view = View::new(world);
    let known = Groups::new(&view, None);
    let mut made = Generated::default();
    for group in groups {
        let spec = group.group();
        let mut of_namespace = known.of_namespace(&spec.namespace).into_iter();
        // Each group of the world is one of its namespace.
        let Some(lanes) = of_namespace.find(|lanes| lanes.group == spec) else {
            continue;
        };
        let maker = Maker::new(&view, written, &known, lanes, &mut made)?;
        for member in &maker.members {
            maker.destination_rule(member, &mut made);
            maker.virtual_service(member, &mut made);
        }
        maker.tell_of_delegates(&mut made);
        maker.gateway_routes(options.entry.as_ref(), &mut made)?;
        maker.plugin(group, options.plugin_url.as_deref(), &mut made);
    }
    set_lane_header(world, &mut made);
    Ok(made)
}

/// What the objects of one group are made from.
struct Maker<'m, 'v, 'w> {
    view: &'v View<'w>,
    written: &'m Written<'m>,
    lanes: Rc<Lanes<'v, 'w>>,
    /// The lanes, each once, in the order in which they are written.
    all: Vec<Symbol>,
    default: Symbol,
    members: Vec<Member<'w>>,
}

impl<'m, 'v, 'w> Maker<'m, 'v, 'w> {
    fn new(
        view: &'v View<'w>,
        written: &'m Written<'m>,
        groups: &Groups<'v, 'w>,
        lanes: Rc<Lanes<'v, 'w>>,
        made: &mut Generated,
    ) -> Result<Self, GenerateError> {
        let mut all: Vec<Symbol> = Vec::new();
        for lane in lanes.all() {
            if !all.contains(lane) {
                all.push(lane.clone());
            }
        }
        let mut maker = Self {
            view,
            written,
            default: lanes.group.default_lane.clone().unwrap_or_default(),
            lanes,
            all,
            members: Vec::new(),
        };
        maker.members = maker.find_members(groups, made)?;
        Ok(maker)
    }

    fn title(&self) -> String {
        self.lanes.group.title()
    }

    fn namespace(&self) -> &Symbol {
        &self.lanes.group.namespace
    }

    fn is_fallback(&self) -> bool {
        self.lanes.group.completeness == Some(Completeness::Fallback)
    }

    /// Whether requests that name no lane go to the default one.
    fn has_default_route(&self) -> bool {
        self.lanes.group.without_header == WithoutHeader::DefaultLane
    }

    /// The subset of `member` that requests of `lane` go to.
    fn subset_for<'s>(&self, member: &'s Member<'_>, lane: &Symbol) -> Option<&'s str> {
        let instead = || member.subset(&self.default).filter(|_| self.is_fallback());
        member.subset(lane).or_else(instead)
    }

    /// The object as it was made, or else as it is there now.
    fn known(&self, reference: &ObjectRef, made: &Generated) -> Option<Value> {
        made.objects
            .get(reference)
            .cloned()
            .or_else(|| (self.written)(reference))
    }
}

/// Sets the lane header on the gateway routes that were made, as the webhook would.
fn set_lane_header(world: &World, made: &mut Generated) {
    let parsed = made
        .objects
        .iter()
        .filter_map(|(reference, object)| Resource::parse(reference.kind, object).ok());
    let all = world.objects().cloned().chain(parsed);
    let after = World::of(world.settings().clone(), all);
    let view = View::new(&after);
    for (reference, object) in &mut made.objects {
        let Some(Resource::VirtualService(vs)) = after.get(reference) else {
            continue;
        };
        if is_at_gateway(vs)
            && let Some(with_header) = apply(object, &edits(&view, None, vs))
        {
            *object = with_header;
        }
    }
}

fn is_at_gateway(vs: &VirtualService) -> bool {
    vs.bound_gateways().next().is_some()
}
