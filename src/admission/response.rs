//! The answer half of an `AdmissionReview`, in our own types: a denial keeps its code, and a patch is base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::rule::Finding;

/// What the API server takes of one warning, in characters.
const LONGEST_WARNING: usize = 256;

/// What it takes of all warnings of a webhook, in bytes, with some room for those of others.
const ALL_WARNINGS: usize = 3072;

/// How many findings a denial tells.
const MOST_LINES: usize = 20;

/// The answer to one request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) uid: String,
    pub(super) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) audit_annotations: BTreeMap<&'static str, String>,
}

/// Why a request is refused (`meta/v1` `Status`).
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are Kubernetes'")]
pub(super) struct Status {
    status: &'static str,
    pub(super) message: String,
    reason: &'static str,
    code: u16,
    details: Details,
}

#[derive(Debug, Serialize)]
struct Details {
    name: String,
    group: String,
    kind: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Response {
    /// The request is let through.
    pub(super) fn allow(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            allowed: true,
            ..Self::default()
        }
    }

    /// The request is refused for these findings: one line each, and one that counts those beyond what anyone
    /// reads at once.
    pub(super) fn deny(uid: &str, findings: &[Finding]) -> Self {
        let told = findings.get(..MOST_LINES).unwrap_or(findings);
        let mut lines: Vec<String> = told
            .iter()
            .map(|finding| one_line(&finding.to_string()))
            .collect();
        if findings.len() > told.len() {
            lines.push(format!("and {} more findings", findings.len() - told.len()));
        }
        let object = findings.first().map(|finding| &finding.object);
        let details = Details {
            name: object.map(|object| object.name.to_string()).unwrap_or_default(),
            group: object
                .map(|object| object.kind.group().to_owned())
                .unwrap_or_default(),
            kind: object
                .map(|object| object.kind.name().to_owned())
                .unwrap_or_default(),
            causes: told
                .iter()
                .map(|finding| Cause {
                    reason: finding.code,
                    message: one_line(&finding.to_string()),
                    field: finding.path.clone(),
                })
                .collect(),
        };
        let status = Status {
            status: "Failure",
            message: lines.join("\n"),
            reason: "Forbidden",
            code: 403,
            details,
        };
        Self {
            uid: uid.to_owned(),
            status: Some(status),
            ..Self::default()
        }
    }

    /// The object cannot be read as one of its kind.
    pub(super) fn invalid(uid: &str, kind: &str, name: &str, group: &str, error: &str) -> Self {
        let field = error.split(": ").next().unwrap_or_default().to_owned();
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: one_line(error),
            field,
        };
        let status = Status {
            status: "Failure",
            message: format!("{kind} {name} cannot be read: {}", one_line(error)),
            reason: "Invalid",
            code: 422,
            details: Details {
                name: name.to_owned(),
                group: group.to_owned(),
                kind: kind.to_owned(),
                causes: vec![cause],
            },
        };
        Self {
            uid: uid.to_owned(),
            status: Some(status),
            ..Self::default()
        }
    }

    /// Adds a warning, shortened to what the API server takes; the last one says how many did not fit.
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        let mut left_out = 0;
        for warning in warnings {
            let used: usize = self.warnings.iter().map(String::len).sum();
            if used + LONGEST_WARNING > ALL_WARNINGS {
                left_out += 1;
                continue;
            }
            self.warnings.push(shortened(&one_line(&warning)));
        }
        if left_out > 0 {
            self.warnings.push(format!(
                "{left_out} more findings are in Lanekeeper's decision log"
            ));
        }
    }

    /// Adds a patch.
    pub(super) fn patch(&mut self, patch: &json_patch::Patch) -> serde_json::Result<()> {
        self.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        self.patch_type = Some("JSONPatch");
        Ok(())
    }

    /// The whole review, as JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'r> {
            api_version: &'static str,
            kind: &'static str,
            response: &'r Response,
        }

        let review = Review {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: self,
        };
        // Only maps with string keys and plain fields: this cannot fail.
        serde_json::to_vec(&review).unwrap_or_default()
    }
}

/// A finding as a warning: the rule, the object and the mend first, for the rest may be cut off.
pub(super) fn warning(finding: &Finding) -> String {
    let Finding {
        code,
        object,
        path,
        help,
        message,
        ..
    } = finding;
    format!("[{code}] {object} {path}: {help}: {message}")
}

/// Nothing in the text can end the line or hide in it: header values and lane names come from anywhere.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_WARNING {
        return text.to_owned();
    }
    text.chars().take(LONGEST_WARNING - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_cut_to_what_the_api_server_takes_and_counted_beyond() {
        let mut response = Response::allow("u");
        response.warn((0..40).map(|_| "x".repeat(300)));
        assert!(
            response
                .warnings
                .iter()
                .all(|warning| warning.chars().count() <= LONGEST_WARNING)
        );
        assert!(response.warnings.last().unwrap().contains("more findings"));
        assert!(response.warnings.iter().map(String::len).sum::<usize>() < 4096);
    }

    #[test]
    fn a_denial_tells_the_first_findings_and_counts_the_others() {
        let rule = crate::rule::find("LK103").unwrap();
        let object = crate::resource::ObjectRef::new(crate::resource::Kind::VirtualService, "cars", "portal");
        let findings: Vec<_> = (0..MOST_LINES + 5)
            .map(|at| Finding::new(rule, object.clone(), format!("spec.http[{at}]")))
            .collect();
        let status = Response::deny("u", &findings).status.unwrap();
        assert_eq!(status.message.lines().count(), MOST_LINES + 1);
        assert!(
            status.message.ends_with("and 5 more findings"),
            "{}",
            status.message
        );
        assert_eq!(status.details.causes.len(), MOST_LINES);
        assert!(
            !Response::deny("u", &findings[..MOST_LINES])
                .status
                .unwrap()
                .message
                .contains("more findings")
        );
    }

    #[test]
    fn control_characters_cannot_end_a_line() {
        let mut response = Response::allow("u");
        response.warn(["a\nb\r\u{1b}[31mc".to_owned()]);
        assert_eq!(response.warnings, ["a b  [31mc"]);
    }
}
