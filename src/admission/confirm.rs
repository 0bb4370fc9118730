//! Confirm before you deny: what a denial rests on is read again, past every cache [s5].

use std::ops::Deref;

use futures::future::BoxFuture;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::world::{Read, World};

/// Reads afresh what rules have asked a view.
pub trait FreshReads: Send + Sync {
    /// Repeats `reads` as quorum reads. Answers with a world of what was found, and with the reads that it
    /// answers: together the next layer of the view ([`crate::world::Scope::Reads`]).
    ///
    /// An error means that nothing is known afresh, so nothing may be denied on account of it. The future
    /// may be dropped when the time for an answer is up.
    fn read(&self, reads: Vec<Read>) -> BoxFuture<'_, anyhow::Result<(World, Vec<Read>)>>;
}

/// What came of reading afresh before a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The denial stands.
    Upheld,
    /// What was read afresh breaks nothing: the index was behind, and a right change would have been refused.
    Lifted,
    /// Nothing could be read in time: the change passed with a warning.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Upheld, Self::Lifted, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Upheld => "upheld",
            Self::Lifted => "lifted",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Counts what comes of reading afresh.
#[derive(Debug)]
pub struct Confirmations(Family<OutcomeLabels, Counter>);

impl Default for Confirmations {
    fn default() -> Self {
        let counts = Self(Family::default());
        // A rate needs a count of nothing before the first one.
        for outcome in Outcome::ALL {
            drop(counts.counter(outcome));
        }
        counts
    }
}

impl Confirmations {
    /// Adds them to the metrics.
    pub fn register(&self, registry: &mut Registry) {
        // The encoder ends the name of a counter with `_total`.
        registry.sub_registry_with_prefix("lanekeeper").register(
            "confirmations",
            "Denials for which the cluster was read afresh, by what came of it: upheld, lifted (the index was behind), or failed (let pass)",
            self.0.clone(),
        );
    }

    /// Counts one.
    pub(super) fn count(&self, outcome: Outcome) {
        self.counter(outcome).inc();
    }

    /// How many there were.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counter(outcome).get()
    }

    fn counter(&self, outcome: Outcome) -> impl Deref<Target = Counter> {
        self.0.get_or_create(&OutcomeLabels {
            outcome: outcome.name(),
        })
    }
}
