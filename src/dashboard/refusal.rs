//! What cannot be answered, and why.

use axum::http::StatusCode;
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::typed;

/// A status, and in words what to do.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
        }
    }
}

/// `{"error": "…"}`.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let hint = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "GET")),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        let body = serde_json::json!({ "error": self.why }).to_string();
        (self.status, AppendHeaders(hint), typed("application/json", body)).into_response()
    }
}
