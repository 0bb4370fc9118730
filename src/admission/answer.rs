//! What a judge is asked and what it answers; all that a server needs to know of admission.

use std::future::Future;
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;

use crate::resource::Kind;
use crate::verdict::Mode;

/// What the server sends back and keeps.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status: 200 for a review that was judged, 400 for one that could not be read.
    pub status: u16,
    /// JSON: the `AdmissionReview` with the response, or `{"error": "…"}`.
    pub body: Vec<u8>,
    /// The line for the decision log; `None` where nothing was decided.
    pub record: Option<Record>,
}

/// One decision, as the decision log keeps it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was decided, in RFC 3339.
    pub time: String,
    /// The id of the decision, the one in the audit annotations.
    pub decision: String,
    /// The review's uid.
    pub uid: String,
    /// Who made the change.
    pub user: String,
    /// The groups of that user.
    pub groups: Vec<String>,
    /// `validate` or `mutate`.
    pub webhook: &'static str,
    /// The namespace's mode.
    pub mode: Mode,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace; empty for a kind that has none.
    pub namespace: String,
    /// The object's name; empty where the API server has yet to generate it.
    pub name: String,
    /// Whether the change was only tried.
    pub dry_run: bool,
    /// Whether the change was let through.
    pub allowed: bool,
    /// The codes of the findings that refused it.
    pub codes: Vec<&'static str>,
    /// The codes of the findings that it was warned of.
    pub warned: Vec<&'static str>,
    /// The JSON Patch that `/mutate` answered.
    pub patch: Option<serde_json::Value>,
    /// The reason that the object's allow annotation gives.
    pub allow_reason: Option<String>,
    /// What the user was told.
    pub message: Option<String>,
    /// How long the decision took, in microseconds.
    pub duration_micros: u64,
    /// The version of the index that it was made on.
    pub index_version: u64,
}

/// Judges reviews.
pub trait Judge: Send + Sync + 'static {
    /// Answers a review of `/validate/{mode}`. `deadline` is how long it may take; past it, it allows.
    fn validate(
        &self,
        mode: Mode,
        body: Bytes,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Answer> + Send;

    /// Answers a review of `/mutate/{mode}`.
    fn mutate(
        &self,
        mode: Mode,
        body: Bytes,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Answer> + Send;

    /// The names of the served kinds that are not synced yet; empty when all are.
    fn unsynced(&self) -> Vec<String>;

    /// How many objects of each kind the index holds, and its version, for metrics.
    fn index(&self) -> (Vec<(Kind, usize)>, u64);
}
