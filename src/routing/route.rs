//! Which routes of a `VirtualService` a proxy gets.

use super::delegate::expanded;
use crate::resource::{
    Destination, DestinationPath, Headers, HttpMatch, HttpRoute, HttpRouteDestination, Kind, Labels,
    ObjectRef, StringMatch, VirtualService,
};
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// Where a route is to apply: a gateway or the sidecars, the port that the caller called, and who the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The gateway as `namespace/name`; `None`: the sidecars (`mesh`).
    pub gateway: Option<&'a Symbol>,
    /// The listener's port; `None`: any.
    pub port: Option<u32>,
    /// The caller; `None`: any.
    pub source: Option<Source<'a>>,
}

/// A caller as `sourceLabels` and `sourceNamespace` tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its namespace; `None`: one that no route names.
    pub namespace: Option<&'a Symbol>,
    /// Its labels, as far as routes name them.
    pub labels: Option<&'a Labels>,
}

impl Source<'_> {
    /// A caller that no route names.
    pub const OTHER: Self = Source {
        namespace: None,
        labels: None,
    };
}

impl Context<'_> {
    /// The sidecars, on any port.
    pub const MESH: Self = Context {
        gateway: None,
        port: None,
        source: None,
    };
}

/// A route as one proxy gets it, merged with the route that delegates to it, if one does.
#[derive(Debug, Clone)]
pub struct Route<'w> {
    /// The `VirtualService` that has it: the one that is bound, or one that it delegates to.
    pub vs: &'w VirtualService,
    /// Its place in `spec.http` there.
    pub index: usize,
    /// The route.
    pub route: &'w HttpRoute,
    /// The route that delegates to it: where it is, and itself.
    pub root: Option<Root<'w>>,
    /// Those of its conditions that can hold here; empty: it takes every request.
    pub conditions: Vec<Condition<'w>>,
}

/// A route with a `delegate`.
#[derive(Debug, Clone, Copy)]
pub struct Root<'w> {
    /// The `VirtualService` that has it.
    pub vs: &'w VirtualService,
    /// Its place in `spec.http` there.
    pub index: usize,
    /// The route.
    pub route: &'w HttpRoute,
}

/// One condition of a route: its own `match`, the delegating route's, or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition<'w> {
    /// Its own `match`, with its place.
    pub own: Option<(usize, &'w HttpMatch)>,
    /// The delegating route's `match`, with its place.
    pub root: Option<(usize, &'w HttpMatch)>,
}

impl<'w> Condition<'w> {
    /// A condition of a route that nobody delegates to.
    pub const fn own(at: usize, condition: &'w HttpMatch) -> Self {
        Self {
            own: Some((at, condition)),
            root: None,
        }
    }

    /// The parts of which all must hold, its own first: where both say something, its own is the narrower.
    pub fn parts(self) -> impl Iterator<Item = &'w HttpMatch> {
        self.own.into_iter().chain(self.root).map(|(_, part)| part)
    }

    /// Every text that it asks for.
    pub fn texts(self) -> impl Iterator<Item = &'w StringMatch> {
        self.parts().flat_map(|part| {
            let alone = [&part.uri, &part.method, &part.authority, &part.scheme];
            let named = part.headers.iter().chain(part.without_headers.iter());
            let named = named.chain(part.query_params.iter());
            alone.into_iter().flatten().chain(named.map(|(_, text)| text))
        })
    }

    /// The condition on the header `name`, whose case does not matter.
    pub fn header(self, name: &str) -> Option<&'w StringMatch> {
        self.parts().find_map(|part| part.header(name))
    }

    /// The condition on the path.
    pub fn uri(self) -> Option<&'w StringMatch> {
        self.parts().find_map(|part| part.uri.as_ref())
    }

    /// Whether it takes every request of those for whom it is (`IsCatchAllRoute` in
    /// `pilot/pkg/networking/core/route/route.go`): no header or query condition, and a path of `prefix: /` or
    /// `regex: .*`, or none.
    pub fn takes_every_request(self) -> bool {
        self.uri().is_none_or(StringMatch::is_any_path)
            && self.parts().all(|part| {
                part.headers.is_empty()
                    && part.without_headers.is_empty()
                    && part.query_params.is_empty()
                    && part.method.is_none()
                    && part.authority.is_none()
                    && part.scheme.is_none()
            })
    }

    /// The callers that it is for, of those that routes name; `None`: all. Where `gateways` are named, Istio
    /// does not look at the source (`sourceMatchHTTP`).
    pub fn source(self) -> Option<Source<'w>> {
        if self.parts().any(|part| !part.gateways.is_empty()) {
            return None;
        }
        let namespace = self.parts().find_map(|part| part.source_namespace.as_ref());
        let mut labels = self
            .parts()
            .map(|part| &part.source_labels)
            .filter(|labels| !labels.is_empty());
        let labels = labels.next();
        (namespace.is_some() || labels.is_some()).then_some(Source { namespace, labels })
    }
}

