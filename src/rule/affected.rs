//! Which objects a change can break.

use std::collections::BTreeSet;

use crate::resource::{Kind, Labels, ObjectRef, Resource, VirtualService};
use crate::routing::{alias_at, destinations, gateway_names, home_of, is_on_mesh, qualified_name, roots_of};
use crate::symbol::Symbol;
use crate::world::{View, host_includes};

/// The objects whose findings can differ once `object` comes, changes or goes: itself and what depends on it.
/// To be asked for the object as it was and as it will be.
pub fn affected<'w>(view: &View<'w>, object: &'w Resource) -> BTreeSet<ObjectRef> {
    let mut found = BTreeSet::from([object.reference()]);
    let namespace = &object.meta().namespace;
    match object {
        Resource::VirtualService(vs) => {
            for host in hosts_of(view, vs) {
                add_rules_for(view, &host, &mut found);
                add_service_at(view, &host, &mut found);
                if let Some((_, of)) = alias_at(view, &host) {
                    add_rules_for(view, of, &mut found);
                }
            }
            add_delegates(vs, &mut found);
            for root in roots_of(view, vs) {
                found.insert(reference(root));
                add_neighbours(view, root, &mut found);
                for host in &root.hosts {
                    add_service_at(view, &view.resolve(host, &root.meta.namespace), &mut found);
                }
                if root.bound_gateways().next().is_some() {
                    add_lane_plugins(view, vs, &mut found);
                }
            }
        }
        Resource::DestinationRule(rule) => {
            let host = view.resolve(&rule.host, namespace);
            if host.starts_with('*') {
                // A wildcard can stand in for every service of its namespace that it includes.
                for service in view.services_in(namespace) {
                    let host_of_service = view.host_of(service);
                    if view.with_wildcards(&host_of_service).contains(&host) {
                        add_service(view, &host_of_service, &mut found);
                    }
                }
                // And for every service that is called from there.
                add_routes_within(view, namespace, &host, &mut found);
            } else {
                add_service(view, &host, &mut found);
            }
        }
        Resource::Service(service) => {
            add_service(view, &view.host_of(service), &mut found);
            if !service.selector.is_empty() {
                add_workloads(view, namespace, &service.selector, &mut found);
            }
        }
        Resource::Workload(workload) => {
            add_services_selecting(view, namespace, &workload.template.labels, &mut found);
        }
        Resource::WorkloadEntry(entry) => add_services_selecting(view, namespace, &entry.labels, &mut found),
        Resource::Pod(pod) => add_services_selecting(view, namespace, &pod.meta.labels, &mut found),
        Resource::ServiceEntry(entry) => {
            for host in &entry.hosts {
                add_service(view, host, &mut found);
                if host.starts_with('*') {
                    add_routes_within(view, namespace, host, &mut found);
                }
            }
        }
        Resource::Gateway(gateway) => {
            for gateway in view.gateways_with(gateway) {
                for bound in view.virtual_services_at(&qualified_name(gateway)) {
                    add_root(bound, &mut found);
                }
            }
        }
        Resource::LaneGroup(group) => {
            let group = group.group();
            let entry = group.entry.as_ref().map(|entry| &entry.header);
            for header in [Some(&group.header), entry].into_iter().flatten() {
                add_routes_naming(view, namespace, header, &mut found);
            }
            add_services_of(view, namespace, &mut found);
            add_workloads(view, namespace, &Labels::new(group.workloads), &mut found);
            let plugins = view.lane_plugins(namespace).into_iter();
            found.extend(plugins.map(|plugin| plugin.meta.reference(plugin.kind)));
        }
        Resource::WasmPlugin(plugin) => {
            if let Some(header) = &plugin.lane_header {
                // One of the root namespace makes a group wherever its lanes are routed to.
                let mut namespaces = vec![namespace.clone()];
                if namespace == view.root_namespace() {
                    namespaces.extend(view.namespaces_naming(header));
                }
                for namespace in &namespaces {
                    add_routes_naming(view, namespace, header, &mut found);
                    add_services_of(view, namespace, &mut found);
                    // Also those that it does not select: with the first plugin they lack one (LK501).
                    add_workloads(view, namespace, &Labels::default(), &mut found);
                }
            }
        }
        Resource::Sidecar(sidecar) => {
            let of_namespace = view.virtual_services_in(&sidecar.meta.namespace);
            found.extend(of_namespace.into_iter().map(reference));
        }
        // Whether trace ids come to the lane filters (LK504); neither is judged at admission.
        Resource::Telemetry(_) | Resource::MeshConfig(_) => found.extend(view.lane_plugins_anywhere()),
        Resource::Mark(_) => {}
    }
    found
}

