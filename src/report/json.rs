//! For programs: one JSON object, whose fields only ever grow in number (`schema` 1).

use std::io::{self, Write};

use serde::Serialize;

use super::{Report, Reported};
use crate::resource::ObjectRef;
use crate::rule::{Certainty, Level, Subject};

#[derive(Serialize)]
struct Wire<'r> {
    schema: u32,
    findings: Vec<Finding<'r>>,
    errors: &'r [String],
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
    file: Option<&'r str>,
    line: Option<u32>,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
    related: Vec<Object<'r>>,
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
    deny: usize,
    warn: usize,
}

/// Writes the report as JSON.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let wire = Wire {
        schema: 1,
        findings: report.findings.iter().map(finding).collect(),
        errors: &report.problems,
        summary: Summary {
            files: report.files,
            objects: report.objects,
            skipped: report.skipped,
            suppressed: report.suppressed,
            deny: report.count(Level::Deny),
            warn: report.count(Level::Warn),
        },
    };
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}

fn finding(reported: &Reported) -> Finding<'_> {
    let Reported {
        finding,
        level,
        api_version,
        place,
    } = reported;
    Finding {
        code: finding.code,
        rule: finding.rule,
        level: *level,
        certainty: finding.certainty,
        message: &finding.message,
        help: &finding.help,
        path: &finding.path,
        subject: &finding.subject,
        object: Object {
            api_version: Some(api_version),
            ..object(&finding.object)
        },
        file: place.as_ref().map(|place| place.file.as_str()),
        line: place.as_ref().map(|place| place.line),
        column: place.as_ref().map(|place| place.column),
        end_line: place.as_ref().map(|place| place.end_line),
        end_column: place.as_ref().map(|place| place.end_column),
        related: finding.evidence.iter().map(object).collect(),
    }
}

fn object(reference: &ObjectRef) -> Object<'_> {
    Object {
        api_version: None,
        kind: reference.kind.name(),
        namespace: &reference.namespace,
        name: &reference.name,
    }
}