impl<'w> Route<'w> {
    /// Whether the object `vs` has this route.
    pub fn is_of(&self, vs: &VirtualService) -> bool {
        is_same(self.vs, vs)
    }

    /// The `VirtualService` that is bound, by which requests come to it.
    pub fn bound(&self) -> &'w VirtualService {
        self.root.map_or(self.vs, |root| root.vs)
    }

    /// The full host of one of its destinations.
    pub fn host_of(&self, view: &View<'_>, destination: &Destination) -> Symbol {
        view.resolve(&destination.host, &self.vs.meta.namespace)
    }

    /// The object that has it.
    pub fn reference(&self) -> ObjectRef {
        self.vs.meta.reference(Kind::VirtualService)
    }

    /// Its path there, as Kubernetes writes fields.
    pub fn path(&self) -> String {
        format!("spec.http[{}]", self.index)
    }

    /// What people call it: ``spec.http[0] of VirtualService shop/cart (`default`)``.
    pub fn title(&self) -> String {
        let name = self.route.name.as_deref();
        let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
        format!("{} of {}{name}", self.path(), self.reference())
    }

    /// What is done to headers on the route itself: its own block, or where it has none the delegating route's
    /// [s26].
    pub fn headers(&self) -> Option<&'w Headers> {
        let of_root = || self.root.and_then(|root| root.route.headers.as_ref());
        self.route.headers.as_ref().or_else(of_root)
    }

    /// Whether [`Route::headers`] is the delegating route's block: one of its own would replace it whole.
    pub fn inherits_headers(&self) -> bool {
        let has_root = |root: &Root<'_>| root.route.headers.is_some();
        self.route.headers.is_none() && self.root.as_ref().is_some_and(has_root)
    }

    /// Whether `vs` has it, or has the block of headers that it inherits.
    pub fn concerns(&self, vs: &VirtualService) -> bool {
        let is_root = |root: Root<'_>| is_same(root.vs, vs);
        self.is_of(vs) || (self.inherits_headers() && self.root.is_some_and(is_root))
    }

    /// Whether both are one route under one delegating route, perhaps in different contexts.
    pub fn is_same(&self, other: &Route<'_>) -> bool {
        let roots = match (self.root, other.root) {
            (None, None) => true,
            (Some(own), Some(other)) => own.index == other.index && is_same(own.vs, other.vs),
            _ => false,
        };
        roots && self.index == other.index && self.is_of(other.vs)
    }
}

fn is_same(a: &VirtualService, b: &VirtualService) -> bool {
    a.meta.name == b.meta.name && a.meta.namespace == b.meta.namespace
}

/// Whether the `VirtualService` is bound to the gateway (`namespace/name`), or to `mesh` for `None`.
pub(super) fn is_bound(vs: &VirtualService, gateway: Option<&Symbol>) -> bool {
    match gateway {
        None => vs.gateways.is_empty() || vs.gateways.iter().any(|name| *name == "mesh"),
        Some(gateway) => vs
            .bound_gateways()
            .any(|name| qualified(name, &vs.meta.namespace) == *gateway),
    }
}

/// Whether sidecars use the `VirtualService`.
pub fn is_on_mesh(vs: &VirtualService) -> bool {
    is_bound(vs, None)
}

/// The routes of `vs` in a context, in order and as far as any request gets: those it delegates to are put in their
/// places, matches are chosen by gateway, port and source, and only then does a match-all end the list
/// (`pilot/pkg/networking/core/route/route.go`, `BuildHTTPRoutesForVirtualService`) [s22, s26].
pub fn routes_at<'w>(view: &View<'w>, vs: &'w VirtualService, context: Context<'_>) -> Vec<Route<'w>> {
    all_routes_at(view, vs, context).0
}

