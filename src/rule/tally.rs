//! What is wrong already, so that only what is new counts [s4].

use std::collections::BTreeMap;

use super::{Finding, Identity};

/// How many findings there are of each identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Identity, usize>);

impl Tally {
    /// Counts the findings.
    pub fn of<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        let mut tally = Self::default();
        for finding in findings {
            tally.add(finding.identity(), 1);
        }
        tally
    }

    /// Counts `count` more findings of this identity.
    pub fn add(&mut self, identity: Identity, count: usize) {
        *self.0.entry(identity).or_insert(0) += count;
    }

    /// Takes one finding of this identity away; whether there was one.
    pub fn take(&mut self, finding: &Finding) -> bool {
        match self.0.get_mut(&finding.identity()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many findings of each identity are left.
    pub fn iter(&self) -> impl Iterator<Item = (&Identity, usize)> {
        let counts = self.0.iter().map(|(identity, count)| (identity, *count));
        counts.filter(|(_, count)| *count > 0)
    }
}
