//! For CI servers: `JUnit` XML, a suite for each file and a case for each finding in it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Report, Reported, field_of};
use crate::files::{Place, Problem};
use crate::rule::Level;

/// How a case came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// There are no warnings in the format; what does not fail the check is shown as left out.
    Skipped,
    Failed,
    /// It could not be run.
    Error,
}

struct Case {
    name: String,
    place: Option<Place>,
    outcome: Outcome,
    level: String,
    message: String,
    details: String,
}

/// Writes the report as `JUnit` XML, in which findings from the level `fails_from` fail.
pub fn write_junit(report: &Report, fails_from: Level, out: &mut impl Write) -> io::Result<()> {
    let mut suites: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    let of_findings = report
        .findings
        .iter()
        .map(|reported| finding(reported, fails_from));
    let of_problems = report.problems.iter().map(problem);
    for case in of_findings.chain(of_problems) {
        let file = case.place.as_ref().map_or("lanekeeper", |place| &place.file);
        suites.entry(file.to_owned()).or_default().push(case);
    }
    if suites.is_empty() {
        suites.insert("lanekeeper".to_owned(), vec![passed(report)]);
    }
    let all: Vec<&Case> = suites.values().flatten().collect();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        "<testsuites{}{}>",
        attribute("name", "lanekeeper"),
        counts(&all)
    )?;
    for (name, cases) in &suites {
        let of_suite: Vec<&Case> = cases.iter().collect();
        writeln!(
            out,
            "  <testsuite{}{}>",
            attribute("name", name),
            counts(&of_suite)
        )?;
        for case in cases {
            write_case(case, name, out)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn finding(reported: &Reported, fails_from: Level) -> Case {
    let Reported {
        finding,
        level,
        place,
        ..
    } = reported;
    let mut details = match place {
        Some(place) => format!("{place}: {}", finding.message),
        None => finding.message.clone(),
    };
    if !finding.help.is_empty() {
        details.push_str("\nhelp: ");
        details.push_str(&finding.help);
    }
    Case {
        name: format!(
            "{} {}, {}",
            finding.code,
            finding.rule,
            field_of(&finding.object, &finding.path)
        ),
        place: place.clone(),
        outcome: if *level >= fails_from {
            Outcome::Failed
        } else {
            Outcome::Skipped
        },
        level: level.to_string(),
        message: finding.message.clone(),
        details,
    }
}

fn problem(problem: &Problem) -> Case {
    Case {
        name: "cannot be applied".to_owned(),
        place: Some(problem.place.clone()),
        outcome: Outcome::Error,
        level: "error".to_owned(),
        message: problem.message.clone(),
        details: problem.to_string(),
    }
}

/// A report without cases would read as one that never ran.
fn passed(report: &Report) -> Case {
    Case {
        name: report.extent(),
        place: None,
        outcome: Outcome::Passed,
        level: String::new(),
        message: String::new(),
        details: String::new(),
    }
}

fn counts(cases: &[&Case]) -> String {
    let of = |outcome| {
        cases
            .iter()
            .filter(|case| case.outcome == outcome)
            .count()
            .to_string()
    };
    let all = [
        ("tests", cases.len().to_string()),
        ("failures", of(Outcome::Failed)),
        ("errors", of(Outcome::Error)),
        ("skipped", of(Outcome::Skipped)),
    ];
    all.map(|(name, count)| attribute(name, &count)).concat()
}

fn write_case(case: &Case, suite: &str, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "    <testcase{}{}",
        attribute("name", &case.name),
        attribute("classname", suite)
    )?;
    if let Some(place) = &case.place {
        write!(out, "{}", attribute("file", &place.file))?;
        if place.line > 0 {
            write!(out, "{}", attribute("line", &place.line.to_string()))?;
        }
    }
    let element = match case.outcome {
        Outcome::Passed => return writeln!(out, "/>"),
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failure",
        Outcome::Error => "error",
    };
    // A skipped case has a message only.
    let level = match case.outcome {
        Outcome::Skipped => String::new(),
        _ => attribute("type", &case.level),
    };
    writeln!(
        out,
        ">\n      <{element}{level}{}>{}</{element}>\n    </testcase>",
        attribute("message", &case.message),
        escaped(&case.details)
    )
}

/// ` name="value"`.
fn attribute(name: &str, value: &str) -> String {
    // A line break as it stands would be read as a blank.
    let value = escaped(value)
        .replace('\t', "&#9;")
        .replace('\n', "&#10;")
        .replace('\r', "&#13;");
    format!(" {name}=\"{value}\"")
}

/// The text without what XML reads as its own, and without what it cannot hold in any form.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::Document;

    use super::*;

    fn written(file: &str, message: &str) -> String {
        let report = Report {
            problems: vec![Problem {
                place: Place::point(file, 1, 2),
                message: message.to_owned(),
            }],
            ..Report::default()
        };
        let mut out = Vec::new();
        write_junit(&report, Level::Deny, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The message as an XML parser reads it, as attribute and as text.
    fn read(file: &str, message: &str) -> (String, String) {
        let text = written(file, message);
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"));
        let error = document
            .descendants()
            .find(|node| node.has_tag_name("error"))
            .unwrap();
        let attribute = error.attribute("message").unwrap().to_owned();
        (attribute, error.text().unwrap().to_owned())
    }

    #[test]
    fn hostile_text_arrives_as_it_was() {
        let message = "]]> <b a=\"c\" d='e'>&amp;</b> <!-- -- --> <?x ?>\n\t車 \u{1f600}";
        let (attribute, text) = read("a<b>&\"'.yaml", message);
        assert_eq!(attribute, message);
        assert_eq!(text, format!("a<b>&\"'.yaml:1:2: {message}"));
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let (attribute, _) = read("a.yaml", "\0\u{1b}[2J\u{7f}\u{85}\u{fffe}x");
        assert_eq!(attribute, "\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}x");
    }

    #[test]
    fn a_report_without_cases_has_one_that_passed() {
        let mut out = Vec::new();
        write_junit(&Report::default(), Level::Deny, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains(r#"<testcase name="0 objects in 0 files" classname="lanekeeper"/>"#),
            "{text}"
        );
        Document::parse(&text).unwrap();
    }

    proptest! {
        #[test]
        fn any_text_is_well_formed(file in "\\PC{0,8}|[\0-\u{20}]{0,4}", message in any::<String>()) {
            read(&file, &message);
        }
    }
}