fn reference(vs: &VirtualService) -> ObjectRef {
    vs.meta.reference(Kind::VirtualService)
}

/// The full hosts that a `VirtualService` sends requests to.
fn hosts_of(view: &View<'_>, vs: &VirtualService) -> BTreeSet<Symbol> {
    let all = vs.http.iter().flat_map(destinations);
    all.map(|(_, to)| view.resolve(&to.host, &vs.meta.namespace))
        .collect()
}

/// A `VirtualService` whose requests come in another way, and those that it hands them on to.
fn add_root(vs: &VirtualService, found: &mut BTreeSet<ObjectRef>) {
    found.insert(reference(vs));
    add_delegates(vs, found);
}

/// The `VirtualServices` whose routes a root's stand before: what they get depends on it.
fn add_delegates(root: &VirtualService, found: &mut BTreeSet<ObjectRef>) {
    let named = root.http.iter().filter_map(|route| route.delegate.as_ref());
    found.extend(named.map(|delegate| {
        let home = delegate.namespace_in(&root.meta.namespace);
        ObjectRef::new(Kind::VirtualService, home, &delegate.name)
    }));
}

/// The plugins that imply lane groups of the services which `vs` sends requests to: its routes tell their entry header.
fn add_lane_plugins(view: &View<'_>, vs: &VirtualService, found: &mut BTreeSet<ObjectRef>) {
    let hosts = hosts_of(view, vs);
    let homes = hosts.iter().filter_map(|host| view.read_host(host).namespace());
    let mut homes: BTreeSet<Symbol> = homes.map(Symbol::new).collect();
    homes.insert(view.root_namespace().clone());
    let plugins = homes.iter().flat_map(|home| view.lane_plugins(home));
    found.extend(plugins.map(|plugin| plugin.meta.reference(plugin.kind)));
}

/// The `VirtualServices` that may take requests of the same hosts: on the mesh, and at the same gateways.
fn add_neighbours(view: &View<'_>, root: &VirtualService, found: &mut BTreeSet<ObjectRef>) {
    let home = &root.meta.namespace;
    let mesh = root.hosts.iter().map(|host| view.resolve(host, home));
    for vs in mesh.flat_map(|host| view.virtual_services_of(&host)) {
        add_root(vs, found);
    }
    let share_a_host = |other: &&VirtualService| {
        let full = |vs: &VirtualService, host: &Symbol| view.resolve(host, &vs.meta.namespace);
        root.hosts.iter().map(|host| full(root, host)).any(|host| {
            let mut others = other.hosts.iter().map(|host| full(other, host));
            others.any(|other| host_includes(&host, &other) || host_includes(&other, &host))
        })
    };
    for name in root.bound_gateways() {
        let names = gateway_names(view, name, home);
        let neighbours = names.iter().flat_map(|name| view.virtual_services_at(name));
        for vs in neighbours.filter(share_a_host) {
            add_root(vs, found);
        }
    }
}

/// The `DestinationRules` for a full host, and for the wildcards that include it.
fn add_rules_for(view: &View<'_>, host: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    let home = home_of(view, host).unwrap_or_default();
    let rules = view.destination_rules_including(host, &[home]).into_iter();
    found.extend(
        rules
            .flatten()
            .map(|rule| rule.meta.reference(Kind::DestinationRule)),
    );
}

fn add_routes_to(view: &View<'_>, host: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    add_with_roots(view, view.virtual_services_to(host), found);
}

