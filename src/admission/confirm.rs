//! Confirm before you deny: what a denial rests on is read again, past every cache [s5].

use futures::future::BoxFuture;

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
