//! For GitHub: workflow commands, which it shows as annotations beside the lines of a change.

use std::io::{self, Write};

use super::{Report, Reported, field_of, plain};
use crate::files::{Place, STDIN};
use crate::rule::Level;

/// Writes a workflow command for each finding and each problem.
pub fn write_github(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for Reported {
        finding,
        level,
        place,
        ..
    } in &report.findings
    {
        let command = match level {
            Level::Deny => "error",
            Level::Warn | Level::Off => "warning",
        };
        let title = format!("{} {}", finding.code, finding.rule);
        let mut message = format!(
            "{}: {}",
            field_of(&finding.object, &finding.path),
            finding.message
        );
        if !finding.help.is_empty() {
            message.push_str("\nhelp: ");
            message.push_str(&finding.help);
        }
        write_command(command, place.as_ref(), &title, &message, out)?;
    }
    for problem in &report.problems {
        write_command(
            "error",
            Some(&problem.place),
            "cannot be applied",
            &problem.message,
            out,
        )?;
    }
    Ok(())
}

fn write_command(
    command: &str,
    place: Option<&Place>,
    title: &str,
    message: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut properties = Vec::new();
    if let Some(place) = place.filter(|place| place.file != STDIN) {
        properties.push(("file", place.file.clone()));
        if place.line > 0 {
            properties.push(("line", place.line.to_string()));
            properties.push(("endLine", place.end_line.to_string()));
            properties.push(("col", place.column.to_string()));
            // It does not look at columns where there are several lines.
            if place.end_line == place.line {
                properties.push(("endColumn", place.end_column.to_string()));
            }
        }
    }
    properties.push(("title", title.to_owned()));
    let properties: Vec<String> = properties
        .iter()
        .map(|(name, value)| format!("{name}={}", of_property(value)))
        .collect();
    writeln!(
        out,
        "::{command} {}::{}",
        properties.join(","),
        of_message(message)
    )
}

/// A message may have all but what ends its line, or would be read as an escape.
fn of_message(text: &str) -> String {
    plain(text)
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property may not have what ends it either.
fn of_property(text: &str) -> String {
    of_message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Problem;

    fn written(place: Place, message: &str) -> String {
        let report = Report {
            problems: vec![Problem {
                place,
                message: message.to_owned(),
            }],
            ..Report::default()
        };
        let mut out = Vec::new();
        write_github(&report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_in_a_text_ends_a_command_or_a_property() {
        assert_eq!(
            written(
                Place::point("a,b:c%2C\n::error::.yaml", 3, 4),
                "50%\r\n::error::x, y: z\u{1b}[2J"
            ),
            "::error file=a%2Cb%3Ac%252C%0A%3A%3Aerror%3A%3A.yaml,line=3,endLine=3,col=4,endColumn=4,title=cannot be applied::50%25\u{fffd}%0A::error::x, y: z\u{fffd}[2J\n"
        );
    }

    #[test]
    fn a_whole_file_has_no_line_and_standard_input_no_file() {
        assert_eq!(
            written(Place::whole("a.yaml"), "x"),
            "::error file=a.yaml,title=cannot be applied::x\n"
        );
        assert_eq!(
            written(Place::point("-", 1, 1), "x"),
            "::error title=cannot be applied::x\n"
        );
    }
}
