//! For people: the finding, its place, and how to mend it.

use std::io::{self, Write};

use super::Report;
use crate::rule::Level;

/// Writes the report as text, in colour if `colour`.
pub fn write_text(report: &Report, colour: bool, out: &mut impl Write) -> io::Result<()> {
    let paint = |code: &'static str, text: &str| {
        if colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    for reported in &report.findings {
        let finding = &reported.finding;
        let level = match reported.level {
            Level::Deny => paint("1;31", "deny"),
            Level::Warn | Level::Off => paint("1;33", "warn"),
        };
        let rule = paint("1", &format!("{} {}", finding.code, finding.rule));
        match &reported.place {
            Some(place) => writeln!(out, "{place}: {level} [{rule}] {}", finding.object)?,
            None => writeln!(out, "{level} [{rule}] {}", finding.object)?,
        }
        writeln!(out, "  {}: {}", finding.path, plain(&finding.message))?;
        if !finding.help.is_empty() {
            writeln!(out, "  {} {}", paint("1;36", "help:"), plain(&finding.help))?;
        }
        writeln!(out)?;
    }
    for problem in &report.problems {
        writeln!(out, "{} {}", paint("1;31", "error:"), plain(problem))?;
    }
    if !report.problems.is_empty() {
        writeln!(out)?;
    }
    let (deny, warn) = (report.count(Level::Deny), report.count(Level::Warn));
    write!(
        out,
        "{} in {}: ",
        number(report.objects, "object"),
        number(report.files, "file")
    )?;
    if deny + warn == 0 {
        write!(out, "no findings")?;
    } else {
        write!(out, "{deny} deny, {warn} warn")?;
    }
    for (count, what) in [
        (report.suppressed, "suppressed"),
        (report.skipped, "skipped"),
        (report.problems.len(), "not readable"),
    ] {
        if count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    writeln!(out)
}

/// Text from a file must not move the cursor of a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn number(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
