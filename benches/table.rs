//! The table of `make bench`: what the other benchmarks have handed over, with what the machine is.
//!
//! It is printed, and written into `docs/performance.md` between two marks; a quick run is only printed. The line of the
//! program itself is made here: its size, and whether it needs another program to be loaded.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and fails by a panic that says why"
)]

mod measure;

use std::fs;
use std::path::Path;
use std::process::Command;

use measure::{LINES, Line, folder, is_quick, processors};

/// Between these the page has the table.
const MARKS: [&str; 2] = ["<!-- make bench -->", "<!-- end of make bench -->"];

fn main() {
    // Where all benchmarks are run at once, there is no table to make.
    let Some(folder) = folder() else { return };
    binary(&folder.join("lanekeeper")).hand_over();
    let row = |cells: [&str; 6]| format!("| {} |", cells.join(" | "));
    let lines = fs::read_to_string(folder.join(LINES)).unwrap();
    let lines = lines.lines().map(|line| {
        let line: Line = serde_json::from_str(line).unwrap();
        let is_reached = match line.is_reached {
            // The worlds are not those that it is about.
            _ if is_quick() => "quick run",
            true => "yes",
            false => "**no**",
        };
        row([
            &line.work,
            &line.measured,
            &line.beside,
            &line.ratio,
            &line.reach,
            is_reached,
        ])
    });
    let head = [
        row(["work", "measured", "beside", "ratio", "reach", "reached?"]),
        row(["---"; 6]),
    ];
    let table: Vec<String> = head.into_iter().chain(lines).collect();
    let text = format!("{}\n\n{}\n", facts(&folder), table.join("\n"));
    println!("{text}");
    if !is_quick() {
        write(&text);
    }
}

/// The program as it is in the image.
fn binary(path: &Path) -> Line {
    let bytes = fs::read(path).unwrap();
    #[allow(clippy::cast_precision_loss, reason = "it is far smaller than 2^52 bytes")]
    let megabytes = bytes.len() as f64 / 1e6;
    let is_static = !has_interpreter(&bytes);
    let how = if is_static { "static" } else { "dynamic" };
    Line {
        work: "release binary".to_owned(),
        measured: format!("{megabytes:.1} MB, {how}"),
        beside: String::new(),
        ratio: String::new(),
        reach: "≤ 20 MB, static".to_owned(),
        is_reached: megabytes <= 20.0 && is_static,
    }
}

/// Whether a 64-bit little-endian ELF file names a program that has to load it (a `PT_INTERP` header, elf(5)).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: usize = 3;
    let number = |at: usize, length: usize| {
        let bytes = &elf[at..at + length];
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|at| number(first + at * size, 4) == PT_INTERP)
}

/// When, of what, and on which machine.
fn facts(folder: &Path) -> String {
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let commit = said(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    let is_changed =
        !said(Command::new("git").args(["status", "--porcelain", "--untracked-files=no"])).is_empty();
    let commit = if is_changed {
        format!("{commit}, changed")
    } else {
        commit
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string(folder.join("load")).unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    format!(
        "{date}, commit {commit}; {}; Linux {}; load before it {load}",
        processors(),
        kernel.trim()
    )
}

/// Writes the table into the page.
fn write(text: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let old = fs::read_to_string(&page).unwrap();
    let (before, rest) = old.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let [begin, end] = MARKS;
    fs::write(page, format!("{before}{begin}\n{text}{end}{after}")).unwrap();
}
