//! Which routes of a `VirtualService` a proxy gets.

use crate::resource::{Destination, HttpMatch, HttpRoute, HttpRouteDestination, StringMatch, VirtualService};
use crate::symbol::Symbol;
use crate::world::qualified;

/// Where a route is to apply: a gateway or the sidecars, and the port that the caller called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The gateway as `namespace/name`; `None`: the sidecars (`mesh`).
    pub gateway: Option<&'a Symbol>,
    /// The listener's port; `None`: any.
    pub port: Option<u32>,
}

impl Context<'_> {
    /// The sidecars, on any port.
    pub const MESH: Self = Context {
        gateway: None,
        port: None,
    };
}

/// A route as one proxy gets it.
#[derive(Debug, Clone)]
pub struct Route<'w> {
    /// Its place in `spec.http`.
    pub index: usize,
    /// The route.
    pub route: &'w HttpRoute,
    /// Those of its matches that can hold here, with their places; empty: it takes every request.
    pub matches: Vec<(usize, &'w HttpMatch)>,
}

/// Whether the `VirtualService` is bound to the gateway (`namespace/name`), or to `mesh` for `None`.
pub(super) fn is_bound(vs: &VirtualService, gateway: Option<&Symbol>) -> bool {
    match gateway {
        None => vs.gateways.is_empty() || vs.gateways.iter().any(|name| *name == "mesh"),
        Some(gateway) => vs
            .gateways
            .iter()
            .any(|name| *name != "mesh" && qualified(name, &vs.meta.namespace) == *gateway),
    }
}

/// The routes of `vs` in a context, in order and as far as any request gets: matches are chosen by gateway
/// and port first, and only then does a match-all end the list
/// (`pilot/pkg/networking/core/route/route.go`, `BuildHTTPRoutesForVirtualService`) [s22].
pub fn routes_at<'w>(vs: &'w VirtualService, context: Context<'_>) -> Vec<Route<'w>> {
    let mut routes = Vec::new();
    if !is_bound(vs, context.gateway) {
        return routes;
    }
    for (index, route) in vs.http.iter().enumerate() {
        let mut matches: Vec<(usize, &HttpMatch)> = Vec::new();
        let mut takes_all = route.matches.is_empty();
        for (at, condition) in route.matches.iter().enumerate() {
            if holds_in(condition, vs, context) {
                matches.push((at, condition));
                // A match on a port leaves the others' requests, where the port is not known.
                let is_for_all = condition.port.is_none() || context.port.is_some();
                if is_for_all && takes_every_request(condition) {
                    takes_all = true;
                    break;
                }
            }
        }
        if route.matches.is_empty() || !matches.is_empty() {
            routes.push(Route {
                index,
                route,
                matches,
            });
        }
        if takes_all {
            break;
        }
    }
    routes
}

/// Whether a match can hold in the context at all.
fn holds_in(condition: &HttpMatch, vs: &VirtualService, context: Context<'_>) -> bool {
    if context
        .port
        .zip(condition.port)
        .is_some_and(|(listener, port)| listener != port)
    {
        return false;
    }
    if condition.gateways.is_empty() {
        return true;
    }
    condition.gateways.iter().any(|name| match context.gateway {
        None => *name == "mesh",
        Some(gateway) => *name != "mesh" && qualified(name, &vs.meta.namespace) == *gateway,
    })
}

/// Whether a match that holds in its context takes every request there: no header or query condition, and
/// a path of `prefix: /` or `regex: .*`, or none (`IsCatchAllRoute`). A match by source takes only those of
/// its sources.
fn takes_every_request(condition: &HttpMatch) -> bool {
    let any_path = match &condition.uri {
        None | Some(StringMatch::Present) => true,
        Some(StringMatch::Prefix(prefix)) => &**prefix == "/",
        Some(StringMatch::Regex(regex)) => &**regex == ".*",
        Some(StringMatch::Exact(_)) => false,
    };
    let by_source = condition.gateways.is_empty()
        && (!condition.source_labels.is_empty() || condition.source_namespace.is_some());
    any_path
        && !by_source
        && condition.headers.is_empty()
        && condition.without_headers.is_empty()
        && condition.query_params.is_empty()
        && condition.method.is_none()
        && condition.authority.is_none()
        && condition.scheme.is_none()
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
pub fn destinations(route: &HttpRoute) -> Vec<(String, &Destination)> {
    let mut found: Vec<_> = reached(route)
        .map(|(at, to)| (format!("route[{at}].destination"), &to.destination))
        .collect();
    found.extend(route.mirror.iter().map(|mirror| ("mirror".to_owned(), mirror)));
    let mirrors = route.mirrors.iter().enumerate();
    found.extend(mirrors.map(|(at, mirror)| (format!("mirrors[{at}].destination"), &mirror.destination)));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn vs(gateways: &[&str], http: &Value) -> VirtualService {
        let object = json!({"metadata": {"namespace": "cars", "name": "a"}, "spec": {"gateways": gateways, "http": http}});
        serde_json::from_value(object).unwrap()
    }

    fn indexes(vs: &VirtualService, context: Context<'_>) -> Vec<usize> {
        routes_at(vs, context).iter().map(|route| route.index).collect()
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
    fn matches_are_chosen_by_gateway_and_port_before_a_match_all_ends_the_list() {
        let gateway = Symbol::new("cars/gw");
        let vs = vs(
            &["mesh", "gw"],
            &json!([{"match": [{"port": 8080}]}, {"match": [{"gateways": ["gw"]}]}, {"match": [{"gateways": ["mesh"]}]}, {}]),
        );
        let at = |gateway, port| indexes(&vs, Context { gateway, port });
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
                    port: None
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
            found
                .iter()
                .map(|(_, to)| to.host.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts([Some(0), Some(100), None]), ["b", "m"]);
        assert_eq!(hosts([None, None, None]), ["a", "b", "c", "m"]);
        let to = |host: &str, weight: i32| to(host, Some(weight));
        let single = vs(&[], &json!([{"route": [to("a", 0)]}]));
        assert_eq!(destinations(&single.http[0]).len(), 1);
    }
}
