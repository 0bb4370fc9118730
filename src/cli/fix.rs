//! `lanekeeper fix`.

mod engine;
mod plan;
mod write;

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use similar::TextDiff;

use self::engine::{Engine, Outcome};
use self::write::replace;
use super::input::Input;
use super::{complain, exit_code};
use crate::files::{Files, STDIN};
use crate::report::number;
use crate::rule::Level;

/// Arguments of `fix`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --unsafe-fixes only gateway routes are rewritten, as the webhook would: the lane header
is set where requests enter a lane group, and templates of another program become Envoy's. Format,
comments and all other documents stay as they are. The annotation lanekeeper.dev/rewrite: \"false\"
on a VirtualService leaves it as it is.

Everything is checked again before it is written: a change that would bring a new finding, or that
cannot be made without changing more of the text, is not made, and what to write is printed.

Exit codes: 0 done, 1 findings at deny level are left (with --diff: something would change),
2 it cannot run or a file cannot be read or written; the rest is done all the same.

Examples:
  lanekeeper fix k8s/                        a directory
  lanekeeper fix --diff k8s/                 only show what would change
  lanekeeper fix --unsafe-fixes k8s/         slips in names and labels too
  kustomize build . | lanekeeper fix -       the mended text goes to standard output")]
pub(super) struct Args {
    /// Write nothing, print what would change; the exit code is then 1
    #[arg(long)]
    diff: bool,
    /// Mend what has to be guessed, too: near misses of lanes, subsets, hosts and labels, missing default routes, and missing subsets whose workloads are there
    #[arg(long)]
    unsafe_fixes: bool,
    #[command(flatten)]
    input: Input,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let file = args.input.configuration_file();
    let (config, reader) = args.input.configured(file.as_deref())?;
    let files = reader.load(&args.input.paths);
    for note in &files.notes {
        complain(&format!("note: {note}"));
    }
    let engine = Engine {
        reader: &reader,
        input: &args.input,
        config: &config,
        settings: args.input.configuration.settings(&config),
        with_guesses: args.unsafe_fixes,
    };
    let sources = files.sources();
    let before: Vec<(String, String)> = sources
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let mut outcome = engine.mend(files);
    let changed = changed(&before, &outcome.state.files);
    let unwritten = if args.diff {
        Vec::new()
    } else {
        write_files(&changed)
    };
    outcome.done.retain(|fix| !unwritten.contains(&fix.file));
    print(args, &outcome, &changed).context("what was done could not be written")?;
    let is_found = if args.diff {
        !changed.is_empty()
    } else {
        let mut left = outcome.state.report.findings.iter();
        left.any(|left| left.level == Level::Deny)
    };
    let fails = !unwritten.is_empty() || !outcome.state.report.problems.is_empty();
    Ok(exit_code(fails, is_found))
}

/// A file with its text as it is, and as it is to be.
type Changed<'f> = (&'f str, &'f str, &'f str);

/// Writes the files, and gives the names of those that could not be written.
fn write_files(changed: &[Changed<'_>]) -> Vec<String> {
    let mut failed = Vec::new();
    for (name, old, new) in changed.iter().filter(|(name, ..)| *name != STDIN) {
        if let Err(error) = replace(name, old, new) {
            complain(&format!("{name} is left as it is: {error:#}"));
            failed.push((*name).to_owned());
        }
    }
    failed
}

/// Prints the differences, or the mended text of standard input, and for people what was done. What a program reads
/// stands alone on standard output.
fn print(args: &Args, outcome: &Outcome, changed: &[Changed<'_>]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = told(args, outcome);
    if args.diff {
        for (name, old, new) in changed {
            write_diff(&mut out, name, old, new)?;
        }
    } else if args.input.paths.iter().any(|path| path == Path::new(STDIN)) {
        let text = outcome.state.files.text(STDIN).unwrap_or_default();
        out.write_all(text.as_bytes())?;
    } else {
        out.write_all(told.as_bytes())?;
        return out.flush();
    }
    out.flush()?;
    io::stderr().lock().write_all(told.as_bytes())
}

/// The files whose text is another one after.
fn changed<'f>(before: &'f [(String, String)], after: &'f Files) -> Vec<Changed<'f>> {
    let both = before.iter().zip(after.sources());
    both.map(|((name, old), (_, new))| (name.as_str(), old.as_str(), new))
        .filter(|(_, old, new)| old != new)
        .collect()
}

fn write_diff(out: &mut impl io::Write, name: &str, old: &str, new: &str) -> io::Result<()> {
    let diff = TextDiff::from_lines(old, new);
    write!(out, "{}", diff.unified_diff().header(name, name))
}

/// What was done and what was not, for people.
fn told(args: &Args, outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    let done = if args.diff { "would be fixed" } else { "fixed" };
    for fix in &outcome.done {
        let (file, object, source) = (&fix.file, &fix.object, fix.source);
        lines.push(format!("{file}: {done}: {object} {} ({source})", fix.in_short()));
    }
    for (fix, why) in &outcome.refused {
        let (file, object, source) = (&fix.file, &fix.object, fix.source);
        lines.push(format!(
            "{file}: not fixed: {object} ({source}): {why}; what it takes:"
        ));
        let written = fix.lines.iter().flat_map(|text| text.lines());
        lines.extend(written.map(|line| format!("    {line}")));
    }
    let report = &outcome.state.report;
    lines.extend(report.problems.iter().map(ToString::to_string));
    let mut files: Vec<&str> = outcome.done.iter().map(|fix| fix.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let files = number(files.len(), "file");
    let suggested = report
        .findings
        .iter()
        .filter(|left| left.finding.suggestion.is_some());
    let more = match suggested.count() {
        more if more > 0 && !args.unsafe_fixes => format!(" ({more} of them for --unsafe-fixes)"),
        _ => String::new(),
    };
    let left = report.findings.len();
    lines.push(format!(
        "{} {done} in {files}, {left} left{more}",
        outcome.done.len()
    ));
    lines.join("\n") + "\n"
}
