//! For programs: one JSON object, whose fields only ever grow in number (`schema` 1).

use std::io::{self, Write};

use serde::Serialize;

use super::{Report, Reported};
use crate::audit;
use crate::files::Place;
use crate::resource::ObjectRef;
use crate::rule::{self, Certainty, Level, Subject};

#[derive(Serialize)]
struct Wire<'r> {
    schema: u32,
    findings: Vec<Finding<'r>>,
    errors: Vec<Problem<'r>>,
    summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'r> {
    code: &'static str,
    rule: &'static str,
    level: Level,
    certainty: Certainty,
    message: &'r str,
    help: &'r str,
    path: &'r str,
    subject: &'r Subject,
    object: Object<'r>,
    #[serde(flatten)]
    place: Where<'r>,
    related: Vec<Related<'r>>,
}

/// A place, or nulls for an object that is in no file.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Where<'r> {
    file: Option<&'r str>,
    line: Option<u32>,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
}

#[derive(Serialize)]
struct Related<'r> {
    message: &'r str,
    path: &'r str,
    object: Object<'r>,
    #[serde(flatten)]
    place: Where<'r>,
}

#[derive(Serialize)]
struct Problem<'r> {
    message: &'r str,
    #[serde(flatten)]
    place: Where<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'r str>,
    kind: &'static str,
    namespace: &'r str,
    name: &'r str,
}

#[derive(Serialize)]
struct Summary {
    files: usize,
    objects: usize,
    skipped: usize,
    suppressed: usize,
    known: usize,
    deny: usize,
    warn: usize,
}

/// Writes the report as JSON.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let wire = Wire {
        schema: 1,
        findings: report.findings.iter().map(finding).collect(),
        errors: report.problems.iter().map(problem).collect(),
        summary: Summary {
            files: report.files,
            objects: report.objects,
            skipped: report.skipped,
            suppressed: report.suppressed,
            known: report.known,
            deny: report.count(Level::Deny),
            warn: report.count(Level::Warn),
        },
    };
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}

/// Writes findings on what runs, none of which is in a file, as [`write_json`] writes those of files.
pub fn write_findings_json<'r>(
    findings: impl Iterator<Item = &'r audit::Reported>,
    out: &mut impl Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Wire<'r> {
        schema: u32,
        findings: Vec<Finding<'r>>,
    }
    fn of_audit(reported: &audit::Reported) -> Finding<'_> {
        let evidence = reported.finding.evidence.iter().map(|evidence| Related {
            message: &evidence.note,
            path: &evidence.path,
            object: object(&evidence.object, ""),
            place: Where::default(),
        });
        Finding {
            related: evidence.collect(),
            ..wire(&reported.finding, reported.level)
        }
    }
    let wire = Wire {
        schema: 1,
        findings: findings.map(of_audit).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}

fn finding(reported: &Reported) -> Finding<'_> {
    Finding {
        object: object(&reported.finding.object, &reported.api_version),
        place: Where::of(reported.place.as_ref()),
        related: reported.related.iter().map(related).collect(),
        ..wire(&reported.finding, reported.level)
    }
}

/// A finding by itself, without places.
fn wire(finding: &rule::Finding, level: Level) -> Finding<'_> {
    Finding {
        code: finding.code,
        rule: finding.rule,
        level,
        certainty: finding.certainty,
        message: &finding.message,
        help: &finding.help,
        path: &finding.path,
        subject: &finding.subject,
        object: object(&finding.object, ""),
        place: Where::default(),
        related: Vec::new(),
    }
}

fn related(related: &super::Related) -> Related<'_> {
    Related {
        message: &related.evidence.note,
        path: &related.evidence.path,
        object: object(&related.evidence.object, &related.api_version),
        place: Where::of(related.place.as_ref()),
    }
}

fn problem(problem: &crate::files::Problem) -> Problem<'_> {
    Problem {
        message: &problem.message,
        place: Where::of(Some(&problem.place)),
    }
}

fn object<'r>(reference: &'r ObjectRef, api_version: &'r str) -> Object<'r> {
    Object {
        api_version: (!api_version.is_empty()).then_some(api_version),
        kind: reference.kind.name(),
        namespace: &reference.namespace,
        name: &reference.name,
    }
}

impl<'r> Where<'r> {
    /// Of a file as a whole there is only its name.
    fn of(place: Option<&'r Place>) -> Self {
        let Some(place) = place else {
            return Self::default();
        };
        let known = |number: u32| (place.line > 0).then_some(number);
        Self {
            file: Some(&place.file),
            line: known(place.line),
            column: known(place.column),
            end_line: known(place.end_line),
            end_column: known(place.end_column),
        }
    }
}
