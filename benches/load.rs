//! Asks webhooks over TLS with keep-alive on 8 connections, each as fast as it is answered, and compares two of them.
//!
//! The client is on threads of its own in the benchmark's process and shares the machine with who is asked: a rate is
//! what both together manage, and a ratio of rates flatters the slower one.

#![allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each benchmark uses its own part of it, and fails by a panic that says why"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;

use crate::crowd;
use crate::measure::{Times, is_quick, median, micros, print};

pub(crate) const CONNECTIONS: usize = 8;

/// How many pods the world has, how many turns each route takes, and how long one is.
pub(crate) fn extent() -> (usize, usize, Duration) {
    if is_quick() {
        (1_000, 1, Duration::from_secs(1))
    } else {
        (16_000, 7, Duration::from_secs(4))
    }
}

/// Who is asked.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) tls: TlsConnector,
}

/// One turn of one route.
pub(crate) struct Turn {
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) times: Times,
}

/// What came of two that took turns. A ratio is the second's to the first's: each is one turn's, the middle one counts.
pub(crate) struct Comparison {
    /// Answers a second, of the middle turn.
    pub(crate) rates: [f64; 2],
    /// Of all turns together.
    pub(crate) p50: [Duration; 2],
    pub(crate) p99: [Duration; 2],
    pub(crate) ratio_of_rates: f64,
    pub(crate) ratio99: f64,
}

/// Prints what came of turns that two took one after the other.
pub(crate) fn compare(title: &str, names: [&str; 2], all: &mut [[Turn; 2]]) -> Comparison {
    let ratio_of_rates = median(all.iter().map(|[first, second]| second.rate / first.rate));
    let mut ratio_at = |percent| {
        let ratios = all.iter_mut().map(|[first, second]| {
            let first = first.times.percentile(percent).as_secs_f64();
            second.times.percentile(percent).as_secs_f64() / first
        });
        median(ratios.collect::<Vec<_>>())
    };
    let (ratio50, ratio99) = (ratio_at(50), ratio_at(99));
    let mut together = [0, 1].map(|at| {
        let mut together = Times::default();
        for turn in &*all {
            together.extend(turn[at].times.clone());
        }
        together
    });
    let comparison = Comparison {
        rates: [0, 1].map(|at| median(all.iter().map(|turn| turn[at].rate))),
        p50: together.each_mut().map(|times| times.percentile(50)),
        p99: together.each_mut().map(|times| times.percentile(99)),
        ratio_of_rates,
        ratio99,
    };
    let mut rows = [0, 1]
        .map(|at| {
            vec![
                names[at].to_owned(),
                format!("{:.0}", comparison.rates[at]),
                micros(comparison.p50[at]),
                micros(comparison.p99[at]),
                together[at].len().to_string(),
            ]
        })
        .to_vec();
    rows.push(vec![
        "ratio".to_owned(),
        format!("{ratio_of_rates:.2}"),
        format!("{ratio50:.2}"),
        format!("{ratio99:.2}"),
        String::new(),
    ]);
    print(title, &["", "reviews/s", "p50 µs", "p99 µs", "samples"], &rows);
    comparison
}

/// Asks one route over all connections for a while.
pub(crate) async fn turn(route: &Route, reviews: &Arc<[Bytes]>, duration: Duration) -> Turn {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(route).await);
    }
    let started = Instant::now();
    let until = started + duration;
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(at, connection)| tokio::spawn(ask(route.path, connection, reviews.clone(), at * 8, until)))
        .collect();
    let mut times = Times::default();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    #[allow(clippy::cast_precision_loss, reason = "there are not 2^52 samples")]
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    Turn { rate, times }
}

async fn connect(route: &Route) -> SendRequest<Body> {
    let stream = crowd::connect(route.address, &route.tls).await.unwrap();
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
