//! `lanekeeper decisions`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{complain, exit_code, length_of_time};
use crate::decisions::{Decision, Filter, Line, Lines, Names, Outcome, Summary};
use crate::report::{DecisionTable, number, write_decision_summary_json, write_decision_summary_text};
use crate::rule;
use crate::verdict::Mode;

/// Arguments of `decisions`.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A change has two decisions, one of the mutating webhook and one of the validating: --webhook tells them apart.
What is asked of several flags has to hold together, and of several values of one flag any.

It reads what --audit-log has written, and a container's log, as the runtime keeps it or kubectl prints it: what
stands before a decision is taken off, and lines of the program's own log are passed over; a decision that the
log did not take, and that is there instead, counts. It is written while it is read:
`tail -F FILE | lanekeeper decisions -` follows.

Exit codes: 0 done, also if no decision is asked for, 2 a file cannot be read or has no decision in it.

Examples:
  lanekeeper decisions --denied --since 1h decisions.jsonl
                                                who was refused in the last hour
  lanekeeper decisions --code LK101,LK3 -n cars -o wide decisions.jsonl
                                                with the mode, the time it took, the id and the message
  lanekeeper decisions --id 1a220851b0d-7 --rotated decisions.jsonl
                                                the decision of an audit annotation
  lanekeeper decisions --summary --rotated decisions.jsonl
                                                how many, of whom, and how fast
  lanekeeper decisions -o json --user 'system:serviceaccount:argocd:*' decisions.jsonl | jq .message
  kubectl logs -n lanekeeper-system -l app.kubernetes.io/name=lanekeeper --tail=-1 | lanekeeper decisions -")]
pub(super) struct Args {
    /// Files of the decision log, or - for standard input; FILE.2, FILE.1 and FILE are read in this order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read what each file was rotated to as well: FILE.1, FILE.2, …
    #[arg(long)]
    rotated: bool,
    /// From this time on: RFC 3339, a date (UTC), or how long ago: 1h, 2d, '3h 30m'
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What was refused; of --denied, --warned and --patched, any
    #[arg(long)]
    denied: bool,
    /// What was let through with a warning
    #[arg(long)]
    warned: bool,
    /// What was let through with a patch
    #[arg(long)]
    patched: bool,
    /// Refused for or warned of one of these rules: by code, start of a code or name, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    code: Vec<String>,
    /// Objects of these namespaces; * stands for any text, here and in the next ones
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    namespace: Vec<String>,
    /// Objects of these kinds: VirtualService, Scale, …
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<String>,
    /// Objects of these names
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    name: Vec<String>,
    /// Changes by these users
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// CREATE, UPDATE or DELETE
    #[arg(long, value_delimiter = ',', value_name = "OPERATION")]
    operation: Vec<String>,
    /// Decisions in namespaces of these modes: warn, enforce or protect
    #[arg(long, value_delimiter = ',', value_name = "MODE")]
    mode: Vec<Mode>,
    /// Decisions of one webhook: validate or mutate
    #[arg(long, value_enum)]
    webhook: Option<Webhook>,
    /// The decision with this id, or those on the review with this uid
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Leave out what was only tried
    #[arg(long)]
    no_dry_run: bool,
    /// Print what they sum up to instead: by outcome, code, namespace and user, and how long they took
    #[arg(long)]
    summary: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table, one decision a line
    Text,
    /// The table with more columns
    Wide,
    /// The lines as they were written, one JSON object each; a summary as one object
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Webhook {
    Validate,
    Mutate,
}

impl Args {
    fn filter(&self) -> anyhow::Result<Filter> {
        let time = |given: &Option<String>| given.as_deref().map(time).transpose();
        let outcomes = [
            (self.denied, Outcome::Denied),
            (self.warned, Outcome::Warned),
            (self.patched, Outcome::Patched),
        ];
        let rules = self.code.iter().map(|code| rule::named(code));
        let rules = rules.collect::<Result<Vec<_>, _>>()?.concat();
        let modes: Vec<String> = self.mode.iter().map(ToString::to_string).collect();
        let webhook = self.webhook.map(|webhook| match webhook {
            Webhook::Validate => "validate".to_owned(),
            Webhook::Mutate => "mutate".to_owned(),
        });
        Ok(Filter {
            since: time(&self.since)?,
            until: time(&self.until)?,
            outcomes: outcomes
                .into_iter()
                .filter_map(|(is_asked, outcome)| is_asked.then_some(outcome))
                .collect(),
            codes: rules.iter().map(|rule| rule.code.to_owned()).collect(),
            namespaces: Names::new(&self.namespace)?,
            kinds: Names::new(&self.kind)?,
            names: Names::new(&self.name)?,
            users: Names::new(&self.user)?,
            operations: Names::new(&self.operation)?,
            modes: Names::new(&modes)?,
            webhooks: Names::new(webhook.as_slice())?,
            ids: Names::new(&self.id)?,
            no_dry_run: self.no_dry_run,
        })
    }
}

/// A time, or how long ago it was.
fn time(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return Ok(time.to_zoned(TimeZone::UTC)?.timestamp());
    }
    let ago = length_of_time(text).and_then(|ago| Timestamp::now().checked_sub(ago.abs()));
    ago.with_context(|| {
        format!(
            "`{text}` is no time; write 2026-11-28T04:00:00Z, 2026-11-28, or how long ago: 1h, 2d, '3h 30m'"
        )
    })
}

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    let filter = args.filter()?;
    let (inputs, mut has_problems) = inputs(args)?;
    let out = io::BufWriter::new(io::stdout().lock());
    let mut printer = match (args.summary, args.output) {
        (true, output) => Printer::Summary(Box::default(), output == Output::Json, out),
        (false, Output::Json) => Printer::Json(out),
        (false, output) => Printer::Table(DecisionTable::new(out, output == Output::Wide, colour)),
    };
    let mut seen = Seen::default();
    for Input { name, from } in inputs {
        let of_file = match read(Lines::new(from), &filter, &mut printer) {
            Ok(of_file) => of_file,
            Err(Stopped::Reading(error)) => {
                complain(&format!("cannot read {name}: {error}"));
                has_problems = true;
                continue;
            }
            Err(Stopped::Writing(error)) => return Err(error).context("the decisions could not be written"),
        };
        of_file.complain(&name);
        seen.decisions += of_file.decisions;
        seen.taken += of_file.taken;
        seen.foreign.count += of_file.foreign.count + of_file.program.count;
    }
    printer.end().context("the decisions could not be written")?;
    if seen.decisions == 0 && seen.foreign.count > 0 {
        complain("there is no decision; serve --audit-log writes them");
        has_problems = true;
    } else if seen.taken == 0 && !has_problems && !args.summary {
        complain("note: no decision is as asked for");
    }
    Ok(exit_code(has_problems, false))
}

