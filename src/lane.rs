//! Lanes by name and lane groups: the words of the domain, without Kubernetes.

mod group;
mod near;

pub use group::{Completeness, Entry, LaneGroup, WithoutHeader};
pub use near::{is_near, meant, nearest};
