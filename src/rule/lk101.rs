//! A subset that no workload carries: its requests are answered 503 "no healthy upstream".
//!
//! ## What it does
//! For each subset of a `DestinationRule` it looks for a carrier: a workload's pod template with replicas, a pod
//! that no known workload owns, or a `WorkloadEntry`, in the service's namespace, that both the Service's
//! selector and the subset's labels choose. Labels that Istio adds to endpoints by itself (region, zone, node,
//! cluster, network) are left out, and subsets by a `pod-template-hash` are not judged. For a host that
//! `ServiceEntries` add, the carriers are the endpoints that these list and what their `workloadSelector` chooses; one that
//! is resolved by DNS has an endpoint without labels.
//!
//! It only warns where nothing is contradicted: the Service does not exist, or selects nothing yet and its selector
//! is no near miss of what runs; its pods are made by a kind of workload that Lanekeeper does not know; or no route
//! uses the subset, its labels are no near miss of what runs, and no lane group has that lane (a canary that is
//! prepared ahead).
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
//! `istioctl analyze` has IST0173 (`DestinationRuleSubsetNotSelectPods`, an error). It compares the subset's labels,
//! without the Service's selector, with the pods that run now in any namespace: it takes another service's pods for
//! this one's, and reports what is about to start. Kiali has KIA0203, which takes selector and labels together and
//! the workloads' templates, whatever their replicas, and makes light of a subset that no route uses. This rule looks
//! at what the workloads will make, so that scaling to zero or relabelling is seen before the pods are gone; it
//! tells a slip from what is only missing, and passes over labels that Istio adds by itself. A subset without labels
//! (KIA0209) chooses every pod and is used to carry a policy: nothing is wrong with it here.

use super::{Check, Finding, Level, Rule, Subject, Suggestion, joined};
use crate::lane::nearest;
use crate::resource::{DestinationRule, Kind, Labels, ObjectRef, Resource, Service, ServiceEntry, Subset};
use crate::routing::{
    Carriers, Endpoints, Missed, Target, carriers_of_subset, is_lane_key, is_subset_routed, missed_by_a_slip,
    target_of, workload_labels,
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
    let host = check.view.resolve(&rule.host, &rule.meta.namespace);
    let target = target_of(check.view, &host);
    let subsets = rule.subsets.iter().enumerate();
    let found = subsets.filter_map(|(index, subset)| {
        let judged = Judged {
            check,
            rule,
            host: &host,
            index,
            subset,
        };
        if !judged.is_by_labels_of_workloads() {
            return None;
        }
        match &target {
            Target::Service(service) if service.selector.is_empty() || service.external_name.is_some() => {
                None
            }
            Target::Service(service) => judged.in_service(service),
            Target::Entries(entries) => judged.in_entries(entries),
            Target::Unknown if check.view.read_host(&host).namespace().is_some() => {
                Some(judged.of_no_service())
            }
            Target::Unknown => None,
        }
    });
    found.collect()
}

/// A subset under judgement.
struct Judged<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    rule: &'c DestinationRule,
    host: &'c Symbol,
    index: usize,
    subset: &'c Subset,
}

impl<'w> Judged<'_, '_, 'w> {
    /// Whether it asks for labels that are workloads' own: neither Istio's nor those of a template's version.
    fn is_by_labels_of_workloads(&self) -> bool {
        let labels = workload_labels(self.subset);
        let mut keys = labels.pairs().iter().map(|(key, _)| key);
        !labels.is_empty() && !keys.any(|key| key.ends_with("-template-hash"))
    }

