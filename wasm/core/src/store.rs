//! The store: which lane a trace is in, in buckets of fixed number and limited size.
//!
//! Envoy's shared data is one table for all workers, and nothing can be deleted from it: a key for each trace would
//! leak. So there is a fixed number of keys, the buckets; each value is a list of records, the newest first:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the trace's key |
//! | 2 | how many streams of it are not finished (its pins), big endian like the rest |
//! | 4 | when the last one came, in seconds |
//! | 1 | the lane's length |
//! | … | the lane |
//!
//! A full bucket lets go of the oldest record without pins; of pinned ones that are older than `pin_timeout` (a VM that
//! crashed has left them) the oldest; and only then of the oldest at all, whose request may lose its lane.

use alloc::vec::Vec;

use crate::Key;
use crate::config::MAX_CACHE_SIZE;

/// The version of the format above; a store of another version is not read.
pub const VERSION: u32 = 1;

/// The most records in a bucket: longer ones cost more to copy than the hash saves.
const MAX_WAYS: u32 = 64;

/// The most buckets, those of the largest `cache_size`.
pub const MAX_BUCKETS: u32 = MAX_CACHE_SIZE.div_ceil(MAX_WAYS);

/// The bytes of a record before its lane.
const HEAD: usize = 16 + 2 + 4 + 1;

/// How many buckets there are, and how many records each may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The number of buckets, at least 1.
    pub buckets: u32,
    /// The most records in a bucket, at least 1.
    pub ways: u32,
}

impl Layout {
    /// The layout for `cache_size` traces, never more.
    pub fn of(cache_size: u32) -> Self {
        let cache_size = cache_size.max(1);
        let buckets = cache_size.div_ceil(MAX_WAYS);
        let ways = cache_size.checked_div(buckets).unwrap_or(1);
        Self { buckets, ways }
    }

    /// The bucket of a trace.
    pub fn bucket_of(&self, key: &Key) -> u32 {
        // The ids of some tracers count up, or have bits that never change.
        let id = u128::from_be_bytes(key.0);
        let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(id >> 64).unwrap_or_default();
        let mixed = (low ^ high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        let bucket = mixed.checked_rem(u64::from(self.buckets)).unwrap_or_default();
        u32::try_from(bucket).unwrap_or_default()
    }
}

/// A trace in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'b> {
    /// What the trace is stored under.
    pub key: Key,
    /// How many of its streams are not finished.
    pub pins: u16,
    /// When the last of them came, in seconds since 1970.
    pub since: u32,
    /// Its lane.
    pub lane: &'b [u8],
}

impl Record<'_> {
    fn write(&self, bucket: &mut Vec<u8>) {
        let Ok(length) = u8::try_from(self.lane.len()) else {
            return;
        };
        bucket.extend_from_slice(&self.key.0);
        bucket.extend_from_slice(&self.pins.to_be_bytes());
        bucket.extend_from_slice(&self.since.to_be_bytes());
        bucket.push(length);
        bucket.extend_from_slice(self.lane);
    }

    /// Whether a stream of it is still on its way, as far as is known at `now`.
    fn is_pinned(&self, now: u32, pin_timeout: u32) -> bool {
        self.pins > 0 && now.saturating_sub(self.since) <= pin_timeout
    }
}

/// The records of a bucket. What is no record ends them: another plugin may have written there.
pub fn records(bucket: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bucket;
    core::iter::from_fn(move || {
        let (key, tail) = rest.split_first_chunk::<16>()?;
        let (pins, tail) = tail.split_first_chunk::<2>()?;
        let (since, tail) = tail.split_first_chunk::<4>()?;
        let (length, tail) = tail.split_first()?;
        let (lane, tail) = tail.split_at_checked(usize::from(*length))?;
        rest = tail;
        Some(Record {
            key: Key(*key),
            pins: u16::from_be_bytes(*pins),
            since: u32::from_be_bytes(*since),
            lane,
        })
    })
}

/// The lane of a trace.
pub fn get<'b>(bucket: &'b [u8], key: &Key) -> Option<&'b [u8]> {
    records(bucket)
        .find(|record| record.key == *key)
        .map(|record| record.lane)
}

/// What a bucket becomes when a trace is stored in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The bucket's new value.
    pub bucket: Vec<u8>,
    /// How many traces had to go of which a stream was still on its way.
    pub evicted_live: u32,
}

/// The rules by which a bucket is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// The buckets.
    pub layout: Layout,
    /// After how many seconds a pin counts no more.
    pub pin_timeout: u32,
}

