//! The lists of routes that proxies try: what Envoy calls virtual hosts.
//!
//! At a gateway, the `VirtualServices` of one resulting host are put together, the oldest first, and what takes every
//! request goes to the end of the list; Envoy takes the most specific host and never falls through to another
//! (`buildGatewayHTTPRouteConfig` in `pilot/pkg/networking/core/gateway.go`, `SortVHostRoutes` in
//! `pilot/pkg/networking/core/route/route.go`) [s23]. On the mesh, each `VirtualService` has its hosts for itself.

use super::delegate::roots_of;
use super::import::is_imported;
use super::route::{all_routes_at, is_on_mesh};
use super::{Context, Port, Route, Source, rank, routes_at, target_of};
use crate::resource::{Gateway, Server, VirtualService};
use crate::symbol::Symbol;
use crate::world::{View, age, host_includes, qualified};

/// A list of routes that some proxies try in order, for the requests of one host.
#[derive(Debug, Clone)]
pub struct VirtualHost<'w> {
    /// The host: on the mesh a full one, at a gateway as callers outside write it.
    pub host: Symbol,
    /// The gateway (`namespace/name`) that it was asked for; `None`: the sidecars.
    pub gateway: Option<Symbol>,
    /// The port that callers call; `None`: it is not known.
    pub port: Option<u32>,
    /// The server of the gateway; `None` on the mesh and where the gateway is not known.
    pub server: Option<&'w Server>,
    /// The caller, of those that routes tell apart.
    pub source: Option<Source<'w>>,
    /// The routes, in order and as far as any request gets.
    pub routes: Vec<Route<'w>>,
    /// The routes, or the rest of their conditions, that Istio leaves out: one before them in their own
    /// `VirtualService` takes every request.
    pub dropped: Vec<Route<'w>>,
}

impl VirtualHost<'_> {
    /// Where it applies.
    pub fn context(&self) -> Context<'_> {
        Context {
            gateway: self.gateway.as_ref(),
            port: self.port,
            source: self.source,
        }
    }

    /// The port that its callers call, on the mesh; `None` at a gateway, and where it is not known.
    pub fn called_port(&self, view: &View<'_>) -> Option<Port> {
        let number = self.port.filter(|_| self.gateway.is_none())?;
        target_of(view, &self.host).port(number)
    }
}

/// How much the lists of one `VirtualService` may hold and cost: its hosts times its conditions times the callers that they
/// tell apart are more than fits any memory, where somebody has made it so.
const MOST_LISTED: usize = 250_000;

/// How many callers are told apart: those of each lane that a group may have, and more.
const MOST_SOURCES: usize = 300;

/// The virtual hosts on which the routes of a `VirtualService` are.
#[derive(Debug, Clone, Default)]
pub struct VirtualHosts<'w> {
    /// The lists; of more than anybody could write by hand the first ones.
    pub lists: Vec<VirtualHost<'w>>,
    /// Whether there are more: what is in none of the lists may be in one of those.
    pub has_more: bool,
    cost: usize,
}

impl<'w> VirtualHosts<'w> {
    /// Whether there is no room for one more, which there is, then.
    fn is_full(&mut self) -> bool {
        let is_full = self.cost >= MOST_LISTED;
        self.has_more |= is_full;
        is_full
    }

    /// Adds a list of `root`, whose hosts and matches are looked through for each of them.
    fn push(&mut self, root: &VirtualService, list: VirtualHost<'w>) {
        /// Looking at a match costs so much less than keeping it.
        const LOOKED_AT: usize = 16;
        let routes = list.routes.iter().chain(&list.dropped);
        let held: usize = routes.map(|route| 1 + route.conditions.len()).sum();
        let looked_at: usize = root.http.iter().map(|route| 1 + route.matches.len()).sum();
        self.cost += 1 + root.hosts.len() + held + looked_at / LOOKED_AT;
        self.lists.push(list);
    }
}

/// The virtual hosts on which the routes of `vs` are, or of those that delegate to it.
pub fn virtual_hosts<'w>(view: &View<'w>, vs: &'w VirtualService) -> VirtualHosts<'w> {
    let mut found = VirtualHosts::default();
    for root in roots_of(view, vs) {
        on_mesh(view, root, &mut found);
        for name in root.bound_gateways() {
            at_gateway(view, root, name, &mut found);
        }
    }
    found
}