/// The routes of `vs` in a context as [`routes_at`] gives them, and those that Istio leaves out because one before
/// them takes every request.
pub(super) fn all_routes_at<'w>(
    view: &View<'w>,
    vs: &'w VirtualService,
    context: Context<'_>,
) -> (Vec<Route<'w>>, Vec<Route<'w>>) {
    let (mut routes, mut dropped) = (Vec::new(), Vec::new());
    if !is_bound(vs, context.gateway) {
        return (routes, dropped);
    }
    let mut is_over = false;
    for mut route in expanded(view, vs) {
        let was_unconditional = route.conditions.is_empty();
        let holds = |condition: &Condition<'_>| holds_in(*condition, &route, context);
        let mut live: Vec<Condition<'_>> = route.conditions.iter().copied().filter(holds).collect();
        if !was_unconditional && live.is_empty() {
            continue;
        }
        if is_over {
            route.conditions = live;
            dropped.push(route);
            continue;
        }
        is_over = was_unconditional;
        if let Some(last) = live.iter().position(|condition| ends_in(*condition, context)) {
            is_over = true;
            let rest = live.split_off(last + 1);
            if !rest.is_empty() {
                dropped.push(Route {
                    conditions: rest,
                    ..route.clone()
                });
            }
        }
        route.conditions = live;
        routes.push(route);
    }
    (routes, dropped)
}

/// Whether a condition takes every request of the context: one on a port or a source leaves the others', where
/// that is not known.
fn ends_in(condition: Condition<'_>, context: Context<'_>) -> bool {
    let any_port = context.port.is_some() || condition.parts().all(|part| part.port.is_none());
    let any_source = context.source.is_some() || condition.source().is_none();
    any_port && any_source && condition.takes_every_request()
}

/// Whether a condition can hold in the context at all.
fn holds_in(condition: Condition<'_>, route: &Route<'_>, context: Context<'_>) -> bool {
    let is_for_port = |part: &HttpMatch| {
        context
            .port
            .zip(part.port)
            .is_none_or(|(listener, port)| listener == port)
    };
    if !condition.parts().all(is_for_port) {
        return false;
    }
    let (home, of_root) = (&route.vs.meta.namespace, &route.bound().meta.namespace);
    let is_for_gateway = |part: Option<(usize, &HttpMatch)>, home: &Symbol| {
        part.is_none_or(|(_, part)| {
            part.gateways.is_empty()
                || part.gateways.iter().any(|name| match context.gateway {
                    None => *name == "mesh",
                    Some(gateway) => *name != "mesh" && qualified(name, home) == *gateway,
                })
        })
    };
    if !is_for_gateway(condition.own, home) || !is_for_gateway(condition.root, of_root) {
        return false;
    }
    let Some((caller, wanted)) = context.source.zip(condition.source()) else {
        return true;
    };
    let in_namespace = wanted
        .namespace
        .is_none_or(|namespace| caller.namespace == Some(namespace));
    let has_labels = wanted
        .labels
        .is_none_or(|wanted| caller.labels.is_some_and(|labels| wanted.select(labels)));
    in_namespace && has_labels
}

/// The destinations of a route that get requests, with their places: among several those with a weight, for one that
/// is not written is 0 [s25]. Where no weight is written at all, which Istio refuses, each of them counts.
pub fn reached(route: &HttpRoute) -> impl Iterator<Item = (usize, &HttpRouteDestination)> {
    let has_weight = |to: &HttpRouteDestination| to.weight.is_some_and(|weight| weight > 0);
    let by_weight = route.route.len() > 1 && route.route.iter().any(has_weight);
    let all = route.route.iter().enumerate();
    all.filter(move |(_, to)| !by_weight || has_weight(to))
}

