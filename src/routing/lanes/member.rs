//! Which label tells the lane, and which services and workloads are members of a group.

use std::rc::Rc;

use hashbrown::HashMap;

use super::{Groups, Lanes, MOST, is_lane_key, names, routes_with, subset_of};
use crate::resource::{HttpRoute, Labels, Service};
use crate::routing::{Protocol, reached, roots_of, rule_for, workload_labels};
use crate::symbol::Symbol;
use crate::world::View;

/// The most routes to one lane that are asked for its label: they hardly ever differ.
const MOST_VOTES: usize = 64;

impl<'v, 'w> Groups<'v, 'w> {
    /// The groups in which a workload of `namespace` with these pod labels is a member, each with the member
    /// services that choose it: those that the group's lanes are routed to (see [`Lanes::has_member`]). The
    /// Redis and the jobs that a plugin's selector chooses too are members of none [s32].
    pub fn of_workload(
        &self,
        namespace: &Symbol,
        labels: &Labels,
    ) -> Vec<(Rc<Lanes<'v, 'w>>, Vec<&'w Service>)> {
        let mut found: Vec<(Rc<Lanes<'v, 'w>>, Vec<&'w Service>)> = Vec::new();
        for service in self.view.services_selecting(namespace, labels) {
            let Some(lanes) = self.of_service(service) else {
                continue;
            };
            if !lanes.has_member(service) {
                continue;
            }
            match found.iter_mut().find(|(known, _)| Rc::ptr_eq(known, &lanes)) {
                Some((_, services)) => services.push(service),
                None => found.push((lanes, vec![service])),
            }
        }
        found
    }
}

impl<'w> Lanes<'_, 'w> {
    /// The label whose value is the lane: the one that is written down, else the key that most often has, in a
    /// subset, the very value of the lane header that leads to the subset; of two that do so equally often, the
    /// first by name. `None` where no route tells [s32].
    pub fn lane_label(&self) -> Option<&Symbol> {
        if let Some(written) = &self.group.lane_label {
            return Some(written);
        }
        self.label
            .get_or_init(|| {
                let mut views = [Some(self.view), self.before].into_iter().flatten();
                self.kept(|| views.find_map(|view| self.told_by_routes(view)))
            })
            .as_ref()
    }

    /// The labels that the group's workloads share; empty: every workload of its namespace.
    pub fn selector(&self) -> Labels {
        Labels::new(self.group.workloads.iter().cloned())
    }

    /// Whether a lane plugin with a default lane is in each sidecar of `namespace`: in the group's own in those of its
    /// workloads, elsewhere in all.
    pub fn is_filtered(&self, namespace: &Symbol) -> bool {
        let mut plugins = self.view.lane_plugins_for(namespace);
        plugins.retain(|plugin| {
            plugin.traffic_lane.is_some() && plugin.lane_header.as_ref() == Some(&self.group.header)
        });
        let of_group = if *namespace == self.group.namespace {
            self.selector()
        } else {
            Labels::default()
        };
        let is_filtered = |labels: &Labels| plugins.iter().any(|plugin| plugin.selects(labels));
        let carriers = self.view.carriers(namespace, &of_group);
        let mut carriers = carriers.iter();
        carriers.all(|carrier| carrier.carrier_labels().is_none_or(is_filtered))
    }

    /// Whether `service`, which belongs to the group by its workloads ([`Groups::of_host`]), takes part in its
    /// lanes: a route to it matches or sets the lane header, or its `DestinationRule` has a subset by the lane label.
    /// In a Strict group, where every service has every lane, one with an HTTP port does so whatever
    /// leads to it. What was a member before a change still is one [s32].
    pub fn has_member(&self, service: &Service) -> bool {
        (self.group.is_strict() && has_http_port(service)) || self.takes_part(service)
    }

    /// Whether `service`, which belongs to the group by its workloads, shows by a route or a subset that it takes part
    /// in the lanes, whatever the group expects.
    pub fn takes_part(&self, service: &Service) -> bool {
        let host = self.view.host_of(service);
        if let Some(known) = self.members.borrow().get(&host) {
            return *known;
        }
        let mut views = [Some(self.view), self.before].into_iter().flatten();
        let takes_part = self.kept(|| {
            views.any(|view| self.is_routed(view, &host) || self.has_lane_subset(view, &host, service))
        });
        self.members.borrow_mut().insert(host, takes_part);
        takes_part
    }