/// `VirtualServices`, and those that delegate to them: a delegate's routes have their headers from these [s26].
fn add_with_roots<'w>(view: &View<'w>, all: Vec<&'w VirtualService>, found: &mut BTreeSet<ObjectRef>) {
    for vs in all {
        found.insert(reference(vs));
        found.extend(roots_of(view, vs).into_iter().map(reference));
    }
}

/// The routes of `namespace` that lead to a host which the wildcard includes, and the rules for these hosts.
fn add_routes_within(
    view: &View<'_>,
    namespace: &Symbol,
    wildcard: &Symbol,
    found: &mut BTreeSet<ObjectRef>,
) {
    for vs in view.virtual_services_in(namespace) {
        let hosts = hosts_of(view, vs);
        let mut within = hosts
            .iter()
            .filter(|host| host_includes(wildcard, host))
            .peekable();
        if within.peek().is_some() {
            found.insert(reference(vs));
        }
        for host in within {
            add_rules_for(view, host, found);
        }
    }
}

/// The service of a full host, its rules, and what routes to it or for it.
fn add_service(view: &View<'_>, host: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    add_service_at(view, host, found);
    add_rules_for(view, host, found);
    add_routes_to(view, host, found);
    for alias in view.aliases_of(host) {
        add_routes_to(view, &view.host_of(alias), found);
    }
    // Also those for a wildcard that includes it: which listeners they are on follows from the service's ports.
    for host in view.with_wildcards(host) {
        for vs in view
            .virtual_services_of(&host)
            .into_iter()
            .filter(|vs| is_on_mesh(vs))
        {
            add_root(vs, found);
        }
    }
}

fn add_service_at(view: &View<'_>, host: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    let service = view.service_of(host);
    found.extend(service.map(|service| service.meta.reference(Kind::Service)));
}

/// The services of a namespace: a lane group says what all of them are to have.
fn add_services_of(view: &View<'_>, namespace: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    for service in view.services_in(namespace) {
        add_service(view, &view.host_of(service), found);
    }
}

fn add_services_selecting(
    view: &View<'_>,
    namespace: &Symbol,
    labels: &Labels,
    found: &mut BTreeSet<ObjectRef>,
) {
    for service in view.services_selecting(namespace, labels) {
        add_service(view, &view.host_of(service), found);
    }
    for entry in view.service_entries_selecting(namespace, labels) {
        for host in &entry.hosts {
            add_service(view, host, found);
        }
    }
}

/// The workloads whose lane (LK601) or filter (LK501) depends on what chooses them. When only a route or a subset comes or goes, they
/// are not judged again: that refuses nothing, and each route would ask for every workload behind it.
fn add_workloads(view: &View<'_>, namespace: &Symbol, selector: &Labels, found: &mut BTreeSet<ObjectRef>) {
    let workloads = view.workloads(namespace, selector).into_iter();
    found.extend(workloads.map(|workload| workload.meta.reference(workload.kind)));
}

