//! Sets the lane header where requests enter a lane group: what the mutating webhook patches into gateway
//! routes, and what a file needs to say so itself.
//!
//! It never overwrites a value that someone wrote (LK403 judges that), and doing it twice changes nothing.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use lanekeeper_filter_core::lane::is_lane;
use serde_json::{Map, Value, json};

use crate::lane::{Completeness, WithoutHeader};
use crate::resource::{StringMatch, VirtualService};
use crate::routing::{
    Block, EntryMatch, EntryRoute, Groups, HeaderOutcome, HeaderState, Lanes, Route, Trust, entry_route,
    entry_routes, header_after, reached, virtual_hosts,
};
use crate::symbol::Symbol;
use crate::world::View;

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

    /// An operation on the lane header of a route, or of one of its destinations.
    fn of(route: &EntryRoute<'_, '_>, destination: Option<usize>, change: Change) -> Self {
        Self {
            route: route.route.index,
            destination,
            header: route.lanes.group.header.to_string(),
            change,
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

/// Whether a `VirtualService` is left as it is in a cluster, whatever its routes say.
pub fn is_left_alone(vs: &VirtualService) -> bool {
    // Argo CD compares a list as a whole: a patched one would stay OutOfSync for ever [s11]. Its older mark, the label
    // `app.kubernetes.io/instance`, is on what Helm installs too, and tells nothing.
    let by_argo = vs
        .meta
        .annotations
        .get("argocd.argoproj.io/tracking-id")
        .is_some()
        || vs.meta.labels.get("argocd.argoproj.io/instance").is_some();
    by_argo || is_opted_out(vs)
}

/// Whether whoever wrote the `VirtualService` does not want it rewritten.
pub fn is_opted_out(vs: &VirtualService) -> bool {
    vs.meta.annotations.get(REWRITE) == Some("false")
}

/// What the routes of `vs` need so that the lane header is set where requests enter a lane group. Where those that
/// delegate to `vs` ask for different things, nothing.
pub fn edits<'w>(view: &View<'w>, before: Option<&View<'w>>, vs: &'w VirtualService) -> Vec<Edit> {
    let groups = Groups::new(view, before);
    let routes = entry_routes(view, &groups, vs);
    let defaults = Defaults {
        trust: Trust::new(view),
        lists: OnceCell::new(),
    };
    let mut edits = Vec::new();
    for index in 0..vs.http.len() {
        let own = routes
            .iter()
            .filter(|route| route.route.is_of(vs) && route.route.index == index);
        let mut needs = own.map(|route| {
            let mut edits: Vec<Edit> = templates_of(route).collect();
            edits.extend(match &route.by {
                EntryMatch::LaneHeader => Vec::new(),
                EntryMatch::Exact(_) | EntryMatch::Pattern(_) | EntryMatch::Mixed => lane_edits(route),
                EntryMatch::Other => set_default(view, &groups, route, &defaults),
            });
            edits
        });
        let first = needs.next().unwrap_or_default();
        if needs.all(|other| other == first) {
            edits.extend(first);
        }
        let inheriting = routes.iter().filter(|route| {
            let root = route.route.root.filter(|_| !route.route.is_of(vs));
            root.is_some_and(|root| root.index == index)
        });
        for edit in inheriting.flat_map(|route| templates(route, Block::Route, index)) {
            if !edits.contains(&edit) {
                edits.push(edit);
            }
        }
    }
    edits
}

/// The header that the template `{{ request.headers['name'] }}` of another program means to copy.
pub(crate) fn template_header(value: &str) -> Option<&str> {
    let inside = value.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let rest = inside.strip_prefix("request.headers")?.trim();
    let quoted = rest.strip_prefix('[')?.strip_suffix(']')?.trim();
    let name = ['\'', '"']
        .into_iter()
        .find_map(|quote| quoted.strip_prefix(quote)?.strip_suffix(quote))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$&*+.^_|~-".contains(c);
    (!name.is_empty() && name.chars().all(is_token)).then_some(name)
}

/// The templates in the route's own blocks.
fn templates_of(route: &EntryRoute<'_, '_>) -> impl Iterator<Item = Edit> {
    let of_route = (!route.route.inherits_headers()).then_some(Block::Route);
    let of_destinations = (0..route.route.route.route.len()).map(Block::Destination);
    let blocks = of_route.into_iter().chain(of_destinations);
    blocks.flat_map(|block| templates(route, block, route.route.index))
}

/// Templates of another program in the lane header's value become Envoy's. The block is that of the route at `index`.
fn templates(route: &EntryRoute<'_, '_>, block: Block, index: usize) -> Vec<Edit> {
    let header = &route.lanes.group.header;
    let mut edits = Vec::new();
    let Some(operations) = route.route.operations(block) else {
        return edits;
    };
    let of_header = operations
        .set
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(header));
    for (name, value) in of_header {
        let Some(source) = template_header(value) else {
            continue;
        };
        let edit = |header: &str, change| Edit {
            route: index,
            destination: match block {
                Block::Route => None,
                Block::Destination(at) => Some(at),
            },
            header: header.to_owned(),
            change,
        };
        edits.push(edit(name, Change::Set(format!("%REQ({source})%"))));
        // Unless the route asks for the header's value, a caller without it would keep its own lane header.
        if !matches!(route.by, EntryMatch::Exact(_)) && !operations.removes(header) {
            edits.push(edit(header, Change::Remove));
        }
    }
    edits
}

