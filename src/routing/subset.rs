//! Which carriers a subset chooses.

use super::destinations;
use crate::resource::{Kind, Labels, Resource, Service, ServiceEntry, Subset};
use crate::symbol::Symbol;
use crate::world::View;

/// The carriers behind a service, and which of them a subset chooses.
#[derive(Debug, Clone)]
pub struct Carriers<'w> {
    /// All that the service's selector chooses.
    pub of_service: Vec<&'w Resource>,
    /// Those of them that the subset chooses too.
    pub of_subset: Vec<&'w Resource>,
}

impl<'w> Carriers<'w> {
    /// The labels of all that the service's selector chooses.
    pub fn labels(&self) -> Vec<&'w Labels> {
        let labels = self
            .of_service
            .iter()
            .filter_map(|carrier| carrier.carrier_labels());
        labels.collect()
    }

    /// The workload kinds that own the service's pods and that are not known here (Rollout, `CloneSet`, …):
    /// where there are any, an empty subset proves nothing [s12].
    pub fn unknown_owners(&self) -> Vec<Symbol> {
        unknown_owners(&self.of_service)
    }
}

fn unknown_owners(carriers: &[&Resource]) -> Vec<Symbol> {
    let pods = carriers.iter().filter(|carrier| carrier.kind() == Kind::Pod);
    let mut kinds: Vec<Symbol> = pods
        .filter_map(|pod| pod.meta().owner.as_ref())
        .filter(|owner| Kind::of(&owner.api_version, &owner.kind).is_none_or(|kind| kind == Kind::ReplicaSet))
        .map(|owner| owner.kind.clone())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// What carries the requests to a host that `ServiceEntries` add [s12].
#[derive(Debug, Clone)]
pub struct Endpoints<'w> {
    /// The labels of those that are written into the entries.
    written: Vec<&'w Labels>,
    /// What their workload selectors choose: pods, and `WorkloadEntries`.
    chosen: Vec<&'w Resource>,
    /// Whether any entry has a workload selector.
    is_selecting: bool,
}

impl<'w> Endpoints<'w> {
    /// The endpoints of all these entries.
    pub fn of(view: &View<'w>, entries: &[&'w ServiceEntry]) -> Self {
        let written = entries.iter().flat_map(|entry| &entry.endpoints);
        let selectors = entries.iter().filter_map(|entry| {
            let selector = entry.workload_selector.as_ref()?;
            Some((&entry.meta.namespace, selector))
        });
        Self {
            written: written.map(|endpoint| &endpoint.labels).collect(),
            is_selecting: selectors.clone().next().is_some(),
            chosen: selectors
                .flat_map(|(namespace, selector)| view.carriers(namespace, selector))
                .collect(),
        }
    }

    /// The labels of each.
    pub fn labels(&self) -> Vec<&'w Labels> {
        let chosen = self.chosen.iter().filter_map(|carrier| carrier.carrier_labels());
        self.written.iter().copied().chain(chosen).collect()
    }

    /// Whether nothing is written and nothing selected: then the host itself is the only endpoint, by DNS or as the
    /// caller resolved it, and has no labels (`convertServiceEntryToInstances` in
    /// `pilot/pkg/serviceregistry/serviceentry/conversion.go`).
    pub fn is_by_host_alone(&self) -> bool {
        self.written.is_empty() && !self.is_selecting
    }

    /// As [`Carriers::unknown_owners`].
    pub fn unknown_owners(&self) -> Vec<Symbol> {
        unknown_owners(&self.chosen)
    }
}

/// The subset's labels without those that Istio adds to endpoints by itself: locality, cluster, network, node
/// [s12].
pub fn workload_labels(subset: &Subset) -> Labels {
    let pairs = subset.labels.pairs().iter();
    Labels::new(pairs.filter(|(key, _)| !is_topology_key(key)).cloned())
}

/// Whether Istio labels endpoints with `key` by itself (`pkg/config/labels`, `pilot/pkg/serviceregistry/util/label`).
pub(super) fn is_topology_key(key: &str) -> bool {
    key == "kubernetes.io/hostname"
        || key.starts_with("topology.kubernetes.io/")
        || key.starts_with("topology.istio.io/")
        || key.starts_with("failure-domain.beta.kubernetes.io/")
}

/// Whether any route sends requests or copies to the subset of the full host `host`, or of an alias of it.
pub fn is_subset_routed(view: &View<'_>, host: &Symbol, subset: &Symbol) -> bool {
    let aliases = view.aliases_of(host).into_iter();
    let hosts = aliases.map(|alias| view.host_of(alias)).chain([host.clone()]);
    hosts.into_iter().any(|host| {
        view.virtual_services_to(&host).into_iter().any(|vs| {
            vs.http.iter().flat_map(destinations).any(|(_, to)| {
                to.subset.as_ref() == Some(subset) && view.resolve(&to.host, &vs.meta.namespace) == host
            })
        })
    })
}

/// The carriers of `service`, and which of them `subset` chooses. The service has a selector.
pub fn carriers_of_subset<'w>(view: &View<'w>, service: &Service, subset: &Subset) -> Carriers<'w> {
    let of_service = view.carriers(&service.meta.namespace, &service.selector);
    let wanted = workload_labels(subset);
    let chosen = |carrier: &&&Resource| {
        carrier
            .carrier_labels()
            .is_some_and(|labels| wanted.select(labels))
    };
    let of_subset = of_service.iter().filter(chosen).copied().collect();
    Carriers {
        of_service,
        of_subset,
    }
}