/// The hosts of `root` on the mesh: for each of its ports, and for each caller that its routes tell from others.
fn on_mesh<'w>(view: &View<'w>, root: &'w VirtualService, found: &mut VirtualHosts<'w>) {
    if !is_on_mesh(root) {
        return;
    }
    let (sources, has_more) = told_apart(view, root);
    found.has_more |= has_more;
    for host in mesh_hosts(view, root) {
        for port in mesh_ports(view, &host) {
            for source in &sources {
                if found.is_full() {
                    return;
                }
                let context = Context {
                    gateway: None,
                    port,
                    source: Some(*source),
                };
                let (tried, dropped) = all_routes_at(view, root, context);
                let list = VirtualHost {
                    host: host.clone(),
                    gateway: None,
                    port,
                    server: None,
                    source: Some(*source),
                    routes: tried,
                    dropped,
                };
                found.push(root, list);
            }
        }
    }
}

/// The ports at which callers in the mesh get routes for the full host `host`: those where HTTP routes apply; `None`
/// where its ports are not known.
pub fn mesh_ports(view: &View<'_>, host: &Symbol) -> Vec<Option<u32>> {
    let ports = target_of(view, host).ports();
    if ports.is_empty() {
        return vec![None];
    }
    let routed = ports.iter().filter(|port| port.protocol.is_http());
    let mut numbers: Vec<_> = routed.map(|port| Some(port.number)).collect();
    numbers.dedup();
    numbers
}

/// The full hosts of `root`; for a wildcard over the services of a namespace, each of them for which no
/// `VirtualService` is more specific.
fn mesh_hosts(view: &View<'_>, root: &VirtualService) -> Vec<Symbol> {
    let mut hosts = Vec::new();
    for host in &root.hosts {
        let host = view.resolve(host, &root.meta.namespace);
        let of_namespace = host
            .strip_prefix("*.")
            .and_then(|rest| rest.strip_suffix(&*format!(".svc.{}", view.settings().cluster_domain)));
        let Some(namespace) = of_namespace.filter(|namespace| !namespace.contains('.')) else {
            hosts.push(host);
            continue;
        };
        let services = view.services_in(&namespace.into()).into_iter();
        let of_services = services.map(|service| view.host_of(service));
        hosts.extend(of_services.filter(|host| view.virtual_services_of(host).is_empty()));
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The `VirtualServices` whose routes the sidecars of `namespace` may get for the registered host `host`, in the order in
/// which Istio asks them: those that name it; where none does, the first of those with the most specific wildcard
/// (`computeWildcardHostVirtualServiceIndex` in `pilot/pkg/model/sidecar.go`) [s21].
pub(super) fn on_mesh_in_order<'w>(
    view: &View<'w>,
    host: &Symbol,
    namespace: &Symbol,
) -> Vec<&'w VirtualService> {
    let is_own = |found: &Symbol| found == host;
    for claimed in view
        .with_wildcards(host)
        .into_iter()
        .chain(host.starts_with('*').then(|| host.clone()))
    {
        let claiming = view.virtual_services_of(&claimed).into_iter();
        let claiming = claiming.filter(|vs| {
            is_on_mesh(vs) && is_of_revision(view, vs, namespace) && is_imported(view, vs, namespace)
        });
        let mut ranked: Vec<_> = claiming
            .filter_map(|vs| Some((rank(view, vs, namespace)?, vs)))
            .collect();
        ranked.sort_by_key(|(rank, vs)| (*rank, age(&vs.meta)));
        let found: Vec<&VirtualService> = ranked.into_iter().map(|(_, vs)| vs).collect();
        if !found.is_empty() {
            let most = if is_own(&claimed) { found.len() } else { 1 };
            return found.into_iter().take(most).collect();
        }
    }
    Vec::new()
}

