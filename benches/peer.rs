//! `/validate` of `lanekeeper serve` with all rules, beside a Go webhook that admits everything.
//!
//! Each is a process of its own and has the same certificate. The Go webhook is `benches/peer/`: controller-runtime's
//! server, which takes the review apart and does nothing else. Both get the same bodies (an UPDATE of a
//! `VirtualService` with 20 routes, allowed) from the same client, in turn. Lanekeeper has a world of 4,000 services and
//! 16,000 pods from files.
//!
//! The second table is what the processors of each spent: unlike the rates, it does not depend on the client.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by a panic that says why"
)]

#[path = "../tests/support/control_plane.rs"]
mod control_plane;
#[path = "../tests/support/crowd.rs"]
mod crowd;
mod load;
mod measure;
mod process;
mod world;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use control_plane::{Component, mortal};
use crowd::trusting;
use load::{CONNECTIONS, Route, Turn, compare, extent, turn};
use measure::{Line, memory, micros, print, processor_seconds};
use process::{Served, certify, free_address};
use tokio::runtime::Runtime;
use world::{Change, Shape};

const NAMES: [&str; 2] = ["Go, admits everything", "lanekeeper, all rules"];

fn main() {
    let (pods, turns, duration) = extent();
    let shape = Shape::of_pods(pods);
    let reviews: Arc<[Bytes]> = shape.reviews(64, Change::Path).into();
    let folder = tempfile::tempdir().unwrap();
    let tls = trusting(&certify(folder.path()));
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    shape.write(&manifests);
    let ours = Served::start(folder.path(), ["--manifests", manifests.to_str().unwrap()]);
    let address = free_address();
    let mut command = mortal(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/peer/webhook"));
    command.arg(folder.path()).arg(address.port().to_string());
    let peer = Component::run("peer", folder.path(), command);
    peer.until("serving", || TcpStream::connect(address).is_ok());

    let client = Runtime::new().unwrap();
    let processes = [peer.id().to_string(), ours.id()];
    let routes = [(address, "/validate"), (ours.webhook, "/validate/enforce")].map(|(address, path)| Route {
        address,
        path,
        tls: tls.clone(),
    });
    for route in &routes {
        client.block_on(turn(route, &reviews, duration / 4));
    }
    let mut spent = [0.0; 2];
    let mut all = Vec::new();
    for _ in 0..turns {
        all.push([0, 1].map(|at| -> Turn {
            let (before, _) = processor_seconds(&processes[at]);
            let turn = client.block_on(turn(&routes[at], &reviews, duration));
            spent[at] += processor_seconds(&processes[at]).0 - before;
            turn
        }));
    }
    let answers = [0, 1].map(|at| all.iter().map(|turns| turns[at].times.len()).sum::<usize>());
    let title = format!(
        "Processes of their own, TLS, keep-alive, {CONNECTIONS} connections, {pods} pods, body of {} bytes",
        reviews[0].len()
    );
    let came = compare(&title, NAMES, &mut all);
    #[allow(clippy::cast_precision_loss, reason = "there are not 2^52 answers")]
    let costs = [0, 1].map(|at| spent[at] * 1e6 / answers[at] as f64);
    let rows = [0, 1].map(|at| {
        vec![
            NAMES[at].to_owned(),
            format!("{:.0}", costs[at]),
            format!("{:.0}", memory(&processes[at], "VmHWM").unwrap_or_default()),
        ]
    });
    print("What it takes", &["", "processor µs a review", "peak MB"], &rows);
    let of = |at: usize| {
        format!(
            "{:.0}/s, p99 {} µs, {:.0} processor µs each",
            came.rates[at],
            micros(came.p99[at]),
            costs[at]
        )
    };
    Line {
        work: "the same, beside a Go webhook (controller-runtime) that admits everything, a process each"
            .to_owned(),
        measured: of(1),
        beside: of(0),
        ratio: format!("rate {:.2}", came.ratio_of_rates),
        reach: "rate ≥ 2".to_owned(),
        is_reached: came.ratio_of_rates >= 2.0,
    }
    .hand_over();
}
