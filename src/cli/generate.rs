//! `lanekeeper generate`.

mod write;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use similar::TextDiff;

use self::write::write_files;
use super::input::Input;
use super::{complain, exit_code};
use crate::files::{FileObject, Files};
use crate::generate::{EntryPoint, Generated, ORDER, Options, comparable, generate};
use crate::report::number;
use crate::resource::{LaneGroup, ObjectRef, Resource};
use crate::yaml;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of each LaneGroup in the files, and of the services and workloads there, it makes: a
DestinationRule a service, with a subset for each lane; a VirtualService a service for callers in
the mesh, with a route for each lane and, unless the group says withoutHeader: Reject, one for
requests without the lane header; the routes at the group's gateways, which set the lane header;
and the WasmPlugin. With completeness: Fallback the default lane stands in where a service lacks
one.

An object that is there for the same host, gateway or lane header is made anew under its own name.
It keeps its labels and annotations, policies, hosts, paths, timeouts, and the routes and subsets
that are of no lane; a note on standard error tells what it does not keep.

Exit codes: 0 done, 1 a service lacks a lane that the group promises (what can be made is printed
all the same; with --partial it is only told), or with --diff: something differs, 2 it cannot run
or a file cannot be read.

Examples:
  lanekeeper generate k8s/                   to standard output
  lanekeeper generate k8s/ | kubectl apply -f -
  lanekeeper generate --output-dir k8s/lanes k8s/    a file an object, for GitOps
  lanekeeper generate --diff k8s/            what differs from what is there
  lanekeeper generate --entry-service portal --entry-host cars.example.com k8s/
  lanekeeper generate --group shop/blue-green -o json k8s/")]
pub(super) struct Args {
    /// Only this lane group; without it, each in the files
    #[arg(long, value_name = "NAMESPACE/NAME")]
    group: Option<String>,
    /// The service that the group's gateways are to lead to, if nothing does yet, with or without its port
    #[arg(long, value_name = "NAME[:PORT]", requires = "entry_host")]
    entry_service: Option<String>,
    /// A host that the gateways take for it
    #[arg(long, value_name = "HOST", requires = "entry_service")]
    entry_host: Vec<String>,
    /// Where the sidecars get the lane filter [default: as it is, else Lanekeeper's own service]
    #[arg(long, value_name = "URL")]
    plugin_url: Option<String>,
    /// How to print the objects
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
    /// Write a file an object into this directory, which is made if it is not there; either all of them or none
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "diff"])]
    output_dir: Option<PathBuf>,
    /// Also over files there that it did not make
    #[arg(long, requires = "output_dir")]
    force: bool,
    /// Print how what is there differs from what would be made; the exit code is then 1
    #[arg(long, conflicts_with = "output")]
    diff: bool,
    #[command(flatten)]
    input: Input,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A document an object
    Yaml,
    /// One List of all
    Json,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let file = args.input.configuration_file();
    let (config, reader) = args.input.configured(file.as_deref())?;
    let files = reader.load(&args.input.paths);
    for note in &files.notes {
        complain(&format!("note: {note}"));
    }
    for problem in files.errors() {
        complain(&problem.to_string());
    }
    // What was not read would be taken for what is not there.
    ensure!(
        files.errors().next().is_none(),
        "nothing is made from what cannot be read whole"
    );
    let world = args.input.configuration.world(&config, &files);
    let groups = chosen(args, &files)?;
    let entry = entry(args)?;
    if let (Some(_), [_, _, ..]) = (&entry, groups.as_slice()) {
        bail!("--entry-service is for one lane group, and there are several: --group says which");
    }
    let written = |reference: &ObjectRef| files.json(object(&files, reference)?);
    let options = Options {
        plugin_url: args.plugin_url.clone(),
        entry,
    };
    let made = generate(&world, &written, &groups, &options)?;
    for note in &made.notes {
        complain(&format!("note: {}", note.text));
    }
    let lacks = !args.input.partial && made.notes.iter().any(|note| note.is_lacking);
    let differs = match (&args.output_dir, args.diff) {
        (Some(folder), _) => {
            let title = groups.iter().map(|group| group.group().title());
            let title = title.collect::<Vec<_>>().join(", ");
            let stale = write_files(folder, &texts(&made), &title, args.force)?;
            for name in stale {
                complain(&format!("note: {name} is not made any more: delete it"));
            }
            complain(&format!(
                "wrote {} to {}",
                number(made.objects.len(), "object"),
                folder.display()
            ));
            false
        }
        (None, true) => print_differences(&made, &written).context("the differences could not be written")?,
        (None, false) => {
            print(args, &made).context("the objects could not be written")?;
            false
        }
    };
    Ok(exit_code(false, lacks || differs))
}