/// Whether the control plane that serves the proxies of `namespace` reads the object: one without the label
/// `istio.io/rev` every one does.
fn is_of_revision(view: &View<'_>, vs: &VirtualService, namespace: &Symbol) -> bool {
    let Some(written) = vs.meta.labels.get("istio.io/rev") else {
        return true;
    };
    let revision = view.revision_of(namespace);
    revision.map_or("default", Symbol::as_str) == written.as_str()
}

/// Whether a `VirtualService` on the mesh is for the full host `host`, by its name or by a wildcard.
pub fn is_claimed_on_mesh(view: &View<'_>, host: &Symbol) -> bool {
    let mut hosts = view.with_wildcards(host).into_iter();
    hosts.any(|host| view.virtual_services_of(&host).into_iter().any(is_on_mesh))
}

/// The callers that the routes of `root` tell from others, and the others; of very many the first ones.
pub fn sources_of<'w>(view: &View<'w>, root: &'w VirtualService) -> Vec<Source<'w>> {
    told_apart(view, root).0
}

/// The same, and whether there are more.
fn told_apart<'w>(view: &View<'w>, root: &'w VirtualService) -> (Vec<Source<'w>>, bool) {
    let mut sources = vec![Source::OTHER];
    for route in routes_at(view, root, Context::MESH) {
        for source in route.conditions.iter().filter_map(|condition| condition.source()) {
            if sources.contains(&source) {
                continue;
            }
            if sources.len() >= MOST_SOURCES {
                return (sources, true);
            }
            sources.push(source);
        }
    }
    (sources, false)
}

/// The hosts of `root` at one gateway.
fn at_gateway<'w>(view: &View<'w>, root: &'w VirtualService, name: &Symbol, found: &mut VirtualHosts<'w>) {
    let home = &root.meta.namespace;
    let name = qualified(name, home);
    let Some(gateway) = view.gateway(&name, home) else {
        for host in &root.hosts {
            if found.is_full() {
                return;
            }
            let context = Context {
                gateway: Some(&name),
                ..Context::MESH
            };
            let (tried, dropped) = all_routes_at(view, root, context);
            let list = VirtualHost {
                host: view.resolve(host, home),
                routes: tried,
                dropped,
                gateway: Some(name.clone()),
                port: None,
                server: None,
                source: None,
            };
            found.push(root, list);
        }
        return;
    };
    let siblings = view.gateways_with(gateway);
    for server in gateway.servers.iter().filter(|server| server.serves_http()) {
        for host in served_hosts(view, server, gateway, root) {
            if found.is_full() {
                return;
            }
            let is_known = found.lists.iter().any(|known| {
                known.gateway.as_ref() == Some(&name)
                    && known.host == host
                    && known.port == Some(server.port)
                    && known.server.is_none_or(|known| known.is_tls() == server.is_tls())
            });
            if is_known {
                continue;
            }
            let (routes, dropped) = routes_of_host(view, (gateway, server), &siblings, &host);
            let list = VirtualHost {
                routes,
                dropped,
                host,
                gateway: Some(name.clone()),
                port: Some(server.port),
                server: Some(server),
                source: None,
            };
            found.push(root, list);
        }
    }
}

/// The servers whose hosts are looked up together with those of `server`: servers in the clear on one port are one
/// listener, also of several `Gateways` for the same pods; a server with TLS stands alone.
fn listener<'w>(
    gateway: &'w Gateway,
    server: &'w Server,
    siblings: &[&'w Gateway],
) -> Vec<(&'w Gateway, &'w Server)> {
    if server.is_tls() {
        return vec![(gateway, server)];
    }
    let all = siblings
        .iter()
        .flat_map(|gateway| gateway.servers.iter().map(move |server| (*gateway, server)));
    all.filter(|(_, other)| other.port == server.port && other.serves_http() && !other.is_tls())
        .collect()
}

/// The hosts that these servers serve with routes.
fn hosts_at<'w>(view: &View<'w>, servers: &[(&'w Gateway, &'w Server)]) -> Vec<Symbol> {
    let hosts = servers.iter().flat_map(|(gateway, server)| {
        let bound = at_gateway_in_order(view, gateway).into_iter();
        bound.flat_map(move |vs| served_hosts(view, server, gateway, vs))
    });
    hosts.collect()
}