/// What takes the decisions that are asked for.
enum Printer<W: io::Write> {
    Table(DecisionTable<W>),
    Json(W),
    /// A summary, and whether it is JSON.
    Summary(Box<Summary>, bool, W),
}

impl<W: io::Write> Printer<W> {
    fn add(&mut self, decision: &Decision<'_>, json: &str) -> io::Result<()> {
        match self {
            Self::Table(table) => table.add(decision),
            Self::Json(out) => writeln!(out, "{json}"),
            Self::Summary(summary, ..) => {
                summary.add(decision);
                Ok(())
            }
        }
    }

    /// Lets whoever reads have what is there.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table) => table.flush(),
            Self::Json(out) => out.flush(),
            Self::Summary(..) => Ok(()),
        }
    }

    fn end(mut self) -> io::Result<()> {
        match &mut self {
            Self::Table(_) | Self::Json(_) => self.flush(),
            Self::Summary(summary, is_json, out) => {
                if *is_json {
                    write_decision_summary_json(summary, out)?;
                } else {
                    write_decision_summary_text(summary, out)?;
                }
                out.flush()
            }
        }
    }
}

/// Lines that were passed over.
#[derive(Default)]
struct PassedOver {
    count: usize,
    first: u64,
}

impl PassedOver {
    fn add(&mut self, line: u64) {
        if self.count == 0 {
            self.first = line;
        }
        self.count += 1;
    }
}

/// What was read.
#[derive(Default)]
struct Seen {
    decisions: usize,
    taken: usize,
    program: PassedOver,
    foreign: PassedOver,
}

impl Seen {
    fn complain(&self, name: &str) {
        for (lines, what) in [
            (&self.foreign, "passed over, for no decision is in it"),
            (&self.program, "of the program's own log passed over"),
        ] {
            if lines.count > 0 {
                let (count, first) = (number(lines.count, "line"), lines.first);
                complain(&format!("note: {name}:{first}: {count} {what}, this the first"));
            }
        }
    }
}

