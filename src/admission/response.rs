//! The answer half of an `AdmissionReview`, in our own types: a denial keeps its code, and a patch is base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::rule::Finding;
use crate::text::one_line;

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
            name: object.map(|object| one_line(&object.name)).unwrap_or_default(),
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
                    field: one_line(&finding.path),
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
        let [kind, name, group, error] = [kind, name, group, error].map(one_line);
        let field = error.split(": ").next().unwrap_or_default().to_owned();
        let message = format!("{kind} {name} cannot be read: {error}");
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: error,
            field,
        };
        let status = Status {
            status: "Failure",
            message,
            reason: "Invalid",
            code: 422,
            details: Details {
                name,
                group,
                kind,
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

    /// What must not get into kubectl's terminal, and how it arrives there.
    const HOSTILE: (&str, &str) = (
        "a\nb\r\u{1b}[31mc\u{9b}\u{202e}d",
        "a b\u{fffd}\u{fffd}[31mc\u{fffd}\u{fffd}d",
    );

    #[test]
    fn what_is_hostile_in_a_name_does_not_reach_kubectl() {
        let (hostile, shown) = HOSTILE;
        let mut response = Response::allow("u");
        response.warn([hostile.to_owned()]);
        assert_eq!(response.warnings, [shown]);

        let rule = crate::rule::find("LK103").unwrap();
        let object = crate::resource::ObjectRef::new(crate::resource::Kind::VirtualService, "cars", hostile);
        let finding = Finding::new(rule, object, hostile.to_owned());
        let denial = Response::deny("u", &[finding]);
        let invalid = Response::invalid("u", hostile, hostile, hostile, hostile);
        for status in [denial.status.unwrap(), invalid.status.unwrap()] {
            let Details { name, causes, .. } = &status.details;
            assert_eq!((name.as_str(), causes[0].field.as_str()), (shown, shown));
            let text = serde_json::to_string(&status).unwrap();
            assert!(text.contains("b\u{fffd}\u{fffd}[31mc"), "{text}");
            let is_hostile = |c: char| c.is_control() || c == '\u{202e}';
            assert!(
                !text.contains(is_hostile) && !text.contains("\\u001b") && !text.contains("\\n"),
                "{text}"
            );
        }
    }
}