    /// The lanes of a workload of the group's namespace with these pod labels: the one that its lane label names;
    /// else those of the subsets that choose it. None: it is in no lane.
    pub fn lanes_of_workload(&self, labels: &Labels) -> Vec<Symbol> {
        let by_label = self.lane_label().and_then(|label| labels.get(label));
        if let Some(lane) = by_label.filter(|value| self.contains(value)) {
            return vec![lane.clone()];
        }
        let services = self.view.services_selecting(&self.group.namespace, labels);
        let mut lanes: Vec<Symbol> = services
            .into_iter()
            .flat_map(|service| self.lanes_of_subsets(service, labels))
            .collect();
        lanes.sort();
        lanes.dedup();
        lanes
    }

    /// The lanes of those subsets of `service` that choose a pod with these labels.
    fn lanes_of_subsets(&self, service: &Service, labels: &Labels) -> Vec<Symbol> {
        let home = &service.meta.namespace;
        let rule = rule_for(self.view, home, &self.view.host_of(service), Some(home));
        let subsets = rule.iter().flat_map(|rule| &rule.subsets);
        let chooses = |wanted: &Labels| !wanted.is_empty() && wanted.select(labels);
        subsets
            .filter(|defined| chooses(&workload_labels(defined.subset)))
            .filter_map(|defined| self.lane_of_subset(defined.subset))
            .collect()
    }

    fn told_by_routes(&self, view: &View<'w>) -> Option<Symbol> {
        let (namespace, header) = (&self.group.namespace, &self.group.header);
        let mut votes: HashMap<Symbol, usize> = HashMap::new();
        for value in view.named_values(namespace, header).into_iter().take(MOST) {
            let naming = view.virtual_services_naming(namespace, header, &value);
            let naming = naming.into_iter();
            let routes = naming.flat_map(|vs| routes_with(view, vs, |route| names(route, header, &value)));
            for (vs, route) in routes.take(MOST_VOTES) {
                for (_, to) in reached(route) {
                    let host = view.resolve(&to.destination.host, &vs.meta.namespace);
                    let service = view
                        .service_of(&host)
                        .filter(|service| service.meta.namespace == *namespace);
                    let subset = service.and_then(|service| subset_of(view, &host, service, &to.destination));
                    let pairs = subset.into_iter().flat_map(|subset| subset.labels.pairs().iter());
                    for (key, _) in pairs.filter(|(key, found)| is_lane_key(key) && *found == value) {
                        *votes.entry(key.clone()).or_insert(0) += 1;
                    }
                }
            }
        }
        let mut votes: Vec<(Symbol, usize)> = votes.into_iter().collect();
        votes.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        votes.into_iter().next().map(|(key, _)| key)
    }

    /// Whether a route that leads to the full host `host`, or one that delegates to it, matches or sets the lane
    /// header.
    fn is_routed(&self, view: &View<'w>, host: &Symbol) -> bool {
        view.virtual_services_to(host).into_iter().any(|vs| {
            let with_header = |vs| routes_with(view, vs, |route| uses(route, &self.group.header));
            let roots = if vs.hosts.is_empty() {
                roots_of(view, vs)
            } else {
                Vec::new()
            };
            let mut routes = [vs].into_iter().chain(roots).flat_map(with_header);
            routes.any(|(vs, route)| {
                reached(route).any(|(_, to)| view.resolve(&to.destination.host, &vs.meta.namespace) == *host)
            })
        })
    }

    fn has_lane_subset(&self, view: &View<'w>, host: &Symbol, service: &Service) -> bool {
        let Some(label) = self.lane_label() else {
            return false;
        };
        let home = &service.meta.namespace;
        let rule = rule_for(view, home, host, Some(home));
        rule.is_some_and(|rule| {
            let mut subsets = rule.subsets.iter();
            subsets.any(|defined| defined.subset.labels.get(label).is_some())
        })
    }
}

/// Whether HTTP routes apply to some port of a service that is no alias.
pub fn has_http_port(service: &Service) -> bool {
    service.external_name.is_none() && service.ports.iter().any(|port| Protocol::of(port).is_http())
}

