//! Two listeners from the first byte to the last: binding, serving and stopping.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Version, header::CONNECTION},
    middleware::{self, Next},
    response::Response,
};
use axum_server::{ConnectionShutdown, Handle, Server, tls_rustls::RustlsAcceptor};
use parking_lot::Mutex;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinHandle},
};

use super::{
    App, Config, admin_router,
    certificates::{CertificateError, Refresh},
    decision_log::LogError,
    directory_watch::DirectoryWatch,
    lane_filter_path,
    linger::LingerAcceptor,
    listener::{Closer, Listener, Local},
    router,
};
use crate::admission::Judge;

/// How long a connection may be idle, or take to send a request's head. More than the 90 seconds after which
/// Go's HTTP client, and so the API server, drops an idle connection itself: a server that closes first can
/// cross with a request, which then fails.
const IDLE: Duration = Duration::from_secs(120);

/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How often a certificate is renewed at most.
const RENEWALS_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether the connections that came in last have had their answers.
const LAST_REQUESTS_EVERY: Duration = Duration::from_millis(5);

/// How long the admin listener waits for its last answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// How often handshakes that clients give up are reported.
const HANDSHAKES_EVERY: Duration = Duration::from_secs(60);

/// A server that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {source}; {hint}", hint = bind_hint(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The webhook or the admin pages.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The server's certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The decision log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signals cannot be received.
    #[error("cannot listen for SIGTERM and SIGINT: {0}")]
    Signals(#[source] io::Error),
    /// A listener ended that should not.
    #[error("the listener for {what} has ended: {why}; start the server again")]
    Ended {
        /// The webhook or the admin pages.
        what: &'static str,
        /// Why, as far as is known.
        why: String,
    },
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 up, or run with the right to bind it",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one of its own, or 0.0.0.0"
        }
        _ => "choose another address",
    }
}

/// How far a server is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It serves.
    Serving,
    /// It is not ready any more, and ends when it has answered.
    Stopping,
    /// It ends without waiting.
    Ending,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddrs {
    /// The webhook, over TLS.
    pub webhook: SocketAddr,
    /// Health, readiness and metrics, plain.
    pub admin: SocketAddr,
}

/// A server that runs. Dropping it ends the server at once, without waiting for answers.
#[derive(Debug)]
pub struct Running {
    addrs: LocalAddrs,
    ca_pem: Option<String>,
    stage: watch::Sender<Stage>,
    course: JoinHandle<Result<(), ServeError>>,
}

/// What stops a server from elsewhere.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Stage>);

impl Stopper {
    /// The first call stops gracefully: the server is not ready from now on, keeps accepting for the shutdown
    /// delay, and ends when what is in flight is answered. The second ends it at once.
    pub fn stop(&self) {
        self.0.send_modify(|stage| {
            *stage = match *stage {
                Stage::Serving => Stage::Stopping,
                Stage::Stopping | Stage::Ending => Stage::Ending,
            };
        });
    }
}

impl Running {
    /// Where it listens, with the ports that the system chose for port 0.
    pub fn local_addrs(&self) -> LocalAddrs {
        self.addrs
    }

