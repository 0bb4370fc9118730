//! The command line: each command reads its arguments, asks the layers below, and prints.

mod check;
mod cluster;
mod completions;
mod configuration;
mod crd;
mod decisions;
mod fix;
mod generate;
mod input;
mod looking;
mod matrix;
mod plugin;
mod progress;
mod rules;
mod serve;
mod submit;
mod trace;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::text::plain;
use crate::version;

/// Nothing was found.
const CLEAN: u8 = 0;
/// Something was found at deny level.
const FOUND: u8 = 1;
/// It could not be done, or a file could not be read.
const FAILED: u8 = 2;

/// Keeps every request in its lane: checks and admission for Istio traffic lanes.
#[derive(Debug, Parser)]
#[command(name = "lanekeeper", version = version::BOTH, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lanekeeper check k8s/                        every rule on the manifests of a directory
  kustomize build . | lanekeeper check -       on what a tool renders
  lanekeeper check --cluster                   on what the cluster has
  lanekeeper fix --diff k8s/                   what can be mended, as a diff
  lanekeeper generate k8s/                     routes and subsets from a LaneGroup
  lanekeeper matrix k8s/                       what each lane reaches
  lanekeeper trace --url http://cars.example/ -H 'buid: wicph' k8s/
                                               one request, and why it goes where it goes
  lanekeeper serve --manifests examples/cars   the webhook, on a world from files
  lanekeeper decisions --denied decisions.jsonl
                                               who was refused, and for what
  lanekeeper rules LK101                       what a rule proves, and why";

#[derive(Debug, Subcommand)]
#[allow(clippy::doc_markdown, reason = "the text is help on a terminal, not Markdown")]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, for as long as the process runs"
)]
enum Command {
    /// Check manifests or a cluster: exit code 0 clean, 1 findings at deny level, 2 something could not be read or applied
    Check(check::Args),
    /// Mend manifests: write what the checks and the webhook would ask for into the files
    Fix(fix::Args),
    /// Make DestinationRules, VirtualServices and the WasmPlugin from a LaneGroup, its services and workloads
    Generate(generate::Args),
    /// Show what each lane reaches: every member service and way in, with one simulated request a lane
    Matrix(matrix::Args),
    /// Follow one request from hop to hop: which routes take it, what the lane filter writes, who answers
    Trace(trace::Args),
    /// Run the webhook, on a cluster or on a world from files
    Serve(serve::Args),
    /// Send objects to a running server and print what kubectl would
    Submit(submit::Args),
    /// Show what the decision log of `serve` has: who was refused, for what, how often, and how fast
    Decisions(decisions::Args),
    /// List the rules, or explain one
    Rules(rules::Args),
    /// Print the CustomResourceDefinition of LaneGroup
    #[command(after_help = "Example:\n  lanekeeper crd | kubectl apply --server-side -f -")]
    Crd,
    /// Print completions for a shell
    Completions(completions::Args),
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(clippy::doc_markdown, reason = "the text is help on a terminal, not Markdown")]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Colour {
    fn on_stdout(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let command = match plugin::called_as() {
        Some(name) => plugin::renamed(Cli::command(), name),
        None => Cli::command(),
    };
    let cli = match Cli::from_arg_matches(&command.get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Check(args) => check::run(&args, cli.color.on_stdout()),
        Command::Fix(args) => fix::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Matrix(args) => matrix::run(&args, cli.color.on_stdout()),
        Command::Trace(args) => trace::run(&args, cli.color.on_stdout()),
        Command::Serve(args) => serve::run(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Decisions(args) => decisions::run(&args, cli.color.on_stdout()),
        Command::Rules(args) => rules::run(&args),
        Command::Crd => crd::run(),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads has seen enough (`lanekeeper rules | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::from(CLEAN),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// The runtime for commands that talk to others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A length of time, as in `90s`, `12h` or `365d`: a day has 24 hours.
fn length_of_time(text: &str) -> Result<jiff::SignedDuration, jiff::Error> {
    let span: jiff::Span = text.parse()?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
}

/// Where `serve` leaves the authority of a certificate that it made, for `submit`: the user's own state.
fn ca_file() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let state = state.context("neither XDG_STATE_HOME nor HOME is set; name a file with --ca-file")?;
    Ok(state.join("lanekeeper").join("ca.crt"))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Writes a file whole or not at all. Where a link leads, or a device, stays one.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if fs::metadata(&file).is_ok_and(|meta| !meta.is_file()) {
        return fs::write(&file, bytes);
    }
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, file))
        .inspect_err(|_| {
            // It may not even have been made.
            let _ = fs::remove_file(&new);
        })
}

/// The exit code of a command that could not do all of its work, or that found something, or neither.
fn exit_code(fails: bool, is_found: bool) -> u8 {
    match (fails, is_found) {
        (true, _) => FAILED,
        (false, true) => FOUND,
        (false, false) => CLEAN,
    }
}

/// Says on standard error what went wrong.
fn complain(message: &str) {
    use io::Write as _;
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "lanekeeper: {}", plain(message));
}