/// Whether the route matches the header, in whatever way, or it or a destination sets it.
fn uses(route: &HttpRoute, header: &str) -> bool {
    let on_destinations = route.route.iter().filter_map(|to| to.headers.as_ref());
    let mut operations = route.headers.iter().chain(on_destinations);
    route
        .matches
        .iter()
        .any(|condition| condition.header(header).is_some())
        || operations.any(|headers| headers.request.set_value(header).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::{Settings, World};

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn plugin() -> Resource {
        let spec = json!({"selector": {"matchLabels": {"part-of": "shop"}},
            "pluginConfig": {"lane_header": "lane", "traffic_lane": "blue"}});
        object(Kind::WasmPlugin, "lanes", &spec)
    }

    /// A service with a workload for each of these labels.
    fn service(name: &str, workloads: &[Value]) -> Vec<Resource> {
        let spec = json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]});
        let mut all = vec![object(Kind::Service, name, &spec)];
        for (at, labels) in workloads.iter().enumerate() {
            let mut labels = labels.clone();
            labels["app"] = json!(name);
            labels["part-of"] = json!("shop");
            let spec = json!({"template": {"metadata": {"labels": labels}}});
            all.push(object(Kind::Deployment, &format!("{name}-{at}"), &spec));
        }
        all
    }

    fn rule(host: &str, subsets: &Value) -> Resource {
        object(
            Kind::DestinationRule,
            host,
            &json!({"host": host, "subsets": subsets}),
        )
    }

    fn route(host: &str, lane: &str, subset: &str) -> Resource {
        let matches = json!([{"headers": {"lane": {"exact": lane}}}]);
        let to = json!([{"destination": {"host": host, "subset": subset}}]);
        object(
            Kind::VirtualService,
            &format!("{host}-{lane}"),
            &json!({"hosts": [host], "http": [{"match": matches, "route": to}]}),
        )
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())))
    }

    /// A cart by `version` and an order service by `track`, both routed; a Redis beside them.
    fn shop() -> World {
        let mut all = vec![plugin()];
        all.extend(service(
            "cart",
            &[
                json!({"version": "green", "pod-template-hash": "green"}),
                json!({"version": "blue", "pod-template-hash": "blue"}),
            ],
        ));
        all.push(rule(
            "cart",
            &json!([{"name": "g", "labels": {"version": "green", "pod-template-hash": "green"}},
                {"name": "b", "labels": {"version": "blue", "pod-template-hash": "blue"}}]),
        ));
        all.extend(service(
            "orders",
            &[json!({"track": "green"}), json!({"track": "t"})],
        ));
        all.push(rule(
            "orders",
            &json!([{"name": "g", "labels": {"track": "green"}}, {"name": "orders-blue", "labels": {"track": "t"}}]),
        ));
        all.extend(service("redis", &[json!({"version": "v7"})]));
        all.extend([
            route("cart", "green", "g"),
            route("cart", "blue", "b"),
            route("orders", "green", "g"),
        ]);
        World::of(Settings::default(), all)
    }

    fn lanes<'v, 'w>(groups: &Groups<'v, 'w>) -> Rc<Lanes<'v, 'w>> {
        groups.of_host(&"cart.shop.svc.cluster.local".into()).unwrap()
    }

    #[test]
    fn the_lane_label_is_the_key_that_most_often_has_the_value_of_the_header_and_never_a_template_hash() {
        let world = shop();
        let view = View::new(&world);
        let groups = Groups::new(&view, None);
        assert_eq!(lanes(&groups).lane_label(), Some(&"version".into()));
    }

    #[test]
    fn where_no_route_tells_there_is_no_lane_label() {
        let all: Vec<_> = [plugin()]
            .into_iter()
            .chain(service("cart", &[json!({"version": "green"})]))
            .collect();
        let world = World::of(Settings::default(), all);
        let view = View::new(&world);
        let groups = Groups::new(&view, None);
        assert_eq!(lanes(&groups).lane_label(), None);
    }

    #[test]
    fn a_service_is_a_member_by_a_route_or_a_subset_and_what_the_plugin_selects_besides_is_none() {
        let world = shop();
        let view = View::new(&world);
        let groups = Groups::new(&view, None);
        let is_member = |name: &str| lanes(&groups).has_member(view.service("shop", name).unwrap());
        assert!(is_member("cart") && is_member("orders"));
        assert!(!is_member("redis"));
        let of = |pairs: &[(&str, &str)]| groups.of_workload(&"shop".into(), &labels(pairs)).len();
        assert_eq!(of(&[("app", "cart")]), 1);
        assert_eq!(of(&[("app", "redis")]), 0);
        assert_eq!(of(&[("app", "job")]), 0);
    }

    #[test]
    fn what_was_a_member_before_a_change_still_is_one() {
        let (before, mut after) = (shop(), shop());
        for kind in [Kind::VirtualService, Kind::DestinationRule] {
            after.clear(kind);
        }
        let (before, after) = (View::new(&before), View::new(&after));
        let cart = after.service("shop", "cart").unwrap();
        let is_member = |before| lanes(&Groups::new(&after, before)).has_member(cart);
        assert!(is_member(Some(&before)));
        assert!(!is_member(None));
    }

    #[test]
    fn in_a_strict_group_every_service_with_an_http_port_is_a_member() {
        let group = |completeness: &str| {
            let spec = json!({"header": "lane", "workloads": {"matchLabels": {"part-of": "shop"}}, "lanes": ["blue"], "defaultLane": "blue", "completeness": completeness});
            let mut all = service("cart", &[json!({})]);
            all.push(object(Kind::LaneGroup, "shop", &spec));
            all.push(object(
                Kind::Service,
                "cache",
                &json!({"selector": {"app": "cart"}, "ports": [{"name": "redis", "port": 6379}]}),
            ));
            World::of(Settings::default(), all)
        };
        let is_member = |completeness: &str, name: &str| {
            let world = group(completeness);
            let view = View::new(&world);
            lanes(&Groups::new(&view, None)).has_member(view.service("shop", name).unwrap())
        };
        assert!(is_member("Strict", "cart"));
        assert!(!is_member("Strict", "cache"));
        assert!(!is_member("Fallback", "cart"));
    }

    #[test]
    fn a_workload_is_in_the_lane_that_its_label_names_or_whose_subset_chooses_it() {
        let world = shop();
        let view = View::new(&world);
        let groups = Groups::new(&view, None);
        let of = |pairs: &[(&str, &str)]| lanes(&groups).lanes_of_workload(&labels(pairs));
        assert_eq!(of(&[("app", "cart"), ("version", "green")]), ["green"]);
        assert_eq!(of(&[("app", "orders"), ("track", "t")]), ["blue"]);
        assert!(of(&[("app", "cart"), ("version", "greeen")]).is_empty());
        assert!(of(&[("app", "cart")]).is_empty());
    }

    #[test]
    fn a_lane_that_a_root_names_and_a_delegates_subset_carries_is_one_and_its_service_a_member() {
        let vs = |name: &str, spec: &Value| object(Kind::VirtualService, name, spec);
        let matches = json!([{"headers": {"lane": {"exact": "green"}}}]);
        let to = json!([{"destination": {"host": "cart", "subset": "g"}}]);
        let mut all = vec![
            plugin(),
            rule("cart", &json!([{"name": "g", "labels": {"version": "green"}}])),
            vs(
                "root",
                &json!({"hosts": ["cart"], "http": [{"match": matches, "delegate": {"name": "own"}}]}),
            ),
            vs("own", &json!({"http": [{"route": to}]})),
        ];
        all.extend(service("cart", &[json!({"version": "green"})]));
        let is_lane = |all: Vec<Resource>| {
            let world = World::of(Settings::default(), all);
            let view = View::new(&world);
            let groups = Groups::new(&view, None);
            let cart = view.service("shop", "cart").unwrap();
            let lanes = lanes(&groups);
            (
                lanes.contains("green"),
                lanes.has_member(cart),
                lanes.lane_label().cloned(),
            )
        };
        assert_eq!(is_lane(all.clone()), (true, true, Some("version".into())));
        // A delegate whose match does not fit the root's is left out.
        let other = json!([{"headers": {"lane": {"exact": "red"}}}]);
        all[3] = vs("own", &json!({"http": [{"match": other, "route": to}]}));
        assert!(!is_lane(all).0);
    }
}
