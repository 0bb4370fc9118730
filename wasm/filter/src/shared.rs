//! The store's buckets in the table that all workers share.
//!
//! Every plugin of a proxy sees the same keys, so theirs begin with this filter's name, the version of the records'
//! format and the lane header. With the number of buckets in them too, a configuration with another `cache_size` has
//! buckets of its own; the list of the last two numbers, under a key of its own, leads those who look for a trace to
//! the buckets that it was stored in before. The table outlives configurations, modules and VMs.

use lanekeeper_filter_core::store::{self, MAX_BUCKETS, Put, VERSION};
use lanekeeper_filter_core::{Key, Layout, Store};

use crate::host::{self, Write};
use crate::metrics::{Count, Metrics};

/// How often a write is tried again when other workers are first.
const TRIES: u32 = 8;

/// How many numbers of buckets are remembered: the one that counts, and the one before.
const LAYOUTS: usize = 2;

/// The buckets of one lane header.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Store,
    /// Where the list of numbers of buckets is; what every key begins with.
    prefix: String,
    /// Where each bucket is.
    keys: Vec<String>,
    metrics: Metrics,
}

/// A trace that is stored as long as its stream lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pin {
    bucket: u32,
    key: Key,
}

impl Shared {
    /// Makes the buckets that are not there yet: a write that depends on a version does not do so on a key that
    /// does not exist, and of two workers that both make one the first would lose its traces.
    ///
    /// Envoy configures a plugin on its main thread before any worker has it, so that only there is anything made.
    pub(crate) fn open(lane_header: &str, store: Store, metrics: Metrics) -> Self {
        let prefix = format!("lanekeeper.lane/{VERSION}/{lane_header}");
        let keys = bucket_keys(&prefix, store.layout.buckets);
        for key in &keys {
            if host::shared(key).is_none() {
                host::set_shared(key, &[], 0);
            }
        }
        let shared = Self {
            store,
            prefix,
            keys,
            metrics,
        };
        shared.announce();
        shared
    }

    /// Puts the number of buckets first on the list, and empties those that fall from it.
    fn announce(&self) {
        let own = self.store.layout.buckets;
        let mut known = self.layouts();
        if known.first() == Some(&own) {
            return;
        }
        known.retain(|buckets| *buckets != own);
        known.insert(0, own);
        for forgotten in known.drain(LAYOUTS.min(known.len())..) {
            for key in bucket_keys(&self.prefix, forgotten) {
                host::set_shared(&key, &[], 0);
            }
        }
        let list: Vec<u8> = known.iter().flat_map(|buckets| buckets.to_be_bytes()).collect();
        host::set_shared(&self.prefix, &list, 0);
    }

    /// The numbers of buckets in use, the newest first. Another plugin may have written anything there.
    fn layouts(&self) -> Vec<u32> {
        let list = host::shared(&self.prefix).unwrap_or_default().0;
        let numbers = list.chunks_exact(4).filter_map(|bytes| bytes.first_chunk::<4>());
        let numbers = numbers.map(|bytes| u32::from_be_bytes(*bytes));
        numbers
            .filter(|buckets| (1..=MAX_BUCKETS).contains(buckets))
            .take(LAYOUTS)
            .collect()
    }

    /// The lane of a trace.
    pub(crate) fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let bucket = self.bucket(self.store.layout.bucket_of(key))?;
        lane_in(bucket, key)
    }

    /// The lane of the first of these traces that was stored under another `cache_size`: by a worker that has another
    /// configuration already, or before this one came.
    pub(crate) fn get_elsewhere(&self, keys: &[Option<Key>]) -> Option<Vec<u8>> {
        let own = self.store.layout;
        let mut others = self.layouts();
        others.retain(|buckets| *buckets != own.buckets);
        let in_one = |key: &Key, buckets: u32| {
            let layout = Layout { buckets, ..own };
            lane_in(&bucket_key(&self.prefix, buckets, layout.bucket_of(key)), key)
        };
        let mut keys = keys.iter().flatten();
        keys.find_map(|key| others.iter().find_map(|buckets| in_one(key, *buckets)))
    }

    /// Stores a trace's lane, until its stream is [`done`](Self::done) and beyond as far as there is room.
    pub(crate) fn put(&self, key: &Key, lane: &[u8]) -> Option<Pin> {
        let now = seconds();
        let bucket = self.store.layout.bucket_of(key);
        let evicted = self.update(bucket, |bytes| {
            let Put { bucket, evicted_live } = self.store.put(&bytes, key, lane, now);
            Some((bucket, evicted_live))
        })?;
        self.metrics.add(Count::EvictedLive, evicted);
        self.metrics.count(Count::Stored);
        Some(Pin { bucket, key: *key })
    }

    /// Notes that a stream has ended: its trace may go when room is needed.
    pub(crate) fn done(&self, pin: Pin) {
        self.update(pin.bucket, |mut bytes| {
            store::done(&mut bytes, &pin.key).then_some((bytes, ()))
        });
    }

    fn bucket(&self, bucket: u32) -> Option<&str> {
        self.keys.get(usize::try_from(bucket).ok()?).map(String::as_str)
    }

    /// Changes a bucket as if nobody else did meanwhile; `None` if nothing is to change, or nothing can.
    fn update<T>(&self, bucket: u32, change: impl Fn(Vec<u8>) -> Option<(Vec<u8>, T)>) -> Option<T> {
        let key = self.bucket(bucket)?;
        for _ in 0..TRIES {
            let (bytes, version) = host::shared(key).unwrap_or_default();
            let (bytes, result) = change(bytes)?;
            match host::set_shared(key, &bytes, version) {
                Write::Done => return Some(result),
                Write::Outdated => self.metrics.count(Count::CasRetry),
                Write::Failed => break,
            }
        }
        self.metrics.count(Count::CasGiveUp);
        None
    }
}

fn lane_in(bucket: &str, key: &Key) -> Option<Vec<u8>> {
    let (bytes, _) = host::shared(bucket)?;
    store::get(&bytes, key).map(<[u8]>::to_vec)
}

fn bucket_key(prefix: &str, buckets: u32, bucket: u32) -> String {
    format!("{prefix}/{buckets}/{bucket}")
}

fn bucket_keys(prefix: &str, buckets: u32) -> Vec<String> {
    (0..buckets)
        .map(|bucket| bucket_key(prefix, buckets, bucket))
        .collect()
}

fn seconds() -> u32 {
    const NANOSECONDS: u64 = 1_000_000_000;
    u32::try_from(host::nanoseconds() / NANOSECONDS).unwrap_or(u32::MAX)
}
