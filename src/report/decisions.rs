//! Decisions of the log: a table with one decision a line, and what they sum up to.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::{RoundMode, SignedDuration, TimestampRound, Unit};
use serde_json::{Value, json};

use super::{number, one_line};
use crate::decisions::{Counts, Decision, Outcome, Summary};

const COLUMNS: [&str; 8] = [
    "TIME",
    "DECISION",
    "CODES",
    "OPERATION",
    "KIND",
    "NAMESPACE",
    "NAME",
    "USER",
];
const WIDE: [&str; 5] = ["MODE", "WEBHOOK", "TOOK", "ID", "MESSAGE"];

/// The column of the outcome, which has a colour.
const DECISION: usize = 1;

/// So many rows decide how wide the columns are; a row that comes later may be wider.
const HELD: usize = 500;

/// A cell that is wider than this makes no column wider.
const WIDEST: usize = 60;

/// A table of decisions, which is written while they come.
pub struct DecisionTable<W> {
    out: W,
    is_wide: bool,
    colour: bool,
    widths: Vec<usize>,
    has_header: bool,
    held: Vec<(Outcome, Vec<String>)>,
}

impl<W: Write> DecisionTable<W> {
    /// An empty table; `is_wide` gives it more columns.
    pub fn new(out: W, is_wide: bool, colour: bool) -> Self {
        let wide = if is_wide { &WIDE[..] } else { &[] };
        Self {
            out,
            is_wide,
            colour,
            widths: COLUMNS.iter().chain(wide).map(|title| title.len()).collect(),
            has_header: false,
            held: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, decision: &Decision<'_>) -> io::Result<()> {
        let row = self.row(decision);
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            let wanted = cell.chars().count();
            if wanted <= WIDEST {
                *width = (*width).max(wanted);
            }
        }
        self.held.push((decision.outcome(), row));
        if self.has_header || self.held.len() >= HELD {
            self.release()?;
        }
        Ok(())
    }

    /// Writes what is held back, and sees that it gets to whoever reads.
    pub fn flush(&mut self) -> io::Result<()> {
        self.release()?;
        self.out.flush()
    }

    fn release(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        if !self.has_header {
            self.has_header = true;
            let wide = if self.is_wide { &WIDE[..] } else { &[] };
            let titles: Vec<String> = COLUMNS
                .iter()
                .chain(wide)
                .map(|title| (*title).to_owned())
                .collect();
            self.write(Style::new(), &titles)?;
        }
        for (outcome, row) in std::mem::take(&mut self.held) {
            let style = match outcome {
                Outcome::Denied => AnsiColor::Red.on_default(),
                Outcome::Warned => AnsiColor::Yellow.on_default(),
                Outcome::Patched | Outcome::Allowed => Style::new(),
            };
            self.write(if self.colour { style } else { Style::new() }, &row)?;
        }
        Ok(())
    }

    fn write(&mut self, style: Style, row: &[String]) -> io::Result<()> {
        for (at, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
            let style = if at == DECISION { style } else { Style::new() };
            write!(self.out, "{style}{cell}{style:#}")?;
            if at + 1 < row.len() {
                let gap = width.saturating_sub(cell.chars().count()) + 3;
                write!(self.out, "{:gap$}", "")?;
            }
        }
        writeln!(self.out)
    }

    fn row(&self, decision: &Decision<'_>) -> Vec<String> {
        let whole = TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Trunc);
        let time = decision.time.round(whole).unwrap_or(decision.time);
        let operation = if decision.dry_run {
            format!("{},dry-run", decision.operation)
        } else {
            decision.operation.to_string()
        };
        let mut row = vec![
            time.to_string(),
            decision.outcome().name().to_owned(),
            cell(&decision.reasons().join(",")),
            cell(&operation),
            cell(&decision.kind),
            cell(&decision.namespace),
            cell(&decision.name),
            cell(&decision.user),
        ];
        if self.is_wide {
            row.extend([
                cell(&decision.mode),
                cell(&decision.webhook),
                took(decision.duration_micros),
                cell(&decision.decision),
                cell(decision.message.as_deref().unwrap_or_default()),
            ]);
        }
        row
    }
}

/// Text of a cell; an empty one would be no column to what splits at blanks.
fn cell(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        one_line(text)
    }
}

/// A duration for people.
fn took(micros: u64) -> String {
    let (whole, unit) = match micros {
        0..1_000 => return format!("{micros}µs"),
        1_000..1_000_000 => (micros, "ms"),
        _ => (micros / 1_000, "s"),
    };
    format!("{}.{:03}{unit}", whole / 1_000, whole % 1_000)
}

