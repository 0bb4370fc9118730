//! What the rules on gateway headers share: which findings count where a route has several delegating routes.

use super::{Check, Finding};
use crate::resource::{ObjectRef, Resource};
use crate::routing::{EntryRoute, Operation, Route};

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
    let mut all: Vec<Finding> = Vec::new();
    let mut of_routes: Vec<(usize, Vec<Finding>)> = Vec::new();
    for (route, mut findings) in judged {
        findings.retain(|finding| finding.object == reference);
        if !route.is_of(vs) {
            of_routes.push((usize::MAX, findings));
            continue;
        }
        match of_routes.iter_mut().find(|(index, _)| *index == route.index) {
            None => of_routes.push((route.index, findings)),
            Some((_, known)) => known.retain_mut(|known| {
                let same = findings.iter().find(|other| other.subject == known.subject);
                known.level = same.map_or(known.level, |other| known.level.min(other.level));
                same.is_some()
            }),
        }
    }
    for finding in of_routes.into_iter().flat_map(|(_, findings)| findings) {
        let is_known = |known: &Finding| known.path == finding.path && known.subject == finding.subject;
        if !all.iter().any(is_known) {
            all.push(finding);
        }
    }
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
