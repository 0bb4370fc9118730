//! Lanekeeper keeps every request in its lane.
//!
//! ```text
//!  Kubernetes watches ─┐                                      ┌─ admission: deny what ADDS a finding; patch gateway routes
//!  YAML files, stdin ──┼─▶ world ─▶ view ─▶ rules ─▶ findings ─┼─ check: the same on files, in CI
//!  one AdmissionReview ┘                                      └─ audit: the same all the time, on what runs
//! ```
//!
//! Layers, lowest first; a lower one never names a higher one:
//! [`lane`] (names and groups, no Kubernetes) ← [`resource`] (slim typed views of objects) ← [`schema`] (what the API
//! server refuses of them) and [`world`] (the index and the view over it) ← [`routing`] (what Istio makes of it) ←
//! [`rewrite`] (what gateway routes need), [`generate`] (what a lane group needs) ← [`rule`] (what is wrong with it) ←
//! [`admission`] (of a change), [`audit`] (of what runs) ← [`decisions`] (what a log of them tells), [`report`] ←
//! [`server`], [`cluster`], [`cli`].

pub mod admission;
pub mod audit;
pub mod authority;
mod chance;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod decisions;
pub mod files;
pub mod generate;
pub mod lane;
pub mod matrix;
pub mod progress;
pub mod report;
pub mod resource;
pub mod rewrite;
pub mod routing;
pub mod rule;
pub mod schema;
pub mod server;
mod shares;
pub mod status;
pub mod symbol;
mod text;
pub mod trace;
pub mod verdict;
pub mod version;
pub mod world;
pub mod yaml;
