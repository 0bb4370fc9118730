//! The lane filter that this binary was built with, for sidecars to fetch: no registry is needed.
//!
//! Its address has its SHA-256, so that what an address gives never changes, and a proxy may keep it for ever.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    Router,
    http::{
        HeaderValue, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};

use super::refusal::Refusal;

/// What `make wasm` has built.
#[cfg(feature = "lane-filter")]
const MODULE: Option<&[u8]> = Some(include_bytes!("../../target/wasm/lanekeeper.wasm"));
#[cfg(not(feature = "lane-filter"))]
const MODULE: Option<&[u8]> = None;

static PATH: LazyLock<Option<String>> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, MODULE?);
    let mut path = "/wasm/lane-".to_owned();
    for byte in digest.as_ref() {
        let _ = write!(path, "{byte:02x}");
    }
    Some(path + ".wasm")
});

static INSTEAD: LazyLock<String> = LazyLock::new(|| {
    PATH.as_ref().map_or_else(
        || "this binary was built without the lane filter; build it with `make build`".to_owned(),
        |path| format!("the lane filter of this version is at {path}"),
    )
});

const WASM: HeaderValue = HeaderValue::from_static("application/wasm");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Where the admin listener serves the lane filter, `/wasm/lane-<sha256>.wasm`; `None` if the binary was built without
/// the feature `lane-filter`.
pub fn lane_filter_path() -> Option<&'static str> {
    PATH.as_deref()
}

/// `GET /wasm/lane-<sha256>.wasm`.
pub(super) fn routes() -> Router {
    Router::new().route("/wasm/{file}", get(module))
}

async fn module(uri: Uri) -> Response {
    match MODULE {
        Some(module) if lane_filter_path() == Some(uri.path()) => {
            ([(CONTENT_TYPE, WASM), (CACHE_CONTROL, FOR_EVER)], module).into_response()
        }
        // Another replica may have it: during an update of Lanekeeper Istio's agent asks again after this status, and after
        // 404 not (`retryable` in `pkg/wasm/httpfetcher.go`).
        _ => Refusal::AnotherModule {
            path: uri.path().to_owned(),
            instead: &INSTEAD,
        }
        .into_response(),
    }
}