/// So many namespaces and users are listed for people; JSON has them all.
const LISTED: usize = 10;

/// Writes what decisions sum up to, for people.
pub fn write_decision_summary_text(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let Some((first, last)) = summary.span else {
        return writeln!(out, "0 decisions");
    };
    let lasted = last
        .duration_since(first)
        .round(Unit::Second)
        .unwrap_or(SignedDuration::ZERO);
    let of_dry_runs = match summary.dry_runs {
        0 => String::new(),
        dry_runs => format!(", {dry_runs} of them dry runs"),
    };
    writeln!(
        out,
        "{} from {first} to {last} ({lasted:#}){of_dry_runs}",
        number(
            usize::try_from(summary.counts.total()).unwrap_or(usize::MAX),
            "decision"
        ),
    )?;
    for outcome in Outcome::ALL {
        writeln!(out, "  {:8} {}", outcome.name(), summary.counts.of(outcome))?;
    }

    if !summary.codes.is_empty() {
        writeln!(out, "\n{:<10} {:>8} {:>8}", "CODE", "DENIED", "WARNED")?;
        for (code, [denied, warned]) in &summary.codes {
            writeln!(out, "{:<10} {denied:>8} {warned:>8}", one_line(code))?;
        }
    }
    write_counts("NAMESPACE", &summary.namespaces, out)?;
    write_counts("USER", &summary.users, out)?;

    let of = |percent| took(summary.durations.percentile(percent).unwrap_or_default());
    write!(out, "\nTook {} in the middle, {} at 99 %", of(50), of(99))?;
    if let Some(slowest) = &summary.slowest {
        write!(
            out,
            ", {} at most: {} {} {} ({})",
            took(slowest.micros),
            one_line(&slowest.webhook),
            one_line(&slowest.operation),
            one_line(&slowest.object),
            one_line(&slowest.decision),
        )?;
    }
    writeln!(out)
}

/// A table with a line for each name, those with the most decisions first.
fn write_counts(title: &str, counts: &BTreeMap<String, Counts>, out: &mut impl Write) -> io::Result<()> {
    let mut rows: Vec<(String, &Counts)> = counts.iter().map(|(name, counts)| (cell(name), counts)).collect();
    rows.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.total()));
    let more = rows.len().saturating_sub(LISTED);
    rows.truncate(LISTED);
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .filter(|width| *width <= WIDEST)
        .fold(title.len(), usize::max);
    write!(out, "\n{title:width$} {:>9}", "DECISIONS")?;
    for outcome in Outcome::ALL {
        write!(out, " {:>8}", outcome.name().to_uppercase())?;
    }
    writeln!(out)?;
    for (name, counts) in rows {
        write!(out, "{name:width$} {:>9}", counts.total())?;
        for outcome in Outcome::ALL {
            write!(out, " {:>8}", counts.of(outcome))?;
        }
        writeln!(out)?;
    }
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    Ok(())
}

/// Writes what decisions sum up to as one JSON object; its fields only ever grow in number (`schema` 1).
pub fn write_decision_summary_json(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let counted = |counts: &Counts| {
        let outcomes = Outcome::ALL.map(|outcome| (outcome.name(), counts.of(outcome)));
        let all = [("decisions", counts.total())].into_iter().chain(outcomes);
        all.map(|(name, count)| (name.to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>()
    };
    let by_name = |counts: &BTreeMap<String, Counts>| -> Value {
        let named = counts
            .iter()
            .map(|(name, counts)| (name.clone(), Value::Object(counted(counts))));
        Value::Object(named.collect())
    };
    let codes = summary
        .codes
        .iter()
        .map(|(code, [denied, warned])| (code.clone(), json!({"denied": denied, "warned": warned})));
    let wire = json!({
        "schema": 1,
        "from": summary.span.map(|(first, _)| first.to_string()),
        "to": summary.span.map(|(_, last)| last.to_string()),
        "total": counted(&summary.counts),
        "dryRuns": summary.dry_runs,
        "codes": Value::Object(codes.collect()),
        "namespaces": by_name(&summary.namespaces),
        "users": by_name(&summary.users),
        "durationMicros": {
            "median": summary.durations.percentile(50),
            "p99": summary.durations.percentile(99),
            "max": summary.durations.percentile(100),
        },
        "slowest": summary.slowest.as_ref().map(|slowest| json!({
            "decision": slowest.decision,
            "webhook": slowest.webhook,
            "operation": slowest.operation,
            "object": slowest.object,
            "durationMicros": slowest.micros,
        })),
    });
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}
