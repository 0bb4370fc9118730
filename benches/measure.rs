//! Percentiles, memory, the machine, a table of it all, and the lines of the one that `make bench` makes.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each benchmark uses its own part of it, and fails by a panic that says why"
)]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whether to be quick: smaller worlds and fewer samples, to see that it works.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// A line of the table that `make bench` makes of all benchmarks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What is done.
    pub(crate) work: String,
    /// What came of it.
    pub(crate) measured: String,
    /// The same of what it is compared with, measured in the same run; empty where it stands alone.
    pub(crate) beside: String,
    /// How many times the one is of the other.
    pub(crate) ratio: String,
    /// What it is to be.
    pub(crate) reach: String,
    /// Whether it is.
    pub(crate) is_reached: bool,
}

impl Line {
    /// Hands the line to the table, where one is made.
    pub(crate) fn hand_over(&self) {
        let Some(folder) = folder() else { return };
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join(LINES));
        let line = serde_json::to_string(self).unwrap();
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// The file of a run's lines, one JSON object each, in the folder of the run.
pub(crate) const LINES: &str = "lines.jsonl";

/// The folder of a run of `make bench`.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("LANEKEEPER_BENCH").map(PathBuf::from)
}

/// Times of one thing done many times.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of all are not longer than.
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// The middle one of some numbers.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Microseconds, for a table.
pub(crate) fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

/// Milliseconds, for a table.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// How many times `time` is of `other`.
pub(crate) fn ratio(time: Duration, other: Duration) -> f64 {
    time.as_secs_f64() / other.as_secs_f64().max(1e-12)
}

/// How many times `time` is of `other`, for a table.
pub(crate) fn times(time: Duration, other: Duration) -> String {
    format!("{:.2}", ratio(time, other))
}

/// What `/proc/<process>/status` says of `field`, in megabytes (10⁶).
pub(crate) fn memory(process: &str, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

/// The seconds that a process was given by its processors so far, and whether it has ended.
pub(crate) fn processor_seconds(process: &str) -> (f64, bool) {
    /// What the kernel counts in, a hundredth of a second on every machine that Linux runs on today.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    ((ticks(11) + ticks(12)) / TICKS_A_SECOND, fields[0] == "Z")
}

/// How often this thread has had to leave its processor to another.
pub(crate) fn interruptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or_default()
}

/// The processor, how many there are, and how busy they were before.
pub(crate) fn machine() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{}; load {load}", processors())
}

/// The processor, and how many there are.
pub(crate) fn processors() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    format!("{processors} × {model}")
}

/// Prints a table in Markdown, the numbers to the right.
#[allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
pub(crate) fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(String::as_str);
        cells
            .chain([head[at]])
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(at, cell)| {
            let width = width(at);
            if at == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    println!("\n{title} ({})\n", machine());
    println!("{}", line(head.to_vec()));
    let rules = head.iter().enumerate().map(|(at, _)| {
        if at == 0 {
            "-".repeat(width(at))
        } else {
            format!("{}:", "-".repeat(width(at) - 1))
        }
    });
    println!("| {} |", rules.collect::<Vec<_>>().join(" | "));
    for row in rows {
        println!("{}", line(row.iter().map(String::as_str).collect()));
    }
}
