//! A judge, a router and a server for tests.

mod admin;
mod over_sockets;
mod routes;
mod stopping;
mod tls;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::ServiceExt;

use super::*;
use crate::admission::{Answer, Record};
use crate::resource::Kind;

/// A record of a change that was let through.
pub(super) fn record() -> Record {
    Record {
        time: "2026-01-02T03:04:05Z".to_owned(),
        decision: "d1".to_owned(),
        uid: "u1".to_owned(),
        user: "alice".to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        webhook: "validate",
        mode: Mode::Enforce,
        operation: "CREATE".to_owned(),
        kind: "VirtualService".to_owned(),
        namespace: "cars".to_owned(),
        name: "portal".to_owned(),
        dry_run: false,
        allowed: true,
        codes: Vec::new(),
        warned: Vec::new(),
        patch: None,
        allow_reason: None,
        message: None,
        duration_micros: 7,
        index_version: 3,
    }
}

/// Does what the first word of the body says.
pub(super) struct Puppet {
    /// What it was asked: the webhook, the length of the body, the deadline.
    asked: Mutex<Vec<(String, usize, Option<Duration>)>>,
    /// A permit for each request to `wait` that has come in.
    entered: Semaphore,
    /// A permit for each of them that may go on.
    gate: Semaphore,
    unsynced: Mutex<Vec<String>>,
}

impl Puppet {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
            unsynced: Mutex::default(),
        })
    }

    /// Waits until a request to `wait` has come in.
    async fn has_one_waiting(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    async fn answer(&self, webhook: String, body: Bytes, deadline: Option<Duration>) -> Answer {
        self.asked.lock().push((webhook, body.len(), deadline));
        let answer = |record| Answer {
            status: 200,
            body: b"{\"response\":{}}".to_vec(),
            record: Some(record),
        };
        let text = String::from_utf8_lossy(&body);
        match text.split(' ').next().unwrap_or_default() {
            "panic" => panic!("the rule {} is broken", 7),
            "wait" => {
                self.entered.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                answer(record())
            }
            "refuse" => answer(Record {
                allowed: false,
                codes: vec!["LK101"],
                ..record()
            }),
            "strange" => answer(Record {
                kind: "Whatever".to_owned(),
                operation: "x".to_owned(),
                ..record()
            }),
            "unreadable" => Answer {
                status: 400,
                body: b"{\"error\":\"no review\"}".to_vec(),
                record: None,
            },
            _ => answer(record()),
        }
    }
}

impl Judge for Puppet {
    async fn validate(&self, mode: Mode, body: Bytes, deadline: Option<Duration>) -> Answer {
        self.answer(format!("validate/{mode}"), body, deadline).await
    }

    async fn mutate(&self, mode: Mode, body: Bytes, deadline: Option<Duration>) -> Answer {
        self.answer(format!("mutate/{mode}"), body, deadline).await
    }

    fn unsynced(&self) -> Vec<String> {
        self.unsynced.lock().clone()
    }

    fn index(&self) -> (Vec<(Kind, usize)>, u64) {
        (vec![(Kind::Pod, 12), (Kind::Service, 0)], 34)
    }
}

/// A configuration on free ports whose decision log is in a directory of the test.
fn config() -> (Config, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        admin_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        decision_log: LogTarget::file(log_in(&directory)),
        shutdown_delay: Duration::ZERO,
        ..Config::default()
    };
    (config, directory)
}

fn log_in(directory: &TempDir) -> PathBuf {
    directory.path().join("decisions")
}

fn log_lines(directory: &TempDir) -> usize {
    std::fs::read_to_string(log_in(directory))
        .unwrap()
        .lines()
        .count()
}

/// The routes of both listeners, without sockets.
struct Routes {
    webhook: Router,
    admin: Router,
    puppet: Arc<Puppet>,
    directory: TempDir,
}

