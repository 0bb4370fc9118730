//! Who is answered, and what a browser may do with the answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::App;
use super::refusal::Refusal;
use crate::report::POLICY;

/// Answers only to who means this machine, and tells the browser what it may do with the answer.
///
/// A page from elsewhere whose name is made to mean 127.0.0.1 (DNS rebinding) would be of the same origin for the browser;
/// its name in `Host` gives it away. Who binds another address has decided who may read.
pub(super) async fn guarded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str);
    if app.is_local && !host.or(authority).is_some_and(is_local_name) {
        let why = "this page is for this machine: call it by localhost or 127.0.0.1";
        return Refusal::new(StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    if is_from_elsewhere(request.headers()) {
        let why = "a page from elsewhere asks: open this one by itself";
        return Refusal::new(StatusCode::FORBIDDEN, why).into_response();
    }
    let mut answer = next.run(request).await;
    let policy = format!("{}; frame-ancestors 'none'", *POLICY);
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Whether a page of another origin has a browser ask (Fetch Metadata, W3C): it could not read the answer, and would have it
/// made all the same. A link that is followed is none of these.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, values: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    is("sec-fetch-site", &["cross-site", "same-site"]) && !is("sec-fetch-mode", &["navigate"])
}

/// Whether a host, with or without a port, names this machine.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known_with_and_without_a_port() {
        for name in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "127.0.0.1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_local_name(name), "{name}");
        }
        for name in [
            "evil.example",
            "evil.example:8081",
            "10.0.0.1:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:80:80",
            "",
        ] {
            assert!(!is_local_name(name), "{name}");
        }
    }

    #[test]
    fn what_a_page_from_elsewhere_asks_for_is_known_and_a_link_is_followed() {
        let of = |site: Option<&'static str>, mode: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            headers.insert("sec-fetch-mode", HeaderValue::from_static(mode));
            is_from_elsewhere(&headers)
        };
        assert!(of(Some("cross-site"), "no-cors") && of(Some("same-site"), "cors"));
        assert!(!of(Some("cross-site"), "navigate"));
        assert!(!of(Some("same-origin"), "cors") && !of(Some("none"), "navigate") && !of(None, "cors"));
    }
}
