//! Sets the lane header where requests enter a lane group: what the mutating webhook patches into gateway
//! routes, and what a file needs to say so itself.
//!
//! It never overwrites a value that someone wrote (LK403 judges that), and doing it twice changes nothing.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::lane::{Completeness, WithoutHeader};
use crate::resource::{HeaderOperations, StringMatch, VirtualService};
use crate::routing::{EntryMatch, EntryRoute, Groups, HeaderState, entry_routes, reached};
use crate::rule::template_header;
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// The annotation that switches rewriting off for an object, with the value `false`.
pub const REWRITE: &str = "lanekeeper.dev/rewrite";

/// One operation to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The route's place in `spec.http`.
    pub route: usize,
    /// The destination's place in the route, where the operation is for it alone.
    pub destination: Option<usize>,
    /// The header as it is written, or is to be.
    pub header: String,
    /// What is done.
    pub change: Change,
}

/// What an [`Edit`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `set` gets the header with this value.
    Set(String),
    /// `remove` gets the header.
    Remove,
}

impl Edit {
    /// The path of the headers' request operations, as Kubernetes writes fields.
    pub fn path(&self) -> String {
        match self.destination {
            None => format!("spec.http[{}].headers.request", self.route),
            Some(at) => format!("spec.http[{}].route[{at}].headers.request", self.route),
        }
    }
}

/// `spec.http[1].headers.request.set: {bu: wicph}`: the line to write down.
impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, header) = (self.path(), &self.header);
        match &self.change {
            Change::Set(value) if value.starts_with('%') => {
                write!(f, "{path}.set: {{{header}: \"{value}\"}}")
            }
            Change::Set(value) => write!(f, "{path}.set: {{{header}: {value}}}"),
            Change::Remove => write!(f, "{path}.remove: [{header}]"),
        }
    }
}

/// Why a `VirtualService` is left as it is, whatever its routes say.
pub fn is_left_alone(vs: &VirtualService) -> bool {
    // A list that Argo CD compares as a whole would stay OutOfSync for ever [s11].
    let by_argo = vs
        .meta
        .annotations
        .get("argocd.argoproj.io/tracking-id")
        .is_some()
        || vs.meta.labels.get("argocd.argoproj.io/instance").is_some();
    by_argo || vs.meta.annotations.get(REWRITE) == Some("false")
}

/// What the routes of `vs` need so that the lane header is set where requests enter a lane group.
pub fn edits<'w>(view: &View<'w>, before: Option<&View<'w>>, vs: &'w VirtualService) -> Vec<Edit> {
    let groups = Groups::new(view, before);
    let routes = entry_routes(view, &groups, vs);
    let mut edits = Vec::new();
    for (at, route) in routes.iter().enumerate() {
        edits.extend(templates(route));
        match &route.by {
            EntryMatch::LaneHeader => {}
            EntryMatch::Exact(values) => edits.extend(set_lanes(route, values)),
            EntryMatch::Mixed => edits.extend(set_lanes(route, &[])),
            EntryMatch::Pattern(patterns) => edits.extend(copy_entry(route, patterns)),
            EntryMatch::Other if trusts_callers(view, vs, &route.lanes.group.header) => {}
            EntryMatch::Other => edits.extend(set_default(route, routes.get(..at).unwrap_or_default())),
        }
    }
    edits
}

/// Whether some route on the gateways of `vs` matches the lane header itself: someone in front, or a caller in the
/// mesh, sends it there [s31].
fn trusts_callers(view: &View<'_>, vs: &VirtualService, header: &str) -> bool {
    let home = &vs.meta.namespace;
    let gateways = vs.gateways.iter().filter(|name| **name != "mesh");
    let mut neighbours = gateways.flat_map(|name| view.virtual_services_at(&qualified(name, home)));
    neighbours.any(|vs| {
        let mut conditions = vs.http.iter().flat_map(|route| &route.matches);
        conditions.any(|condition| condition.header(header).is_some())
    })
}

/// Templates of another program in the lane header's value become Envoy's.
fn templates(route: &EntryRoute<'_, '_>) -> Vec<Edit> {
    let header = &route.lanes.group.header;
    let of_route = route
        .route
        .route
        .headers
        .iter()
        .map(|headers| (None, &headers.request));
    let of_destinations = route.route.route.route.iter().enumerate();
    let of_destinations = of_destinations
        .filter_map(|(at, to)| to.headers.as_ref().map(|headers| (Some(at), &headers.request)));
    let mut edits = Vec::new();
    for (destination, operations) in of_route.chain(of_destinations) {
        for (name, value) in operations
            .set
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(header))
        {
            let Some(source) = template_header(value) else {
                continue;
            };
            let edit = |header: &str, change| Edit {
                route: route.route.index,
                destination,
                header: header.to_owned(),
                change,
            };
            edits.push(edit(name, Change::Set(format!("%REQ({source})%"))));
            // Unless the route asks for the header's value, a caller without it would keep its own lane header.
            if !matches!(route.by, EntryMatch::Exact(_)) && !operations.removes(header) {
                edits.push(edit(header, Change::Remove));
            }
        }
    }
    edits
}

