//! The routes by which requests enter a lane group at a gateway.

use std::rc::Rc;

use super::{
    Condition, Context, Groups, HeaderState, Lanes, Route, header_after, reached as destinations_of,
    roots_of, routes_at, rule_for,
};
use crate::lane::Entry;
use crate::resource::{StringMatch, VirtualService};
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// A gateway route that leads to services of a lane group.
#[derive(Debug, Clone)]
pub struct EntryRoute<'v, 'w> {
    /// The route.
    pub route: Route<'w>,
    /// The group.
    pub lanes: Rc<Lanes<'v, 'w>>,
    /// The group's entry, where it has one.
    pub entry: Option<Entry>,
    /// How the route tells the lane.
    pub by: EntryMatch<'w>,
    /// Whether sidecars use the route too.
    pub on_mesh: bool,
    /// Its destinations in the group.
    pub destinations: Vec<EntryDestination<'w>>,
}

/// How a route tells the lane of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryMatch<'w> {
    /// By the lane header itself in each of its matches: someone in front has set it.
    LaneHeader,
    /// By the entry header's value.
    Exact(Vec<&'w str>),
    /// By the entry header, otherwise than by a value alone.
    Pattern(Vec<&'w StringMatch>),
    /// By the entry header in some of its matches and by something else in others.
    Mixed,
    /// By something else, or not at all.
    Other,
}

/// A destination of an entry route.
#[derive(Debug, Clone)]
pub struct EntryDestination<'w> {
    /// Its place in `route`.
    pub index: usize,
    /// The full host.
    pub host: Symbol,
    /// The subset it names.
    pub subset: Option<&'w Symbol>,
    /// The lane it leads to; `None`: several, or none.
    pub lane: Option<Symbol>,
    /// Whether it names a subset that is not defined: its lane cannot be told.
    pub is_undefined: bool,
    /// What becomes of the lane header.
    pub header: HeaderState<'w>,
}

impl EntryRoute<'_, '_> {
    /// Whether a request that the route takes names its lane in the entry header.
    pub fn is_by_entry_header(&self) -> bool {
        matches!(
            self.by,
            EntryMatch::Exact(_) | EntryMatch::Pattern(_) | EntryMatch::Mixed
        )
    }
}

/// A group and its entry, where it has one.
type Group<'v, 'w> = (Rc<Lanes<'v, 'w>>, Option<Entry>);

/// The routes of `vs` that lead from a gateway to services of a lane group, whoever delegates to them; none where the
/// group's entry header is the lane header itself, or where the group enters by other gateways.
pub fn entry_routes<'v, 'w>(
    view: &View<'w>,
    groups: &Groups<'v, 'w>,
    vs: &'w VirtualService,
) -> Vec<EntryRoute<'v, 'w>> {
    let mut found: Vec<EntryRoute<'v, 'w>> = Vec::new();
    for root in roots_of(view, vs) {
        let on_mesh = routes_at(view, root, Context::MESH);
        for name in root.gateways.iter().filter(|name| **name != "mesh") {
            let gateway = qualified(name, &root.meta.namespace);
            let context = Context {
                gateway: Some(&gateway),
                ..Context::MESH
            };
            for route in routes_at(view, root, context) {
                let is_known = |entry: &EntryRoute<'_, '_>| entry.route.index == route.index;
                if !route.is_of(vs) || found.iter().any(is_known) {
                    continue;
                }
                let is_on_mesh = on_mesh
                    .iter()
                    .any(|other| other.is_of(vs) && other.index == route.index);
                found.extend(entry_route(view, groups, route, &gateway, is_on_mesh));
            }
        }
    }
    found
}

/// The route as one by which requests enter a lane group at `gateway`, if it leads to one.
fn entry_route<'v, 'w>(
    view: &View<'w>,
    groups: &Groups<'v, 'w>,
    route: Route<'w>,
    gateway: &Symbol,
    on_mesh: bool,
) -> Option<EntryRoute<'v, 'w>> {
    let mut group: Option<Group<'v, 'w>> = None;
    let mut destinations = Vec::new();
    for (index, to) in destinations_of(route.route) {
        let host = view.resolve(&to.destination.host, &route.vs.meta.namespace);
        let of_host = groups.of_host(&host).map(|lanes| (lanes.entry().cloned(), lanes));
        let Some((entry, lanes)) = of_host else { continue };
        let enters = entry.as_ref().is_none_or(|entry| {
            entry.header != lanes.group.header
                && (entry.gateways.is_empty() || entry.gateways.contains(gateway))
        });
        let same = group.as_ref().is_none_or(|(group, _)| {
            group.group.namespace == lanes.group.namespace && group.group.header == lanes.group.header
        });
        if !enters || !same {
            continue;
        }
        let subset = to.destination.subset.as_ref();
        let service_home = view.read_host(&host).namespace();
        let rule = subset.and_then(|_| rule_for(view, service_home.unwrap_or_default(), &host, service_home));
        let defined = subset
            .zip(rule.as_ref())
            .and_then(|(name, rule)| rule.subset(name));
        destinations.push(EntryDestination {
            index,
            subset,
            lane: defined.and_then(|defined| lanes.lane_of_subset(defined.subset)),
            is_undefined: subset.is_some() && defined.is_none(),
            header: header_after(&route, index, &lanes.group.header),
            host: host.clone(),
        });
        group = Some((lanes, entry));
    }
    let (lanes, entry) = group?;
    Some(EntryRoute {
        by: told_by(&route.conditions, &lanes.group.header, entry.as_ref()),
        route,
        on_mesh,
        lanes,
        entry,
        destinations,
    })
}

fn told_by<'w>(conditions: &[Condition<'w>], header: &str, entry: Option<&Entry>) -> EntryMatch<'w> {
    let (by_lane, others): (Vec<_>, Vec<_>) = conditions
        .iter()
        .copied()
        .partition(|condition| condition.header(header).is_some());
    if others.is_empty() && !by_lane.is_empty() {
        return EntryMatch::LaneHeader;
    }
    let Some(entry) = entry else {
        return EntryMatch::Other;
    };
    let values: Vec<_> = others
        .iter()
        .filter_map(|condition| condition.header(&entry.header))
        .collect();
    if values.is_empty() {
        EntryMatch::Other
    } else if values.len() < conditions.len() {
        EntryMatch::Mixed
    } else if values.iter().all(|value| value.exact().is_some()) {
        EntryMatch::Exact(values.iter().filter_map(|value| value.exact()).collect())
    } else {
        EntryMatch::Pattern(values)
    }
}
