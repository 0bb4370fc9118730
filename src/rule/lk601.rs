//! A workload of a lane group that is in no lane: its pod template has no lane label, or one that names no lane.
//!
//! ## What it does
//! It judges the Deployments, `StatefulSets` and `DaemonSets` behind the services that take part in the group's lanes:
//! those with a route by the lane header or a subset by the lane label (and, in a Strict group, every service with
//! an HTTP port). The lane label is the `LaneGroup`'s, else the key that most often has, in a subset, the value of
//! the lane header that leads to it. A workload that some lane's subset chooses by other labels is in that lane.
//!
//! It denies a near miss: a value with one slip in it, where no route, subset or `LaneGroup` names that value and
//! the service has no other workload for the lane that is meant; or a slip in the label's key. Otherwise it warns:
//! a lane begins with its first workload. Where the label is on the Deployment itself and not on its template, it says so.
//!
//! ## Why it matters
//! The pods run and are ready, but no lane's subset chooses them: the lane's requests are answered 503 "no healthy
//! upstream" if nothing else carries it. Requests to the service without a subset reach them, whatever their lane.
//!
//! ## Example
//! The lanes are `wtchk` and `wicph`; the Deployment says:
//! ```yaml
//! template:
//!   metadata:
//!     labels: {app: cars-api-portal, version: wtcph}
//! ```
//! Use instead:
//! ```yaml
//! template:
//!   metadata:
//!     labels: {app: cars-api-portal, version: wicph}
//! ```
//!
//! ## References
//! `istioctl analyze` does not know lanes. Kiali marks any workload without a `version` label; this rule asks for the
//! label that tells the lane, of the members only, and for its value.

use super::{Check, Finding, Level, Rule, Subject, Suggestion};
use crate::lane::nearest;
use crate::resource::{Kind, Labels, ObjectRef, Resource, Service, Workload};
use crate::routing::Lanes;
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK601",
    name: "workload-in-no-lane",
    level: Level::Deny,
    kinds: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    source: include_str!("lk601.rs"),
    check,
};

/// Where a workload's labels stand.
const LABELS: &str = "spec.template.metadata.labels";

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Workload(workload) = object else {
        return Vec::new();
    };
    if workload.meta.deleting {
        return Vec::new();
    }
    let labels = &workload.template.labels;
    let memberships = check.groups.of_workload(&workload.meta.namespace, labels);
    let judged = memberships.iter().filter_map(|(lanes, services)| {
        let label = lanes.lane_label()?;
        let judged = Judged {
            check,
            workload,
            lanes,
            label,
            services,
        };
        lanes
            .lanes_of_workload(labels)
            .is_empty()
            .then(|| judged.finding())
    });
    judged.collect()
}

/// A workload that is in no lane of a group.
struct Judged<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    workload: &'c Workload,
    lanes: &'c Lanes<'v, 'w>,
    label: &'c Symbol,
    /// The member services that choose it.
    services: &'c [&'w Service],
}

