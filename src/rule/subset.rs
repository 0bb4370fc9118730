//! Subsets that are missing though their workloads are there, made after the form of their siblings.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Change, Check, Suggestion};
use crate::resource::{DestinationRule, Kind, Labels, Service, Subset};
use crate::routing::{EffectiveRule, Lanes, Target, target_of};
use crate::symbol::Symbol;
use crate::yaml::field;

/// The subset `name` of the host, as a sibling of those that the rule has: `portal-blue` beside `portal-green` with
/// `version: green` is one with `version: blue`, if a workload behind the service has that. Beside none it is the one for
/// the lane that it is named for, alone or behind the service's name.
pub(super) fn missing_by_name(
    check: &Check<'_, '_>,
    host: &Symbol,
    rule: &EffectiveRule<'_>,
    name: &str,
) -> Option<Suggestion> {
    let Target::Service(service) = target_of(check.view, host) else {
        return None;
    };
    let behind = Behind::of(check, service)?;
    for defined in &rule.subsets {
        let at = place(defined.rule, defined.subset)?;
        for (key, value) in defined.subset.labels.pairs() {
            let mut fitting = behind.values(key).into_iter().filter(|other| {
                *other != value && renamed(defined.subset, value, other).as_deref() == Some(name)
            });
            let Some(other) = fitting.next().filter(|_| fitting.next().is_none()) else {
                continue;
            };
            if behind.carries(&defined.subset.labels, key, other) {
                return Some(sibling(defined.rule, at, name, key, other));
            }
        }
    }
    let lanes = check.groups.of_host(host).filter(|_| rule.subsets.is_empty())?;
    let key = lanes.lane_label()?;
    let alone = rule.sources.first()?;
    let is_named_for = |lane: &&Symbol| **lane == name || format!("{}-{lane}", service.meta.name) == name;
    let lane = behind.values(key).into_iter().find(is_named_for)?;
    let labels = json!({ key.as_str(): lane.as_str() });
    Some(Suggestion {
        object: alone.meta.reference(Kind::DestinationRule),
        change: Change::Append {
            list: "spec.subsets".to_owned(),
            from: None,
            without: Vec::new(),
            fields: vec![("name".to_owned(), json!(name)), ("labels".to_owned(), labels)],
        },
    })
}

/// The subset for a lane, beside one of the rule's for another lane.
pub(super) fn missing_for_lane(
    check: &Check<'_, '_>,
    service: &Service,
    lanes: &Lanes<'_, '_>,
    rule: &DestinationRule,
    lane: &Symbol,
) -> Option<Suggestion> {
    let behind = Behind::of(check, service)?;
    let key = lanes.lane_label()?;
    rule.subsets.iter().enumerate().find_map(|(at, subset)| {
        let value = subset.labels.get(key)?;
        let name = renamed(subset, value, lane)?;
        let is_free = rule.subset(&name).is_none();
        (is_free && behind.carries(&subset.labels, key, lane)).then(|| sibling(rule, at, &name, key, lane))
    })
}

/// A copy of the rule's subset at this place, for another value of a label.
fn sibling(rule: &DestinationRule, at: usize, name: &str, key: &str, value: &str) -> Suggestion {
    Suggestion {
        object: rule.meta.reference(Kind::DestinationRule),
        change: Change::Append {
            list: "spec.subsets".to_owned(),
            from: Some(at),
            without: Vec::new(),
            fields: vec![
                ("name".to_owned(), json!(name)),
                (format!("labels{}", field(key)), json!(value)),
            ],
        },
    }
}

/// The subset's name with one value in the place of the other; `None` where it does not have that.
fn renamed(subset: &Subset, value: &str, other: &str) -> Option<String> {
    let at = subset.name.rfind(value).filter(|_| !value.is_empty())?;
    let (before, rest) = subset.name.split_at(at);
    Some(format!("{before}{other}{}", &rest[value.len()..]))
}

fn place(rule: &DestinationRule, subset: &Subset) -> Option<usize> {
    rule.subsets.iter().position(|other| std::ptr::eq(other, subset))
}

/// The labels of what runs behind a service.
struct Behind<'w>(Vec<&'w Labels>);

impl<'w> Behind<'w> {
    fn of(check: &Check<'_, 'w>, service: &Service) -> Option<Self> {
        let selector = Some(&service.selector).filter(|selector| !selector.is_empty())?;
        let carriers = check.view.carriers(&service.meta.namespace, selector);
        Some(Self(
            carriers
                .iter()
                .filter_map(|carrier| carrier.carrier_labels())
                .collect(),
        ))
    }

    fn values(&self, key: &str) -> BTreeSet<&'w Symbol> {
        self.0.iter().filter_map(|labels| labels.get(key)).collect()
    }

    /// Whether something has these labels, with another value for one of them.
    fn carries(&self, labels: &Labels, key: &str, value: &Symbol) -> bool {
        let pairs = labels.pairs().iter();
        let pairs = pairs.map(|(name, old)| (name.clone(), if *name == key { value } else { old }.clone()));
        let wanted = Labels::new(pairs);
        self.0.iter().any(|labels| wanted.select(labels))
    }
}
