//! A subset that no workload carries: its requests are answered 503 "no healthy upstream".
//!
//! ## What it does
//! For each subset of a `DestinationRule` it looks for a carrier: a workload's pod template with replicas, a pod
//! that no known workload owns, or a `WorkloadEntry`, in the service's namespace, that both the Service's
//! selector and the subset's labels choose. Labels that Istio adds to endpoints by itself (region, zone, node,
//! cluster, network) are left out, and subsets by a `pod-template-hash` are not judged.
//!
//! It only warns where nothing is contradicted: the Service selects nothing yet or does not exist; its pods are
//! made by a kind of workload that Lanekeeper does not know; or no route uses the subset, its labels are no near
//! miss of what runs, and no lane group has that lane (a canary that is prepared ahead).
//!
//! ## Why it matters
//! Istio accepts any labels. Envoy gets a cluster without endpoints and answers every request of that lane
//! with 503 "no healthy upstream", while the other lanes work.
//!
//! ## Example
//! The workloads are labelled `version: wicph`; the rule says:
//! ```yaml
//! subsets:
//! - name: cars-api-portal-wicph
//!   labels: {version: wtcph}
//! ```
//! Use instead:
//! ```yaml
//! subsets:
//! - name: cars-api-portal-wicph
//!   labels: {version: wicph}
//! ```
//!
//! ## References
//! Kiali KIA0203 (subset labels not found) compares with pods that run now; this rule looks at what the
//! workloads will make, so that scaling to zero or relabelling is seen before the pods are gone.

use super::{Check, Finding, Level, Rule, Subject};
use crate::lane::nearest;
use crate::resource::{DestinationRule, Endpoint, Kind, Labels, Resource, Service, ServiceEntry, Subset};
use crate::routing::{
    Carriers, Target, carriers_of_subset, is_lane_key, lanes_of_service, target_of, workload_labels,
};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK101",
    name: "subset-without-workload",
    level: Level::Deny,
    kinds: &[Kind::DestinationRule],
    source: include_str!("lk101.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::DestinationRule(rule) = object else {
        return Vec::new();
    };
    let view = check.view;
    let host = view.resolve(&rule.host, &rule.meta.namespace);
    let judged = |subset: &&(usize, &Subset)| {
        let labels = workload_labels(subset.1);
        !labels.is_empty()
            && !labels
                .pairs()
                .iter()
                .any(|(key, _)| key.ends_with("-template-hash"))
    };
    let subsets: Vec<_> = rule.subsets.iter().enumerate().collect();
    let subsets = subsets.iter().filter(judged).copied();
    match target_of(view, &host) {
        Target::Service(service) if service.selector.is_empty() || service.external_name.is_some() => {
            Vec::new()
        }
        Target::Service(service) => {
            let of_service = |(index, subset)| {
                Judged {
                    check,
                    rule,
                    host: &host,
                    index,
                    subset,
                }
                .in_service(service)
            };
            subsets.filter_map(of_service).collect()
        }
        Target::Entry(entry) => {
            let of_entry = |(index, subset)| {
                Judged {
                    check,
                    rule,
                    host: &host,
                    index,
                    subset,
                }
                .in_entry(entry)
            };
            subsets.filter_map(of_entry).collect()
        }
        Target::Unknown if view.read_host(&host).namespace().is_some() => subsets
            .map(|(index, subset)| {
                Judged {
                    check,
                    rule,
                    host: &host,
                    index,
                    subset,
                }
                .of_no_service()
            })
            .collect(),
        Target::Unknown => Vec::new(),
    }
}

/// A subset under judgement.
struct Judged<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    rule: &'c DestinationRule,
    host: &'c Symbol,
    index: usize,
    subset: &'c Subset,
}