/// What sets the lane header on a route that leads to lanes: each destination's lane, or, where the route takes the
/// entry header by a pattern, its value.
pub(crate) fn lane_edits(route: &EntryRoute<'_, '_>) -> Vec<Edit> {
    match &route.by {
        EntryMatch::Exact(values) => set_lanes(route, values),
        EntryMatch::Pattern(patterns) => copy_entry(route, patterns),
        EntryMatch::LaneHeader | EntryMatch::Mixed | EntryMatch::Other => set_lanes(route, &[]),
    }
}

/// Each destination's lane is set. In a Fallback group, where the default lane stands in for what a service lacks,
/// that is the lane which the entry header's value names.
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
        lane.filter(|_| to.header.is_untouched())
    });
    let lanes: Vec<Option<Symbol>> = lanes.collect();
    set(route, &lanes)
}

/// Whether a header can have the lane as its value, as it is: a `%` would be a command to Envoy.
fn is_plain(lane: &Symbol) -> bool {
    is_lane(lane.as_bytes(), usize::MAX) && !lane.contains('%')
}

/// Sets the lane header to these lanes, one a destination, where they can be written: once on the route if that says the same for each of them.
fn set(route: &EntryRoute<'_, '_>, lanes: &[Option<Symbol>]) -> Vec<Edit> {
    let edit = |destination, lane: &Symbol| Edit::of(route, destination, Change::Set(lane.to_string()));
    let lanes = lanes.iter().map(|lane| lane.clone().filter(is_plain));
    let lanes: Vec<Option<Symbol>> = lanes.collect();
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

/// Whether the route's operations, or those that it has from the delegating route, remove the lane header.
fn removes_on_route(route: &EntryRoute<'_, '_>) -> bool {
    let operations = route.route.operations(Block::Route);
    operations.is_some_and(|operations| operations.removes(&route.lanes.group.header))
}

/// Whether an operation on the route itself says the same for each of its destinations: they are all in the
/// group, and none of them names the lane header itself [s30]. A block of its own would replace the one that it has
/// from a delegating route [s26].
pub(crate) fn covers_route(route: &EntryRoute<'_, '_>) -> bool {
    let header = &route.lanes.group.header;
    let mut blocks = (0..route.route.route.route.len()).map(Block::Destination);
    let is_named = blocks.any(|block| {
        let operations = route.route.operations(block);
        operations.is_some_and(|operations| operations.name(header))
    });
    has_all_in_group(route) && !is_named && !route.route.inherits_headers()
}

/// Whether all destinations that requests reach are in the group.
fn has_all_in_group(route: &EntryRoute<'_, '_>) -> bool {
    route.destinations.len() == reached(route.route.route).count()
}

/// A lane route by a pattern on the entry header: the header's value is copied if the lane fits the pattern and
/// nothing is done to it on the way, and a lane header of the caller's own goes; else the destination's lane is set.
fn copy_entry(route: &EntryRoute<'_, '_>, patterns: &[&StringMatch]) -> Vec<Edit> {
    let Some(entry) = &route.entry else {
        return Vec::new();
    };
    // Where that is not sure the lane is set, which is right in any case.
    let fits = |lane: &Symbol| patterns.iter().any(|pattern| pattern.matches(lane) == Some(true));
    let is_there = |at| header_after(&route.route, at, &entry.header).state == HeaderState::AsSent;
    let leads_to_lanes = route
        .destinations
        .iter()
        .all(|to| to.header.is_untouched() && to.lane.as_ref().is_some_and(fits) && is_there(to.index));
    if !leads_to_lanes || !covers_route(route) {
        return set_lanes(route, &[]);
    }
    let set = Edit::of(route, None, Change::Set(format!("%REQ({})%", entry.header)));
    let remove = (!removes_on_route(route)).then(|| Edit::of(route, None, Change::Remove));
    [set].into_iter().chain(remove).collect()
}

/// Where the default lane may be set, worked out once for all routes of an object.
struct Defaults<'v, 'w> {
    trust: Trust<'v, 'w>,
    /// The lists at gateways in which its routes are tried; none where there are more than are known.
    lists: OnceCell<Vec<Tried<'v, 'w>>>,
}

/// A list of routes at a gateway.
struct Tried<'v, 'w> {
    routes: Vec<Route<'w>>,
    /// The places of those that lead to a lane by the entry header, and the groups.
    to_lanes: Vec<(usize, Rc<Lanes<'v, 'w>>)>,
}

impl<'v, 'w> Defaults<'v, 'w> {
    fn lists(&self, view: &View<'w>, groups: &Groups<'v, 'w>, vs: &'w VirtualService) -> &[Tried<'v, 'w>] {
        self.lists.get_or_init(|| {
            let hosts = virtual_hosts(view, vs);
            let lists = if hosts.has_more { Vec::new() } else { hosts.lists };
            let at_gateways = lists.into_iter().filter_map(|host| {
                let gateway = host.gateway?;
                let to_lane = |(at, route): (usize, &Route<'w>)| {
                    let route = entry_route(view, groups, route.clone(), &gateway, false)?;
                    let leads = route.destinations.iter().any(|to| to.lane.is_some());
                    (leads && route.is_by_entry_header()).then_some((at, route.lanes))
                };
                let to_lanes = host.routes.iter().enumerate().filter_map(to_lane).collect();
                Some(Tried {
                    routes: host.routes,
                    to_lanes,
                })
            });
            at_gateways.collect()
        })
    }

    /// Whether the route follows a lane route of its group in each list in which it is, and there is one.
    fn follows_a_lane(route: &EntryRoute<'_, 'w>, lists: &[Tried<'v, 'w>]) -> bool {
        let group = &route.lanes.group;
        let mut follows = lists.iter().filter_map(|list| {
            let own = list.routes.iter().position(|other| other.is_same(&route.route))?;
            let mut earlier = list.to_lanes.iter().take_while(|(at, _)| *at < own);
            Some(earlier.any(|(_, lanes)| {
                lanes.group.namespace == group.namespace && lanes.group.header == group.header
            }))
        });
        follows.next() == Some(true) && follows.all(|follows| follows)
    }
}

/// A route for requests that name no lane: the default lane is set, if the group promises it, if the route leads to
/// the default lane only and follows a lane route wherever it is, and if nobody is trusted to send the lane header
/// [s31].
fn set_default<'v, 'w>(
    view: &View<'w>,
    groups: &Groups<'v, 'w>,
    route: &EntryRoute<'v, 'w>,
    defaults: &Defaults<'v, 'w>,
) -> Vec<Edit> {
    let group = &route.lanes.group;
    let is_as_sent =
        |outcome: &HeaderOutcome<'_>| outcome.is_untouched() && outcome.state == HeaderState::AsSent;
    let leads_there = route
        .destinations
        .iter()
        .all(|to| to.lane.is_some() && to.lane == group.default_lane && is_as_sent(&to.header));
    let promised = group.without_header == WithoutHeader::DefaultLane;
    if !promised || !leads_there || route.on_mesh || !has_all_in_group(route) {
        return Vec::new();
    }
    let lists = defaults.lists(view, groups, route.route.vs);
    if !Defaults::follows_a_lane(route, lists) || defaults.trust.is_for(route) {
        return Vec::new();
    }
    let lanes = vec![group.default_lane.clone(); route.destinations.len()];
    set(route, &lanes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_template_is_read_whatever_its_quotes_and_spaces() {
        for template in [
            "{{ request.headers['buid'] }}",
            "{{request.headers[\"buid\"]}}",
            " {{ request.headers[ 'buid' ] }} ",
        ] {
            assert_eq!(template_header(template), Some("buid"), "{template}");
        }
        for other in [
            "{{ buid }}",
            "%REQ(buid)%",
            "{{ request.headers['bu id'] }}",
            "{{ request.headers[''] }}",
            "x{{ request.headers['buid'] }}",
        ] {
            assert_eq!(template_header(other), None, "{other}");
        }
    }
}