impl Judged<'_, '_, '_> {
    fn finding(&self) -> Finding {
        match self.workload.template.labels.get(self.label) {
            Some(value) => self.unknown(value),
            None => self.absent(),
        }
    }

    /// The label names no lane.
    fn unknown(&self, value: &Symbol) -> Finding {
        let (label, group) = (self.label, self.lanes.group.title());
        let near = self.lanes.nearest(value);
        let is_slip = near
            .as_ref()
            .is_some_and(|near| !self.is_named(value) && !self.has_sibling(near));
        let add = if self.lanes.group.lanes.is_some() {
            format!("add `{value}` to the lanes of {group} first")
        } else {
            "add a subset and a route for the new lane".to_owned()
        };
        let path = format!("{LABELS}{}", super::field(label));
        let suggestion = near.map(|near| Suggestion::set(self.object(), path.as_str(), near.as_str()));
        let help = match &suggestion {
            Some(meant) if is_slip => meant.question(),
            Some(meant) => format!("{} Otherwise {add}", meant.question()),
            None => add,
        };
        let lanes: Vec<&str> = self.lanes.all().iter().map(Symbol::as_str).collect();
        let message = format!(
            "{label}={value} names no lane of {group} (its lanes: {}): {}",
            lanes.join(", "),
            self.consequence()
        );
        self.found(&path, Some(value), is_slip)
            .mended_by(suggestion.filter(|_| is_slip))
            .says(message, help)
    }

    /// The label is not there.
    fn absent(&self) -> Finding {
        let (label, group) = (self.label, self.lanes.group.title());
        let pairs = self.workload.template.labels.pairs();
        let keys = pairs.iter().filter(|(_, value)| self.lanes.contains(value));
        let near = nearest(label, keys.map(|(key, _)| key.as_str()));
        let message = match near {
            Some(near) => format!(
                "its pods have the label `{near}`, and the lanes of {group} are told by `{label}`: {}",
                self.consequence()
            ),
            None => format!(
                "its pods have no label `{label}`, which tells the lane in {group}: {}",
                self.consequence()
            ),
        };
        let help = match (near, self.workload.meta.labels.get(label)) {
            (Some(near), _) => format!("did you mean `{label}` in place of `{near}`?"),
            (None, Some(value)) => format!(
                "{label}={value} stands on the {} itself, and pods get the labels of {LABELS} only: write it there",
                self.workload.kind
            ),
            (None, None) => format!("add `{label}` with the lane's name to {LABELS}"),
        };
        let path = near.map_or_else(
            || LABELS.to_owned(),
            |near| format!("{LABELS}{}", super::field(near)),
        );
        let suggestion = near.map(|_| Suggestion::rename(self.object(), path.as_str(), label.as_str()));
        self.found(&path, None, near.is_some())
            .mended_by(suggestion)
            .says(message, help)
    }

    fn object(&self) -> ObjectRef {
        self.workload.meta.reference(self.workload.kind)
    }

    /// A finding that denies a slip, if this very change makes it: what was there before stays as it is.
    fn found(&self, path: &str, value: Option<&Symbol>, is_slip: bool) -> Finding {
        let services = self.services.iter();
        let evidence = services.map(|service| service.meta.reference(Kind::Service));
        Finding::new(&RULE, self.object(), path)
            .about(Subject {
                lane: value.cloned(),
                header: Some(self.lanes.group.header.clone()),
                ..Subject::default()
            })
            .missing_if(!is_slip)
            .warning_if(!is_slip || self.had_these_labels())
            .from_each(evidence, "spec.selector", "its selector")
    }

    /// What becomes of it at run time.
    fn consequence(&self) -> String {
        let names: Vec<String> = self
            .services
            .iter()
            .map(|service| service.meta.reference(Kind::Service).to_string())
            .collect();
        format!(
            "no lane's subset chooses its pods, and requests to {} without a subset reach them in any lane",
            names.join(" and ")
        )
    }

    /// Whether any route or subset names the value: then it is meant.
    fn is_named(&self, value: &Symbol) -> bool {
        let view = self.check.view;
        let group = &self.lanes.group;
        let by_route = self.lanes.headers().any(|header| {
            !view
                .virtual_services_naming(&group.namespace, header, value)
                .is_empty()
        });
        by_route
            || self.services.iter().any(|service| {
                let rules = view.destination_rules_for(&view.host_of(service)).into_iter();
                let mut subsets = rules.flat_map(|rule| &rule.subsets);
                subsets.any(|subset| subset.labels.get(self.label) == Some(value))
            })
    }

    /// Whether each of its services has another workload for the lane: then that one is not missing.
    fn has_sibling(&self, lane: &Symbol) -> bool {
        let own = self.object();
        let is_it = |labels: &Labels| labels.get(self.label) == Some(lane);
        self.services.iter().all(|service| {
            let carriers = self
                .check
                .view
                .carriers(&service.meta.namespace, &service.selector);
            carriers
                .iter()
                .any(|carrier| carrier.reference() != own && carrier.carrier_labels().is_some_and(is_it))
        })
    }

    /// Whether the workload had the same labels before the change under judgement.
    fn had_these_labels(&self) -> bool {
        let own = self.object();
        let before = self.check.before.and_then(|before| before.get(&own));
        matches!(before, Some(Resource::Workload(before)) if before.template.labels == self.workload.template.labels)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rule::affected;
    use crate::world::{Settings, View, World};

    /// A cart that is routed to its blue lane, with one workload labelled `version`, in a group with these lanes.
    fn cart(version: &str, lanes: &[&str]) -> World {
        let object = |kind, name: &str, spec: serde_json::Value| {
            let metadata = json!({"namespace": "shop", "name": name});
            Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let labels = json!({"app": "cart", "version": version, "part-of": "shop"});
        let group = json!({"header": "lane", "workloads": {"matchLabels": {"part-of": "shop"}}, "lanes": lanes,
            "defaultLane": "blue", "laneLabel": "version"});
        World::of(
            Settings::default(),
            [
                object(Kind::LaneGroup, "shop", group),
                object(
                    Kind::Service,
                    "cart",
                    json!({"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}),
                ),
                object(
                    Kind::Deployment,
                    "cart",
                    json!({"template": {"metadata": {"labels": labels}}}),
                ),
            ],
        )
    }

    fn levels(before: Option<&World>, after: &World) -> Vec<Level> {
        let before = before.map(View::new);
        let after_view = View::new(after);
        let check = Check::new(&after_view, before.as_ref());
        let workload = ObjectRef::new(Kind::Deployment, "shop", "cart");
        let findings = check.object(&[RULE], after.get(&workload).unwrap());
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_slip_refuses_the_change_that_makes_it_and_no_other() {
        let (right, wrong) = (
            cart("green", &["blue", "green"]),
            cart("gren", &["blue", "green"]),
        );
        assert_eq!(levels(None, &right), []);
        assert_eq!(levels(None, &wrong), [Level::Deny]);
        assert_eq!(levels(Some(&right), &wrong), [Level::Deny]);
        assert_eq!(levels(Some(&wrong), &wrong), [Level::Warn]);
        // The lane goes from the group, and `gren` is no slip for it.
        let with = cart("gren", &["blue", "green", "gren"]);
        assert_eq!(levels(Some(&with), &wrong), [Level::Warn]);
    }

    #[test]
    fn a_change_of_the_group_or_the_service_concerns_the_workloads_behind() {
        let world = cart("green", &["blue", "green"]);
        let view = View::new(&world);
        let workload = ObjectRef::new(Kind::Deployment, "shop", "cart");
        for (kind, name) in [(Kind::LaneGroup, "shop"), (Kind::Service, "cart")] {
            let changed = world.get(&ObjectRef::new(kind, "shop", name)).unwrap();
            assert!(affected(&view, changed).contains(&workload), "{kind}");
        }
    }
}
