//! `VirtualServices` that delegate their routes to others.
//!
//! A root has hosts, a delegate none; a delegate's routes take the place of the route that names it, each with the
//! conditions of both. What does not fit together, is not there or is not visible is left out without a word
//! (`pilot/pkg/model/virtualservice_controller.go`, `mergeHTTPRoute` in `pilot/pkg/model/virtualservice.go`) [s26].

use super::is_visible;
use super::route::{Condition, Root, Route};
use crate::resource::{HttpMatch, HttpRoute, Labels, StringMatch, VirtualService};
use crate::symbol::Symbol;
use crate::world::View;

/// The `VirtualServices` by which requests come to the routes of `vs`: itself if it has hosts, else those that
/// delegate to it.
pub fn roots_of<'w>(view: &View<'w>, vs: &'w VirtualService) -> Vec<&'w VirtualService> {
    if vs.hosts.is_empty() {
        let mut roots = view.roots_of(vs);
        roots.retain(|root| !root.hosts.is_empty());
        roots
    } else {
        vec![vs]
    }
}

/// The routes of `vs` under each route that delegates to them, and those of its delegates that have their block of
/// headers from it. The routes of a delegate that nobody names yet are given as they stand.
pub fn routes_concerning<'w>(view: &View<'w>, vs: &'w VirtualService) -> Vec<Route<'w>> {
    let roots = roots_of(view, vs);
    let alone = if roots.is_empty() { Some(vs) } else { None };
    let all = roots
        .into_iter()
        .chain(alone)
        .flat_map(|root| expanded(view, root));
    all.filter(|route| route.concerns(vs)).collect()
}

/// Why a route with a `delegate` leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Broken<'w> {
    /// There is no `VirtualService` of that name.
    Missing,
    /// The one of that name has hosts: it is no delegate.
    HasHosts(&'w VirtualService),
    /// It is not exported to the root's namespace.
    NotVisible(&'w VirtualService),
}

/// The delegate of the route `route` of `root`, which names one.
pub fn delegate_of<'w>(
    view: &View<'w>,
    root: &VirtualService,
    route: &HttpRoute,
) -> Option<Result<&'w VirtualService, Broken<'w>>> {
    let named = route.delegate.as_ref()?;
    let home = if named.namespace.is_empty() {
        &root.meta.namespace
    } else {
        &named.namespace
    };
    let Some(delegate) = view.virtual_service(home, &named.name) else {
        return Some(Err(Broken::Missing));
    };
    if !delegate.hosts.is_empty() {
        return Some(Err(Broken::HasHosts(delegate)));
    }
    let default = view
        .mesh_config()
        .map_or(&[][..], |config| &config.default_virtual_service_export_to);
    let is_seen = is_visible(&delegate.export_to, default, home, &root.meta.namespace);
    Some(if is_seen {
        Ok(delegate)
    } else {
        Err(Broken::NotVisible(delegate))
    })
}

/// The routes of `vs` with those of its delegates in their places.
pub(super) fn expanded<'w>(view: &View<'w>, vs: &'w VirtualService) -> Vec<Route<'w>> {
    let mut routes = Vec::with_capacity(vs.http.len());
    for (index, route) in vs.http.iter().enumerate() {
        match delegate_of(view, vs, route) {
            None => routes.push(Route {
                vs,
                index,
                route,
                root: None,
                conditions: numbered(route)
                    .map(|(at, condition)| Condition::own(at, condition))
                    .collect(),
            }),
            Some(Ok(delegate)) => {
                let root = Root { vs, index, route };
                let of_delegate = delegate.http.iter().enumerate();
                routes.extend(of_delegate.filter_map(|(index, route)| merged(root, delegate, index, route)));
            }
            Some(Err(_)) => {}
        }
    }
    routes
}

