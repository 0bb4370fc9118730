//! Pages that show what a server sees: what each lane reaches, what is wrong, what was decided, and one request followed.
//!
//! ```text
//!   World ──copy, kept for a while──▶ Snapshot { world, matrices } ──┐
//!   audit::Report ───────────────────────────────────────────────────┼─▶ pages (report), JSON
//!   Recent decisions ────────────────────────────────────────────────┘
//! ```
//!
//! It only reads, and is meant for one machine: it listens on loopback, where `kubectl port-forward` gets to.

mod api;
mod guard;
mod pages;
mod query;
mod refusal;
mod snapshot;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};

use self::refusal::Refusal;
use self::snapshot::{Snapshot, Snapshots};
use crate::audit::Report;
use crate::server::Recent;
use crate::world::World;

/// What is wrong with what runs; `None`: that is not looked for, or not known yet.
pub type Findings = Box<dyn Fn() -> Option<Arc<Report>> + Send + Sync>;

/// The names of what is not in the world yet; empty when all is.
pub type Pending = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// How many answers that look at the world may be made or on their way at once: each may be some megabytes.
const AT_ONCE: usize = 4;

/// How many may follow decisions at once.
const FOLLOWING: usize = 64;

/// How much of an answer is handed to the network at a time.
const CHUNK: usize = 64 << 10;

/// What a dashboard shows.
pub struct Source {
    /// The world.
    pub world: Arc<RwLock<World>>,
    /// What of it is not read yet.
    pub pending: Pending,
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
    snapshots: Arc<Snapshots>,
    pending: Pending,
    findings: Findings,
    recent: Recent,
    places: Arc<Semaphore>,
    following: Arc<Semaphore>,
    /// Whether only names of this machine are answered to.
    is_local: bool,
}

impl Dashboard {
    /// Serves one. Has to be called within a Tokio runtime.
    pub async fn start(address: SocketAddr, source: Source) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let app = App {
            snapshots: Arc::new(Snapshots::of(source.world)),
            pending: source.pending,
            findings: source.findings,
            recent: source.recent,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            following: Arc::new(Semaphore::new(FOLLOWING)),
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
const ROUTES: &str = "GET /, /objects/KIND/NAMESPACE/NAME, /rules/CODE, /api/v1/groups, /api/v1/matrix, /api/v1/findings, \
                      /api/v1/decisions, /api/v1/decisions/live or /api/v1/trace";

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(pages::whole))
        .route("/live", get(pages::live))
        .route("/objects/{kind}/{namespace}/{name}", get(pages::object))
        .route("/rules/{code}", get(pages::rule))
        .route("/api/v1/groups", get(api::groups))
        .route("/api/v1/matrix", get(api::matrix))
        .route("/api/v1/findings", get(api::findings))
        .route("/api/v1/decisions", get(api::decisions))
        .route("/api/v1/decisions/live", get(api::live))
        .route("/api/v1/trace", get(api::trace))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing here: {ROUTES}")))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "nothing can be changed here: only GET",
            )
        })
        .layer(from_fn_with_state(Arc::clone(&app), guard::guarded))
        .with_state(app)
}

impl App {
    /// Looks at the world, off the threads that answer, if there is a place.
    async fn look(
        self: &Arc<Self>,
        content_type: &'static str,
        look: impl FnOnce(&Self, &Snapshot) -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let place = place(&self.places)?;
        let app = Arc::clone(self);
        let looked = spawn_blocking(move || look(&app, &app.snapshots.take())).await;
        self.snapshots.forget_later();
        let made = looked.map_err(|error| {
            tracing::error!(%error, "the dashboard could not look");
            let why = "looking failed through a defect: see the server's log at this time, and report it";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?;
        let made = made?;
        let length = HeaderValue::from(made.len());
        let mut answer = typed(content_type, keeping(made, place));
        answer.headers_mut().insert(CONTENT_LENGTH, length);
        Ok(answer)
    }

    /// That all is read: before, what is not there yet would seem to be missing.
    fn is_read(&self) -> Result<(), Refusal> {
        match (self.pending)().join(", ") {
            pending if pending.is_empty() => Ok(()),
            pending => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not everything is read yet: {pending}"),
            )),
        }
    }
}

/// A place among those who are answered at once.
fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let why = "too many look at this at once: try again in a second";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
    })
}

/// A body that keeps its place until it is sent.
fn keeping(body: Vec<u8>, place: OwnedSemaphorePermit) -> Body {
    let chunks = stream::unfold((Bytes::from(body), place), async |(mut left, place)| {
        let next = left.split_to(CHUNK.min(left.len()));
        (!next.is_empty()).then_some((Ok::<_, Infallible>(next), (left, place)))
    });
    Body::from_stream(chunks)
}

/// An answer of this type.
fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    let header = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (header, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_it_is_sent_or_given_up() {
        let places = Arc::new(Semaphore::new(1));
        let made: Vec<u8> = (0..=255).cycle().take(2 * CHUNK + 7).collect();
        let mut body = keeping(made.clone(), place(&places).unwrap());
        assert!(body.frame().await.is_some());
        let refused = place(&places).unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.into_response().headers()["retry-after"], "1");
        drop(body);
        let whole = keeping(made.clone(), place(&places).unwrap()).collect().await;
        assert_eq!(whole.unwrap().to_bytes(), made);
        assert!(place(&places).is_ok());
    }
}
