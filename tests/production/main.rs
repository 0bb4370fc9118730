//! Two replicas, left on: real processes behind a balancer, called by a real API server, while what a cluster does
//! to them goes on.
//!
//! ```text
//!  load ──▶ kube-apiserver ──https──▶ Balancer ──▶ lanekeeper serve, twice
//!                │                     (who is ready by /readyz)      │
//!                ├─ audit log: the decisions that it was given        ├─ decision log: those that were made
//!                └──────────────── the same ones, each once ──────────┘
//! ```
//!
//! Scenarios run twice: registered by an address of this machine, where the API server speaks HTTP/2, and by the
//! Service, where it speaks HTTP/1.1 (`k8s.io/apiserver/pkg/util/webhook/client.go`). `LANEKEEPER_LONG=1` makes them as
//! long as they have to be to tell of production; else they take seconds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says why, and tells what it has measured"
)]

#[path = "../support/control_plane.rs"]
mod control_plane;
#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/cuttable.rs"]
mod cuttable;
#[path = "../support/programs.rs"]
mod programs;

mod asking;
mod balancer;
mod certificates;
mod chart;
mod clients;
mod crowded;
mod decisions;
mod faults;
mod load;
mod meetings;
mod node;
mod objects;
mod operations;
mod order;
mod replica;
mod restarts;
mod site;

use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The one test that runs: each wants the machine for itself.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `long` where the environment asks for it, else `short`.
fn long_or<T>(long: T, short: T) -> T {
    if env::var_os("LANEKEEPER_LONG").is_some_and(|value| value != "0") {
        long
    } else {
        short
    }
}
