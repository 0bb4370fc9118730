//! `lanekeeper check`.

mod judge;
mod since;
mod watch;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;

pub(super) use self::judge::Judging;
use self::since::files_at;
use self::watch::watch;
use super::cluster::Cluster;
use super::input::Input;
use super::progress::shown;
use super::{complain, exit_code, write_whole};
use crate::files::{Files, Reader};
use crate::progress::Progress;
use crate::report::{
    Look, Report, number, read_baseline, write_baseline, write_github, write_json, write_junit,
    write_oneline, write_sarif, write_text,
};
use crate::rule::{self, Level, RULES, Rule, Tally};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 clean, 1 findings at deny level (with --fail-on warn, at warn level too), 2 it
cannot run, or a file cannot be read or applied; the rest is checked all the same.

Examples:
  lanekeeper check k8s/                      a directory
  kustomize build . | lanekeeper check -     standard input
  lanekeeper check base.yaml change.yaml     of an object in both, the later one counts
  lanekeeper check --partial routes/         files that are a part of what is deployed
  lanekeeper check --select LK1,LK301 k8s/   the rules on subsets, hosts and ports, and one more
  lanekeeper check --exclude '*.tmpl.yaml' --exclude k8s/old k8s/
  lanekeeper check --write-baseline lanes.json k8s/
  lanekeeper check --baseline lanes.json k8s/    only what is new
  lanekeeper check --since origin/main k8s/  only what this branch has made wrong
  lanekeeper check --watch k8s/              again whenever a file has changed
  lanekeeper check --cluster                 what runs, by the rights of your kubeconfig
  lanekeeper check --cluster change.yaml     what would run with a change
  lanekeeper check -o json k8s/ > lanes.json
  lanekeeper check -o sarif k8s/ > lanes.sarif
  lanekeeper check -o oneline k8s/           for an editor's list of errors")]
pub(super) struct Args {
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The level from which findings make the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Deny)]
    fail_on: FailOn,
    /// Only these rules, by code, start of a code or name, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    select: Vec<String>,
    /// Not these rules
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    ignore: Vec<String>,
    /// Only what this file does not have counts; --write-baseline writes it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write what is found into this file, and call it no failure
    #[arg(long, value_name = "FILE", conflicts_with_all = ["baseline", "since", "watch"])]
    write_baseline: Option<PathBuf>,
    /// Only what was not wrong at this revision of git counts
    #[arg(long, value_name = "REV")]
    since: Option<String>,
    /// Check again whenever a file has changed, until ctrl-c
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(clippy::doc_markdown, reason = "the text is help on a terminal, not Markdown")]
enum Output {
    /// For people
    Text,
    /// For programs; its fields only grow in number (docs/schema/check.json)
    Json,
    /// For code scanning: SARIF 2.1.0
    Sarif,
    /// For CI servers: JUnit XML
    Junit,
    /// For GitHub: annotations beside the lines of a change
    Github,
    /// For editors: file:line:column: level[code] message
    Oneline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Deny,
    Warn,
}

impl FailOn {
    fn level(self) -> Level {
        match self {
            Self::Deny => Level::Deny,
            Self::Warn => Level::Warn,
        }
    }
}

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    for (flag, is_given) in [("--since", args.since.is_some()), ("--watch", args.watch)] {
        ensure!(
            !is_given || !args.input.paths.is_empty(),
            "{flag} is about files; name files or directories"
        );
    }
    let rules = chosen(&args.select, &args.ignore)?;
    let reader = args.input.reader()?;
    let file = args.input.configuration_file();
    let once = || check(args, file.as_deref(), &rules, colour);
    if args.watch {
        watch(&args.input.paths, file.as_deref(), &reader, once)
    } else {
        once()
    }
}