/// The routes that stand for the one of `vs` at `index`, with the object that has them: itself, or, where it delegates,
/// those of the delegate.
pub(super) fn standing_for<'w>(
    view: &View<'w>,
    vs: &'w VirtualService,
    index: usize,
) -> Vec<(&'w VirtualService, &'w HttpRoute)> {
    let Some(route) = vs.http.get(index) else {
        return Vec::new();
    };
    match delegate_of(view, vs, route) {
        None => vec![(vs, route)],
        Some(Ok(delegate)) => {
            let root = Root { vs, index, route };
            let of_delegate = delegate.http.iter().enumerate();
            of_delegate
                .filter(|(index, route)| merged(root, delegate, *index, route).is_some())
                .map(|(_, route)| (delegate, route))
                .collect()
        }
        Some(Err(_)) => Vec::new(),
    }
}

fn numbered(route: &HttpRoute) -> impl Iterator<Item = (usize, &HttpMatch)> {
    route.matches.iter().enumerate()
}

/// The route of a delegate under the one that delegates to it; `None` where one of its matches fits none of the root's:
/// Istio then leaves the whole route out.
pub fn merged<'w>(
    root: Root<'w>,
    vs: &'w VirtualService,
    index: usize,
    route: &'w HttpRoute,
) -> Option<Route<'w>> {
    let of_root: Vec<_> = numbered(root.route).collect();
    let mut conditions = Vec::new();
    if route.matches.is_empty() {
        conditions.extend(of_root.iter().map(|of_root| Condition {
            own: None,
            root: Some(*of_root),
        }));
    }
    for own in numbered(route) {
        let before = conditions.len();
        if of_root.is_empty() {
            conditions.push(Condition::own(own.0, own.1));
        }
        let fitting = of_root.iter().filter(|of_root| fits(of_root.1, own.1));
        conditions.extend(fitting.map(|of_root| Condition {
            own: Some(own),
            root: Some(*of_root),
        }));
        if conditions.len() == before {
            return None;
        }
    }
    Some(Route {
        vs,
        index,
        route,
        root: Some(root),
        conditions,
    })
}

/// Whether Istio puts the two matches together (`hasConflict`): what the delegate asks for must be within what the
/// root asks for, and regular expressions stand alone.
fn fits(root: &HttpMatch, own: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    texts
        .into_iter()
        .all(|(root, own)| text_fits(root.as_ref(), own.as_ref()))
        && pairs_fit(&root.headers, &own.headers)
        && pairs_fit(&root.without_headers, &own.without_headers)
        && pairs_fit(&root.query_params, &own.query_params)
        && root.ignore_uri_case == own.ignore_uri_case
        && root.port.zip(own.port).is_none_or(|(root, own)| root == own)
        && (root.source_namespace.is_none() || root.source_namespace == own.source_namespace)
        && labels_fit(&root.source_labels, &own.source_labels)
        && gateways_fit(&root.gateways, &own.gateways)
}

fn pairs_fit(root: &[(Box<str>, StringMatch)], own: &[(Box<str>, StringMatch)]) -> bool {
    own.iter().all(|(name, own)| {
        let root = root.iter().find(|(of_root, _)| of_root == name);
        text_fits(root.map(|(_, value)| value), Some(own))
    })
}

fn labels_fit(root: &Labels, own: &Labels) -> bool {
    own.pairs()
        .iter()
        .all(|(key, own)| root.get(key).is_none_or(|root| root == own))
}

fn gateways_fit(root: &[Symbol], own: &[Symbol]) -> bool {
    root.is_empty() || own.is_empty() || own.iter().all(|gateway| root.contains(gateway))
}