impl Store {
    /// Stores that a stream of the trace `key` came at `now` in `lane`, and pins it.
    ///
    /// A trace that is known keeps its pins; the lane is that of its newest stream.
    pub fn put(&self, bucket: &[u8], key: &Key, lane: &[u8], now: u32) -> Put {
        let known = records(bucket).find(|record| record.key == *key);
        let record = Record {
            key: *key,
            pins: known.map_or(0, |known| known.pins).saturating_add(1),
            since: now,
            lane,
        };
        let mut kept: Vec<Record<'_>> = records(bucket).filter(|record| record.key != *key).collect();
        let most = usize::try_from(self.layout.ways.saturating_sub(1)).unwrap_or_default();
        let mut evicted_live: u32 = 0;
        while kept.len() > most {
            let unpinned = kept.iter().rposition(|record| record.pins == 0);
            let victim = unpinned.or_else(|| {
                kept.iter()
                    .rposition(|record| !record.is_pinned(now, self.pin_timeout))
            });
            if let Some(at) = victim {
                kept.remove(at);
            } else {
                kept.pop();
                evicted_live = evicted_live.saturating_add(1);
            }
        }
        let mut written = Vec::with_capacity(bucket.len().saturating_add(HEAD).saturating_add(lane.len()));
        for record in core::iter::once(&record).chain(&kept) {
            record.write(&mut written);
        }
        Put {
            bucket: written,
            evicted_live,
        }
    }
}