    fn in_service(&self, service: &'w Service) -> Option<Finding> {
        let carriers = carriers_of_subset(self.check.view, service, self.subset);
        if !carriers.of_subset.is_empty() {
            return None;
        }
        let wanted = workload_labels(self.subset);
        let near = self.near_label(&wanted, &carriers.labels());
        let beside = || missed_by_a_slip(self.check.view, service, &wanted);
        let beside = near.is_none().then(beside).flatten();
        let is_slip = near.is_some() || beside.is_some();
        let is_used = self.is_used();
        let is_expected = is_used || self.is_of_a_lane();
        // A Service without pods has yet to get them, unless this change takes them away.
        let may_come = carriers.of_service.is_empty() && !self.was_carried();
        let unknown_owners = carriers.unknown_owners();
        let is_unsure = !unknown_owners.is_empty() || !(is_slip || (is_expected && !may_come));

        let found = found(service, &wanted, &carriers, &unknown_owners, beside.as_ref());
        let name = &self.subset.name;
        let suggestion = match (&near, &beside) {
            (Some(near), _) => self.suggestion(near, &carriers.of_service),
            (None, Some(missed)) => Some(mending_missed(service, missed, carriers.of_service.is_empty())),
            (None, None) => None,
        };
        let help = match (&near, &beside) {
            (Some(near), _) => self.did_you_mean(near),
            (None, Some(beside)) => format!(
                "did you mean `{0}: {1}` in the Service's selector, or `{0}: {2}` on the workload?",
                beside.key, beside.carried, beside.selected
            ),
            (None, None) if carriers.of_service.is_empty() => {
                "start a workload that the Service selects, or correct spec.selector of the Service".to_owned()
            }
            (None, None) if is_used => "start a workload with these labels; to retire the lane, remove first the routes to the subset, then the subset, then the workload".to_owned(),
            (None, None) => "start a workload with these labels, or remove the subset".to_owned(),
        };
        Some(
            self.finding_at(near.as_ref().map(|near| &near.wanted))
                .from_field(service.meta.reference(Kind::Service), "spec.selector", "its selector")
                .from_fields(beside.map(|missed| (missed.workload.clone(), missed.label_path(), "its label")))
                .missing_if(!is_slip)
                .warning_if(is_unsure)
                .mended_by(suggestion)
                .says(
                    format!("subset `{name}` asks for {wanted}, and {found}: its requests are answered 503 (no healthy upstream)"),
                    help,
                ),
        )
    }

    /// Whether the group of the service has a lane for the subset and expects every service to have it.
    fn is_of_a_lane(&self) -> bool {
        let lanes = self.check.groups.of_host(self.host);
        lanes
            .filter(|lanes| lanes.group.is_strict() || lanes.group.is_implicit())
            .is_some_and(|lanes| lanes.lane_of_subset(self.subset).is_some())
    }

    /// Whether something carried the subset before the change under judgement.
    fn was_carried(&self) -> bool {
        let Some(before) = self.check.before else {
            return false;
        };
        match target_of(before, self.host) {
            Target::Service(service) if service.selector.is_empty() => false,
            Target::Service(service) => !carriers_of_subset(before, service, self.subset)
                .of_subset
                .is_empty(),
            Target::Entries(entries) => {
                let wanted = workload_labels(self.subset);
                let endpoints = Endpoints::of(before, &entries);
                endpoints.labels().iter().any(|labels| wanted.select(labels))
            }
            Target::Unknown => false,
        }
    }

