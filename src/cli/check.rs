//! `lanekeeper check`.

mod judge;
mod progress;
mod watch;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;

use self::judge::judge;
use self::progress::shown;
use self::watch::watch;
use super::{CLEAN, FAILED, FOUND, complain};
use crate::files::{Exclude, Files, Reader};
use crate::progress::Progress;
use crate::report::{
    Look, Report, write_github, write_json, write_junit, write_oneline, write_sarif, write_text,
};
use crate::rule::{self, Level, RULES, Rule};
use crate::symbol::Symbol;
use crate::verdict::Settings;
use crate::world::Settings as MeshSettings;

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
  lanekeeper check --watch k8s/              again whenever a file has changed
  lanekeeper check -o json k8s/ > lanes.json
  lanekeeper check -o sarif k8s/ > lanes.sarif
  lanekeeper check -o oneline k8s/           for an editor's list of errors")]
pub(super) struct Args {
    /// Files, directories, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
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
    /// Not these files and directories: names anywhere (test, *.tmpl.yaml) or paths (k8s/old, k8s/**/test)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Check again whenever a file has changed, until ctrl-c
    #[arg(long)]
    watch: bool,
    /// The files are a part of what will be there: what is only missing warns
    #[arg(long)]
    partial: bool,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    mesh: Mesh,
}

/// What is fixed about the mesh.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Mesh {
    /// The cluster's domain: services are NAME.NAMESPACE.svc.DOMAIN
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// Istio's root namespace [default: istio-system, or what the mesh configuration there names]
    #[arg(long, value_name = "NAMESPACE")]
    root_namespace: Option<String>,
    /// Other clusters may have what is missing here: such findings warn at most
    #[arg(long)]
    pub(super) multi_cluster: bool,
}

impl Mesh {
    pub(super) fn settings(&self) -> MeshSettings {
        let default = MeshSettings::default();
        let root = self.root_namespace.as_deref().map(Symbol::new);
        MeshSettings {
            cluster_domain: self.cluster_domain.as_str().into(),
            is_root_given: root.is_some(),
            root_namespace: root.unwrap_or(default.root_namespace),
        }
    }
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
    let rules = chosen(&args.select, &args.ignore)?;
    let progress = Progress::default();
    let reader = Reader {
        namespace: Some(&args.namespace),
        exclude: Exclude::new(args.exclude.iter().map(String::as_str)).context("--exclude")?,
        progress: Some(&progress),
    };
    let once = || check(args, &rules, &reader, &progress, colour);
    if args.watch {
        watch(&args.paths, &reader, once)
    } else {
        once()
    }
}

/// One run, from the files to the report.
fn check(
    args: &Args,
    rules: &[Rule],
    reader: &Reader<'_>,
    progress: &Progress,
    colour: bool,
) -> anyhow::Result<u8> {
    let settings = Settings {
        multi_cluster: args.mesh.multi_cluster,
        ..Settings::default()
    };
    let (files, report) = shown(progress, || {
        let files = reader.load(&args.paths);
        let world = files.world(args.mesh.settings());
        let report = judge(&files, &world, rules, args.partial, &settings, progress);
        (files, report)
    });
    for note in &files.notes {
        complain(&format!("note: {note}"));
    }
    if files.count() == 0 && files.problems.is_empty() {
        complain("note: there is no .yaml, .yml or .json file to check");
    }
    print(args, &report, &files, colour).context("the report could not be written")?;
    let fails = report
        .findings
        .iter()
        .any(|reported| reported.level >= args.fail_on.level());
    Ok(match (report.problems.is_empty(), fails) {
        (false, _) => FAILED,
        (true, true) => FOUND,
        (true, false) => CLEAN,
    })
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
        let found = names.iter().map(|name| named(name));
        Ok(found.collect::<anyhow::Result<Vec<_>>>()?.concat())
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

/// The rule of this code or name, or the rules whose codes start so: `LK1`.
fn named(name: &str) -> anyhow::Result<Vec<Rule>> {
    if let Some(rule) = rule::find(name) {
        return Ok(vec![*rule]);
    }
    let start = name.to_ascii_uppercase();
    let starts_so = |rule: &&Rule| start.starts_with("LK") && rule.code.starts_with(&start);
    let rules: Vec<Rule> = RULES.iter().filter(starts_so).copied().collect();
    anyhow::ensure!(
        !rules.is_empty(),
        "no rule has the code or name `{name}`; `lanekeeper rules` lists them"
    );
    Ok(rules)
}
