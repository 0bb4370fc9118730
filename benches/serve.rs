//! `/validate` over TLS with keep-alive on 8 connections, beside a route that does nothing, in one process and run.
//!
//! The server is the real one: TLS, routes, limits, metrics, the decision log in a file. Both routes get the same
//! bodies (an UPDATE of a `VirtualService` with 20 routes, allowed); the other one reads the body, takes the review
//! apart without copying, and admits. The world has 4,000 services and 16,000 pods. The routes take turns, and each
//! ratio is one turn's, of which the middle one is printed.
//!
//! The client is in the same process, on threads of its own, and shares the machine with the server: a rate is what
//! both together manage, and the ratio flatters the slower route.
//!
//! Then `/validate` takes turns with itself: alone, and beside 500 idle connections and 100 that send a request byte by
//! byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by a panic that says why"
)]

#[path = "../tests/support/crowd.rs"]
mod crowd;
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
use crowd::{Crowd, trusting};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lanekeeper::admission::{Engine, read};
use lanekeeper::server::{Config, LogTarget, serve};
use lanekeeper::verdict::Settings;
use measure::{Times, is_quick, median, micros, print};
use parking_lot::RwLock;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use world::Shape;

const CONNECTIONS: usize = 8;
const IDLE: usize = 500;
const SLOW: usize = 100;
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

    compare(
        &format!(
            "TLS, keep-alive, {CONNECTIONS} connections, {pods} pods, body of {} bytes",
            reviews[0].len()
        ),
        PATHS,
        &mut all,
    );

    let mut all: Vec<[Turn; 2]> = (0..turns)
        .map(|_| {
            let alone = turn(PATHS[1], duration);
            let crowd = client.block_on(Crowd::around(address, &tls, IDLE, SLOW));
            let beside = turn(PATHS[1], duration);
            drop(crowd);
            [alone, beside]
        })
        .collect();
    compare(
        &format!("the same beside {IDLE} idle and {SLOW} slow connections"),
        ["alone", "beside"],
        &mut all,
    );
    running.stop();
    server.block_on(running.ended()).unwrap();
}

/// Prints what came of turns that two took one after the other, and the middle one of their ratios.
fn compare(title: &str, names: [&str; 2], all: &mut [[Turn; 2]]) {
    let ratio_of_rates = median(all.iter().map(|[first, second]| second.rate / first.rate));
    let mut ratio_at = |percent| {
        let ratios = all.iter_mut().map(|[first, second]| {
            let first = first.times.percentile(percent).as_secs_f64();
            second.times.percentile(percent).as_secs_f64() / first
        });
        median(ratios.collect::<Vec<_>>())
    };
    let (ratio50, ratio99) = (ratio_at(50), ratio_at(99));
    let mut rows = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let rate = median(all.iter().map(|turn| turn[at].rate));
        let mut together = Times::default();
        for turn in &*all {
            together.extend(turn[at].times.clone());
        }
        rows.push(vec![
            (*name).to_owned(),
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
    print(title, &["", "reviews/s", "p50 µs", "p99 µs", "samples"], &rows);
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
    let stream = crowd::connect(address, tls).await.unwrap();
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
