//! Lanes in a real Istio mesh: Lanekeeper's webhook on a real API server, istiod, an Envoy a pod, and the lane filter.
//!
//! `make test-mesh` builds what this starts. It needs root, for network namespaces, and touches nothing outside of its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by a panic that says why, and print what they measured"
)]

#[path = "../support/control_plane.rs"]
mod control_plane;
#[path = "../support/webhook.rs"]
mod webhook;

mod application;
mod client;
mod generated;
mod istiod;
mod mesh;
mod network;
mod pods;
mod seed;
mod simulated;
mod traffic;

use std::env;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Trial};

use application::Application;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(application::ARGUMENT) {
        let told = arguments.next().expect("an application's configuration");
        let application: Application = serde_json::from_str(&told).expect("an application's configuration");
        application.serve();
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // There is one mesh, whose state each test sets up.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    if !network::is_entered() {
        let error = network::enter();
        eprintln!("unshare cannot be run: {error}; tests/mesh/build.sh says what is missing");
        return ExitCode::FAILURE;
    }
    end_when_asked();
    network::prepare();
    let mesh = Arc::new(seed::mesh());
    libtest_mimic::run(&arguments, trials(Some(&mesh))).exit_code()
}

/// Every test, on the mesh that is there when tests are run.
fn trials(mesh: Option<&Arc<mesh::Mesh>>) -> Vec<Trial> {
    let trial = |(name, test): &seed::Test| {
        let (test, mesh) = (*test, mesh.cloned());
        Trial::test(*name, move || {
            test(&mesh.expect("tests are run on a mesh"));
            Ok(())
        })
    };
    seed::TESTS.iter().chain([&simulated::TEST]).map(trial).collect()
}

/// The first process of a PID namespace is not ended by signals that it does not wait for.
fn end_when_asked() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminated = signal(SignalKind::terminate()).expect("a signal");
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        });
        exit(130);
    });
}