/// A route by the entry header's value: each destination's lane is set. In a Fallback group, where the default lane
/// stands in for what a service lacks, that is the lane which the value names.
fn set_lanes(route: &EntryRoute<'_, '_>, values: &[&str]) -> Vec<Edit> {
    let group = &route.lanes.group;
    let named = match values {
        [value] if group.completeness == Some(Completeness::Fallback) && route.lanes.contains(value) => {
            Some(*value)
        }
        _ => None,
    };
    let lanes = route.destinations.iter().map(|to| {
        let stands_in = to.lane.is_some() && to.lane == group.default_lane;
        let named = named.filter(|named| stands_in && !route.lanes.serves(&to.host, named));
        let lane = named.map(Symbol::new).or_else(|| to.lane.clone());
        lane.filter(|_| matches!(to.header, HeaderState::AsSent | HeaderState::Removed))
    });
    let lanes: Vec<Option<Symbol>> = lanes.collect();
    let edit = |destination, lane: &Symbol| Edit {
        route: route.route.index,
        destination,
        header: group.header.to_string(),
        change: Change::Set(lane.to_string()),
    };
    match lanes.split_first() {
        Some((Some(lane), others))
            if others.iter().all(|other| other.as_ref() == Some(lane)) && covers_route(route) =>
        {
            vec![edit(None, lane)]
        }
        // With several destinations the route's removal would come after what they set [s29].
        _ if route.route.route.route.len() > 1 && removes_on_route(route) => Vec::new(),
        _ => {
            let set = route.destinations.iter().zip(&lanes);
            set.filter_map(|(to, lane)| lane.as_ref().map(|lane| edit(Some(to.index), lane)))
                .collect()
        }
    }
}

/// Whether the route's own operations remove the lane header.
fn removes_on_route(route: &EntryRoute<'_, '_>) -> bool {
    let headers = route.route.headers();
    headers.is_some_and(|headers| headers.request.removes(&route.lanes.group.header))
}

/// Whether an operation on the route itself says the same for each of its destinations: they are all in the
/// group, and none of them names the lane header itself [s30].
fn covers_route(route: &EntryRoute<'_, '_>) -> bool {
    let names = |operations: &HeaderOperations| operations.name(&route.lanes.group.header);
    route.destinations.len() == reached(route.route.route).count()
        && !route
            .route
            .route
            .route
            .iter()
            .filter_map(|to| to.headers.as_ref())
            .any(|headers| names(&headers.request))
}

/// A lane route by a pattern on the entry header: the header's value is copied if the lane fits the pattern, and
/// a lane header of the caller's own goes; else the destination's lane is set.
fn copy_entry(route: &EntryRoute<'_, '_>, patterns: &[&StringMatch]) -> Vec<Edit> {
    let group = &route.lanes.group;
    let Some(entry) = &route.entry else {
        return Vec::new();
    };
    let fits = |lane: &Symbol| patterns.iter().any(|pattern| pattern.matches(lane));
    let leads_to_lanes = route.destinations.iter().all(|to| {
        matches!(to.header, HeaderState::AsSent | HeaderState::Removed) && to.lane.as_ref().is_some_and(fits)
    });
    if !leads_to_lanes || !covers_route(route) {
        return set_lanes(route, &[]);
    }
    let edit = |change| Edit {
        route: route.route.index,
        destination: None,
        header: group.header.to_string(),
        change,
    };
    let set = edit(Change::Set(format!("%REQ({})%", entry.header)));
    let remove = (!removes_on_route(route)).then(|| edit(Change::Remove));
    [set].into_iter().chain(remove).collect()
}

/// A route for requests that name no lane: the default lane is set, if the group promises it, and if the route
/// follows a lane route and leads to the default lane only [s31].
fn set_default(route: &EntryRoute<'_, '_>, earlier: &[EntryRoute<'_, '_>]) -> Vec<Edit> {
    let group = &route.lanes.group;
    let Some(default) = &group.default_lane else {
        return Vec::new();
    };
    let follows_a_lane = earlier.iter().any(|earlier| {
        earlier.is_by_entry_header() && earlier.destinations.iter().any(|to| to.lane.is_some())
    });
    let leads_there = route
        .destinations
        .iter()
        .all(|to| to.lane.as_ref() == Some(default) && to.header == HeaderState::AsSent);
    let promised = group.without_header == WithoutHeader::DefaultLane;
    if !promised || !follows_a_lane || !leads_there || route.on_mesh || !covers_route(route) {
        return Vec::new();
    }
    vec![Edit {
        route: route.route.index,
        destination: None,
        header: group.header.to_string(),
        change: Change::Set(default.to_string()),
    }]
}

/// The object with the edits made; `None` where it is not shaped like a `VirtualService`.
pub fn apply(object: &Value, edits: &[Edit]) -> Option<Value> {
    let mut object = object.clone();
    for edit in edits {
        let mut place = object.get_mut("spec")?.get_mut("http")?.get_mut(edit.route)?;
        if let Some(destination) = edit.destination {
            place = place.get_mut("route")?.get_mut(destination)?;
        }
        let request = child(child(place, "headers")?, "request")?;
        match &edit.change {
            Change::Set(value) => {
                child(request, "set")?
                    .as_object_mut()?
                    .insert(edit.header.clone(), json!(value));
            }
            Change::Remove => {
                let request = request.as_object_mut()?;
                let removed = request.entry("remove").or_insert_with(|| json!([]));
                if removed.is_null() {
                    *removed = json!([]);
                }
                removed.as_array_mut()?.push(json!(edit.header));
            }
        }
    }
    Some(object)
}

/// The object below `key`, made if it is not there.
fn child<'v>(parent: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    let child = parent
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    Some(child)
}
