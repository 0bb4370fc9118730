//! The world as it was when somebody last looked: a copy, kept while pages are asked for.

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
pub(super) struct Looked {
    /// The copy.
    pub(super) world: World,
    matrices: OnceLock<Vec<Matrix>>,
}

impl Looked {
    /// What each lane reaches, with each step.
    pub(super) fn matrices(&self) -> &[Matrix] {
        self.matrices
            .get_or_init(|| in_either_order(&self.world, Detail::Steps))
    }
}

/// Looks at a world.
pub(super) struct Looking {
    world: Arc<RwLock<World>>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    looked: Option<Arc<Looked>>,
    taken: Option<Instant>,
    used: Option<Instant>,
}

impl Looking {
    pub(super) fn at(world: Arc<RwLock<World>>) -> Self {
        Self {
            world,
            last: Mutex::default(),
        }
    }

    /// The world as it is now, or was two seconds ago. Takes a while, and one at a time.
    pub(super) fn look(&self) -> Arc<Looked> {
        let mut last = self.last.lock();
        let now = Instant::now();
        last.used = Some(now);
        let is_fresh = |taken: Instant| now.saturating_duration_since(taken) < FRESH;
        if let Some(looked) = &last.looked {
            let is_same = looked.world.version() == self.world.read().version();
            if is_same || last.taken.is_some_and(is_fresh) {
                return Arc::clone(looked);
            }
        }
        // What was is given up first, so that there are never two of them here.
        last.looked = None;
        let looked = Arc::new(Looked {
            world: World::copy_of(&self.world),
            matrices: OnceLock::new(),
        });
        last.looked = Some(Arc::clone(&looked));
        last.taken = Some(Instant::now());
        looked
    }

    /// Gives the copy up when nobody has asked for a while. Has to be called within a Tokio runtime.
    pub(super) fn forget_later(self: &Arc<Self>) {
        let looking = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            if let Some(looking) = looking.upgrade() {
                let mut last = looking.last.lock();
                if last.used.is_none_or(|used| used.elapsed() >= KEPT) {
                    last.looked = None;
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

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_kept_while_it_is_young_or_nothing_changes_and_given_up_when_nobody_asks() {
        let world = Arc::new(RwLock::new(World::new(Settings::default())));
        let looking = Arc::new(Looking::at(Arc::clone(&world)));
        let first = looking.look();
        assert!(Arc::ptr_eq(&first, &looking.look()));
        let service = json!({"metadata": {"namespace": "a", "name": "b"}, "spec": {"ports": [{"port": 80}]}});
        let service = Resource::parse(Kind::Service, service).unwrap();
        world.write().apply(service);
        assert!(Arc::ptr_eq(&first, &looking.look()), "it is young");
        looking.last.lock().taken = None;
        let second = looking.look();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!((first.world.len(), second.world.len()), (0, 1));

        looking.last.lock().used = Instant::now().checked_sub(KEPT);
        looking.forget_later();
        tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
        assert!(looking.last.lock().looked.is_none());
    }
}
