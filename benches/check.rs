//! What the program does with the manifests of 4,000 services in two lanes (28,320 objects), and with ten times as many.
//!
//! `lanekeeper check` is run as a user would, on a directory with a file a namespace, its output thrown away; beside it
//! `istioctl analyze` on the same files, where it is on PATH. Seconds are those of the clock and of the processors; the
//! peak of the memory is the kernel's (`VmHWM`), read while it runs. Nothing is wrong in the files, so every rule runs to
//! its end.
//!
//! `lanekeeper serve --manifests` is started on the smaller ones: the time is from its start until `/readyz` answers well.

#![allow(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by a panic that says why, and counts to far less than 2^52"
)]

#[path = "../tests/support/control_plane.rs"]
mod control_plane;
mod measure;
mod process;
mod world;

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use measure::{Line, is_quick, median, memory, print, processor_seconds};
use process::{Served, certify};
use tempfile::TempDir;
use world::Shape;

/// What one run took.
struct Run {
    seconds: f64,
    processor_seconds: f64,
    peak_megabytes: f64,
}

/// Manifests, and what running on them took.
struct Manifests {
    directory: TempDir,
    objects: usize,
    bytes: usize,
    runs: Vec<Run>,
}

impl Manifests {
    fn new(services: usize, runs: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (objects, bytes) = Shape::of_files(services).write(directory.path());
        let runs = (0..runs).map(|_| run(&mut check(directory.path())));
        Self {
            runs: runs.collect(),
            directory,
            objects,
            bytes,
        }
    }

    fn of(&self, what: fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(what))
    }

    fn micros_an_object(&self) -> f64 {
        self.of(|run| run.seconds) * 1e6 / self.objects as f64
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.objects.to_string(),
            format!("{:.1}", self.bytes as f64 / 1e6),
            self.runs.len().to_string(),
            format!("{:.2}", self.of(|run| run.seconds)),
            format!("{:.2}", self.of(|run| run.processor_seconds)),
            format!("{:.0}", self.of(|run| run.peak_megabytes)),
            format!("{:.1}", self.micros_an_object()),
        ]
    }

    /// Seconds and peak of memory, for the table.
    fn told(&self) -> String {
        told(self.of(|run| run.seconds), self.of(|run| run.peak_megabytes))
    }
}

fn told(seconds: f64, megabytes: f64) -> String {
    format!("{seconds:.2} s, {megabytes:.0} MB")
}

fn main() {
    let sizes = if is_quick() {
        [(400, 1), (800, 1)]
    } else {
        [(4_000, 5), (40_000, 1)]
    };
    let [small, large] = sizes.map(|(services, runs)| Manifests::new(services, runs));
    let head = [
        "objects",
        "MB of YAML",
        "runs",
        "s",
        "processor s",
        "peak MB",
        "µs an object",
    ];
    print(
        "`lanekeeper check`, middle of the runs",
        &head,
        &[small.row(), large.row()],
    );
    let peer = analyze(small.directory.path());
    let seconds = small.of(|run| run.seconds);
    Line {
        work: format!("`check` on {} objects, beside `istioctl analyze`", small.objects),
        measured: small.told(),
        beside: peer.as_ref().map_or("not on PATH".to_owned(), |run| {
            told(run.seconds, run.peak_megabytes)
        }),
        ratio: peer.map_or(String::new(), |run| format!("time {:.2}", seconds / run.seconds)),
        reach: "≤ 0.55 s, ≤ 130 MB".to_owned(),
        is_reached: seconds <= 0.55 && small.of(|run| run.peak_megabytes) <= 130.0,
    }
    .hand_over();
    let growth = large.micros_an_object() / small.micros_an_object();
    Line {
        work: format!(
            "`check` on {} objects, beside the same on {}",
            large.objects, small.objects
        ),
        measured: large.told(),
        beside: small.told(),
        ratio: format!("time an object {growth:.2}"),
        reach: "linear: ≤ 1.1 an object".to_owned(),
        is_reached: growth <= 1.1,
    }
    .hand_over();

    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let manifests = small.directory.path().to_str().unwrap();
    let starts = small.runs.iter().map(|_| {
        let served = Served::start(folder.path(), ["--manifests", manifests]);
        let megabytes = memory(&served.id(), "VmRSS").unwrap_or_default();
        (served.until_ready.as_secs_f64(), megabytes)
    });
    let starts: Vec<(f64, f64)> = starts.collect();
    let seconds = median(starts.iter().map(|start| start.0));
    let measured = told(seconds, median(starts.iter().map(|start| start.1)));
    let row = vec![
        small.objects.to_string(),
        starts.len().to_string(),
        measured.clone(),
    ];
    print(
        "Start of `serve --manifests`, middle of the runs",
        &["objects", "runs", "ready"],
        &[row],
    );
    Line {
        work: format!("start of `serve --manifests` on {} objects", small.objects),
        measured,
        beside: String::new(),
        ratio: String::new(),
        reach: "≤ 1 s".to_owned(),
        is_reached: seconds <= 1.0,
    }
    .hand_over();
}

fn check(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("check").arg(directory);
    command
}

/// The same by Istio's own program, if it is there.
fn analyze(directory: &Path) -> Option<Run> {
    let mut command = Command::new("istioctl");
    command.arg("version").arg("--remote=false").stdout(Stdio::null());
    command.status().ok()?;
    let mut command = Command::new("istioctl");
    command.args(["analyze", "--use-kube=false", "-A"]).arg(directory);
    Some(run(&mut command))
}

/// Runs a command on files that are right. `istioctl analyze` may think otherwise, and ends with 79 then.
fn run(command: &mut Command) -> Run {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let id = child.id().to_string();
    let mut peak_megabytes = 0.0_f64;
    // Once it has ended it is kept, with its times, until it is waited for.
    let processor_seconds = loop {
        let (seconds, has_ended) = processor_seconds(&id);
        if has_ended {
            break seconds;
        }
        peak_megabytes = peak_megabytes.max(memory(&id, "VmHWM").unwrap_or_default());
        sleep(Duration::from_millis(2));
    };
    let seconds = started.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    assert!(
        matches!(status.code(), Some(0 | 79)),
        "{command:?} ended with {status}"
    );
    Run {
        seconds,
        processor_seconds,
        peak_megabytes,
    }
}
