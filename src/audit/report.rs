//! What is found, since when, and whether it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::PATIENCE;
use crate::resource::ObjectRef;
use crate::rule::{Certainty, Finding, Identity, Level};
use crate::symbol::Symbol;

/// A finding that is reported, with what it counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The finding.
    pub finding: Finding,
    /// `Warn` or `Deny`.
    pub level: Level,
}

/// All that is reported at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    all: Vec<Reported>,
    waiting: BTreeSet<Identity>,
}

impl Report {
    /// A report of these, besides which those wait.
    pub fn new(mut all: Vec<Reported>, waiting: BTreeSet<Identity>) -> Self {
        all.sort_by_cached_key(|one| (one.finding.identity(), one.finding.path.clone()));
        Self { all, waiting }
    }

    /// Whether this finding is only missing something, and not yet for long enough.
    pub fn has_waiting(&self, identity: &Identity) -> bool {
        self.waiting.contains(identity)
    }

    /// What is only missing something, and not yet for long enough.
    pub fn waiting(&self) -> impl Iterator<Item = &Identity> {
        self.waiting.iter()
    }

    /// All of it, in the order of the codes.
    pub fn all(&self) -> &[Reported] {
        &self.all
    }

    /// What refuses changes in a namespace.
    pub fn denied_in<'r>(&'r self, namespace: &'r Symbol) -> impl Iterator<Item = &'r Finding> {
        let all = self.all.iter();
        let denied = all.filter(|one| one.level == Level::Deny && one.finding.object.namespace == *namespace);
        denied.map(|one| &one.finding)
    }
}

/// Something that was found.
#[derive(Debug)]
pub(super) struct Found {
    one: Reported,
    since: Instant,
    is_reported: bool,
}

impl Found {
    /// Whether it is to be reported, and is not yet.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_patient = self.one.finding.certainty == Certainty::Missing;
        !self.is_reported && (!is_patient || now.saturating_duration_since(self.since) >= PATIENCE)
    }

    pub(super) fn report_when_due(&mut self, now: Instant) {
        self.is_reported |= self.is_due(now);
    }

    pub(super) fn one(&self) -> &Reported {
        &self.one
    }

    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }
}

/// What was found on the objects of a pass, and what is found on them now: the same finding goes on, even where another object
/// shows it.
#[derive(Debug, Default)]
pub(super) struct Pool {
    were: BTreeMap<Identity, Vec<Found>>,
    are: Vec<(ObjectRef, Vec<(Finding, Level)>)>,
}

impl Pool {
    pub(super) fn was(&mut self, found: Vec<Found>) {
        for found in found {
            self.were
                .entry(found.one.finding.identity())
                .or_default()
                .push(found);
        }
    }

    pub(super) fn is(&mut self, object: &ObjectRef, found: Vec<(Finding, Level)>) {
        if !found.is_empty() {
            self.are.push((object.clone(), found));
        }
    }

    /// Puts down what is found now.
    pub(super) fn settle(mut self, into: &mut BTreeMap<ObjectRef, Vec<Found>>, now: Instant) {
        for found in self.were.values_mut() {
            // What is reported goes on before what waits.
            found.sort_by_key(|found| (found.is_reported, std::cmp::Reverse(found.since)));
        }
        for (object, found) in self.are {
            let found = found.into_iter().map(|(finding, level)| {
                let known = self.were.get_mut(&finding.identity()).and_then(Vec::pop);
                let (since, is_reported) =
                    known.map_or((now, false), |known| (known.since, known.is_reported));
                Found {
                    one: Reported { finding, level },
                    since,
                    is_reported,
                }
            });
            into.insert(object, found.collect());
        }
    }
}
