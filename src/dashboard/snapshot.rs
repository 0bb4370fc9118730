//! The world as it was when somebody last looked: a copy, kept while pages are asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::matrix::{Detail, Matrix, in_either_order};
use crate::world::World;

/// How old what is shown may be. A large world is not copied for every request.
const FRESH: Duration = Duration::from_secs(2);

/// How long a copy is kept when nobody asks any more: it is as large as the world.
const KEPT: Duration = Duration::from_secs(30);

/// A copy of the world, and what follows from it.
pub(super) struct Snapshot {
    /// The copy.
    pub(super) world: World,
    matrices: OnceLock<Vec<Matrix>>,
}

impl Snapshot {
    /// What each lane reaches, with each step.
    pub(super) fn matrices(&self) -> &[Matrix] {
        self.matrices
            .get_or_init(|| in_either_order(&self.world, Detail::Steps))
    }
}

/// Snapshots of a world that changes.
pub(super) struct Snapshots {
    world: Arc<RwLock<World>>,
    last: Mutex<Last>,
    /// Whether somebody waits to give the copy up.
    is_waiting: AtomicBool,
}

#[derive(Default)]
struct Last {
    snapshot: Option<Arc<Snapshot>>,
    taken: Option<Instant>,
    used: Option<Instant>,
}

impl Snapshots {
    pub(super) fn of(world: Arc<RwLock<World>>) -> Self {
        Self {
            world,
            last: Mutex::default(),
            is_waiting: AtomicBool::new(false),
        }
    }

    /// The world as it is now, or was two seconds ago. Takes a while, and one at a time.
    pub(super) fn take(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock();
        let now = Instant::now();
        last.used = Some(now);
        let is_fresh = |taken: Instant| now.saturating_duration_since(taken) < FRESH;
        if let Some(snapshot) = &last.snapshot {
            let is_same = snapshot.world.version() == self.world.read().version();
            if is_same || last.taken.is_some_and(is_fresh) {
                return Arc::clone(snapshot);
            }
        }
        // What was is given up first, so that there are never two of them here.
        last.snapshot = None;
        let snapshot = Arc::new(Snapshot {
            world: World::copy_of(&self.world),
            matrices: OnceLock::new(),
        });
        last.snapshot = Some(Arc::clone(&snapshot));
        last.taken = Some(Instant::now());
        snapshot
    }

    /// Gives the copy up when nobody has asked for a while. Has to be called within a Tokio runtime.
    pub(super) fn forget_later(self: &Arc<Self>) {
        // One that waits is enough.
        if self.is_waiting.swap(true, Ordering::SeqCst) {
            return;
        }
        let snapshots = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEPT).await;
                let Some(snapshots) = snapshots.upgrade() else {
                    return;
                };
                let mut last = snapshots.last.lock();
                if last.used.is_none_or(|used| used.elapsed() >= KEPT) {
                    last.snapshot = None;
                    snapshots.is_waiting.store(false, Ordering::SeqCst);
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::Settings;

    #[tokio::test]
    async fn a_copy_is_kept_while_it_is_young_or_nothing_changes_and_given_up_when_nobody_asks() {
        let world = Arc::new(RwLock::new(World::new(Settings::default())));
        let snapshots = Arc::new(Snapshots::of(Arc::clone(&world)));
        let first = snapshots.take();
        assert!(Arc::ptr_eq(&first, &snapshots.take()));
        let service = json!({"metadata": {"namespace": "a", "name": "b"}, "spec": {"ports": [{"port": 80}]}});
        let service = Resource::parse(Kind::Service, service).unwrap();
        world.write().apply(service);
        assert!(Arc::ptr_eq(&first, &snapshots.take()), "it is young");
        snapshots.last.lock().taken = None;
        let second = snapshots.take();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!((first.world.len(), second.world.len()), (0, 1));

        snapshots.last.lock().used = Instant::now().checked_sub(KEPT);
        tokio::time::pause();
        snapshots.forget_later();
        tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
        assert!(snapshots.last.lock().snapshot.is_none());
    }
}
