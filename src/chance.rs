//! Numbers by chance, for what replicas that start at the same moment are not to have in common. No secret is made of them.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number by chance: the hasher is seeded anew each time.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