fn text_fits(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    let (Some(root), Some(own)) = (root, own) else {
        return true;
    };
    match (root, own) {
        (StringMatch::Exact(root), StringMatch::Exact(own)) => root == own,
        (StringMatch::Prefix(root), StringMatch::Prefix(own) | StringMatch::Exact(own)) => {
            own.starts_with(&**root)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::routing::{Block, Context, routes_at};
    use crate::world::{Settings, World};

    fn vs(namespace: &str, name: &str, spec: &Value) -> Resource {
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        Resource::parse(Kind::VirtualService, object).unwrap()
    }

    /// The routes of `cars/root` on the mesh, as object, place, number of conditions.
    fn routes(objects: Vec<Resource>) -> Vec<(String, usize, usize)> {
        let world = World::of(Settings::default(), objects);
        let view = View::new(&world);
        let root = view.virtual_service(&"cars".into(), &"root".into()).unwrap();
        let routes = routes_at(&view, root, Context::MESH).into_iter();
        routes
            .map(|route| {
                (
                    route.vs.meta.name.to_string(),
                    route.index,
                    route.conditions.len(),
                )
            })
            .collect()
    }

    fn root(route: &Value) -> Resource {
        vs(
            "cars",
            "root",
            &json!({"hosts": ["portal"], "http": [route, {"route": [{"destination": {"host": "portal"}}]}]}),
        )
    }

    #[test]
    fn a_delegates_routes_stand_where_the_root_names_it_under_both_conditions() {
        let matched = json!({"match": [{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}], "delegate": {"name": "own"}});
        let own = json!({"http": [{"match": [{"uri": {"prefix": "/a/x"}}]}, {"match": [{"headers": {"bu": {"exact": "x"}}}]}, {}]});
        let found = routes(vec![root(&matched), vs("cars", "own", &own)]);
        let expected = [("own", 0, 1), ("own", 1, 2), ("own", 2, 2), ("root", 1, 0)];
        assert_eq!(
            found,
            expected.map(|(name, index, count)| (name.to_owned(), index, count))
        );
    }

    #[test]
    fn a_route_whose_match_fits_none_of_the_roots_is_left_out_whole() {
        let matched = json!({"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "own"}});
        let own = json!({"http": [{"match": [{"uri": {"prefix": "/a/x"}}, {"uri": {"prefix": "/c"}}]}]});
        let found = routes(vec![root(&matched), vs("cars", "own", &own)]);
        assert_eq!(found, [("root".to_owned(), 1, 0)]);
    }

    #[test]
    fn two_regular_expressions_do_not_fit_even_if_they_are_equal() {
        let pattern = |text: &str| json!({"headers": {"bu": {"regex": text}}});
        let matched = json!({"match": [pattern("a.*")], "delegate": {"name": "own"}});
        let own = json!({"http": [{"match": [pattern("a.*")]}]});
        let found = routes(vec![root(&matched), vs("cars", "own", &own)]);
        assert_eq!(found, [("root".to_owned(), 1, 0)]);
    }

    #[test]
    fn what_is_missing_or_hidden_or_has_hosts_leads_nowhere() {
        let named = json!({"delegate": {"name": "own", "namespace": "shop"}});
        let only_root = [("root".to_owned(), 1, 0)];
        assert_eq!(routes(vec![root(&named)]), only_root);
        let hidden = vs("shop", "own", &json!({"exportTo": ["."], "http": [{}]}));
        assert_eq!(routes(vec![root(&named), hidden]), only_root);
        let with_hosts = vs("shop", "own", &json!({"hosts": ["x"], "http": [{}]}));
        assert_eq!(routes(vec![root(&named), with_hosts]), only_root);
        let seen = vs("shop", "own", &json!({"exportTo": ["cars"], "http": [{}]}));
        assert_eq!(routes(vec![root(&named), seen]), [("own".to_owned(), 0, 0)]);
    }

    #[test]
    fn a_delegates_headers_replace_the_roots_block_whole() {
        let named = json!({"headers": {"request": {"set": {"bu": "x"}}}, "delegate": {"name": "own"}});
        let own = json!({"http": [{"match": [{"uri": {"exact": "/a"}}], "headers": {"request": {"set": {"other": "y"}}}}, {}]});
        let world = World::of(Settings::default(), [root(&named), vs("cars", "own", &own)]);
        let view = View::new(&world);
        let root = view.virtual_service(&"cars".into(), &"root".into()).unwrap();
        let routes = routes_at(&view, root, Context::MESH);
        let set = |at: usize| {
            routes[at]
                .headers()
                .and_then(|headers| headers.request.set_value("bu"))
        };
        assert_eq!((set(0), set(1)), (None, Some("x")));
        let (object, path) = routes[1].place_of_block(Block::Route);
        assert_eq!(
            (object.name.as_str(), path.as_str()),
            ("root", "spec.http[0].headers.request")
        );
    }
}
