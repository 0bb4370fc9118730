//! The webhook's server: TLS, routes, health, metrics, the decision log, and an orderly end.
//!
//! ```text
//!  API server ──TLS──▶ :9443  /validate/{mode}, /mutate/{mode}
//!                        │ content type, size, a place among those being judged
//!                        ▼
//!                      Judge ──▶ Answer { status, body, record }
//!                        │                              │
//!                        │        decision log ◀────────┘ written first
//!                        ▼
//!                      the answer goes out
//!
//!  kubelet, Prometheus ─plain─▶ :8080  /healthz, /readyz, /metrics
//!  sidecars ────────────plain─▶        /wasm/lane-<sha256>.wasm
//! ```
//!
//! It knows nothing of what is judged: [`Judge`] decides and the server carries.

mod admin;
mod certificates;
mod decision_log;
mod directory_watch;
mod lane_filter;
mod linger;
mod listener;
mod metrics;
mod recent;
mod refusal;
mod router;
mod serve;
#[cfg(test)]
mod tests;
mod timeout;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};

pub use self::{
    admin::admin_router,
    certificates::{CertificateError, CertificateSource},
    decision_log::{DecisionLog, LogError, LogTarget, Lost},
    lane_filter::lane_filter_path,
    recent::Recent,
    router::router,
    serve::{LocalAddrs, Running, ServeError, Stopper, serve},
};
use self::{certificates::Certificates, metrics::Metrics, serve::Stage};
use crate::{admission::Judge, verdict::Mode};

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the certificate files are read again.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// How long connections that came in last may take for their handshake and their request, when nobody is
/// accepted any more.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// What a server is told.
pub struct Config {
    /// Where the webhook listens.
    pub listen: SocketAddr,
    /// Where health, readiness, metrics and the lane filter are served.
    pub admin_listen: SocketAddr,
    /// The server's certificate.
    pub certificates: CertificateSource,
    /// A file of authorities; with it, clients of the webhook must show a certificate of theirs.
    pub client_ca: Option<PathBuf>,
    /// Where decisions are written.
    pub decision_log: LogTarget,
    /// Whether a decision that cannot be written there is answered with an error instead.
    pub decision_log_required: bool,
    /// Where the last decisions are kept for whoever looks on; `None`: nowhere.
    pub recent: Option<Recent>,
    /// How many reviews may be judged at once; more are answered with 429.
    pub concurrency: usize,
    /// How long a server that stops keeps accepting: the time that endpoints take to forget it.
    pub shutdown_delay: Duration,
    /// How long what is in flight may then take.
    pub drain_timeout: Duration,
    /// Routes served beside the webhook's.
    pub webhook_routes: Router,
    /// Routes served beside the admin listener's.
    pub admin_routes: Router,
    /// Metrics of others, served with the server's own.
    pub registry: Registry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 9443).into(),
            admin_listen: (Ipv4Addr::UNSPECIFIED, 8080).into(),
            certificates: CertificateSource::SelfMade(Vec::new()),
            client_ca: None,
            decision_log: LogTarget::Stdout,
            decision_log_required: false,
            recent: None,
            concurrency: 256,
            shutdown_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            webhook_routes: Router::new(),
            admin_routes: Router::new(),
            registry: Registry::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("admin_listen", &self.admin_listen)
            .field("certificates", &self.certificates)
            .field("client_ca", &self.client_ca)
            .field("decision_log", &self.decision_log)
            .field("decision_log_required", &self.decision_log_required)
            .field("concurrency", &self.concurrency)
            .field("shutdown_delay", &self.shutdown_delay)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

/// One of the webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Webhook {
    Validate(Mode),
    Mutate(Mode),
}

impl Webhook {
    const fn name(self) -> &'static str {
        match self {
            Self::Validate(_) => "validate",
            Self::Mutate(_) => "mutate",
        }
    }
}

/// What the routes share: the judge, and what is kept of its decisions.
pub struct App<J> {
    config: Config,
    judge: Arc<J>,
    metrics: Metrics,
    log: DecisionLog,
    certificates: Certificates,
    permits: Semaphore,
    body_timeout: Duration,
    certificates_every: Duration,
    last_requests: Duration,
    stage: watch::Sender<Stage>,
}

impl<J: Judge> App<J> {
    /// Reads or makes the certificate and opens the decision log.
    pub fn new(mut config: Config, judge: Arc<J>) -> Result<Self, ServeError> {
        let metrics = Metrics::new(std::mem::take(&mut config.registry));
        let certificates = Certificates::load(
            config.certificates.clone(),
            config.client_ca.clone(),
            metrics.certificate_errors.clone(),
            SystemTime::now(),
        )?;
        let log = DecisionLog::open(
            &config.decision_log,
            config.decision_log_required,
            metrics.audit_log_errors.clone(),
        )?
        .shown(config.recent.clone());
        Ok(Self {
            judge,
            metrics,
            log,
            certificates,
            permits: Semaphore::new(config.concurrency),
            body_timeout: BODY_TIMEOUT,
            certificates_every: CERTIFICATES_EVERY,
            last_requests: LAST_REQUESTS,
            stage: watch::Sender::new(Stage::Serving),
            config,
        })
    }

    fn is_stopping(&self) -> bool {
        *self.stage.borrow() != Stage::Serving
    }
}

impl<J> fmt::Debug for App<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
