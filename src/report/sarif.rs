//! For code scanning: SARIF 2.1.0, as GitHub, GitLab and editors read it.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::{Report, Reported, field_of};
use crate::files::{Place, Problem, STDIN};
use crate::resource::ObjectRef;
use crate::rule::{self, Certainty, Finding, Level, Rule, Subject};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The root of the sources, which whoever shows the report knows.
const ROOT: &str = "%SRCROOT%";

#[derive(Serialize)]
struct Log<'r> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'r>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'r> {
    tool: Tool,
    invocations: [Invocation<'r>; 1],
    column_kind: &'static str,
    results: Vec<Outcome<'r>>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: &'static str,
    name: &'static str,
    short_description: Text,
    help: Help,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation<'r> {
    execution_successful: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification<'r>>,
}

#[derive(Serialize)]
struct Notification<'r> {
    level: &'static str,
    message: Text,
    locations: [Location<'r>; 1],
}

/// A `result`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'r> {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: [Location<'r>; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location<'r>>,
    partial_fingerprints: Fingerprints,
    properties: Properties,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "lanekeeperIdentity/v1")]
    identity: String,
}

#[derive(Serialize)]
struct Properties {
    certainty: Certainty,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are SARIF's")]
struct Location<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<Physical>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<Logical<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logical<'r> {
    name: &'r str,
    fully_qualified_name: String,
    kind: &'static str,
}

/// Writes the report as SARIF.
pub fn write_sarif(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut codes: Vec<&str> = report.findings.iter().map(|found| found.finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<&Rule> = codes.into_iter().filter_map(rule::find).collect();
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "lanekeeper",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: rules.iter().map(|rule| descriptor(rule)).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: report.problems.is_empty(),
                tool_execution_notifications: report.problems.iter().map(notification).collect(),
            }],
            column_kind: "unicodeCodePoints",
            results: report
                .findings
                .iter()
                .map(|found| result(found, &rules))
                .collect(),
        }],
    };
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

fn descriptor(rule: &Rule) -> Descriptor {
    let page = rule.page();
    Descriptor {
        id: rule.code,
        name: rule.name,
        short_description: Text { text: rule.summary() },
        help: Help {
            text: page.clone(),
            markdown: page,
        },
        default_configuration: Configuration {
            level: level(rule.level),
        },
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Deny => "error",
        Level::Warn => "warning",
        Level::Off => "none",
    }
}

fn result<'r>(reported: &'r Reported, rules: &[&Rule]) -> Outcome<'r> {
    let finding = &reported.finding;
    let mut message = finding.message.clone();
    if !finding.help.is_empty() {
        message.push_str("\nhelp: ");
        message.push_str(&finding.help);
    }
    let related = reported.related.iter().enumerate().map(|(at, related)| Location {
        id: Some(at),
        message: Some(Text {
            text: related.told(&finding.object),
        }),
        ..location(
            related.place.as_ref(),
            &related.evidence.object,
            &related.evidence.path,
        )
    });
    Outcome {
        rule_id: finding.code,
        rule_index: rules
            .iter()
            .position(|rule| rule.code == finding.code)
            .unwrap_or_default(),
        level: level(reported.level),
        message: Text { text: message },
        locations: [location(reported.place.as_ref(), &finding.object, &finding.path)],
        related_locations: related.collect(),
        partial_fingerprints: Fingerprints {
            identity: identity(finding),
        },
        properties: Properties {
            certainty: finding.certainty,
        },
    }
}

fn notification(problem: &Problem) -> Notification<'_> {
    Notification {
        level: "error",
        message: Text {
            text: problem.message.clone(),
        },
        locations: [Location {
            physical_location: Some(physical(&problem.place)),
            ..Location::default()
        }],
    }
}

fn location<'r>(place: Option<&Place>, object: &'r ObjectRef, path: &str) -> Location<'r> {
    Location {
        physical_location: place.map(physical),
        logical_locations: vec![Logical {
            name: &object.name,
            fully_qualified_name: field_of(object, path),
            kind: "object",
        }],
        ..Location::default()
    }
}

fn physical(place: &Place) -> Physical {
    Physical {
        artifact_location: artifact(&place.file),
        region: (place.line > 0).then_some(Region {
            start_line: place.line,
            start_column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
        }),
    }
}

/// The file as a URI: relative to the root of the sources, unless it was named in full.
fn artifact(file: &str) -> Artifact {
    let file = match file {
        STDIN => "stdin",
        file => file.strip_prefix("./").unwrap_or(file),
    };
    let mut uri = String::with_capacity(file.len());
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into());
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    if file.starts_with('/') {
        uri.insert_str(0, "file://");
        return Artifact {
            uri,
            uri_base_id: None,
        };
    }
    Artifact {
        uri,
        uri_base_id: Some(ROOT),
    }
}

/// What makes it the same finding after lines have moved and messages were reworded [s4].
fn identity(finding: &Finding) -> String {
    let Subject {
        host,
        port,
        subset,
        lane,
        header,
    } = &finding.subject;
    let port = port.map(|port| port.to_string());
    let parts = [
        ("host", host.as_deref()),
        ("port", port.as_deref()),
        ("subset", subset.as_deref()),
        ("lane", lane.as_deref()),
        ("header", header.as_deref()),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, value)| Some(format!(" {name}={}", value?)));
    format!("{} {}{}", finding.code, finding.object, parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_as_a_uri() {
        let uri = |file| {
            let Artifact { uri, uri_base_id } = artifact(file);
            (uri, uri_base_id)
        };
        assert_eq!(uri("./k8s/a b.yaml"), ("k8s/a%20b.yaml".to_owned(), Some(ROOT)));
        assert_eq!(
            uri("車:#?%.yaml"),
            ("%E8%BB%8A%3A%23%3F%25.yaml".to_owned(), Some(ROOT))
        );
        assert_eq!(uri("/tmp/a.yaml"), ("file:///tmp/a.yaml".to_owned(), None));
        assert_eq!(uri("-"), ("stdin".to_owned(), Some(ROOT)));
    }
}
