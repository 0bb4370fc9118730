//! What decisions sum up to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Decision, Outcome};

/// How many decisions had each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    /// How many had this one.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }
}

/// How long decisions took, in microseconds: each duration with how many took just as long.
#[derive(Debug, Clone, Default)]
pub struct Durations(BTreeMap<u64, u64>);

impl Durations {
    fn add(&mut self, micros: u64) {
        *self.0.entry(micros).or_default() += 1;
    }

    /// What this share of them, in percent, did not take longer than.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.0.values().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let mut at_rank = self.0.iter().filter(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        at_rank.next().map(|(micros, _)| *micros)
    }
}

/// The decision that took longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slowest {
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its id.
    pub decision: String,
    /// The webhook that was asked.
    pub webhook: String,
    /// `UPDATE`.
    pub operation: String,
    /// The object: `VirtualService cars/portal`.
    pub object: String,
}

/// What decisions sum up to. It grows with the namespaces, users and codes, not with the decisions.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// All of them.
    pub counts: Counts,
    /// How many were dry runs.
    pub dry_runs: u64,
    /// The time of the first and of the last one.
    pub span: Option<(Timestamp, Timestamp)>,
    /// For each code how many were refused for it, and how many were warned of it.
    pub codes: BTreeMap<String, [u64; 2]>,
    /// By namespace; the empty one is that of kinds without.
    pub namespaces: BTreeMap<String, Counts>,
    /// By user.
    pub users: BTreeMap<String, Counts>,
    /// How long they took.
    pub durations: Durations,
    /// The one that took longest.
    pub slowest: Option<Slowest>,
}

impl Summary {
    /// Adds a decision.
    pub fn add(&mut self, decision: &Decision<'_>) {
        let outcome = decision.outcome();
        self.counts.add(outcome);
        self.dry_runs += u64::from(decision.dry_run);
        let (first, last) = self.span.unwrap_or((decision.time, decision.time));
        self.span = Some((first.min(decision.time), last.max(decision.time)));
        for (at, codes) in [&decision.codes, &decision.warned].into_iter().enumerate() {
            for code in codes {
                entry(&mut self.codes, code)[at] += 1;
            }
        }
        entry(&mut self.namespaces, &decision.namespace).add(outcome);
        entry(&mut self.users, &decision.user).add(outcome);
        let micros = decision.duration_micros;
        self.durations.add(micros);
        if self
            .slowest
            .as_ref()
            .is_none_or(|slowest| micros > slowest.micros)
        {
            self.slowest = Some(Slowest {
                micros,
                decision: decision.decision.to_string(),
                webhook: decision.webhook.to_string(),
                operation: decision.operation.to_string(),
                object: decision.object(),
            });
        }
    }
}

fn entry<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    map.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_durations_that_were_seen() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(50), None);
        for micros in 1..=200 {
            durations.add(micros);
        }
        durations.add(7);
        let of = |percent| durations.percentile(percent).unwrap();
        assert_eq!([of(0), of(50), of(99), of(100)], [1, 100, 198, 200]);
    }
}
