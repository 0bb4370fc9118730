//! A Service that routes lead to and that selects nothing which carries: its requests are answered 503.
//!
//! ## What it does
//! For each Service with a selector that some route or mirror leads to, itself or through an alias, it looks for a
//! carrier: a workload's pod template with replicas, a pod that no known workload owns, or a `WorkloadEntry`, in the
//! Service's namespace. A workload that no Service selects, and that this one misses by one slip, is named.
//!
//! It never denies: a Service often comes before its pods. Where each of the routes names a subset by labels, LK101 tells
//! it at the `DestinationRule`, and this rule is quiet.
//!
//! ## Why it matters
//! Envoy gets a cluster without endpoints and answers every request with 503 "no healthy upstream", in every lane.
//!
//! ## Example
//! The pods are labelled `app: cars-api-portal`; the Service says:
//! ```yaml
//! selector: {app: car-api-portal}
//! ```
//! Use instead:
//! ```yaml
//! selector: {app: cars-api-portal}
//! ```
//!
//! ## References
//! Neither `istioctl analyze` nor Kiali has a counterpart: Kiali's KIA0701 compares the ports of a Deployment that the
//! Service selects by the Deployment's own labels, and passes over a Service that selects none.

use super::{Check, Finding, Level, Rule, Subject, Suggestion};
use crate::resource::{Destination, Kind, Labels, Resource, Service, VirtualService};
use crate::routing::{alias_at, destinations, missed_by_a_slip, routes_to, rule_for, workload_labels};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK102",
    name: "service-without-workload",
    level: Level::Warn,
    kinds: &[Kind::Service],
    source: include_str!("lk102.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Service(service) = object else {
        return Vec::new();
    };
    let view = check.view;
    if service.selector.is_empty() || service.external_name.is_some() || service.meta.deleting {
        return Vec::new();
    }
    let host = view.host_of(service);
    let mut routes = routes_to(view, &host);
    routes.retain(|vs| !is_told_by_subsets(check, service, &host, vs));
    let Some(first) = routes.first() else {
        return Vec::new();
    };
    if !view
        .carriers(&service.meta.namespace, &service.selector)
        .is_empty()
    {
        return Vec::new();
    }
    let reference = |vs: &&VirtualService| vs.meta.reference(Kind::VirtualService);
    let missed = missed_by_a_slip(view, service, &Labels::default());
    let (instead, help) = match &missed {
        Some(missed) => (
            format!(": {} has {}={}", missed.workload, missed.key, missed.carried),
            format!(
                "did you mean `{0}: {1}` in the selector, or `{0}: {2}` on the workload?",
                missed.key, missed.carried, missed.selected
            ),
        ),
        None => (
            String::new(),
            "start a workload that it selects, or correct spec.selector".to_owned(),
        ),
    };
    let finding = Finding::new(&RULE, object.reference(), "spec.selector")
        .about(Subject {
            host: Some(host),
            ..Subject::default()
        })
        .missing_if(missed.is_none())
        .mended_by(
            missed
                .as_ref()
                .map(|missed| Suggestion::in_selector(service, missed)),
        )
        .from_objects(routes.iter().map(reference))
        .from_fields(missed.map(|missed| (missed.workload.clone(), missed.label_path(), "its label")));
    vec![finding.says(
        format!(
            "{} selects no workload that runs{instead}, and {} leads to it: the requests are answered 503 (no healthy upstream)",
            service.selector,
            reference(first)
        ),
        help,
    )]
}

/// Whether all that the object sends to the service goes to subsets by labels: LK101 tells then that they are empty.
fn is_told_by_subsets(check: &Check<'_, '_>, service: &Service, host: &Symbol, vs: &VirtualService) -> bool {
    let view = check.view;
    let home = &service.meta.namespace;
    let rule = rule_for(view, home, host, Some(home));
    let is_by_labels = |name: &Symbol| {
        let subset = rule.as_ref().and_then(|rule| rule.subset(name));
        subset.is_some_and(|defined| !workload_labels(defined.subset).is_empty())
    };
    let leads_there = |to: &Destination| {
        let written = view.resolve(&to.host, &vs.meta.namespace);
        written == *host || alias_at(view, &written).is_some_and(|(_, of)| of == host)
    };
    let all = vs.http.iter().flat_map(destinations).map(|(_, to)| to);
    all.filter(|to| leads_there(to))
        .all(|to| to.subset.as_ref().is_some_and(is_by_labels))
}
