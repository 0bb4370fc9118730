//! Pages that show what a server sees: what each lane reaches, what is wrong, what was decided, and one request followed.
//!
//! ```text
//!   World ──copy, kept for a while──▶ Looked { world, matrices } ──┐
//!   audit::Report ─────────────────────────────────────────────────┼─▶ pages (report), JSON
//!   Recent decisions ──────────────────────────────────────────────┘
//! ```
//!
//! It only reads, and is meant for one machine: it listens on loopback, where `kubectl port-forward` gets to.

mod api;
mod looked;
mod pages;
mod query;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};

use self::looked::{Looked, Looking};
use crate::audit::Report;
use crate::report::POLICY;
use crate::server::Recent;
use crate::world::World;

/// What is wrong with what runs; `None`: that is not looked for, or not known yet.
pub type Findings = Box<dyn Fn() -> Option<Arc<Report>> + Send + Sync>;

/// What a dashboard shows.
pub struct Source {
    /// The world.
    pub world: Arc<RwLock<World>>,
    /// What is wrong with it.
    pub findings: Findings,
    /// The last decisions.
    pub recent: Recent,
}

/// A dashboard that is served, until it is dropped.
#[derive(Debug)]
pub struct Dashboard {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

struct App {
    looking: Arc<Looking>,
    findings: Findings,
    recent: Recent,
    /// Whether only names of this machine are answered to.
    is_local: bool,
}

impl Dashboard {
    /// Serves one. Has to be called within a Tokio runtime.
    pub async fn start(address: SocketAddr, source: Source) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let app = App {
            looking: Arc::new(Looking::at(source.world)),
            findings: source.findings,
            recent: source.recent,
            is_local: address.ip().is_loopback(),
        };
        let router = router(Arc::new(app));
        let serving = async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the dashboard has ended");
            }
        };
        Ok(Self {
            address,
            serving: tokio::spawn(serving),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// What is answered where.
const ROUTES: &str = "GET /, /rules/CODE, /api/v1/groups, /api/v1/matrix, /api/v1/findings, /api/v1/decisions, \
                      /api/v1/decisions/live or /api/v1/trace";

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(pages::lanes))
        .route("/live", get(pages::live))
        .route("/rules/{code}", get(pages::rule))
        .route("/api/v1/groups", get(api::groups))
        .route("/api/v1/matrix", get(api::matrix))
        .route("/api/v1/findings", get(api::findings))
        .route("/api/v1/decisions", get(api::decisions))
        .route("/api/v1/decisions/live", get(api::live))
        .route("/api/v1/trace", get(api::trace))
        .fallback(async || api::refusal(StatusCode::NOT_FOUND, &format!("there is nothing here: {ROUTES}")))
        .method_not_allowed_fallback(async || {
            let mut answer = api::refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "nothing can be changed here: only GET",
            );
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
            answer
        })
        .layer(from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

/// Answers only to who means this machine, and tells the browser what it may do with the answer.
///
/// A page from elsewhere whose name is made to mean 127.0.0.1 (DNS rebinding) would be of the same origin for the browser;
/// its name in `Host` gives it away. Who binds another address has decided who may read.
async fn guarded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str);
    if app.is_local && !host.or(authority).is_some_and(is_local_name) {
        let why = "this page is for this machine: call it by localhost or 127.0.0.1";
        return api::refusal(StatusCode::MISDIRECTED_REQUEST, why);
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

/// Whether a host, with or without a port, names this machine.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

impl App {
    /// Looks, off the threads that answer.
    async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self, &Looked) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let app = Arc::clone(self);
        let looked = spawn_blocking(move || {
            let looked = app.looking.look();
            look(&app, &looked)
        });
        let done = looked.await;
        self.looking.forget_later();
        done.map_err(|error| {
            tracing::error!(%error, "the dashboard could not look");
            let why = "looking failed through a defect: see the server's log at this time, and report it";
            api::refusal(StatusCode::INTERNAL_SERVER_ERROR, why)
        })
    }
}

/// An answer of this type.
fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    let header = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (header, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_local_name;

    #[test]
    fn names_of_this_machine_are_known_with_and_without_a_port() {
        for name in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "127.0.0.1",
            "[::1]:80",
            "[::1]",
            "::1",
        ] {
            assert!(is_local_name(name), "{name}");
        }
        for name in [
            "evil.example",
            "evil.example:8081",
            "10.0.0.1:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