/// Why an input was not read to its end.
enum Stopped {
    Reading(io::Error),
    Writing(io::Error),
}

fn read<R: Read, W: io::Write>(
    mut lines: Lines<R>,
    filter: &Filter,
    printer: &mut Printer<W>,
) -> Result<Seen, Stopped> {
    let mut seen = Seen::default();
    if lines.is_compressed().map_err(Stopped::Reading)? {
        let error = "it is compressed; gunzip -c FILE | lanekeeper decisions -";
        return Err(Stopped::Reading(io::Error::other(error)));
    }
    loop {
        if lines.is_dry() {
            printer.flush().map_err(Stopped::Writing)?;
        }
        let number = lines.number() + 1;
        match lines.next_line().map_err(Stopped::Reading)? {
            None => return Ok(seen),
            Some(Line::Program) => seen.program.add(number),
            Some(Line::Foreign) => seen.foreign.add(number),
            Some(Line::Decision(decision, json)) => {
                seen.decisions += 1;
                if filter.takes(&decision) {
                    seen.taken += 1;
                    printer.add(&decision, json).map_err(Stopped::Writing)?;
                }
            }
        }
    }
}

/// A file, or standard input.
struct Input {
    name: String,
    from: Box<dyn Read>,
}

/// A file of a log: the log's path, and how often this one was rotated.
type Aged = (PathBuf, u64);

/// The inputs in the order in which they are read, and whether one cannot be.
fn inputs(args: &Args) -> anyhow::Result<(Vec<Input>, bool)> {
    let stdin = Path::new("-");
    ensure!(
        !(args.rotated && args.files.iter().any(|file| file == stdin)),
        "--rotated is about files, and standard input is none; name the file of the decision log"
    );
    // Logs as they are named, each with its files.
    let mut logs: Vec<(PathBuf, BTreeSet<u64>)> = Vec::new();
    for file in &args.files {
        let (log, age) = if args.rotated || file == stdin {
            (file.clone(), 0)
        } else {
            aged(file).unwrap_or_else(|| (file.clone(), 0))
        };
        match logs.iter_mut().find(|(known, _)| *known == log) {
            Some((_, ages)) => {
                ages.insert(age);
            }
            None => logs.push((log, BTreeSet::from([age]))),
        }
    }
    let (mut inputs, mut has_problems) = (Vec::new(), false);
    let mut opened = BTreeSet::new();
    for (log, mut ages) in logs {
        if log == stdin {
            inputs.push(Input {
                name: "standard input".to_owned(),
                from: Box::new(io::stdin()),
            });
            continue;
        }
        let mut of_log = Vec::new();
        // The newest first: a log that rotates meanwhile moves its files to where they are met once more, not to
        // where it was looked before.
        while let Some(age) = ages.pop_first() {
            let path = at_age(&log, age);
            match open(&path) {
                Ok((file, identity)) => {
                    if opened.insert(identity) {
                        of_log.push(Input {
                            name: path.display().to_string(),
                            from: Box::new(file),
                        });
                    }
                }
                Err(error) if age > 0 && args.rotated && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    complain(&format!("cannot read {}: {error}", path.display()));
                    has_problems = true;
                }
            }
            if args.rotated && age == 0 {
                ages = rotated(&log);
            }
        }
        inputs.extend(of_log.into_iter().rev());
    }
    Ok((inputs, has_problems))
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    Ok((file, (meta.dev(), meta.ino())))
}

/// The log that `log.3` belongs to, and 3.
fn aged(file: &Path) -> Option<Aged> {
    let age = file.extension()?.to_str()?;
    let is_age = age.bytes().all(|byte| byte.is_ascii_digit()) && !age.starts_with('0');
    Some((file.with_extension(""), age.parse().ok().filter(|_| is_age)?))
}

fn at_age(log: &Path, age: u64) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    if age > 0 {
        name.push(format!(".{age}"));
    }
    name.into()
}

/// The ages of the files that a log was rotated to, and the next one: it may rotate now.
fn rotated(log: &Path) -> BTreeSet<u64> {
    let directory = log.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = fs::read_dir(directory.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten()
        .flatten();
    let ages = entries.filter_map(|entry| {
        let (of, age) = aged(Path::new(&entry.file_name()))?;
        (Some(of.as_os_str()) == log.file_name()).then_some(age)
    });
    let mut ages: BTreeSet<u64> = ages.collect();
    ages.extend(ages.last().map(|last| last + 1));
    ages
}
