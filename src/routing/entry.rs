//! The routes by which requests enter a lane group at a gateway.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;

use super::{
    Condition, Context, Groups, HeaderOutcome, Lanes, Route, gateway_names, header_after, is_presence,
    reached as destinations_of, roots_of, routes_at, rule_for,
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
    pub header: HeaderOutcome<'w>,
}

impl EntryRoute<'_, '_> {
    /// Whether a request that the route takes names its lane in the entry header.
    pub fn is_by_entry_header(&self) -> bool {
        matches!(
            self.by,
            EntryMatch::Exact(_) | EntryMatch::Pattern(_) | EntryMatch::Mixed
        )
    }

    /// Whether every request that the route takes has a value in the header `name`: each of its matches asks for one,
    /// or leaves those that have none to other routes [s24, s29].
    pub fn requires(&self, name: &str) -> bool {
        let conditions = &self.route.conditions;
        !conditions.is_empty() && conditions.iter().all(|condition| requires(*condition, name))
    }
}

/// A group and its entry, where it has one.
type Group<'v, 'w> = (Rc<Lanes<'v, 'w>>, Option<Entry>);

/// The routes that lead from a gateway to services of a lane group and that `vs` has, each under every route that
/// delegates to it, or that have their block of headers from `vs` [s26]; none where the group's entry header is the
/// lane header itself, or where the group enters by other gateways.
pub fn entry_routes<'v, 'w>(
    view: &View<'w>,
    groups: &Groups<'v, 'w>,
    vs: &'w VirtualService,
) -> Vec<EntryRoute<'v, 'w>> {
    let mut found: Vec<EntryRoute<'v, 'w>> = Vec::new();
    for root in roots_of(view, vs) {
        let gateways = gateways_of(root);
        if gateways.is_empty() {
            continue;
        }
        let on_mesh = routes_at(view, root, Context::MESH);
        for gateway in gateways {
            let context = Context {
                gateway: Some(&gateway),
                ..Context::MESH
            };
            for route in routes_at(view, root, context) {
                let is_known = found.iter().any(|entry| entry.route.is_same(&route));
                if is_known || !route.concerns(vs) {
                    continue;
                }
                let is_on_mesh = on_mesh.iter().any(|other| other.is_same(&route));
                found.extend(entry_route(view, groups, route, &gateway, is_on_mesh));
            }
        }
    }
    found
}

/// The gateways that `vs` is bound to, as `namespace/name`.
fn gateways_of(vs: &VirtualService) -> Vec<Symbol> {
    let gateways = vs.bound_gateways();
    gateways.map(|name| qualified(name, &vs.meta.namespace)).collect()
}

/// Where the lane header itself is trusted, each worked out once.
#[derive(Debug)]
pub struct Trust<'v, 'w> {
    view: &'v View<'w>,
    known: RefCell<HashMap<(Symbol, Symbol), bool>>,
}

impl<'v, 'w> Trust<'v, 'w> {
    /// Trust in `view`.
    pub fn new(view: &'v View<'w>) -> Self {
        Self {
            view,
            known: RefCell::default(),
        }
    }

    /// Whether some route at the gateways by which requests come to `route` matches the lane header itself: a trusted
    /// gateway in front, or a caller in the mesh, sends it there [s31].
    pub fn is_for(&self, route: &EntryRoute<'_, 'w>) -> bool {
        let header = &route.lanes.group.header;
        gateways_of(route.route.bound())
            .iter()
            .any(|gateway| self.is_at(gateway, header))
    }

    fn is_at(&self, gateway: &Symbol, header: &Symbol) -> bool {
        let key = (gateway.clone(), header.clone());
        if let Some(known) = self.known.borrow().get(&key) {
            return *known;
        }
        let is_trusted = self.is_matched_at(gateway, header);
        self.known.borrow_mut().insert(key, is_trusted);
        is_trusted
    }

    /// Whether a route matches the header at a gateway, or at another one of the same pods.
    fn is_matched_at(&self, gateway: &Symbol, header: &str) -> bool {
        let view = self.view;
        let names = gateway_names(view, gateway, &Symbol::default());
        names.iter().any(|gateway| {
            let context = Context {
                gateway: Some(gateway),
                ..Context::MESH
            };
            let bound = view.virtual_services_at(gateway).into_iter();
            let mut routes = bound.flat_map(|vs| routes_at(view, vs, context));
            routes.any(|route| {
                let mut conditions = route.conditions.iter();
                conditions.any(|condition| condition.header(header).is_some())
            })
        })
    }
}

