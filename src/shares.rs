//! Work over as many threads as the machine has.

use std::{panic, thread};

/// Lets each thread do its share of the items, neighbours together; the results are in the order of the items.
pub(crate) fn in_shares<'i, T: Sync, R: Send>(items: &'i [T], work: impl Fn(&'i [T]) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = &work;
        let shares = items.chunks(share);
        let workers: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1_000).collect();
        assert_eq!(in_shares(&items, <[usize]>::to_vec).concat(), items);
        assert!(in_shares(&[0; 0], <[usize]>::to_vec).is_empty());
    }

    #[test]
    #[should_panic(expected = "at 7")]
    fn a_panic_is_not_swallowed() {
        in_shares(&[1, 7], |share| assert!(!share.contains(&7), "at 7"));
    }
}