/// The hosts that take requests away from the wildcard `host` at a server: those served there that it includes, for
/// Envoy takes the most specific host and never falls through to another [s23].
pub fn more_specific_hosts<'w>(
    view: &View<'w>,
    (gateway, server): (&'w Gateway, &'w Server),
    siblings: &[&'w Gateway],
    host: &Symbol,
) -> Vec<Symbol> {
    let mut hosts = hosts_at(view, &listener(gateway, server, siblings));
    hosts.retain(|other| other != host && host_includes(host, other));
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The routes that requests for `host` are tried against at a server: of all `VirtualServices` that have this very
/// host there, and at the servers whose hosts are looked up together with its own. And the routes that their own
/// `VirtualService` leaves out.
pub fn routes_of_host<'w>(
    view: &View<'w>,
    at: (&'w Gateway, &'w Server),
    siblings: &[&'w Gateway],
    host: &Symbol,
) -> (Vec<Route<'w>>, Vec<Route<'w>>) {
    routes_of_host_by(view, at, siblings, host, None)
}

/// The same for a gateway whose pods are known: `sourceLabels` and `sourceNamespace` are compared with theirs
/// (`sourceMatchHTTP` in `pilot/pkg/networking/core/route/route.go`).
pub(super) fn routes_of_host_by<'w>(
    view: &View<'w>,
    (gateway, server): (&'w Gateway, &'w Server),
    siblings: &[&'w Gateway],
    host: &Symbol,
    pods: Option<Source<'_>>,
) -> (Vec<Route<'w>>, Vec<Route<'w>>) {
    let (mut routes, mut dropped) = (Vec::new(), Vec::new());
    let mut seen: Vec<(&Symbol, &Symbol, *const VirtualService)> = Vec::new();
    for (gateway, server) in listener(gateway, server, siblings) {
        let name = qualified_name(gateway);
        for vs in at_gateway_in_order(view, gateway) {
            let key = (
                &gateway.meta.namespace,
                &gateway.meta.name,
                std::ptr::from_ref(vs),
            );
            if seen.contains(&key) || !served_hosts(view, server, gateway, vs).contains(host) {
                continue;
            }
            seen.push(key);
            view.rests_on(vs);
            let context = Context {
                gateway: Some(&name),
                port: Some(server.port),
                source: pods,
            };
            let (of_vs, left_out) = all_routes_at(view, vs, context);
            routes.extend(of_vs);
            dropped.extend(left_out);
        }
    }
    (catch_alls_last(routes), dropped)
}

/// The gateway's name as `VirtualServices` of any namespace write it.
pub fn qualified_name(gateway: &Gateway) -> Symbol {
    format!("{}/{}", gateway.meta.namespace, gateway.meta.name).into()
}

/// The gateways, as `namespace/name`, whose pods are those of the one that an object of `home` writes as `name`, itself
/// among them.
pub fn gateway_names(view: &View<'_>, name: &Symbol, home: &Symbol) -> Vec<Symbol> {
    match view.gateway(name, home) {
        Some(gateway) => {
            let siblings = view.gateways_with(gateway).into_iter();
            siblings.map(qualified_name).collect()
        }
        None => vec![qualified(name, home)],
    }
}

/// The most specific host that is served at a server and takes requests for `host`, as callers outside write it.
pub(super) fn served_host_of<'w>(
    view: &View<'w>,
    (gateway, server): (&'w Gateway, &'w Server),
    siblings: &[&'w Gateway],
    host: &str,
) -> Option<Symbol> {
    let servers = listener(gateway, server, siblings);
    let by_routes = hosts_at(view, &servers).into_iter();
    let by_redirect = servers.iter().filter(|(_, server)| server.redirects);
    let by_redirect = by_redirect.flat_map(|(_, server)| server.hosts.iter().cloned());
    let taking = by_routes
        .chain(by_redirect)
        .filter(|served| host_includes(served, host));
    // A whole name comes before any wildcard, and of wildcards the longest.
    taking.max_by_key(|served| (!served.starts_with('*'), served.len()))
}

/// Whether a server redirects requests for a host that it serves to HTTPS: its listener knows by host which server is
/// meant (`buildGatewayHTTPRouteConfig`).
pub(super) fn is_redirected<'w>(
    view: &View<'w>,
    (gateway, server): (&'w Gateway, &'w Server),
    siblings: &[&'w Gateway],
    host: &Symbol,
) -> bool {
    let servers = listener(gateway, server, siblings).into_iter();
    let mut redirecting = servers.filter(|(_, server)| server.redirects && !server.is_tls());
    redirecting.any(|(gateway, server)| {
        let mut bound = at_gateway_in_order(view, gateway).into_iter();
        server.hosts.contains(host) || bound.any(|vs| served_hosts(view, server, gateway, vs).contains(host))
    })
}

/// The `VirtualServices` at a gateway in the order in which Istio takes them: those that only the pods' namespace
/// sees, then those exported to it by name, then those for all; in each the oldest first
/// (`VirtualServicesForGateway` in `pilot/pkg/model/push_context.go`).
fn at_gateway_in_order<'w>(view: &View<'w>, gateway: &'w Gateway) -> Vec<&'w VirtualService> {
    let pods = view.namespaces_with(&gateway.selector);
    let pods = pods.first().unwrap_or(&gateway.meta.namespace);
    let bound = view.virtual_services_at(&qualified_name(gateway)).into_iter();
    let mut ranked: Vec<_> = bound
        .filter(|vs| !vs.hosts.is_empty())
        .filter_map(|vs| Some((rank(view, vs, pods)?, vs)))
        .collect();
    ranked.sort_by_key(|(rank, vs)| (*rank, age(&vs.meta)));
    ranked.into_iter().map(|(_, vs)| vs).collect()
}

/// What takes every request is tried after all else, whichever `VirtualService` it is of.
fn catch_alls_last(routes: Vec<Route<'_>>) -> Vec<Route<'_>> {
    let mut last = Vec::new();
    let mut first = Vec::with_capacity(routes.len());
    for mut route in routes {
        if route.conditions.is_empty() {
            last.push(route);
            continue;
        }
        let conditions = std::mem::take(&mut route.conditions);
        let (all, some): (Vec<_>, Vec<_>) = conditions
            .into_iter()
            .partition(|condition| condition.takes_every_request());
        for (conditions, list) in [(some, &mut first), (all, &mut last)] {
            if !conditions.is_empty() {
                list.push(Route {
                    conditions,
                    ..route.clone()
                });
            }
        }
    }
    first.append(&mut last);
    first
}

/// The hosts for which a server takes requests to the routes of `vs`: of each pair of a server's and a
/// `VirtualService`'s host, a short one completed, the narrower one, where the server is for the namespace
/// (`Names.Intersection` in `pkg/config/host`).
pub fn served_hosts(view: &View<'_>, server: &Server, gateway: &Gateway, vs: &VirtualService) -> Vec<Symbol> {
    let hosts = vs.hosts.iter().flat_map(|host| {
        let host = view.resolve(host, &vs.meta.namespace);
        served_for(server, gateway, &vs.meta.namespace, &host)
    });
    let mut hosts: Vec<Symbol> = hosts.collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The hosts for which a server takes requests to the routes of a `VirtualService` of `namespace` for the full host
/// `host`: it, or what the server has of it; none: the server is not for it, or not for the namespace
/// (`host.NamesForNamespace` in `pkg/config/host`).
pub fn served_for(server: &Server, gateway: &Gateway, namespace: &Symbol, host: &Symbol) -> Vec<Symbol> {
    let home = &gateway.meta.namespace;
    let offered = server
        .hosts
        .iter()
        .filter_map(|written| match written.split_once('/') {
            None => Some(written.as_str()),
            Some(("*", host)) => Some(host),
            Some((of, host)) if *namespace == if of == "." { home.as_str() } else { of } => Some(host),
            Some(_) => None,
        });
    let narrower = offered.filter_map(|offered| {
        if host_includes(offered, host) {
            Some(host.as_str())
        } else {
            host_includes(host, offered).then_some(offered)
        }
    });
    narrower.map(|host| host.to_ascii_lowercase().into()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::{Settings, World};

    fn object(kind: Kind, name: &str, created: u8, spec: &Value) -> Resource {
        let created = format!("2026-11-01T00:00:{created:02}Z");
        let object = json!({"metadata": {"namespace": "cars", "name": name, "creationTimestamp": created}, "spec": spec});
        Resource::parse(kind, object).unwrap()
    }

    fn gateway(servers: &Value) -> Resource {
        object(
            Kind::Gateway,
            "gw",
            0,
            &json!({"selector": {"istio": "gw"}, "servers": servers}),
        )
    }

    fn server(port: u16, hosts: &[&str]) -> Value {
        json!({"port": {"number": port, "protocol": "HTTP"}, "hosts": hosts})
    }

    fn vs(name: &str, created: u8, hosts: &[&str], http: &Value) -> Resource {
        object(
            Kind::VirtualService,
            name,
            created,
            &json!({"hosts": hosts, "gateways": ["gw"], "http": http}),
        )
    }

    /// A virtual host: host, port, and its routes as object and place.
    type Listed = (String, Option<u32>, Vec<(String, usize)>);

    /// The virtual hosts of `cars/a`.
    fn hosts(objects: Vec<Resource>) -> Vec<Listed> {
        let world = World::of(Settings::default(), objects);
        let view = View::new(&world);
        let vs = view.virtual_service(&"cars".into(), &"a".into()).unwrap();
        let hosts = virtual_hosts(&view, vs).lists.into_iter();
        hosts
            .map(|host| {
                let routes = host.routes.iter();
                let routes = routes.map(|route| (route.vs.meta.name.to_string(), route.index));
                (host.host.to_string(), host.port, routes.collect())
            })
            .collect()
    }

    fn all(routes: &[(&str, usize)]) -> Vec<(String, usize)> {
        routes
            .iter()
            .map(|(name, index)| ((*name).to_owned(), *index))
            .collect()
    }

    #[test]
    fn of_a_servers_and_a_virtual_services_host_the_narrower_one_is_served() {
        let servers = json!([server(
            80,
            &["*.x.com", "cars/y.com", "shop/z.com", "*.cars.svc.cluster.local"]
        )]);
        let found = hosts(vec![
            gateway(&servers),
            vs("a", 1, &["a.x.com", "*.com", "y.org", "portal"], &json!([{}])),
        ]);
        let routes = all(&[("a", 0)]);
        let expected = ["*.x.com", "a.x.com", "portal.cars.svc.cluster.local", "y.com"]
            .map(|host| (host.to_owned(), Some(80), routes.clone()));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_routes_of_one_host_stand_together_the_oldest_first_and_what_takes_all_last() {
        let condition = json!({"match": [{"headers": {"bu": {"exact": "x"}}}]});
        let older = vs(
            "b",
            1,
            &["x.com"],
            &json!([condition, {"match": [{"uri": {"exact": "/a"}}, {"uri": {"prefix": "/"}}]}]),
        );
        let younger = vs("a", 2, &["x.com"], &json!([condition, {}]));
        let found = hosts(vec![gateway(&json!([server(80, &["*"])])), older, younger]);
        let expected = all(&[("b", 0), ("b", 1), ("a", 0), ("b", 1), ("a", 1)]);
        assert_eq!(found, [("x.com".to_owned(), Some(80), expected)]);
    }

    #[test]
    fn it_is_told_where_there_are_more_lists_than_are_made() {
        let has_more = |objects: Vec<Resource>| {
            let world = World::of(Settings::default(), objects);
            let view = View::new(&world);
            virtual_hosts(&view, view.virtual_service(&"cars".into(), &"a".into()).unwrap()).has_more
        };
        let on_mesh = |hosts: usize, http: &Value| {
            let hosts: Vec<String> = (0..hosts).map(|at| format!("h{at:03}.example.com")).collect();
            object(
                Kind::VirtualService,
                "a",
                1,
                &json!({"hosts": hosts, "gateways": ["mesh", "gw"], "http": http}),
            )
        };
        let paths: Vec<Value> = (0..1000)
            .map(|at| json!({"uri": {"exact": format!("/{at}")}}))
            .collect();
        let on_both = json!([{"match": paths}, {}]);
        let at_gateway = gateway(&json!([server(80, &["*"])]));
        assert!(!has_more(vec![at_gateway.clone(), on_mesh(90, &on_both)]));
        assert!(
            has_more(vec![at_gateway, on_mesh(130, &on_both)]),
            "those at the gateway"
        );

        let of_callers = |callers: usize| {
            let each = (0..callers).map(|at| json!({"sourceLabels": {"app": format!("a{at}")}}));
            on_mesh(1, &json!([{"match": each.collect::<Vec<_>>()}, {}]))
        };
        assert!(!has_more(vec![of_callers(257)]));
        assert!(has_more(vec![of_callers(MOST_SOURCES)]));
    }

    #[test]
    fn a_more_specific_host_takes_requests_away_from_a_wildcard() {
        let servers = json!([server(80, &["*"]), server(81, &["a.x.com"])]);
        let one = |name: &str, hosts: &[&str]| vs(name, 1, hosts, &json!([{}]));
        let world = World::of(
            Settings::default(),
            [
                gateway(&servers),
                one("a", &["*.x.com"]),
                one("b", &["a.x.com", "*.b.x.com", "y.com"]),
            ],
        );
        let view = View::new(&world);
        let gateway = view.gateway(&"gw".into(), &"cars".into()).unwrap();
        let more = |server: usize, host: &str| {
            let at = (gateway, &gateway.servers[server]);
            more_specific_hosts(&view, at, &[gateway], &host.into())
        };
        assert_eq!(more(0, "*.x.com"), ["*.b.x.com", "a.x.com"]);
        assert_eq!(more(0, "*"), ["*.b.x.com", "*.x.com", "a.x.com", "y.com"]);
        assert_eq!(more(1, "*.x.com"), ["a.x.com"]);
        assert_eq!(more(0, "a.x.com"), [""; 0]);
    }

    #[test]
    fn gateways_for_the_same_pods_share_a_port_in_the_clear() {
        let second = object(
            Kind::Gateway,
            "second",
            3,
            &json!({"selector": {"istio": "gw"}, "servers": [server(80, &["x.com"]), server(81, &["x.com"])]}),
        );
        let other = object(
            Kind::VirtualService,
            "b",
            0,
            &json!({"hosts": ["x.com"], "gateways": ["second"], "http": [{"match": [{"uri": {"exact": "/b"}}]}]}),
        );
        let own = vs("a", 1, &["x.com"], &json!([{}]));
        let found = hosts(vec![gateway(&json!([server(80, &["*"])])), second, other, own]);
        assert_eq!(
            found,
            [("x.com".to_owned(), Some(80), all(&[("b", 0), ("a", 0)]))]
        );
    }

    #[test]
    fn what_passes_tls_on_unopened_has_no_routes() {
        let tls = |mode: &str, protocol: &str| json!([{"port": {"number": 443, "protocol": protocol}, "tls": {"mode": mode}, "hosts": ["*"]}]);
        let own = || vs("a", 1, &["x.com"], &json!([{}]));
        assert_eq!(hosts(vec![gateway(&tls("SIMPLE", "HTTPS")), own()]).len(), 1);
        assert_eq!(hosts(vec![gateway(&tls("PASSTHROUGH", "HTTPS")), own()]), []);
        assert_eq!(hosts(vec![gateway(&tls("SIMPLE", "TCP")), own()]), []);
    }

    #[test]
    fn on_the_mesh_each_http_port_of_a_host_is_asked_for() {
        let service = Resource::parse(
            Kind::Service,
            json!({"metadata": {"namespace": "cars", "name": "portal"}, "spec": {"ports": [
                {"name": "http", "port": 80}, {"name": "tcp-x", "port": 81}, {"name": "grpc", "port": 82}]}}),
        )
        .unwrap();
        let own = object(
            Kind::VirtualService,
            "a",
            1,
            &json!({"hosts": ["portal"], "http": [{"match": [{"port": 82}]}, {}]}),
        );
        let host = "portal.cars.svc.cluster.local".to_owned();
        assert_eq!(
            hosts(vec![service, own]),
            [
                (host.clone(), Some(80), all(&[("a", 1)])),
                (host, Some(82), all(&[("a", 0)]))
            ]
        );
    }
}
