//! How far long work has come: counted by whoever does it, shown by whoever likes to.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// A count that one thread reads while others add to it.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Progress {
    /// Begins a stage, such as `documents read`, of so many steps.
    pub fn begin(&self, stage: &'static str, total: usize) {
        let mut current = self.stage.lock();
        *current = stage;
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many more steps are done.
    pub fn add(&self, steps: usize) {
        self.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// The stage, and how many of its steps are done of how many.
    pub fn now(&self) -> (&'static str, usize, usize) {
        let stage = self.stage.lock();
        (
            *stage,
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }
}
