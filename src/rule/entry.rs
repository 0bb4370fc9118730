//! What the rules on gateway headers share: which findings count where a route has several delegating routes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding};
use crate::resource::{ObjectRef, Resource};
use crate::routing::{EntryDestination, EntryRoute, Operation, Route};

/// The findings of `judge` on the entry routes of `object`, as far as they are on `object` itself.
pub(super) fn on_entry_routes<'v, 'w>(
    check: &Check<'v, 'w>,
    object: &'w Resource,
    judge: impl Fn(&EntryRoute<'v, 'w>) -> Vec<Finding>,
) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let routes = check.entry_routes(vs);
    settled(object, routes.iter().map(|entry| (&entry.route, judge(entry))))
}

/// As [`on_entry_routes`], of each destination by itself.
pub(super) fn on_entry_destinations<'v, 'w, F: IntoIterator<Item = Finding>>(
    check: &Check<'v, 'w>,
    object: &'w Resource,
    judge: impl Fn(&EntryRoute<'v, 'w>, &EntryDestination<'w>) -> F,
) -> Vec<Finding> {
    on_entry_routes(check, object, |route| {
        let findings = route.destinations.iter().flat_map(|to| judge(route, to));
        findings.collect()
    })
}

/// The findings on `object` itself, each once. A delegate's route comes once under every route that delegates to it:
/// of its own fields a finding counts if it holds under each of them, for where they contradict each other nothing is
/// sure; of a field of the delegating route, if it holds for any of its delegate's routes [s26].
pub(super) fn settled<'r, 'w: 'r>(
    object: &'w Resource,
    judged: impl Iterator<Item = (&'r Route<'w>, Vec<Finding>)>,
) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let reference = object.reference();
    let mut of_routes: Vec<Vec<Finding>> = Vec::new();
    let mut own: BTreeMap<usize, usize> = BTreeMap::new();
    for (route, mut findings) in judged {
        findings.retain(|finding| finding.object == reference);
        let new = of_routes.len();
        let place = if route.is_of(vs) {
            *own.entry(route.index).or_insert(new)
        } else {
            new
        };
        match of_routes.get_mut(place) {
            None => of_routes.push(findings),
            Some(known) => known.retain_mut(|known| {
                let same = findings.iter().find(|other| other.subject == known.subject);
                known.level = same.map_or(known.level, |other| known.level.min(other.level));
                same.is_some()
            }),
        }
    }
    let mut all: Vec<Finding> = of_routes.into_iter().flatten().collect();
    let mut known = BTreeSet::new();
    all.retain(|finding| known.insert((finding.path.clone(), finding.subject.clone())));
    all
}

/// The place of an operation as a finding on `object` tells it: its path, and its object if that is another one.
pub(super) fn told(route: &Route<'_>, operation: &Operation<'_>, object: &ObjectRef) -> String {
    let (owner, path) = route.place_of(operation);
    if owner == *object {
        path
    } else {
        format!("{owner} {path}")
    }
}
