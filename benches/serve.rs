//! `/validate` over TLS with keep-alive on 8 connections, beside a route that does nothing, in one process and run.
//!
//! The server is the real one: TLS, routes, limits, metrics, the decision log in a file. Both routes get the same
//! bodies (an UPDATE of a `VirtualService` with 20 routes, allowed); the other one reads the body, takes the review
//! apart without copying, and admits. The world has 4,000 services and 16,000 pods. The routes take turns, and each
//! ratio is one turn's, of which the middle one is printed.
//!
//! The client is in the same process, on threads of its own, and shares the machine with the server: a rate is what
//! both together manage, and the ratio flatters the slower route.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by a panic that says why"
)]

mod measure;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lanekeeper::admission::{Engine, read};
use lanekeeper::server::{Config, LogTarget, serve};
use lanekeeper::verdict::Settings;
use measure::{Times, is_quick, median, micros, print};
use parking_lot::RwLock;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use world::Shape;

const CONNECTIONS: usize = 8;
const PATHS: [&str; 2] = ["/noop", "/validate/enforce"];

/// One turn of one route.
struct Turn {
    rate: f64,
    times: Times,
}

fn main() {
    let (pods, turns, duration) = if is_quick() {
        (1_000, 1, Duration::from_secs(1))
    } else {
        (16_000, 7, Duration::from_secs(4))
    };
    let shape = Shape::of_pods(pods);
    let reviews: Arc<[Bytes]> = shape.reviews(64).into();
    let directory = tempfile::tempdir().unwrap();
    let server = Runtime::new().unwrap();
    let world = Arc::new(RwLock::new(shape.world()));
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        admin_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        decision_log: LogTarget::file(directory.path().join("decisions")),
        shutdown_delay: Duration::ZERO,
        webhook_routes: Router::new().route(PATHS[0], post(admit)),
        ..Config::default()
    };
    let engine = Arc::new(Engine::new(world, Settings::default()));
    let running = server.block_on(serve(config, engine)).unwrap();
    let address = running.local_addrs().webhook;
    let tls = trusting(running.ca_pem().unwrap());

    let client = Runtime::new().unwrap();
    let turn = |path: &'static str, duration| client.block_on(turn(path, address, &tls, &reviews, duration));
    for path in PATHS {
        turn(path, duration / 4);
    }
    let mut all: Vec<[Turn; 2]> = (0..turns)
        .map(|_| PATHS.map(|path| turn(path, duration)))
        .collect();

    let ratio_of_rates = median(all.iter().map(|[noop, validate]| validate.rate / noop.rate));
    let ratio_at = |all: &mut Vec<[Turn; 2]>, percent| {
        let ratios = all.iter_mut().map(|[noop, validate]| {
            let noop = noop.times.percentile(percent).as_secs_f64();
            validate.times.percentile(percent).as_secs_f64() / noop
        });
        median(ratios.collect::<Vec<_>>())
    };
    let (ratio50, ratio99) = (ratio_at(&mut all, 50), ratio_at(&mut all, 99));
    let mut rows = Vec::new();
    for (at, path) in PATHS.iter().enumerate() {
        let rate = median(all.iter().map(|turn| turn[at].rate));
        let mut together = Times::default();
        for turn in &all {
            together.extend(turn[at].times.clone());
        }
        rows.push(vec![
            (*path).to_owned(),
            format!("{rate:.0}"),
            micros(together.percentile(50)),
            micros(together.percentile(99)),
            together.len().to_string(),
        ]);
    }
    rows.push(vec![
        "ratio".to_owned(),
        format!("{ratio_of_rates:.2}"),
        format!("{ratio50:.2}"),
        format!("{ratio99:.2}"),
        String::new(),
    ]);
    let title = format!(
        "TLS, keep-alive, {CONNECTIONS} connections, {pods} pods, body of {} bytes",
        reviews[0].len()
    );
    print(
        &title,
        &["route", "reviews/s", "p50 µs", "p99 µs", "samples"],
        &rows,
    );
    running.stop();
    server.block_on(running.ended()).unwrap();
}

/// Admits, and does nothing else.
async fn admit(body: Bytes) -> ([(header::HeaderName, &'static str); 1], String) {
    let request = read(&body).unwrap();
    let answer = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{}","allowed":true}}}}"#,
        request.uid
    );
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

fn trusting(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Asks one route over all connections for a while.
async fn turn(
    path: &'static str,
    address: SocketAddr,
    tls: &TlsConnector,
    reviews: &Arc<[Bytes]>,
    duration: Duration,
) -> Turn {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(address, tls).await);
    }
    let started = Instant::now();
    let until = started + duration;
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(at, connection)| tokio::spawn(ask(path, connection, reviews.clone(), at * 8, until)))
        .collect();
    let mut times = Times::default();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    #[allow(clippy::cast_precision_loss, reason = "there are not 2^52 samples")]
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    Turn { rate, times }
}

async fn connect(address: SocketAddr, tls: &TlsConnector) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = tls
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(
    path: &'static str,
    mut connection: SendRequest<Body>,
    reviews: Arc<[Bytes]>,
    first: usize,
    until: Instant,
) -> Times {
    let mut times = Times::default();
    for review in reviews.iter().cycle().skip(first) {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(review.clone()))
            .unwrap();
        connection.ready().await.unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        times.push(started.elapsed());
        let allowed = br#""allowed":true"#;
        assert!(
            body.windows(allowed.len()).any(|part| part == allowed),
            "{body:?}"
        );
    }
    times
}