    /// The authority that clients have to trust, as PEM, if the certificate is self-made.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What stops it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stage.clone())
    }

    /// Stops it as [`Stopper::stop`] does.
    pub fn stop(&self) {
        self.stopper().stop();
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) -> Result<(), ServeError> {
        self.end().await
    }

    /// Serves until SIGTERM or SIGINT and then stops gracefully; a second signal ends it at once.
    pub async fn until_signal(mut self) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let stopper = self.stopper();
        loop {
            tokio::select! {
                ended = self.end() => return ended,
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping; a second signal ends at once"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping; a second signal ends at once"),
            }
            stopper.stop();
        }
    }

    async fn end(&mut self) -> Result<(), ServeError> {
        (&mut self.course).await.unwrap_or_else(|error| {
            Err(ServeError::Ended {
                what: "the webhook and the admin pages",
                why: error.to_string(),
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Ending);
    }
}

/// Starts a server and returns when both its listeners accept connections.
pub async fn serve<J: Judge>(config: Config, judge: Arc<J>) -> Result<Running, ServeError> {
    serve_app(Arc::new(App::new(config, judge)?)).await
}

/// Serves an app that is made.
pub(super) async fn serve_app<J: Judge>(app: Arc<App<J>>) -> Result<Running, ServeError> {
    let (webhook_listener, webhook_closer) = bind(app.config.listen, "the webhook").await?;
    let (admin_listener, admin_closer) = bind(app.config.admin_listen, "the admin pages").await?;
    let addrs = LocalAddrs {
        webhook: webhook_listener.address(),
        admin: admin_listener.address(),
    };

    let webhook_handle = Handle::new();
    let acceptor = RustlsAcceptor::new(app.certificates.tls()).acceptor(LingerAcceptor);
    let reported = Mutex::new(None);
    let mut webhook_server = Server::from_listener(webhook_listener)
        .acceptor(acceptor)
        .handle(webhook_handle.clone())
        .first_request_timeout(IDLE)
        .accept_error_handler(move |peer, error| report_handshake(&reported, peer, error));
    limit(&mut webhook_server);

    let admin_handle = Handle::new();
    let mut admin_server = Server::from_listener(admin_listener)
        .acceptor(LingerAcceptor)
        .handle(admin_handle.clone())
        .first_request_timeout(IDLE)
        .accept_error_handler(|_, error| tracing::warn!("cannot accept a connection: {error}"));
    limit(&mut admin_server);

    let webhook_router = farewell(router(app.clone()), &app.stage);
    let admin_router = farewell(admin_router(app.clone()), &app.stage);
    let course = Course {
        webhook: Serving {
            server: tokio::spawn(webhook_server.serve(webhook_router.into_make_service())),
            handle: webhook_handle,
            closer: webhook_closer,
        },
        admin: Serving {
            server: tokio::spawn(admin_server.serve(admin_router.into_make_service())),
            handle: admin_handle,
            closer: admin_closer,
        },
        certificates: tokio::spawn(watch_certificates(app.clone())),
        stage: app.stage.subscribe(),
        app: app.clone(),
    };
    tracing::info!(
        lane_filter = lane_filter_path(),
        "serving the webhook on https://{} and the admin pages on http://{}",
        addrs.webhook,
        addrs.admin
    );
    Ok(Running {
        addrs,
        ca_pem: app.certificates.ca_pem().map(str::to_owned),
        stage: app.stage.clone(),
        course: tokio::spawn(course.run()),
    })
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<(Listener, Closer), ServeError> {
    Listener::bind(address).await.map_err(|source| ServeError::Bind {
        address,
        what,
        source,
    })
}

/// Bounds what idle and dead connections may hold.
fn limit<A>(server: &mut Server<Local, A>) {
    let builder = server.http_builder();
    builder.http1().header_read_timeout(IDLE);
    builder
        .http2()
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
}

/// Tells clients of a server that stops to go elsewhere: HTTP/1.1 by `Connection: close`, HTTP/2 by GOAWAY.
fn farewell(router: Router, stage: &watch::Sender<Stage>) -> Router {
    router.layer(middleware::from_fn_with_state(stage.subscribe(), say_goodbye))
}

async fn say_goodbye(State(stage): State<watch::Receiver<Stage>>, request: Request, next: Next) -> Response {
    let version = request.version();
    let connection = request.extensions().get::<ConnectionShutdown>().cloned();
    let mut response = next.run(request).await;
    if *stage.borrow() == Stage::Serving {
        return response;
    }
    if version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    } else if let Some(connection) = connection {
        connection.graceful_shutdown();
    }
    response
}

/// Reports that a client gave up a handshake; probes that only connect are not worth it.
fn report_handshake(reported: &Mutex<Option<Instant>>, peer: Option<&Local>, error: &io::Error) {
    let peer = peer.map_or_else(|| "a client".to_owned(), |Local(peer)| peer.to_string());
    let mut reported = reported.lock();
    let is_tls = error.kind() == io::ErrorKind::InvalidData;
    if is_tls && reported.is_none_or(|last| last.elapsed() >= HANDSHAKES_EVERY) {
        *reported = Some(Instant::now());
        tracing::warn!(
            "the TLS handshake with {peer} failed: {error}; if that is the API server, compare the webhook's \
             caBundle with the authority of this server's certificate, and --client-ca with its client's"
        );
    } else {
        tracing::debug!("the connection of {peer} came to nothing: {error}");
    }
}

async fn watch_certificates<J: Judge>(app: Arc<App<J>>) {
    let mut files = DirectoryWatch::new(app.certificates.directories());
    loop {
        // First, so that nothing changes between a look and the watch.
        files.arm();
        let of_app = app.clone();
        // It reads files, so it must not hold up the runtime; a failure is reported where it is found.
        let refreshed =
            tokio::task::spawn_blocking(move || of_app.certificates.refresh(SystemTime::now())).await;
        match refreshed {
            Ok(Refresh::Replaced) => tracing::info!("new connections get the new certificate"),
            Ok(Refresh::Unchanged) => {}
            Ok(Refresh::Failed) | Err(_) => {
                // Not at once again, unless there is something new to look at.
                tokio::select! {
                    () = tokio::time::sleep(RENEWALS_EVERY) => {}
                    () = files.changed() => continue,
                }
            }
        }
        let renewal = app.certificates.until_renewal(SystemTime::now());
        let look = renewal.map_or(app.certificates_every, |renewal| {
            // Not over and over, where nothing better can be made.
            renewal.clamp(RENEWALS_EVERY, app.certificates_every)
        });
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = app.certificates.authority_changed() => {}
            () = files.changed() => {}
        }
    }
}

/// A listener that is served.
struct Serving {
    server: JoinHandle<io::Result<()>>,
    handle: Handle<Local>,
    closer: Closer,
}

impl Serving {
    /// Stops accepting, lets the connections that came in last have an answer within `last`, and waits until
    /// all have their answers, or for `timeout`, or until the server is to end at once.
    async fn drain(&mut self, last: Duration, timeout: Duration, stage: &watch::Receiver<Stage>) {
        self.closer.close();
        tokio::select! {
            () = self.last_requests(last.min(timeout)) => {}
            () = reached(stage, Stage::Ending) => {}
        }
        self.handle.graceful_shutdown(Some(timeout));
        let end = tokio::select! {
            end = &mut self.server => end,
            () = reached(stage, Stage::Ending) => {
                self.handle.shutdown();
                (&mut self.server).await
            }
        };
        if let Ok(Err(error)) = end {
            tracing::warn!("a listener ended badly: {error}");
        }
    }

    /// Waits, for `limit` at most, until each connection has had its answer and its goodbye. Those that are
    /// left are idle, or their answers take longer.
    async fn last_requests(&self, limit: Duration) {
        let all_gone = async {
            while self.handle.connection_count() > 0 {
                tokio::time::sleep(LAST_REQUESTS_EVERY).await;
            }
        };
        // The end of the wait is as good as the end of the connections.
        let _ = tokio::time::timeout(limit, all_gone).await;
    }
}

/// The course of a server's life, from serving to its end.
struct Course<J> {
    webhook: Serving,
    admin: Serving,
    certificates: JoinHandle<()>,
    stage: watch::Receiver<Stage>,
    app: Arc<App<J>>,
}

impl<J: Judge> Course<J> {
    async fn run(mut self) -> Result<(), ServeError> {
        let result = self.serve_and_drain().await;
        // Where something has failed the other listener must not live on.
        self.webhook.handle.shutdown();
        self.admin.handle.shutdown();
        self.certificates.abort();
        self.app.log.close().await;
        result
    }

    async fn serve_and_drain(&mut self) -> Result<(), ServeError> {
        let Config {
            shutdown_delay,
            drain_timeout,
            ..
        } = &self.app.config;
        tokio::select! {
            () = reached(&self.stage, Stage::Stopping) => {}
            end = &mut self.webhook.server => return Err(ended("the webhook", end)),
            end = &mut self.admin.server => return Err(ended("the admin pages", end)),
        }
        tracing::info!("not ready any more; accepting requests for another {shutdown_delay:?}");
        tokio::select! {
            () = tokio::time::sleep(*shutdown_delay) => {}
            () = reached(&self.stage, Stage::Ending) => {}
        }
        tracing::info!("answering what is in flight");
        self.webhook
            .drain(self.app.last_requests, *drain_timeout, &self.stage)
            .await;
        // Last, so that readiness tells the truth until the end.
        self.admin.drain(Duration::ZERO, ADMIN_DRAIN, &self.stage).await;
        Ok(())
    }
}

/// Returns when the server is at `stage` or beyond.
async fn reached(stage: &watch::Receiver<Stage>, wanted: Stage) {
    // A sender that is gone has left the last stage behind.
    drop(stage.clone().wait_for(|stage| *stage >= wanted).await);
}

fn ended(what: &'static str, end: Result<io::Result<()>, JoinError>) -> ServeError {
    let why = match end {
        Ok(Ok(())) => "it was not told to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    ServeError::Ended { what, why }
}
