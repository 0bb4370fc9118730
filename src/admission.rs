//! Decides reviews: what the webhook answers, and what is kept of each decision.

mod answer;

pub use answer::*;