fn add_routes_naming(view: &View<'_>, namespace: &Symbol, header: &Symbol, found: &mut BTreeSet<ObjectRef>) {
    for value in view.named_values(namespace, header) {
        let naming = view.virtual_services_naming(namespace, header, &value);
        add_with_roots(view, naming, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::{Settings, World};

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let object = json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
        Resource::parse(kind, object).unwrap()
    }

    fn vs(name: &str, spec: &Value) -> Resource {
        object(Kind::VirtualService, name, spec)
    }

    /// The names of the `VirtualServices` that a change of `changed` affects.
    fn affected_routes(changed: &Resource, others: Vec<Resource>) -> Vec<String> {
        let world = World::of(Settings::default(), others.into_iter().chain([changed.clone()]));
        let view = View::new(&world);
        let changed = view.get(&changed.reference()).unwrap();
        let all = affected(&view, changed).into_iter();
        all.filter(|reference| reference.kind == Kind::VirtualService)
            .map(|reference| reference.name.to_string())
            .collect()
    }

    fn service() -> Resource {
        object(
            Kind::Service,
            "cart",
            &json!({"ports": [{"name": "http", "port": 80}]}),
        )
    }

    #[test]
    fn a_services_ports_affect_the_routes_for_its_callers_wherever_they_are_written() {
        let leading = |to: &str| json!([{"route": [{"destination": {"host": to}}]}]);
        let others = vec![
            vs(
                "root",
                &json!({"hosts": ["cart"], "http": [{"delegate": {"name": "of-root"}}]}),
            ),
            vs("of-root", &json!({"http": leading("orders")})),
            vs(
                "wildcard",
                &json!({"hosts": ["*.shop.svc.cluster.local"], "http": leading("orders")}),
            ),
            vs("leading", &json!({"hosts": ["pay"], "http": leading("cart")})),
            vs(
                "at-a-gateway",
                &json!({"hosts": ["*"], "gateways": ["edge"], "http": leading("orders")}),
            ),
            vs("unrelated", &json!({"hosts": ["pay"], "http": leading("orders")})),
        ];
        let found = affected_routes(&service(), others);
        assert_eq!(found, ["leading", "of-root", "root", "wildcard"]);
    }

    #[test]
    fn a_gateway_affects_what_is_bound_to_the_gateways_of_its_pods_and_what_that_delegates_to() {
        let gateway = |name: &str| object(Kind::Gateway, name, &json!({"selector": {"istio": "edge"}}));
        let others = vec![
            gateway("second"),
            vs(
                "bound",
                &json!({"hosts": ["*"], "gateways": ["edge"], "http": [{"delegate": {"name": "of-bound"}}]}),
            ),
            vs("of-bound", &json!({"http": [{}]})),
            vs(
                "beside",
                &json!({"hosts": ["*"], "gateways": ["second"], "http": [{}]}),
            ),
            vs(
                "elsewhere",
                &json!({"hosts": ["*"], "gateways": ["third"], "http": [{}]}),
            ),
        ];
        assert_eq!(
            affected_routes(&gateway("edge"), others),
            ["beside", "bound", "of-bound"]
        );
    }

    #[test]
    fn a_rules_policy_affects_the_routes_to_its_host() {
        let rule = object(Kind::DestinationRule, "cart", &json!({"host": "cart"}));
        let leading = json!([{"route": [{"destination": {"host": "cart", "subset": "blue"}}]}]);
        let others = vec![
            vs("leading", &json!({"hosts": ["pay"], "http": leading})),
            service(),
        ];
        assert_eq!(affected_routes(&rule, others), ["leading"]);
    }

    #[test]
    fn what_says_who_traces_affects_the_lane_plugins_of_every_namespace() {
        let plugin = |namespace: &str, config: &Value| {
            let metadata = json!({"namespace": namespace, "name": "lanes"});
            let object = json!({"metadata": metadata, "spec": {"pluginConfig": config}});
            Resource::parse(Kind::WasmPlugin, object).unwrap()
        };
        let telemetry = object(Kind::Telemetry, "default", &json!({"tracing": []}));
        let others = [
            plugin("pay", &json!({"lane_header": "lane"})),
            plugin("cart", &json!({"rules": []})),
        ];
        let world = World::of(Settings::default(), others.into_iter().chain([telemetry.clone()]));
        let view = View::new(&world);
        let found = affected(&view, view.get(&telemetry.reference()).unwrap());
        let plugin = ObjectRef::new(Kind::WasmPlugin, "pay", "lanes");
        assert_eq!(found, BTreeSet::from([telemetry.reference(), plugin]));
    }

    #[test]
    fn a_more_specific_host_affects_the_routes_for_a_wider_one_at_the_same_gateway() {
        let at = |host: &str, http: &Value| json!({"hosts": [host], "gateways": ["edge"], "http": http});
        let others = vec![
            object(Kind::Gateway, "edge", &json!({"selector": {"istio": "edge"}})),
            vs(
                "wide",
                &at("*.example.com", &json!([{"delegate": {"name": "of-wide"}}])),
            ),
            vs("of-wide", &json!({"http": [{}]})),
            vs("other", &at("example.org", &json!([{}]))),
        ];
        let narrow = vs("narrow", &at("shop.example.com", &json!([{}])));
        assert_eq!(affected_routes(&narrow, others), ["narrow", "of-wide", "wide"]);
    }
}
