//! For editors: `file:line:column: level[code] message`, one line each.

use std::io::{self, Write};

use super::{Report, Reported, field_of, one_line};
use crate::files::Place;

/// Writes a line for each finding and each problem.
pub fn write_oneline(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for Reported {
        finding,
        level,
        place,
        ..
    } in &report.findings
    {
        let place = match place {
            Some(place) => at(place),
            None => field_of(&finding.object, &finding.path),
        };
        let mut line = format!("{place}: {level}[{}] {}", finding.code, finding.message);
        if !finding.help.is_empty() {
            line.push_str("; ");
            line.push_str(&finding.help);
        }
        writeln!(out, "{}", one_line(&line))?;
    }
    for problem in &report.problems {
        let line = format!("{}: error: {}", at(&problem.place), problem.message);
        writeln!(out, "{}", one_line(&line))?;
    }
    Ok(())
}

/// The place as editors read it; a file as a whole is where it starts.
fn at(place: &Place) -> String {
    format!("{}:{}:{}", place.file, place.line.max(1), place.column.max(1))
}
