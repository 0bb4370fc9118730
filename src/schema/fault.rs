//! What the API server refuses.

use crate::yaml::Span;

/// One thing for which the API server refuses an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it is written.
    pub span: Span,
    /// The field, `spec.http[0].rout`.
    pub path: String,
    /// What is wrong and what helps.
    pub message: String,
}
