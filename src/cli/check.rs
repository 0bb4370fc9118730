//! `lanekeeper check`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;

use super::{CLEAN, FAILED, FOUND, complain};
use crate::files::{self, Files};
use crate::report::{Report, Reported, write_json, write_text};
use crate::rule::{self, Check, Finding, Level, RULES, Rule};
use crate::symbol::Symbol;
use crate::verdict::{Occasion, Settings, Standing, allow_of, verdict};
use crate::world::{Settings as MeshSettings, View, World};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lanekeeper check k8s/                      a directory
  helm template . | lanekeeper check -       standard input
  lanekeeper check base.yaml change.yaml     of an object in both, the later one counts
  lanekeeper check -o json k8s/ > lanes.json
  lanekeeper check --partial routes/         files that are a part of what is deployed")]
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
    /// Only these rules, by code or name, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    select: Vec<String>,
    /// Not these rules
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    ignore: Vec<String>,
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
enum Output {
    /// For people
    Text,
    /// For programs; its fields only grow in number
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Deny,
    Warn,
}

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    let rules = chosen(&args.select, &args.ignore)?;
    let files = files::load(&args.paths, Some(&args.namespace));
    let world = files.world(args.mesh.settings());
    let settings = Settings {
        multi_cluster: args.mesh.multi_cluster,
        ..Settings::default()
    };
    let report = judge(&files, &world, &rules, args.partial, &settings);
    for note in &files.notes {
        complain(&format!("note: {note}"));
    }
    if files.count() == 0 && files.problems.is_empty() {
        complain("note: there is no .yaml, .yml or .json file to check");
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match args.output {
        Output::Text => write_text(&report, colour, &mut out),
        Output::Json => write_json(&report, &mut out),
    };
    written
        .and_then(|()| out.flush())
        .context("the report could not be written")?;
    let fails =
        report.count(Level::Deny) > 0 || (args.fail_on == FailOn::Warn && report.count(Level::Warn) > 0);
    Ok(match (report.problems.is_empty(), fails) {
        (false, _) => FAILED,
        (true, true) => FOUND,
        (true, false) => CLEAN,
    })
}

/// The rules that `select` names, or all, without those that `ignore` names.
fn chosen(select: &[String], ignore: &[String]) -> anyhow::Result<Vec<Rule>> {
    let find = |name: &String| {
        rule::find(name).copied().ok_or_else(|| {
            anyhow::anyhow!("no rule has the code or name `{name}`; `lanekeeper rules` lists them")
        })
    };
    let ignored = ignore.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
    let mut rules = select.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
    if rules.is_empty() {
        rules = RULES.to_vec();
    }
    rules.sort_by_key(|rule| rule.code);
    rules.dedup_by_key(|rule| rule.code);
    rules.retain(|rule| ignored.iter().all(|ignored| ignored.code != rule.code));
    Ok(rules)
}

/// All findings on the objects of the files.
fn judge(files: &Files, world: &World, rules: &[Rule], partial: bool, settings: &Settings) -> Report {
    let mut report = Report {
        problems: files.problems.iter().map(ToString::to_string).collect(),
        files: files.count(),
        objects: files.objects.len(),
        skipped: files.skipped,
        ..Report::default()
    };
    let view = View::new(world);
    let check = Check::new(&view, None);
    for object in &files.objects {
        let Some(resource) = world.get(&object.resource.reference()) else {
            continue;
        };
        let allow = allow_of(&resource.meta().annotations);
        let standing = Standing {
            mode: None,
            allows: allow.iter().map(|(codes, _)| *codes).collect(),
        };
        for finding in check.object(rules, resource) {
            let level = verdict(&finding, &standing, &Occasion::Files { partial }, settings);
            if level == Level::Off {
                report.suppressed += 1;
                continue;
            }
            let Finding { path, .. } = &finding;
            let place = Some(files.place(object, path));
            report.findings.push(Reported {
                finding,
                level,
                api_version: object.api_version.clone(),
                place,
            });
        }
    }
    report.sort();
    report
}