/// Whether the condition holds only for requests that have a value in the header `name`. A header that is there and
/// empty satisfies `{}` and some patterns; one that is not there satisfies none, and in `withoutHeaders` reads as
/// empty. A pattern that cannot be read is taken for one that an empty text does not satisfy in `headers`, and for one that
/// it does in `withoutHeaders`: nothing is told of the route, then.
fn requires(condition: Condition<'_>, name: &str) -> bool {
    condition.parts().any(|part| {
        let mut with = part.headers.named(name);
        let mut without = part.without_headers.named(name);
        with.any(|value| !is_presence(value) && value.matches("") != Some(true))
            || without.any(|value| !is_presence(value) && value.matches("") != Some(false))
    })
}

/// The route as one by which requests enter a lane group at `gateway`, if it leads to one.
pub fn entry_route<'v, 'w>(
    view: &View<'w>,
    groups: &Groups<'v, 'w>,
    route: Route<'w>,
    gateway: &Symbol,
    on_mesh: bool,
) -> Option<EntryRoute<'v, 'w>> {
    let mut group: Option<Group<'v, 'w>> = None;
    let mut destinations = Vec::new();
    for (index, to) in destinations_of(route.route) {
        let host = route.host_of(view, &to.destination);
        let of_host = groups.of_host(&host).map(|lanes| (lanes.entry().cloned(), lanes));
        let Some((entry, lanes)) = of_host else { continue };
        let enters = entry
            .as_ref()
            .is_none_or(|entry| entry.header != lanes.group.header && entry.is_at(gateway));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{HttpMatch, Kind, Resource};
    use crate::world::{Settings, World};

    fn requires_buid(condition: &Value) -> bool {
        let condition: HttpMatch = serde_json::from_value(condition.clone()).unwrap();
        requires(Condition::own(0, &condition), "buid")
    }

    #[test]
    fn a_match_asks_for_a_value_unless_an_empty_header_satisfies_it_too() {
        let header = |value: Value| json!({"headers": {"BuId": value}});
        for value in [
            json!({"exact": "x"}),
            json!({"prefix": "x"}),
            json!({"regex": "w.*"}),
        ] {
            assert!(requires_buid(&header(value.clone())), "{value}");
        }
        // `*` is no expression to Istio but the header's presence; of a broken one nothing is told.
        for value in [
            json!({}),
            json!({"exact": ""}),
            json!({"regex": ".*"}),
            json!({"regex": "(a|b)?"}),
            json!({"regex": "*"}),
        ] {
            assert!(!requires_buid(&header(value.clone())), "{value}");
        }
        assert!(requires_buid(&header(json!({"regex": "["}))));
        assert!(!requires_buid(&json!({"uri": {"prefix": "/a"}})));
    }

    #[test]
    fn what_is_not_there_reads_as_empty_where_a_header_must_not_match() {
        let without = |value: Value| json!({"withoutHeaders": {"buid": value}});
        assert!(requires_buid(&without(json!({"exact": ""}))));
        assert!(!requires_buid(&without(json!({"exact": "x"}))));
        assert!(!requires_buid(&without(json!({"regex": "x"}))));
        assert!(requires_buid(&without(json!({"regex": r"\Q\E"}))));
        assert!(!requires_buid(&without(json!({}))));
    }

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let object = json!({"metadata": {"namespace": "cars", "name": name}, "spec": spec});
        Resource::parse(kind, object).unwrap()
    }

    #[test]
    fn a_gateway_trusts_the_lane_header_where_any_of_its_routes_matches_it() {
        let gateway = |name: &str, selector: &str| {
            object(
                Kind::Gateway,
                name,
                &json!({"selector": {"istio": selector}, "servers": []}),
            )
        };
        let vs = |name: &str, gateway: &str, http: &Value| {
            object(
                Kind::VirtualService,
                name,
                &json!({"hosts": ["x"], "gateways": [gateway], "http": http}),
            )
        };
        let matching = json!([{"match": [{"headers": {"Bu": {"exact": "x"}}}], "delegate": {"name": "own"}}]);
        let delegate = object(Kind::VirtualService, "own", &json!({"http": [{}]}));
        let trusts = |others: Vec<Resource>| {
            let own = [gateway("gw", "a"), vs("a", "gw", &json!([{}])), delegate.clone()];
            let world = World::of(Settings::default(), own.into_iter().chain(others));
            let view = View::new(&world);
            let vs = view.virtual_service(&"cars".into(), &"a".into()).unwrap();
            let gateways = gateways_of(vs);
            Trust::new(&view).is_at(&gateways[0], &"bu".into())
        };
        assert!(!trusts(vec![]));
        assert!(trusts(vec![vs("b", "gw", &matching)]));
        // The same pods serve another Gateway; others do not.
        assert!(trusts(vec![gateway("gw-2", "a"), vs("b", "gw-2", &matching)]));
        assert!(!trusts(vec![gateway("gw-2", "b"), vs("b", "gw-2", &matching)]));
    }
}
