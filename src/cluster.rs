//! The world as the API server has it. The one layer that knows the Kubernetes client.
//!
//! ```text
//!                    ┌── look: which kinds are served, in which version (at start, then every 5 s) ──┐
//!   API server ──────┤                                                                               ▼
//!                    ├── a watch for each served kind ─▶ Resource::parse ─▶ World::apply, ::remove   Progress
//!                    │     list, then watch; a list that starts afresh removes what it lacks         (readiness)
//!                    │                                        └─▶ Changes ─▶ Auditor ─▶ Teller: Events, lines in the log
//!                    ├── Fresh: quorum reads of what a denial rests on ─▶ a World of its own
//!                    ├── load: every kind listed once, for commands ─▶ Loaded
//!                    ├── SharedAuthority: who signs the replicas' certificates, in a Secret and in the caBundle
//!                    ├── Election: which of several replicas leads, by a Lease
//!                    └── StatusWriter: the status of lane groups, by the leader
//! ```
//!
//! Kinds that are not served are empty. A kind whose definition is installed later is found by the next look;
//! one whose definition is removed is cleared [s9]. An object that cannot be parsed is left out with a line in
//! the log, and everything else goes on.

mod audit;
mod authority;
mod connection;
mod definition;
mod election;
mod fresh;
mod lease;
mod load;
mod look;
mod metrics;
mod object;
mod progress;
mod status;
mod tell;
mod watch;

pub use audit::{AuditMetrics, Audited, Auditor, Audits};
pub use authority::{SharedAuthority, SharedAuthorityConfig};
pub use connection::{Connection, connect};
pub use definition::{crd, crd_yaml};
pub use election::Election;
pub use fresh::Fresh;
pub use load::{Loaded, load};
pub use metrics::WatchMetrics;
pub use progress::{Pending, Progress};
pub use status::StatusWriter;
pub use tell::Teller;
pub use watch::{Watches, watch};

/// The name by which Lanekeeper leads and writes: of the Lease, and of the manager of fields.
const MANAGER: &str = "lanekeeper";