/// Every destination of a route that requests or copies reach, with its path below `spec.http[…]`.
pub fn destinations(route: &HttpRoute) -> impl Iterator<Item = (DestinationPath, &Destination)> {
    let reached = reached(route).map(|(at, to)| (DestinationPath::Route(at), &to.destination));
    reached.chain(route.copies())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::{Settings, World};

    fn vs(gateways: &[&str], http: &Value) -> VirtualService {
        let object = json!({"metadata": {"namespace": "cars", "name": "a"}, "spec": {"gateways": gateways, "http": http}});
        serde_json::from_value(object).unwrap()
    }

    fn indexes(vs: &VirtualService, context: Context<'_>) -> Vec<usize> {
        let world = World::new(Settings::default());
        let view = View::new(&world);
        let routes = routes_at(&view, vs, context);
        routes.iter().map(|route| route.index).collect()
    }

    #[test]
    fn a_match_all_ends_the_list() {
        for all in [
            json!({}),
            json!({"match": [{}]}),
            json!({"match": [{"uri": {"prefix": "/"}}]}),
            json!({"match": [{"uri": {"regex": ".*"}}]}),
        ] {
            let vs = vs(
                &[],
                &json!([{"match": [{"headers": {"bu": {"exact": "x"}}}]}, all, {}]),
            );
            assert_eq!(indexes(&vs, Context::MESH), [0, 1], "{all}");
        }
        let conditional = json!({"match": [{"uri": {"prefix": "/"}, "sourceLabels": {"app": "a"}}]});
        assert_eq!(
            indexes(&vs(&[], &json!([conditional, {}])), Context::MESH),
            [0, 1]
        );
    }

    #[test]
    fn a_caller_gets_the_routes_for_its_labels_and_namespace_only() {
        let vs = vs(
            &[],
            &json!([{"match": [{"sourceLabels": {"app": "a"}}]}, {"match": [{"sourceNamespace": "shop"}]}, {}]),
        );
        let labels = Labels::new([("app".into(), "a".into()), ("x".into(), "y".into())]);
        let shop = Symbol::new("shop");
        let of = |namespace, labels| {
            let source = Some(Source { namespace, labels });
            indexes(
                &vs,
                Context {
                    source,
                    ..Context::MESH
                },
            )
        };
        assert_eq!(of(None, Some(&labels)), [0]);
        assert_eq!(of(Some(&shop), None), [1]);
        assert_eq!(of(None, None), [2]);
    }

    #[test]
    fn matches_are_chosen_by_gateway_and_port_before_a_match_all_ends_the_list() {
        let gateway = Symbol::new("cars/gw");
        let vs = vs(
            &["mesh", "gw"],
            &json!([{"match": [{"port": 8080}]}, {"match": [{"gateways": ["gw"]}]}, {"match": [{"gateways": ["mesh"]}]}, {}]),
        );
        let at = |gateway, port| {
            indexes(
                &vs,
                Context {
                    gateway,
                    port,
                    source: None,
                },
            )
        };
        assert_eq!(at(None, Some(8080)), [0]);
        assert_eq!(at(None, Some(20885)), [2]);
        assert_eq!(at(Some(&gateway), Some(80)), [1]);
        let other = Symbol::new("cars/other");
        assert_eq!(at(Some(&other), None), Vec::<usize>::new());
    }

    #[test]
    fn where_the_port_is_not_known_a_match_on_one_leaves_the_others_requests() {
        let vs = vs(
            &[],
            &json!([{"match": [{"port": 8080}]}, {"match": [{"port": 20885}]}, {}, {}]),
        );
        assert_eq!(indexes(&vs, Context::MESH), [0, 1, 2]);
    }

    #[test]
    fn a_virtual_service_without_gateways_is_on_mesh_only() {
        let gateway = Symbol::new("cars/gw");
        assert_eq!(
            indexes(
                &vs(&[], &json!([{}])),
                Context {
                    gateway: Some(&gateway),
                    ..Context::MESH
                }
            ),
            Vec::<usize>::new()
        );
        assert_eq!(
            indexes(&vs(&["gw"], &json!([{}])), Context::MESH),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn among_several_destinations_those_without_a_weight_get_nothing() {
        let to = |host: &str, weight: Option<i32>| json!({"destination": {"host": host}, "weight": weight});
        let hosts = |weights: [Option<i32>; 3]| {
            let several: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .zip(weights)
                .map(|(host, weight)| to(host, weight))
                .collect();
            let vs = vs(&[], &json!([{"route": several, "mirror": {"host": "m"}}]));
            let found = destinations(&vs.http[0]);
            found.map(|(_, to)| to.host.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(hosts([Some(0), Some(100), None]), ["b", "m"]);
        assert_eq!(hosts([None, None, None]), ["a", "b", "c", "m"]);
        let to = |host: &str, weight: i32| to(host, Some(weight));
        let single = vs(&[], &json!([{"route": [to("a", 0)]}]));
        assert_eq!(destinations(&single.http[0]).count(), 1);
    }
}
