//! Everything Lanekeeper knows, and the questions that rules ask of it.
//!
//! ```text
//!   watches, files ──▶ World::apply / World::remove ──▶ objects  +  postings (what is looked up → ids)
//!                                                                        ▲
//!   the object under judgement ─▶ World of its own ─┐                    │ View::carriers, ::virtual_services_to, …
//!   fresh reads from the API server ─▶ World ───────┴─ layers of a View ─┘
//! ```
//!
//! A [`World`] is one inverted index: each object has a few [`Key`]s, which follow from the object alone, and
//! a key leads to the sorted ids of the objects that have it. No question scans. The one thing that does not
//! follow from the object alone is whether a pod speaks for itself: it does so only while no workload of the
//! world owns it [s2].
//!
//! A [`View`] lays worlds over one another without copying them: what is proposed over what is, with what was
//! just read afresh in between.

mod ages;
mod effective;
mod fact;
mod host;
mod index;
mod key;
mod read;
mod view;

pub use effective::{EffectiveRule, EffectiveSubset, Lookup};
pub use fact::{Fact, Shared, SharedFacts};
pub use host::{Host, cluster_host, includes as host_includes, resolve};
pub use index::{Settings, World};
pub use key::{Key, qualified};
pub use read::Read;
pub use view::{Layer, Scope, View, age, is_age_known};
