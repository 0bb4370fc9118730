//! What the filter counts: `wasmcustom.lane_…` in Envoy's statistics.

use crate::host;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The lane of a request that came in is stored.
    Stored,
    /// A request was given the lane of its trace, or of its baggage.
    Hit,
    /// The trace of a request that goes out is not in the store.
    Miss,
    /// A request has no trace id: one that came in with a lane, or one that goes out without.
    NoTrace,
    /// A request was given the default lane.
    Default,
    /// The lane header's value is no lane, or none that is listed.
    Invalid,
    /// Another worker wrote to a bucket first, and it was tried again.
    CasRetry,
    /// It was tried too often: a lane is not stored, or its end is not noted.
    CasGiveUp,
    /// A trace had to go of which a stream was on its way: the cache is too small.
    EvictedLive,
}

/// The counters' names, in the order of [`Count`].
const NAMES: [&str; 9] = [
    "lane_stored",
    "lane_hit",
    "lane_miss",
    "lane_no_trace",
    "lane_default",
    "lane_invalid",
    "lane_cas_retry",
    "lane_cas_giveup",
    "lane_evicted_live",
];

/// The counters, defined once a VM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics([Option<u32>; NAMES.len()]);

impl Metrics {
    pub(crate) fn define() -> Self {
        Self(NAMES.map(host::define_counter))
    }

    pub(crate) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: Count, by: u32) {
        let metric = self.0.get(what as usize).copied().flatten();
        if let Some(metric) = metric.filter(|_| by > 0) {
            host::increment(metric, by);
        }
    }
}