/// The object of the files that the reference names.
fn object<'f>(files: &'f Files, reference: &ObjectRef) -> Option<&'f FileObject> {
    let mut objects = files.objects.iter();
    objects.find(|object| object.resource.reference() == *reference)
}

/// The lane groups that are asked for, by namespace and name.
fn chosen<'f>(args: &Args, files: &'f Files) -> anyhow::Result<Vec<&'f LaneGroup>> {
    let groups = files.objects.iter().filter_map(|object| match &object.resource {
        Resource::LaneGroup(group) => Some(&**group),
        _ => None,
    });
    let mut groups: Vec<&LaneGroup> = groups.collect();
    groups.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
    ensure!(
        !groups.is_empty(),
        "there is no LaneGroup in the files; docs/lane-groups.md has one, and `lanekeeper crd` its definition"
    );
    if let Some(wanted) = &args.group {
        let names: Vec<String> = groups.iter().map(|group| name_of(group)).collect();
        groups.retain(|group| name_of(group) == *wanted);
        ensure!(
            !groups.is_empty(),
            "there is no LaneGroup {wanted} in the files; there is {}",
            names.join(", ")
        );
    }
    Ok(groups)
}

fn name_of(group: &LaneGroup) -> String {
    format!("{}/{}", group.meta.namespace, group.meta.name)
}

fn entry(args: &Args) -> anyhow::Result<Option<EntryPoint>> {
    let Some(service) = &args.entry_service else {
        return Ok(None);
    };
    let (service, port) = match service.split_once(':') {
        None => (service.as_str(), None),
        Some((service, port)) => {
            let port = port.parse::<u16>();
            let port = port.with_context(|| format!("--entry-service {service}: the port is no number"))?;
            (service, Some(u32::from(port)))
        }
    };
    Ok(Some(EntryPoint {
        service: service.to_owned(),
        port,
        hosts: args.entry_host.clone(),
    }))
}

/// The objects as YAML, each with what it is.
fn texts(made: &Generated) -> Vec<(&ObjectRef, String)> {
    let objects = made.objects.iter();
    objects
        .map(|(reference, object)| (reference, yaml::write(object, ORDER)))
        .collect()
}

fn print(args: &Args, made: &Generated) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.output {
        Output::Yaml => {
            for (at, (_, text)) in texts(made).iter().enumerate() {
                if at > 0 {
                    out.write_all(b"---\n")?;
                }
                out.write_all(text.as_bytes())?;
            }
        }
        Output::Json => {
            let items: Vec<&Value> = made.objects.values().collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            serde_json::to_writer_pretty(&mut out, &list)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// Prints how each object differs from the one that is there, and tells whether any does.
fn print_differences(made: &Generated, written: &dyn Fn(&ObjectRef) -> Option<Value>) -> io::Result<bool> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut differs = false;
    for (reference, new) in texts(made) {
        let known = written(reference);
        let old = known.map(|known| yaml::write(&comparable(reference, &known), ORDER));
        let name = reference.to_string();
        let before = if old.is_some() { name.as_str() } else { "/dev/null" };
        let old = old.unwrap_or_default();
        if old != new {
            differs = true;
            let diff = TextDiff::from_lines(&old, &new);
            write!(out, "{}", diff.unified_diff().header(before, &name))?;
        }
    }
    out.flush()?;
    Ok(differs)
}
