//! Admission by difference: a change is refused for what it breaks, never for what was broken before.
//!
//! ```text
//!   AdmissionReview ──review::read──▶ Request ──▶ before: the world with the old object   ┐
//!                                             └─▶ after:  the world with the new object   ┘ rules on what is affected
//!        deny-level findings of after that before does not have ──▶ read afresh, judge again ──▶ refuse
//! ```
//!
//! The judgement is pure and made under a read lock ([`judgement`]); reading afresh happens between two of them
//! ([`Engine`]).

mod answer;
mod confirm;
mod engine;
mod judgement;
mod mutation;
mod response;
mod review;

pub use answer::{Answer, Judge, Record};
pub use confirm::{Confirmations, FreshReads, Outcome};
pub use engine::{Engine, SharedWorld};
pub use judgement::{Change, Judgement, judge};
pub use mutation::{Mutation, mutate};
pub use review::{Operation, Request, ReviewError, read};
