//! Two `DestinationRules` that Istio merges define one subset differently: only the first definition counts.
//!
//! ## What it does
//! Istio merges the rules of one namespace for one host, the oldest first, where their `exportTo` and their
//! `workloadSelector` are equal as written. The rule reports each subset of a later one that an earlier one defines with
//! other labels, or with another policy as far as it decides the protocol and the choice of pods.
//!
//! ## Why it matters
//! Istio keeps the first definition and counts the other in a metric that nobody watches. A lane's requests go to the
//! pods that the first one chooses, and 200 is the answer, out of the wrong lane; a change of the later rule does
//! nothing. Rules of the same second, and those of files, whose age is not known, may be in either order.
//!
//! ## Example
//! ```yaml
//! metadata: {name: cars-api-portal}
//! spec:
//!   host: cars-api-portal
//!   subsets:
//!   - {name: wicph, labels: {version: wicph}}
//! ---
//! metadata: {name: cars-api-portal-canary}
//! spec:
//!   host: cars-api-portal
//!   subsets:
//!   - {name: wicph, labels: {version: wicph-2}}
//! ```
//! Use instead:
//! ```yaml
//! metadata: {name: cars-api-portal}
//! spec:
//!   host: cars-api-portal
//!   subsets:
//!   - {name: wicph, labels: {version: wicph}}
//!   - {name: wicph-2, labels: {version: wicph-2}}
//! ```
//!
//! ## References
//! `mergeDestinationRule` in `pilot/pkg/model/destination_rule.go`. `istioctl analyze` has no counterpart. Kiali has
//! KIA0201, which reports any two rules that a host matches and that have a subset name in common, or of which one has
//! no subsets: also where the definitions are equal, and where the rules do not merge.

use std::rc::Rc;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{DestinationRule, Kind, Resource, Subset};
use crate::routing::{EffectiveRule, look_up};
use crate::symbol::Symbol;
use crate::world::is_age_known;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK106",
    name: "conflicting-destination-rule",
    level: Level::Warn,
    kinds: &[Kind::DestinationRule],
    source: include_str!("lk106.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::DestinationRule(rule) = object else {
        return Vec::new();
    };
    if rule.subsets.is_empty() {
        return Vec::new();
    }
    let host = check.view.resolve(&rule.host, &rule.meta.namespace);
    let merged = merged_with(check, rule, &host);
    let subsets = rule.subsets.iter().enumerate();
    let found = subsets.filter_map(|(index, subset)| {
        let first = merged.iter().find_map(|merged| {
            let first = merged.subset(&subset.name)?;
            (first.rule.meta != rule.meta && differ(first.subset, subset)).then_some(first)
        })?;
        Some(finding(rule, &host, index, subset, first.rule, first.subset))
    });
    found.collect()
}

/// What the rule is merged into: for the callers of its own namespace, for others, and for those that a selector
/// chooses.
fn merged_with<'w>(
    check: &Check<'_, 'w>,
    rule: &DestinationRule,
    host: &Symbol,
) -> Vec<Rc<EffectiveRule<'w>>> {
    let namespace = rule.meta.namespace.as_str();
    let lookups = [namespace, ""]
        .into_iter()
        .map(|caller| look_up(check.view, caller, host, Some(namespace)));
    let all = lookups.flat_map(|found| {
        let selected = found.selected.iter().map(|(_, merged)| merged);
        found.rule.iter().chain(selected).cloned().collect::<Vec<_>>()
    });
    let has_it =
        |merged: &Rc<EffectiveRule<'_>>| merged.sources.iter().any(|source| source.meta == rule.meta);
    all.filter(has_it).collect()
}

/// Whether two definitions of a subset choose other pods, or treat them otherwise.
fn differ(a: &Subset, b: &Subset) -> bool {
    a.labels != b.labels || a.traffic_policy != b.traffic_policy
}

fn finding(
    rule: &DestinationRule,
    host: &Symbol,
    index: usize,
    subset: &Subset,
    first_rule: &DestinationRule,
    first: &Subset,
) -> Finding {
    let other = first_rule.meta.reference(Kind::DestinationRule);
    let what = if first.labels == subset.labels {
        "with another trafficPolicy".to_owned()
    } else {
        format!("with {}, not {}", first.labels, subset.labels)
    };
    let order = if is_age_known(&rule.meta, &first_rule.meta) {
        "is older, and its definition counts"
    } else {
        "may be older, for their ages are not known: then its definition counts"
    };
    Finding::new(
        &RULE,
        rule.meta.reference(Kind::DestinationRule),
        format!("spec.subsets[{index}].name"),
    )
    .about(Subject {
        host: Some(host.clone()),
        subset: Some(subset.name.clone()),
        ..Subject::default()
    })
    .says(
        format!(
            "{other} defines subset `{}` of {host} too, {what}: it {order}",
            subset.name
        ),
        "define the subset once, or give one of the two another name",
    )
    .from_field(other, "spec.subsets", "its subsets")
}
