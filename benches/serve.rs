//! `/validate` over TLS with keep-alive on 8 connections, beside a route that does nothing, in one process and run.
//!
//! The server is the real one: TLS, routes, limits, metrics, the decision log in a file. Both routes get the same
//! bodies (an UPDATE of a `VirtualService` with 20 routes, allowed); the other one reads the body, takes the review
//! apart without copying, and admits. The world has 4,000 services and 16,000 pods. The routes take turns, and each
//! ratio is one turn's, of which the middle one is printed.
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
mod load;
mod measure;
mod world;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::post;
use bytes::Bytes;
use crowd::{Crowd, trusting};
use lanekeeper::admission::{Engine, read};
use lanekeeper::server::{Config, LogTarget, serve};
use lanekeeper::verdict::Settings;
use load::{CONNECTIONS, Route, Turn, compare, extent, turn};
use measure::{Line, micros};
use parking_lot::RwLock;
use tokio::runtime::Runtime;
use world::{Change, Shape};

const IDLE: usize = 500;
const SLOW: usize = 100;
const PATHS: [&str; 2] = ["/noop", "/validate/enforce"];

fn main() {
    let (pods, turns, duration) = extent();
    let shape = Shape::of_pods(pods);
    let reviews: Arc<[Bytes]> = shape.reviews(64, Change::Path).into();
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
    let [noop, validate] = PATHS.map(|path| Route {
        address,
        path,
        tls: tls.clone(),
    });
    let ask = |route: &Route, duration| client.block_on(turn(route, &reviews, duration));
    for route in [&noop, &validate] {
        ask(route, duration / 4);
    }
    let mut all: Vec<[Turn; 2]> = (0..turns)
        .map(|_| [&noop, &validate].map(|route| ask(route, duration)))
        .collect();
    let title = format!(
        "TLS, keep-alive, {CONNECTIONS} connections, {pods} pods, body of {} bytes",
        reviews[0].len()
    );
    let came = compare(&title, PATHS, &mut all);
    let of = |at: usize| format!("{:.0}/s, p99 {} µs", came.rates[at], micros(came.p99[at]));
    Line {
        work: format!(
            "`/validate`, all rules, {pods} pods, {CONNECTIONS} connections, beside a no-op route in one process"
        ),
        measured: of(1),
        beside: of(0),
        ratio: format!("rate {:.2}, p99 {:.2}", came.ratio_of_rates, came.ratio99),
        reach: "rate ≥ 0.9, p99 ≤ 1.3".to_owned(),
        is_reached: came.ratio_of_rates >= 0.9 && came.ratio99 <= 1.3,
    }
    .hand_over();

    let mut all: Vec<[Turn; 2]> = (0..turns)
        .map(|_| {
            let alone = ask(&validate, duration);
            let crowd = client.block_on(Crowd::around(address, &tls, IDLE, SLOW));
            let beside = ask(&validate, duration);
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

/// Admits, and does nothing else.
async fn admit(body: Bytes) -> ([(header::HeaderName, &'static str); 1], String) {
    let request = read(&body).unwrap();
    let answer = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{}","allowed":true}}}}"#,
        request.uid
    );
    ([(header::CONTENT_TYPE, "application/json")], answer)
}
