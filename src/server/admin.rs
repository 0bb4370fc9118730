//! The admin listener's routes: health, readiness, metrics and the lane filter, over plain HTTP.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{App, lane_filter, refusal::Refusal};
use crate::admission::Judge;

const ROUTES: &str = "GET /healthz, /readyz, /metrics or /wasm/…";

/// The media type of what `prometheus-client` writes.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The routes of the admin listener: `GET /healthz`, `/readyz`, `/metrics` and
/// [`lane_filter_path`](super::lane_filter_path), and [`Config::admin_routes`](super::Config::admin_routes) beside them.
pub fn admin_router<J: Judge>(app: Arc<App<J>>) -> Router {
    let more = app.config.admin_routes.clone();
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz::<J>))
        .route("/metrics", get(metrics::<J>))
        .with_state(app)
        .merge(lane_filter::routes())
        .merge(more)
        .fallback(async |uri: Uri| Refusal::NotFound {
            path: uri.path().to_owned(),
            known: ROUTES,
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| Refusal::MethodNotAllowed {
            path: uri.path().to_owned(),
            method: method.to_string(),
            instead: ROUTES,
        })
}

/// 200, or 503 with a line for each reason.
async fn readyz<J: Judge>(State(app): State<Arc<App<J>>>) -> (StatusCode, String) {
    let mut reasons = Vec::new();
    if app.is_stopping() {
        reasons.push("stopping".to_owned());
    }
    let unsynced = app.judge.unsynced();
    if !unsynced.is_empty() {
        reasons.push(format!("not synced yet: {}", unsynced.join(", ")));
    }
    reasons.extend(app.certificates.problem(SystemTime::now()));
    if reasons.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

async fn metrics<J: Judge>(State(app): State<Arc<App<J>>>) -> Response {
    let expiry = app.certificates.seconds_left(SystemTime::now());
    match app.metrics.encode(app.judge.index(), expiry) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => Refusal::Metrics(error.to_string()).into_response(),
    }
}