/// One run, from the configuration and the files to the report.
fn check(args: &Args, file: Option<&Path>, rules: &[Rule], colour: bool) -> anyhow::Result<u8> {
    let (config, reader) = args.input.configured(file)?;
    let settings = args.input.configuration.settings(&config);
    let progress = Progress::default();
    let reader = Reader {
        progress: Some(&progress),
        ..reader
    };
    let mut known = match &args.baseline {
        Some(file) => baseline(file)?,
        None => Tally::default(),
    };
    let (files, mut report, before, cluster) = shown(&progress, || {
        let configuration = &args.input.configuration;
        let cluster = args.cluster.load(configuration, &config, &progress)?;
        let cluster_partial = cluster.as_ref().is_some_and(|cluster| !cluster.is_whole);
        let judging = Judging {
            rules,
            partial: args.input.partial || cluster_partial,
            settings: &settings,
            cluster: cluster.as_ref(),
            progress: &progress,
        };
        let world_of = |files: &Files| configuration.world_over(&config, files, cluster.as_ref());
        let files = reader.load(&args.input.paths);
        let report = judging.report(&files, &world_of(&files));
        let before = args.since.as_ref().map(|revision| {
            let files = files_at(revision, &args.input.paths, &reader)?;
            anyhow::Ok(judging.tally(&files, &world_of(&files)))
        });
        anyhow::Ok((files, report, before, cluster))
    })?;
    for note in cluster.iter().flat_map(|cluster| &cluster.notes) {
        complain(&format!("note: {note}"));
    }
    if let Some(file) = &args.write_baseline {
        return write(file, &report);
    }
    report.leave_new(&mut known);
    let mended: usize = known.iter().map(|(_, count)| count).sum();
    if let Some(mut before) = before.transpose()? {
        report.leave_new(&mut before);
    }
    if let Some(file) = args.baseline.as_ref().filter(|_| mended > 0) {
        complain(&format!(
            "note: {mended} of the findings in {0} are gone; --write-baseline {0} forgets them",
            file.display()
        ));
    }
    for note in &files.notes {
        complain(&format!("note: {note}"));
    }
    if files.count() == 0 && files.problems.is_empty() && !args.input.paths.is_empty() {
        complain("note: there is no .yaml, .yml or .json file to check");
    }
    print(args, &report, &files, colour).context("the report could not be written")?;
    let is_found = report
        .findings
        .iter()
        .any(|reported| reported.level >= args.fail_on.level());
    Ok(exit_code(!report.problems.is_empty(), is_found))
}

/// What `--baseline` has.
fn baseline(file: &Path) -> anyhow::Result<Tally> {
    let name = || format!("--baseline {}", file.display());
    let bytes = fs::read(file).with_context(|| format!("{}: --write-baseline makes one", name()))?;
    read_baseline(&bytes).with_context(name)
}

/// Writes what is found as what is known from now on, whole or not at all.
fn write(file: &Path, report: &Report) -> anyhow::Result<u8> {
    let found = report.findings.iter().map(|reported| &reported.finding);
    let mut bytes = Vec::new();
    write_baseline(&Tally::of(found), &mut bytes)?;
    write_whole(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    for problem in &report.problems {
        complain(&problem.to_string());
    }
    let found = number(report.findings.len(), "finding");
    complain(&format!("wrote {found} to {}", file.display()));
    Ok(exit_code(!report.problems.is_empty(), false))
}

/// Writes the report to standard output.
fn print(args: &Args, report: &Report, files: &Files, colour: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.output {
        Output::Text => {
            let look = Look {
                colour,
                columns: columns(),
            };
            write_text(report, files, look, &mut out)?;
        }
        Output::Json => write_json(report, &mut out)?,
        Output::Sarif => write_sarif(report, &mut out)?,
        Output::Junit => write_junit(report, args.fail_on.level(), &mut out)?,
        Output::Github => write_github(report, &mut out)?,
        Output::Oneline => write_oneline(report, &mut out)?,
    }
    out.flush()
}

/// How wide the terminal is that standard output goes to.
fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.0.into())
}

/// The rules that `select` names, or all, without those that `ignore` names.
fn chosen(select: &[String], ignore: &[String]) -> anyhow::Result<Vec<Rule>> {
    let all_named = |names: &[String]| -> anyhow::Result<Vec<Rule>> {
        let found = names.iter().map(|name| rule::named(name));
        Ok(found.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let ignored = all_named(ignore)?;
    let mut rules = all_named(select)?;
    if select.is_empty() {
        rules = RULES.to_vec();
    }
    rules.sort_by_key(|rule| rule.code);
    rules.dedup_by_key(|rule| rule.code);
    rules.retain(|rule| ignored.iter().all(|ignored| ignored.code != rule.code));
    Ok(rules)
}
