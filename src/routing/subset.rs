//! Which carriers a subset chooses.

use std::rc::Rc;

use super::destinations;
use crate::lane::is_near;
use crate::resource::{
    Destination, Kind, Labels, ObjectRef, Resource, Service, ServiceEntry, ServicePort, Subset, TargetPort,
    VirtualService,
};
use crate::symbol::Symbol;
use crate::world::View;
use crate::yaml::field;

/// The carriers behind a service, and which of them a subset chooses.
#[derive(Debug, Clone)]
pub struct Carriers<'w> {
    /// All that the service's selector chooses.
    pub of_service: Rc<[&'w Resource]>,
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
        .filter(|owner| owner.kind().is_none_or(|kind| kind == Kind::ReplicaSet))
        .map(|owner| owner.kind_name().into())
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
                .flat_map(|(namespace, selector)| view.carriers(namespace, selector).to_vec())
                .collect(),
        }
    }

    /// The labels of each.
    pub fn labels(&self) -> Vec<&'w Labels> {
        let chosen = self.chosen.iter().filter_map(|carrier| carrier.carrier_labels());
        self.written.iter().copied().chain(chosen).collect()
    }

    /// The labels of each, with the object where one is selected.
    pub fn each(&self) -> Vec<(&'w Labels, Option<&'w Resource>)> {
        let chosen = self.chosen.iter().copied();
        let chosen = chosen.filter_map(|carrier| Some((carrier.carrier_labels()?, Some(carrier))));
        let written = self.written.iter().copied().map(|labels| (labels, None));
        written.chain(chosen).collect()
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
    if pairs.clone().all(|(key, _)| !is_topology_key(key)) {
        return subset.labels.clone();
    }
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
    let is_meant = |to: &Destination| to.subset.as_ref() == Some(subset);
    !leading_to(view, host, is_meant).is_empty()
}

/// The routes to the full host `host`, or to an alias of it, that requests or copies take.
pub fn routes_to<'w>(view: &View<'w>, host: &Symbol) -> Vec<&'w VirtualService> {
    leading_to(view, host, |_| true)
}

/// The `VirtualServices` of which some destination is at the full host `host`, or at an alias of it, and is one that is
/// meant.
fn leading_to<'w>(
    view: &View<'w>,
    host: &Symbol,
    is_meant: impl Fn(&Destination) -> bool,
) -> Vec<&'w VirtualService> {
    let aliases = view.aliases_of(host).into_iter();
    let hosts = aliases.map(|alias| view.host_of(alias)).chain([host.clone()]);
    let mut found: Vec<&VirtualService> = Vec::new();
    for host in hosts {
        for vs in view.virtual_services_to(&host) {
            let mut all = vs.http.iter().flat_map(destinations);
            let leads_there =
                all.any(|(_, to)| is_meant(to) && view.resolve(&to.host, &vs.meta.namespace) == host);
            if leads_there && found.iter().all(|known| known.meta != vs.meta) {
                found.push(vs);
            }
        }
    }
    found
}

/// Whether a carrier has the port that `port` of a service leads to: one that is named has to be a container's; where
/// nothing is known of containers, it has any (`FindPort` in Kubernetes' `pkg/api/v1/pod/util.go`) [s15].
pub fn has_target_port(carrier: &Resource, port: &ServicePort) -> bool {
    let Some(TargetPort::Name(name)) = &port.target else {
        return true;
    };
    let ports = match carrier {
        Resource::Workload(workload) => &workload.template.ports,
        Resource::Pod(pod) => &pod.ports,
        _ => return true,
    };
    ports
        .iter()
        .any(|found| found.name == *name && found.not_tcp == port.not_tcp)
}

/// A workload that a service misses by a slip in its selector, or in the workload's label.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    /// The workload.
    pub workload: ObjectRef,
    /// The label.
    pub key: Symbol,
    /// What the workload has.
    pub carried: Symbol,
    /// What the service selects.
    pub selected: Symbol,
}

impl Missed {
    /// The field of the label, on the workload.
    pub fn label_path(&self) -> String {
        let labels = self.workload.kind.carrier_labels_path();
        format!("{labels}{}", field(&self.key))
    }
}

/// A workload with the labels `wanted` that no service selects, and that `service` would if one value of its selector
/// were another by a slip [s3].
pub fn missed_by_a_slip(view: &View<'_>, service: &Service, wanted: &Labels) -> Option<Missed> {
    let namespace = &service.meta.namespace;
    service.selector.pairs().iter().find_map(|(key, selected)| {
        let others = service.selector.pairs().iter().filter(|(other, _)| other != key);
        let rest = Labels::new(others.chain(wanted.pairs()).cloned());
        view.carriers(namespace, &rest).iter().find_map(|carrier| {
            let labels = carrier.carrier_labels()?;
            let carried = labels.get(key).filter(|carried| is_near(carried, selected))?;
            let is_alone = view.services_selecting(namespace, labels).is_empty();
            is_alone.then(|| Missed {
                workload: carrier.reference(),
                key: key.clone(),
                carried: carried.clone(),
                selected: selected.clone(),
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