impl Routes {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, directory) = config();
        change(&mut config);
        Self::of(App::new(config, Puppet::new()).unwrap(), directory)
    }

    fn of(app: App<Puppet>, directory: TempDir) -> Self {
        let app = Arc::new(app);
        Self {
            webhook: router(app.clone()),
            admin: admin_router(app.clone()),
            puppet: app.judge.clone(),
            directory,
        }
    }

    /// Sends a request to the webhook's routes and returns what comes back.
    async fn send(&self, request: Request<Body>) -> Reply {
        Reply::of(self.webhook.clone().oneshot(request).await.unwrap()).await
    }

    /// The metrics as Prometheus asks for them.
    async fn openmetrics(&self) -> Reply {
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        let request = Request::get("/metrics").header("accept", accept);
        let request = request.body(Body::empty()).unwrap();
        Reply::of(self.admin.clone().oneshot(request).await.unwrap()).await
    }

    /// Gets a page of the admin listener.
    async fn admin(&self, path: &str) -> Reply {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Reply::of(self.admin.clone().oneshot(request).await.unwrap()).await
    }
}

/// A request with a review in it.
fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// A response that was read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: hyper::HeaderMap,
    body: String,
}

impl Reply {
    async fn of<B>(response: Response<B>) -> Self
    where
        B: hyper::body::Body,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of a JSON error.
    fn error(&self) -> String {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["error"].as_str().unwrap().to_owned()
    }
}

/// A server on loopback.
struct Served {
    running: Running,
    puppet: Arc<Puppet>,
    directory: TempDir,
}

impl Served {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, directory) = config();
        change(&mut config);
        let puppet = Puppet::new();
        let running = serve(config, puppet.clone()).await.unwrap();
        Self {
            running,
            puppet,
            directory,
        }
    }

    /// A client that trusts the server's own authority.
    fn client(&self) -> Client {
        Client::new(self.running.ca_pem().unwrap().as_bytes())
    }

    async fn connect(&self, client: &Client) -> std::io::Result<TlsStream<TcpStream>> {
        client.connect(self.running.local_addrs().webhook).await
    }

    /// Sends one request over a connection of its own.
    async fn send(&self, request: Request<Body>) -> Reply {
        let stream = self.connect(&self.client().alpn("http/1.1")).await.unwrap();
        Http1::over(stream).await.send(request).await.unwrap()
    }

    /// Gets a page of the admin listener.
    async fn admin(&self, path: &str) -> Reply {
        let stream = TcpStream::connect(self.running.local_addrs().admin)
            .await
            .unwrap();
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        Http1::over(stream).await.send(request).await.unwrap()
    }
}

/// The TLS side of a client.
#[derive(Clone)]
struct Client {
    config: ClientConfig,
}

impl Client {
    fn new(ca_pem: &[u8]) -> Self {
        Self::with_identity(ca_pem, None)
    }

    /// A client that shows a certificate, given with its key, if it is asked for one.
    fn with_identity(ca_pem: &[u8], identity: Option<(&[u8], &[u8])>) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca_pem).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(chain).unwrap()],
                    PrivateKeyDer::from_pem_slice(key).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self { config }
    }

    fn alpn(mut self, protocol: &str) -> Self {
        self.config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    async fn over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.config.clone()))
            .connect(name, stream)
            .await
    }
}

/// One HTTP/1.1 connection.
struct Http1 {
    sender: http1::SendRequest<Body>,
    /// Ends when the connection has.
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http1 {
    async fn over<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Reply> {
        self.sender.ready().await?;
        let response: Response<Incoming> = self.sender.send_request(request).await?;
        Ok(Reply::of(response).await)
    }
}

/// One HTTP/2 connection.
struct Http2 {
    sender: http2::SendRequest<Body>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    async fn send(&mut self, path: &str, body: impl Into<Body>) -> hyper::Result<Reply> {
        let mut request = post(&format!("https://localhost{path}"), body);
        request.headers_mut().remove("host");
        self.sender.ready().await?;
        Ok(Reply::of(self.sender.send_request(request).await?).await)
    }
}

/// Asks again and again until `is_so`; only a server that never gets there fails it.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let ask = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ask)
        .await
        .expect("it never came to be so");
}

/// Puts a certificate and its key where a server looks for them.
fn write_pair(directory: &Path, chain: &[u8], key: &[u8]) {
    std::fs::write(directory.join("tls.crt"), chain).unwrap();
    std::fs::write(directory.join("tls.key"), key).unwrap();
}
