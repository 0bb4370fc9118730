//! The admin listener's routes: health, readiness, metrics and the lane filter, over plain HTTP.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::encoding::prometheus_text;

use super::{App, lane_filter, metrics::Format, refusal::Refusal};
use crate::admission::Judge;

const ROUTES: &str = "GET /healthz, /readyz, /metrics or /wasm/…";

/// The media types of metrics.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);

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

/// In `OpenMetrics` for whoever names it, else in the older format.
async fn metrics<J: Judge>(State(app): State<Arc<App<J>>>, headers: HeaderMap) -> Response {
    let mut accepted = headers.get_all(ACCEPT).iter();
    let names_it = |accepted: &HeaderValue| {
        let accepted = accepted.to_str().unwrap_or_default();
        accepted.contains("application/openmetrics-text")
    };
    let (format, media_type) = if accepted.any(names_it) {
        (Format::OpenMetrics, OPENMETRICS)
    } else {
        (Format::Text, TEXT)
    };
    let certificates = &app.certificates;
    let certificate = (
        certificates.seconds_left(SystemTime::now()),
        certificates.seconds_of_life(),
    );
    match app.metrics.encode(format, app.judge.index(), certificate) {
        Ok(text) => ([(CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => Refusal::Metrics(error.to_string()).into_response(),
    }
}
