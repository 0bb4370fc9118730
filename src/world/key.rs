//! What an object can be found by.

use hashbrown::{HashMap, HashSet};

use super::{Settings, host};
use crate::resource::{
    Destination, HttpRoute, Kind, Labels, ObjectRef, Resource, Service, StringMatch, VirtualService,
};
use crate::symbol::Symbol;

/// One thing that objects are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Carriers of a namespace with a label.
    Carrier(Symbol, Symbol, Symbol),
    /// Carriers of any namespace with a label: gateway pods are chosen across namespaces.
    CarrierAnywhere(Symbol, Symbol),
    /// Carriers of a namespace.
    CarrierIn(Symbol),
    /// Services of a namespace whose selector's telling pair is this one ([`telling_pair`]).
    ServiceSelecting(Symbol, Symbol, Symbol),
    /// `DestinationRules` for a full host, wildcards as written.
    DestinationRuleFor(Symbol),
    /// `ServiceEntries` with a full host, wildcards as written.
    ServiceEntryFor(Symbol),
    /// Services of type `ExternalName` that are aliases of a host.
    AliasOf(Symbol),
    /// `VirtualServices` that claim a full host, wildcards as written.
    VirtualServiceOf(Symbol),
    /// `VirtualServices` that send requests or copies to a full host.
    VirtualServiceTo(Symbol),
    /// `VirtualServices` that send requests to a service of a namespace, or delegate to one, and whose routes name
    /// a header's exact value, in a match or a set.
    Naming(Symbol, Symbol, Symbol),
    /// `VirtualServices` that are bound to a gateway `namespace/name`; `mesh` is not listed.
    BoundTo(Symbol),
    /// Gateways whose selector is written so.
    GatewayOf(Symbol),
    /// Lane plugins of any namespace.
    LanePlugin,
    /// `VirtualServices` that delegate to a `VirtualService` `namespace/name`.
    DelegatingTo(Symbol),
    /// Objects of a kind in a namespace, except pods and `ReplicaSets`.
    In(Kind, Symbol),
    /// Pods and `ReplicaSets` that a controller owns, or that belong to a Deployment by name.
    OwnedBy(ObjectRef),
}

impl Key {
    /// Whether it leads to the `DestinationRules` or `ServiceEntries` for a wildcard.
    pub(super) fn is_for_wildcard(&self) -> bool {
        match self {
            Self::DestinationRuleFor(host) | Self::ServiceEntryFor(host) => host.starts_with('*'),
            _ => false,
        }
    }
}

/// The pair of a service's selector by which it is indexed: the one whose value is the service's name, else
/// the longest value. It only has to be rare; every answer is checked against the whole selector.
fn telling_pair(service: &Service) -> Option<&(Symbol, Symbol)> {
    let pairs = service.selector.pairs();
    pairs
        .iter()
        .find(|(_, value)| *value == service.meta.name)
        .or_else(|| pairs.iter().max_by_key(|(_, value)| value.len()))
}

/// The keys of a carrier in `namespace` with `labels`.
pub(super) fn carrier_keys(namespace: &Symbol, labels: &Labels) -> Vec<Key> {
    let pairs = labels.pairs().iter();
    let here = pairs
        .clone()
        .map(|(key, value)| Key::Carrier(namespace.clone(), key.clone(), value.clone()));
    let anywhere = pairs.map(|(key, value)| Key::CarrierAnywhere(key.clone(), value.clone()));
    here.chain(anywhere)
        .chain([Key::CarrierIn(namespace.clone())])
        .collect()
}

