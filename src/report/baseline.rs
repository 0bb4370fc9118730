//! What is known to be wrong, so that only what is new fails: a file of identities, one a line, without places, so that
//! moved lines change nothing and two people's changes merge.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::resource::{Kind, ObjectRef};
use crate::rule::{Subject, Tally, find};

/// The version of the form.
const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Line {
    code: String,
    kind: String,
    namespace: String,
    name: String,
    #[serde(default)]
    subject: Subject,
    count: usize,
}

#[derive(Deserialize)]
struct Wire {
    schema: u32,
    findings: Vec<Line>,
}

/// A baseline that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is not the JSON that it should be.
    #[error("it is no baseline: {0}")]
    Form(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("its schema is {0}, and this version reads {SCHEMA}")]
    Schema(u32),
}

/// Writes what `tally` counts.
pub fn write_baseline(tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\n  \"schema\": {SCHEMA},\n  \"findings\": [")?;
    let mut before = "\n";
    for ((code, object, subject), count) in tally.iter() {
        let line = Line {
            code: (*code).to_owned(),
            kind: object.kind.name().to_owned(),
            namespace: object.namespace.to_string(),
            name: object.name.to_string(),
            subject: subject.clone(),
            count,
        };
        write!(out, "{before}    {}", serde_json::to_string(&line)?)?;
        before = ",\n";
    }
    let end = if before == "\n" { "" } else { "\n  " };
    writeln!(out, "{end}]\n}}")
}

/// Reads what [`write_baseline`] wrote. A rule or a kind that is no more has no findings.
pub fn read_baseline(bytes: &[u8]) -> Result<Tally, BaselineError> {
    let wire: Wire = serde_json::from_slice(bytes)?;
    if wire.schema != SCHEMA {
        return Err(BaselineError::Schema(wire.schema));
    }
    let mut tally = Tally::default();
    for line in wire.findings {
        let kind = Kind::ALL.iter().find(|kind| kind.name() == line.kind);
        let (Some(rule), Some(kind)) = (find(&line.code), kind) else {
            continue;
        };
        let object = ObjectRef::new(*kind, &line.namespace, &line.name);
        tally.add((rule.code, object, line.subject), line.count);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tally: &Tally) -> String {
        let mut out = Vec::new();
        write_baseline(tally, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut tally = Tally::default();
        assert_eq!(written(&tally), "{\n  \"schema\": 1,\n  \"findings\": []\n}\n");
        assert_eq!(read_baseline(written(&tally).as_bytes()).unwrap(), tally);
        let subject = Subject {
            subset: Some("wicph".into()),
            ..Subject::default()
        };
        let object = ObjectRef::new(Kind::DestinationRule, "cars", "portal");
        tally.add(("LK101", object.clone(), subject), 2);
        tally.add(("LK106", object, Subject::default()), 1);
        let text = written(&tally);
        assert_eq!(text.lines().count(), 7);
        assert_eq!(read_baseline(text.as_bytes()).unwrap(), tally);
    }

    #[test]
    fn a_rule_that_is_no_more_has_no_findings_and_another_form_is_refused() {
        let gone = r#"{"schema":1,"findings":[{"code":"LK999","kind":"Service","namespace":"a","name":"b","count":1}]}"#;
        assert_eq!(read_baseline(gone.as_bytes()).unwrap(), Tally::default());
        let error = read_baseline(br#"{"schema":2,"findings":[]}"#).unwrap_err();
        assert_eq!(error.to_string(), "its schema is 2, and this version reads 1");
        assert!(read_baseline(b"[]").is_err());
    }
}