/// Takes one pin off the trace `key`, in place; `false` if the trace is not there any more, or has no pins.
pub fn done(bucket: &mut [u8], key: &Key) -> bool {
    let mut rest = bucket;
    loop {
        let Some((head, tail)) = rest.split_at_mut_checked(HEAD) else {
            return false;
        };
        let length = head.last().copied().map_or(0, usize::from);
        let is_it = head.first_chunk::<16>() == Some(&key.0);
        if is_it {
            let Some(pins) = head.get_mut(16..).and_then(|tail| tail.first_chunk_mut::<2>()) else {
                return false;
            };
            let left = u16::from_be_bytes(*pins).checked_sub(1);
            *pins = left.unwrap_or_default().to_be_bytes();
            return left.is_some();
        }
        let Some((_, next)) = tail.split_at_mut_checked(length) else {
            return false;
        };
        rest = next;
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by its panic")]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn key(id: u8) -> Key {
        let mut key = [0; 16];
        key[15] = id;
        Key(key)
    }

    fn store(cache_size: u32) -> Store {
        Store {
            layout: Layout::of(cache_size),
            pin_timeout: 600,
        }
    }

    /// The ids in a bucket, the newest first.
    fn ids(bucket: &[u8]) -> Vec<u8> {
        records(bucket).map(|record| record.key.0[15]).collect()
    }

    #[test]
    fn a_layout_never_has_room_for_more_than_the_cache_size() {
        for (cache_size, buckets, ways) in [
            (1, 1, 1),
            (64, 1, 64),
            (65, 2, 32),
            (100, 2, 50),
            (1024, 16, 64),
            (1_000_000, 15_625, 64),
        ] {
            assert_eq!(Layout::of(cache_size), Layout { buckets, ways });
        }
        for cache_size in 0..5000 {
            let Layout { buckets, ways } = Layout::of(cache_size);
            assert!(
                buckets >= 1 && ways >= 1 && buckets * ways <= cache_size.max(1),
                "{cache_size}"
            );
            assert!(
                buckets * ways * 100 >= cache_size * 96 || cache_size < 1000,
                "{cache_size} wastes more than 4 %"
            );
        }
    }

    #[test]
    fn ids_that_count_up_spread_over_the_buckets() {
        let layout = Layout::of(1024);
        for shift in [0, 16, 64, 96, 120] {
            let mut counts = BTreeMap::new();
            for id in 1..=1600_u128 {
                let key = Key((id << shift).to_be_bytes());
                *counts.entry(layout.bucket_of(&key)).or_insert(0) += 1;
            }
            let most = counts.values().max().unwrap();
            assert!(
                (shift == 120) || (*most < 160 && counts.len() == 16),
                "shift {shift}: {counts:?}"
            );
        }
    }

    #[test]
    fn what_is_stored_is_found_and_the_newest_lane_counts() {
        let store = store(64);
        let first = store.put(&[], &key(1), b"wtchk", 10).bucket;
        let both = store.put(&first, &key(2), b"wicph", 11).bucket;
        assert_eq!(get(&both, &key(1)), Some(&b"wtchk"[..]));
        assert_eq!(get(&both, &key(2)), Some(&b"wicph"[..]));
        assert_eq!(get(&both, &key(3)), None);
        let again = store.put(&both, &key(1), b"wicph", 12).bucket;
        assert_eq!(get(&again, &key(1)), Some(&b"wicph"[..]));
        assert_eq!(ids(&again), [1, 2]);
        assert_eq!(
            records(&again).next().map(|record| (record.pins, record.since)),
            Some((2, 12))
        );
    }

    #[test]
    fn finished_traces_go_first_then_stale_pins_then_the_oldest() {
        let store = store(3);
        let mut bucket = Vec::new();
        for id in 1..=3 {
            bucket = store.put(&bucket, &key(id), b"a", 100).bucket;
        }
        assert!(done(&mut bucket, &key(2)));
        let put = store.put(&bucket, &key(4), b"a", 100);
        assert_eq!((ids(&put.bucket), put.evicted_live), (vec![4, 3, 1], 0));
        // All are pinned, and 1 and 3 were so too long ago.
        let put = store.put(&put.bucket, &key(4), b"a", 701);
        let put = store.put(&put.bucket, &key(5), b"a", 701);
        assert_eq!((ids(&put.bucket), put.evicted_live), (vec![5, 4, 3], 0));
        let put = store.put(&put.bucket, &key(6), b"a", 701);
        assert_eq!((ids(&put.bucket), put.evicted_live), (vec![6, 5, 4], 0));
        // None is left that may go.
        let put = store.put(&put.bucket, &key(7), b"a", 701);
        assert_eq!((ids(&put.bucket), put.evicted_live), (vec![7, 6, 5], 1));
    }

    #[test]
    fn a_trace_that_came_twice_is_finished_when_both_streams_are() {
        let store = store(1);
        let mut bucket = store.put(&[], &key(1), b"a", 1).bucket;
        bucket = store.put(&bucket, &key(1), b"a", 1).bucket;
        assert!(done(&mut bucket, &key(1)));
        assert_eq!(store.put(&bucket, &key(2), b"a", 1).evicted_live, 1);
        assert!(done(&mut bucket, &key(1)));
        assert_eq!(store.put(&bucket, &key(2), b"a", 1).evicted_live, 0);
        assert!(!done(&mut bucket, &key(1)), "it has no pin left");
        assert!(!done(&mut bucket, &key(2)), "it is not there");
    }

    #[test]
    fn a_clock_that_goes_back_unpins_nothing() {
        let store = store(1);
        let bucket = store.put(&[], &key(1), b"a", 1000).bucket;
        assert_eq!(store.put(&bucket, &key(2), b"a", 1).evicted_live, 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8),
        Done(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (any::<u8>(), 0..3_u8).prop_map(|(id, lane)| Step::Put(id, lane)),
            any::<u8>().prop_map(Step::Done)
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bucket in proptest::collection::vec(any::<u8>(), 0..400), id in any::<u8>(), now in any::<u32>(),
        ) {
            let _ = get(&bucket, &key(id));
            let put = store(4).put(&bucket, &key(id), b"lane", now);
            prop_assert!(records(&put.bucket).count() <= 4);
            prop_assert_eq!(get(&put.bucket, &key(id)), Some(&b"lane"[..]));
            done(&mut bucket, &key(id));
        }

        #[test]
        fn a_pinned_trace_goes_only_when_all_are_pinned_and_there_are_never_too_many(
            steps in steps(), cache_size in 1..=64_u32,
        ) {
            let store = store(cache_size);
            let mut bucket = Vec::new();
            // Which lane, and how many pins, each trace is to have.
            let mut model: BTreeMap<u8, (u8, u16)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(id, lane) => {
                        let put = store.put(&bucket, &key(id), &[b'a' + lane], 5);
                        let pins = model.get(&id).map_or(0, |(_, pins)| *pins);
                        let before = model.clone();
                        model.insert(id, (lane, pins + 1));
                        let left = ids(&put.bucket);
                        let gone: Vec<u8> = model.keys().copied().filter(|id| !left.contains(id)).collect();
                        prop_assert!(gone.len() <= 1);
                        for id in &gone {
                            let all_pinned = before.iter().all(|(_, (_, pins))| *pins > 0);
                            prop_assert_eq!(put.evicted_live == 1, all_pinned);
                            prop_assert_eq!(model.remove(id).unwrap().1 > 0, all_pinned);
                        }
                        prop_assert!(!gone.is_empty() || put.evicted_live == 0);
                        bucket = put.bucket;
                    }
                    Step::Done(id) => {
                        let pins = model.get(&id).map_or(0, |(_, pins)| *pins);
                        prop_assert_eq!(done(&mut bucket, &key(id)), pins > 0);
                        if let Some((_, pins)) = model.get_mut(&id) {
                            *pins = pins.saturating_sub(1);
                        }
                    }
                }
                prop_assert!(records(&bucket).count() <= cache_size as usize);
                prop_assert_eq!(ids(&bucket).len(), model.len());
                for (id, (lane, _)) in &model {
                    prop_assert_eq!(get(&bucket, &key(*id)), Some(&[b'a' + lane][..]));
                }
            }
        }
    }
}