/// The keys of `object` that follow from itself alone; those of a pod that speaks for itself come on top.
pub(super) fn keys(object: &Resource, settings: &Settings) -> Vec<Key> {
    let meta = object.meta();
    let namespace = &meta.namespace;
    let mut keys = Vec::new();
    match object {
        Resource::Pod(pod) => {
            keys.extend(
                meta.owner
                    .as_ref()
                    .and_then(|owner| owner.reference(namespace))
                    .map(Key::OwnedBy),
            );
            keys.extend(pod.deployment_by_name().map(Key::OwnedBy));
            keys.dedup();
            return keys;
        }
        Resource::Workload(_) | Resource::WorkloadEntry(_) => {
            if let Some(labels) = object.carrier_labels() {
                keys.extend(carrier_keys(namespace, labels));
            }
        }
        Resource::Service(service) => {
            keys.extend(
                telling_pair(service)
                    .map(|(key, value)| Key::ServiceSelecting(namespace.clone(), key.clone(), value.clone())),
            );
            keys.extend(service.external_name.clone().map(Key::AliasOf));
        }
        Resource::DestinationRule(rule) => {
            keys.push(Key::DestinationRuleFor(host::resolve(
                &rule.host,
                namespace,
                &settings.cluster_domain,
            )));
        }
        Resource::ServiceEntry(entry) => {
            keys.extend(entry.hosts.iter().cloned().map(Key::ServiceEntryFor));
        }
        Resource::VirtualService(vs) => virtual_service_keys(vs, settings, &mut keys),
        Resource::Gateway(gateway) => {
            if !gateway.selector.is_empty() {
                keys.push(Key::GatewayOf(gateway.selector.to_string().into()));
            }
        }
        Resource::LaneGroup(_)
        | Resource::Mark(_)
        | Resource::MeshConfig(_)
        | Resource::Sidecar(_)
        | Resource::Telemetry(_) => {}
        Resource::WasmPlugin(plugin) => keys.extend(plugin.lane_header.as_ref().map(|_| Key::LanePlugin)),
    }
    keys.push(Key::In(object.kind(), namespace.clone()));
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn virtual_service_keys(vs: &VirtualService, settings: &Settings, keys: &mut Vec<Key>) {
    let namespace = &vs.meta.namespace;
    let domain = &settings.cluster_domain;
    keys.extend(
        vs.hosts
            .iter()
            .map(|host| Key::VirtualServiceOf(host::resolve(host, namespace, domain))),
    );
    keys.extend(
        vs.bound_gateways()
            .map(|gateway| Key::BoundTo(qualified(gateway, namespace))),
    );
    // Routes of one object hardly differ in where they lead and what they name: each is interned once.
    let mut hosts: HashMap<&Symbol, Symbol> = HashMap::new();
    for destination in vs.http.iter().flat_map(destinations) {
        let resolve = || host::resolve(&destination.host, namespace, domain);
        hosts.entry(&destination.host).or_insert_with(resolve);
    }
    let mut named: HashSet<(&str, &str, &str)> = HashSet::new();
    for route in &vs.http {
        let of_delegate = route.delegate.as_ref().map(|delegate| {
            let home = delegate.namespace_in(namespace);
            keys.push(Key::DelegatingTo(format!("{home}/{}", delegate.name).into()));
            home.as_str()
        });
        let led_to = destinations(route).filter_map(|destination| hosts.get(&destination.host));
        let homes = led_to.filter_map(|host| host::Host::read(host, domain).namespace());
        for home in homes.chain(of_delegate) {
            named.extend(named_values(route).map(|(header, value)| (home, header, value)));
        }
    }
    let naming = |(home, header, value): (&str, &str, &str)| {
        Key::Naming(home.into(), header.to_ascii_lowercase().into(), value.into())
    };
    keys.extend(named.into_iter().map(naming));
    keys.extend(hosts.into_values().map(Key::VirtualServiceTo));
}

/// Where a route sends requests and copies, whatever their share.
fn destinations(route: &HttpRoute) -> impl Iterator<Item = &Destination> {
    let mirrors = route.mirrors.iter().map(|mirror| &mirror.destination);
    let reached = route.route.iter().map(|route| &route.destination);
    reached.chain(mirrors).chain(&route.mirror)
}

/// The headers, as written, and their values that a route names exactly: in its matches and in what it sets.
fn named_values(route: &HttpRoute) -> impl Iterator<Item = (&str, &str)> {
    let matched = route
        .matches
        .iter()
        .flat_map(|condition| condition.headers.iter());
    let matched = matched.filter_map(|(header, value)| match value {
        StringMatch::Exact(value) => Some((&**header, &**value)),
        _ => None,
    });
    let on_destinations = route
        .route
        .iter()
        .filter_map(|destination| destination.headers.as_ref());
    let set = route
        .headers
        .iter()
        .chain(on_destinations)
        .flat_map(|headers| headers.request.set.iter());
    let set = set
        .map(|(header, value)| (&**header, &**value))
        .filter(|(_, value)| !value.contains(['%', '{']));
    matched.chain(set)
}

/// A gateway's name as an object in `namespace` writes it, as `namespace/name`; also `./name`, and the old
/// `name.namespace` with whatever follows (`resolveGatewayName` in `pilot/pkg/model/config.go`).
pub fn qualified(gateway: &Symbol, namespace: &Symbol) -> Symbol {
    let in_namespace = |namespace: &str, name: &str| format!("{namespace}/{name}").into();
    match (gateway.split_once('/'), gateway.split_once('.')) {
        (Some((".", name)), _) => in_namespace(namespace, name),
        (Some(_), _) => gateway.clone(),
        (None, Some((name, rest))) => in_namespace(rest.split('.').next().unwrap_or(rest), name),
        (None, None) => in_namespace(namespace, gateway),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_name_tells_its_namespace_in_each_way_that_istio_reads() {
        for (written, expected) in [
            ("edge", "cars/edge"),
            ("shop/edge", "shop/edge"),
            ("./edge", "cars/edge"),
            ("edge.shop", "shop/edge"),
            ("edge.shop.svc.cluster.local", "shop/edge"),
        ] {
            assert_eq!(qualified(&written.into(), &"cars".into()), expected, "{written}");
        }
    }
}