    fn in_entries(&self, entries: &[&'w ServiceEntry]) -> Option<Finding> {
        let wanted = workload_labels(self.subset);
        let endpoints = Endpoints::of(self.check.view, entries);
        let labels = endpoints.labels();
        if labels.iter().any(|labels| wanted.select(labels)) {
            return None;
        }
        let objects = entries
            .iter()
            .map(|entry| entry.meta.reference(Kind::ServiceEntry));
        let objects: Vec<ObjectRef> = objects.collect();
        let names = joined(&objects, " with ");
        let subset = &self.subset.name;
        let near = self.near_label(&wanted, &labels);
        let suggestion = near.as_ref().and_then(|near| self.suggestion(near, &[]));
        let finding = self.finding_at(near.as_ref().map(|near| &near.wanted));
        let finding = finding.from_objects(objects).mended_by(suggestion);
        if endpoints.is_by_host_alone() {
            // Only DNS makes the host an endpoint by itself, and one without labels.
            return entries.iter().any(|entry| entry.by_dns).then(|| {
                finding.missing_if(true).warning_if(true).says(
                    format!("subset `{subset}` asks for {wanted}, and the host of {names} is resolved by DNS, which gives its endpoint no labels: its requests are answered 503 (no healthy upstream)"),
                    "write the endpoints with their labels into the ServiceEntry, or route to the host without a subset",
                )
            });
        }
        let may_come = labels.is_empty() && !self.was_carried();
        let is_unsure = !endpoints.unknown_owners().is_empty() || may_come || !self.is_used();
        let carried = if labels.is_empty() {
            "there is no endpoint".to_owned()
        } else {
            format!("its endpoints have {}", carried_values(&wanted, &labels))
        };
        let help = match &near {
            Some(near) => self.did_you_mean(near),
            None => "label an endpoint so, or correct the subset".to_owned(),
        };
        Some(
            finding
                .missing_if(near.is_none())
                .warning_if(is_unsure && near.is_none())
                .says(
                    format!("subset `{subset}` asks for {wanted}, and no endpoint of {names} has that ({carried}): its requests are answered 503 (no healthy upstream)"),
                    help,
                ),
        )
    }

    fn of_no_service(&self) -> Finding {
        self.finding().missing_if(true).warning_if(true).says(
            format!(
                "subset `{}` asks for {}, and there is no Service {}: its requests are answered 503",
                self.subset.name,
                workload_labels(self.subset),
                self.host
            ),
            "create the Service, or correct spec.host",
        )
    }

    fn finding(&self) -> Finding {
        self.finding_at(None)
    }

    /// The finding on the label of this key, or on all labels.
    fn finding_at(&self, key: Option<&Symbol>) -> Finding {
        let object = self.rule.meta.reference(Kind::DestinationRule);
        Finding::new(&RULE, object, self.path(key)).about(Subject {
            host: Some(self.host.clone()),
            subset: Some(self.subset.name.clone()),
            ..Subject::default()
        })
    }

    /// The label of this key, or all labels.
    fn path(&self, key: Option<&Symbol>) -> String {
        let key = key.map(|key| super::field(key)).unwrap_or_default();
        format!("spec.subsets[{}].labels{key}", self.index)
    }

    /// Whether any route leads to the subset.
    fn is_used(&self) -> bool {
        is_subset_routed(self.check.view, self.host, &self.subset.name)
    }

    /// The lane that the subset rightly asks for, where the carrier's value is the slip.
    fn lane_asked_for(&self, NearLabel { key, value, .. }: &NearLabel) -> Option<&Symbol> {
        let lanes = self.check.groups.of_host(self.host);
        self.subset.labels.get(key).filter(|wanted| {
            lanes.is_some_and(|lanes| {
                lanes.lane_label() == Some(key) && lanes.contains(wanted) && !lanes.contains(value)
            })
        })
    }

    /// What mends the slip: in the subset, or in the one carrier that has it.
    fn suggestion(&self, near: &NearLabel, carriers: &[&Resource]) -> Option<Suggestion> {
        let NearLabel { wanted, key, value } = near;
        if let Some(lane) = self.lane_asked_for(near) {
            let has_slip = |carrier: &&&Resource| {
                let labels = carrier.carrier_labels();
                labels.is_some_and(|labels| labels.get(key) == Some(value))
            };
            let mut with_slip = carriers.iter().filter(has_slip);
            let carrier = with_slip.next().filter(|_| with_slip.next().is_none())?;
            let path = format!("{}{}", carrier.kind().carrier_labels_path(), super::field(key));
            return Some(Suggestion::set(carrier.reference(), path, lane.as_str()));
        }
        let object = self.rule.meta.reference(Kind::DestinationRule);
        let path = self.path(Some(wanted));
        Some(if wanted == key {
            Suggestion::set(object, path, value.as_str())
        } else {
            Suggestion::rename(object, path, key.as_str())
        })
    }

    /// The question that names the slip: in the subset, unless it asks for a lane and the carrier names none.
    fn did_you_mean(&self, near: &NearLabel) -> String {
        let NearLabel { key, value, .. } = near;
        match self.lane_asked_for(near) {
            Some(lane) => format!(
                "`{lane}` is a lane and `{value}` is none: did you mean `{key}: {lane}` on the workload?"
            ),
            None => format!("did you mean `{key}: {value}`?"),
        }
    }

    /// The label of a carrier of which one of `wanted` is a near miss [s3].
    fn near_label(&self, wanted: &Labels, all: &[&Labels]) -> Option<NearLabel> {
        let in_this_rule = |key: &str, value: &str| {
            self.rule
                .subsets
                .iter()
                .any(|subset| subset.labels.get(key).is_some_and(|found| *found == value))
        };
        wanted.pairs().iter().find_map(|(key, value)| {
            let values: Vec<&Symbol> = all.iter().filter_map(|labels| labels.get(key)).collect();
            if values.is_empty() {
                let pairs = all.iter().flat_map(|labels| labels.pairs());
                let keys = pairs.filter(|(_, found)| found == value);
                let near = nearest(key, keys.map(|(key, _)| key.as_str()))?;
                return Some(NearLabel {
                    wanted: key.clone(),
                    key: near.into(),
                    value: value.clone(),
                });
            }
            if values.contains(&value) {
                return None;
            }
            let near = nearest(value, values.into_iter().map(Symbol::as_str))?;
            (!in_this_rule(key, near)).then(|| NearLabel {
                wanted: key.clone(),
                key: key.clone(),
                value: near.into(),
            })
        })
    }
}

/// What mends a slip between a Service and a workload that it misses: the selector where the Service has nothing else,
/// else the workload's label.
fn mending_missed(service: &Service, missed: &Missed, has_nothing: bool) -> Suggestion {
    if has_nothing {
        Suggestion::in_selector(service, missed)
    } else {
        Suggestion::set(
            missed.workload.clone(),
            missed.label_path(),
            missed.selected.as_str(),
        )
    }
}

/// The key of a label that a subset asks for, and the label that is meant.
struct NearLabel {
    wanted: Symbol,
    key: Symbol,
    value: Symbol,
}

/// What there is instead of what the subset asks for.
fn found(
    service: &Service,
    wanted: &Labels,
    carriers: &Carriers<'_>,
    unknown_owners: &[Symbol],
    beside: Option<&Missed>,
) -> String {
    let name = format!("Service {}/{}", service.meta.namespace, service.meta.name);
    if let Some(beside) = beside {
        let Missed {
            workload,
            key,
            carried,
            selected,
            ..
        } = beside;
        return format!("{workload} has that but {key}={carried}, where {name} selects {key}={selected}");
    }
    if carriers.of_service.is_empty() {
        return format!("{name} (selector {}) selects no workload", service.selector);
    }
    let carried = carried_values(wanted, &carriers.labels());
    if unknown_owners.is_empty() {
        return format!("the workloads behind {name} have {carried}");
    }
    let kinds: Vec<_> = unknown_owners.iter().map(Symbol::as_str).collect();
    format!(
        "the pods behind {name} have {carried} (some are made by {}, which Lanekeeper does not read)",
        kinds.join(", ")
    )
}

/// What the carriers have for the wanted keys, for a message: `version=wicph, version=wtchk`.
fn carried_values(wanted: &Labels, all: &[&Labels]) -> String {
    /// More values than this only hide the one that matters.
    const MOST: usize = 8;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::{Settings, View, World};

    /// A cart whose one workload has so many replicas, and a route to it.
    fn cart(replicas: u32) -> World {
        let object = |kind, spec: serde_json::Value| {
            let metadata = json!({"namespace": "shop", "name": "cart"});
            Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let labels = json!({"app": "cart", "version": "blue"});
        let route = json!({"destination": {"host": "cart", "subset": "blue"}});
        World::of(
            Settings::default(),
            [
                object(
                    Kind::Service,
                    json!({"selector": {"app": "cart"}, "ports": [{"port": 80}]}),
                ),
                object(
                    Kind::Deployment,
                    json!({"replicas": replicas, "template": {"metadata": {"labels": labels}}}),
                ),
                object(
                    Kind::DestinationRule,
                    json!({"host": "cart", "subsets": [{"name": "blue", "labels": {"version": "blue"}}]}),
                ),
                object(
                    Kind::VirtualService,
                    json!({"hosts": ["cart"], "http": [{"route": [route]}]}),
                ),
            ],
        )
    }

    fn levels(before: Option<&World>, after: &World) -> Vec<Level> {
        let before = before.map(View::new);
        let after_view = View::new(after);
        let check = Check::new(&after_view, before.as_ref());
        let rule = ObjectRef::new(Kind::DestinationRule, "shop", "cart");
        let findings = check.object(&[RULE], after.get(&rule).unwrap());
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_service_without_pods_may_yet_get_them_unless_the_change_takes_the_last_ones_away() {
        let (running, scaled_down) = (cart(1), cart(0));
        assert_eq!(levels(None, &running), []);
        assert_eq!(levels(None, &scaled_down), [Level::Warn]);
        assert_eq!(levels(Some(&scaled_down), &scaled_down), [Level::Warn]);
        assert_eq!(levels(Some(&running), &scaled_down), [Level::Deny]);
    }
}
