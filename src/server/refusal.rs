//! Requests that get no decision.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};

use super::metrics::Unjudged;

/// The longest body that is read.
pub(super) const BODY_LIMIT: usize = 7 * 1024 * 1024;

/// Why a request gets no decision; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is nothing at `{path}`: {known}")]
    NotFound { path: String, known: &'static str },
    #[error("`{path}` is not what this server was built with: {instead}")]
    AnotherModule { path: String, instead: &'static str },
    #[error("`{path}` does not take {method}: {instead}")]
    MethodNotAllowed {
        path: String,
        method: String,
        instead: &'static str,
    },
    #[error("the content type is {0}: send the review with `Content-Type: application/json`")]
    NotJson(String),
    #[error("the body is longer than 7 MiB: no review of one object is; send objects one at a time")]
    TooLarge,
    #[error("the body did not arrive within {0} seconds: send it without pauses")]
    TooSlow(u64),
    #[error("the body ended early ({0}): send it whole")]
    Incomplete(String),
    #[error("too many reviews are being judged: try again in a second, or raise the limit")]
    Busy,
    #[error("judging this review failed through a defect: see the server's log at this time, and report it")]
    Panicked,
    #[error(
        "the decision cannot be written to the decision log ({0}), and this server gives none that is not \
         (--audit-log-required): make room for the log or mend its path"
    )]
    Unlogged(String),
    #[error("the metrics cannot be written: {0}")]
    Metrics(String),
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete(_) => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::AnotherModule { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked | Self::Unlogged(_) | Self::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) const fn kind(&self) -> Unjudged {
        match self {
            Self::Busy => Unjudged::Shed,
            Self::Panicked => Unjudged::Panicked,
            Self::Unlogged(_) => Unjudged::Unlogged,
            _ => Unjudged::Rejected,
        }
    }
}

/// `{"error": "…"}`.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.to_string() });
        let mut response = json(self.status(), body.to_string());
        if self == Self::Busy {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A response whose body is JSON.
pub(super) fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body.into(),
    )
        .into_response()
}
