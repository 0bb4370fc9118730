//! `lanekeeper check` on the manifests of 4,000 services in two lanes (28,320 objects), and on ten times as many.
//!
//! The program is run as a user would, on a directory with a file a namespace, its output thrown away. Seconds are
//! those of the clock and of the processors; the peak of the memory is the kernel's (`VmHWM`), read while it runs.
//! Nothing is wrong in the files, so every rule runs to its end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by a panic that says why"
)]

mod measure;
mod world;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use measure::{is_quick, median, memory, print};
use world::Shape;

/// What one run took.
struct Run {
    seconds: f64,
    processor_seconds: f64,
    peak_megabytes: f64,
}

fn main() {
    let sizes: &[(usize, usize)] = if is_quick() {
        &[(400, 1)]
    } else {
        &[(4_000, 5), (40_000, 1)]
    };
    let mut rows = Vec::new();
    for (services, runs) in sizes {
        let directory = tempfile::tempdir().unwrap();
        let (objects, bytes) = Shape::of_files(*services).write(directory.path());
        let runs: Vec<Run> = (0..*runs).map(|_| run(directory.path())).collect();
        let of = |what: fn(&Run) -> f64| median(runs.iter().map(what));
        let seconds = of(|run| run.seconds);
        #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        let (megabytes, micros) = (bytes as f64 / 1e6, seconds * 1e6 / objects as f64);
        rows.push(vec![
            objects.to_string(),
            format!("{megabytes:.1}"),
            runs.len().to_string(),
            format!("{seconds:.2}"),
            format!("{:.2}", of(|run| run.processor_seconds)),
            format!("{:.0}", of(|run| run.peak_megabytes)),
            format!("{micros:.1}"),
        ]);
    }
    let head = [
        "objects",
        "MB of YAML",
        "runs",
        "s",
        "processor s",
        "peak MB",
        "µs an object",
    ];
    print("`lanekeeper check`, middle of the runs", &head, &rows);
}

fn run(directory: &Path) -> Run {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .arg("check")
        .arg(directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    let mut peak_megabytes = 0.0_f64;
    // Once it has ended it is kept, with its times, until it is waited for.
    let processor_seconds = loop {
        let (has_ended, seconds) = state(&id);
        if has_ended {
            break seconds;
        }
        peak_megabytes = peak_megabytes.max(memory(&id, "VmHWM").unwrap_or_default());
        sleep(Duration::from_millis(2));
    };
    let seconds = started.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    assert!(status.success(), "check ended with {status}");
    Run {
        seconds,
        processor_seconds,
        peak_megabytes,
    }
}

/// Whether a process has ended, and the seconds that it was given so far.
fn state(id: &str) -> (bool, f64) {
    /// What the kernel counts in, a hundredth of a second on every machine that Linux runs on today.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (fields[0] == "Z", (ticks(11) + ticks(12)) / TICKS_A_SECOND)
}
