//! Which carriers a subset chooses.

use super::destinations;
use crate::resource::{Kind, Labels, Resource, Service, Subset};
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

impl Carriers<'_> {
    /// The workload kinds that own the service's pods and that are not known here (Rollout, `CloneSet`, …):
    /// where there are any, an empty subset proves nothing [s12].
    pub fn unknown_owners(&self) -> Vec<Symbol> {
        let mut kinds: Vec<Symbol> = self
            .of_service
            .iter()
            .filter(|carrier| carrier.kind() == Kind::Pod)
            .filter_map(|pod| pod.meta().owner.as_ref())
            .filter(|owner| {
                Kind::of(&owner.api_version, &owner.kind).is_none_or(|kind| kind == Kind::ReplicaSet)
            })
            .map(|owner| owner.kind.clone())
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
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

/// Whether any route sends requests or copies to the subset of the full host `host`.
pub fn is_subset_routed(view: &View<'_>, host: &Symbol, subset: &Symbol) -> bool {
    view.virtual_services_to(host).into_iter().any(|vs| {
        vs.http.iter().flat_map(destinations).any(|(_, to)| {
            to.subset.as_ref() == Some(subset) && view.resolve(&to.host, &vs.meta.namespace) == *host
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