impl Judged<'_, '_, '_> {
    fn in_service(&self, service: &Service) -> Option<Finding> {
        let carriers = carriers_of_subset(self.check.view, service, self.subset);
        if !carriers.of_subset.is_empty() {
            return None;
        }
        let wanted = workload_labels(self.subset);
        let service_name = format!("Service {}/{}", service.meta.namespace, service.meta.name);
        let finding = self
            .finding()
            .from_objects([service.meta.reference(Kind::Service)]);
        if carriers.of_service.is_empty() {
            return Some(finding.missing_if(true).warning_if(true).says(
                format!(
                    "no workload has the labels {wanted}: {service_name} (selector {}) selects nothing yet",
                    service.selector
                ),
                "start a workload with these labels, or correct the Service's selector",
            ));
        }
        let name = &self.subset.name;
        let near = self.near_label(&wanted, &carriers);
        let unknown_owners = carriers.unknown_owners();
        let is_used = self.is_used();
        let lane = lanes_of_service(self.check.view, self.check.before, service)
            .filter(|lanes| lanes.group.is_strict() || lanes.group.is_implicit())
            .is_some_and(|lanes| {
                lanes
                    .lane_of_subset(self.subset)
                    .is_some_and(|lane| lanes.contains(&lane))
            });
        let is_unsure = !unknown_owners.is_empty() || !(near.is_some() || is_used || lane);
        let carried = carried_values(&wanted, &carriers);
        let help = match &near {
            Some((key, value)) => format!("did you mean `{key}: {value}`?"),
            None if is_used => format!(
                "start a workload with these labels first; to retire the subset, take the routes to it away first (add subset, route, unroute, remove), then remove {name} here"
            ),
            None => "start a workload with these labels, or remove the subset".to_owned(),
        };
        let unsure = if unknown_owners.is_empty() {
            String::new()
        } else {
            let kinds: Vec<_> = unknown_owners.iter().map(Symbol::as_str).collect();
            format!(
                " (its pods belong to {}, which Lanekeeper does not read)",
                kinds.join(", ")
            )
        };
        Some(finding.missing_if(near.is_none()).warning_if(is_unsure).says(
            format!("no workload behind {service_name} has the labels {wanted}{unsure}: requests to subset `{name}` are answered 503; found {carried}"),
            help,
        ))
    }

    fn in_entry(&self, entry: &ServiceEntry) -> Option<Finding> {
        let wanted = workload_labels(self.subset);
        let view = self.check.view;
        let of_selector = entry
            .workload_selector
            .as_ref()
            .map(|selector| view.carriers(&entry.meta.namespace, selector))
            .unwrap_or_default();
        let labels = of_selector.iter().filter_map(|carrier| carrier.carrier_labels());
        let mut all = entry
            .endpoints
            .iter()
            .map(|Endpoint { labels }| labels)
            .chain(labels)
            .peekable();
        // Without endpoints the host is resolved by DNS, and subsets have nothing to choose from yet.
        if all.peek().is_none() || all.any(|labels| wanted.select(labels)) {
            return None;
        }
        let name = format!("ServiceEntry {}/{}", entry.meta.namespace, entry.meta.name);
        Some(self.finding().missing_if(true).warning_if(!self.is_used()).says(
            format!(
                "no endpoint of {name} has the labels {wanted}: requests to subset `{}` are answered 503",
                self.subset.name
            ),
            "label an endpoint so, or correct the subset",
        ))
    }

    fn of_no_service(&self) -> Finding {
        self.finding().missing_if(true).warning_if(true).says(
            format!(
                "the service {} does not exist, so nothing has the labels {}",
                self.host,
                workload_labels(self.subset)
            ),
            "create the Service, or correct spec.host",
        )
    }

    fn finding(&self) -> Finding {
        let object = self.rule.meta.reference(Kind::DestinationRule);
        Finding::new(&RULE, object, format!("spec.subsets[{}].labels", self.index)).about(Subject {
            host: Some(self.host.clone()),
            subset: Some(self.subset.name.clone()),
            ..Subject::default()
        })
    }

    /// Whether any route leads to the subset.
    fn is_used(&self) -> bool {
        let view = self.check.view;
        view.virtual_services_to(self.host).into_iter().any(|vs| {
            vs.http
                .iter()
                .flat_map(crate::routing::destinations)
                .any(|(_, to)| {
                    to.subset.as_ref() == Some(&self.subset.name)
                        && view.resolve(&to.host, &vs.meta.namespace) == *self.host
                })
        })
    }

    /// The label of a carrier of which one of `wanted` is a near miss [s3].
    fn near_label(&self, wanted: &Labels, carriers: &Carriers<'_>) -> Option<(Symbol, Symbol)> {
        let all = || {
            carriers
                .of_service
                .iter()
                .filter_map(|carrier| carrier.carrier_labels())
        };
        let in_this_rule = |key: &str, value: &str| {
            self.rule
                .subsets
                .iter()
                .any(|subset| subset.labels.get(key).is_some_and(|found| *found == value))
        };
        wanted.pairs().iter().find_map(|(key, value)| {
            let values: Vec<&Symbol> = all().filter_map(|labels| labels.get(key)).collect();
            if values.is_empty() {
                let keys = all().flat_map(Labels::pairs).filter(|(_, found)| found == value);
                let key = nearest(key, keys.map(|(key, _)| key.as_str()))?;
                return Some((Symbol::new(key), value.clone()));
            }
            if values.contains(&value) {
                return None;
            }
            let near = nearest(value, values.into_iter().map(Symbol::as_str))?;
            (!in_this_rule(key, near)).then(|| (key.clone(), Symbol::new(near)))
        })
    }
}

/// What the carriers have for the wanted keys, for a message: `version=wicph, version=wtchk`.
fn carried_values(wanted: &Labels, carriers: &Carriers<'_>) -> String {
    /// More values than this only hide the one that matters.
    const MOST: usize = 8;
    let all: Vec<&Labels> = carriers
        .of_service
        .iter()
        .filter_map(|carrier| carrier.carrier_labels())
        .collect();
    let of_keys = |keep: &dyn Fn(&str) -> bool| {
        let pairs = all
            .iter()
            .flat_map(|labels| labels.pairs())
            .filter(|(key, _)| keep(key));
        let mut pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        pairs.sort();
        pairs.dedup();
        pairs
    };
    let mut found = of_keys(&|key| wanted.get(key).is_some());
    if found.is_empty() {
        found = of_keys(&is_lane_key);
    }
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let list = found.join(", ");
    match (more, list.is_empty()) {
        (_, true) => "no labels".to_owned(),
        (0, false) => list,
        (more, false) => format!("{list} and {more} more"),
    }
}
