//! What there is to mend.

use std::fmt;

use json_patch::Patch;
use serde_json::Value;

use crate::files::{FileObject, Files};
use crate::report::Report;
use crate::resource::{ObjectRef, Resource};
use crate::rewrite::{Edit, apply, edits, is_opted_out};
use crate::rule::{Change, Rule, find};
use crate::world::{View, World};

/// One thing to mend.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fix {
    /// The file that the object is in.
    pub(super) file: String,
    /// The object to change.
    pub(super) object: ObjectRef,
    /// Why.
    pub(super) source: Source,
    /// What to write, for people.
    pub(super) lines: Vec<String>,
    change: Mending,
}

/// What asks for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Gateway routes set the lane header.
    Rewriting,
    /// A finding of the rule of this code.
    Finding(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rewriting => f.write_str("gateway rewriting"),
            Self::Finding(code) => {
                let name = find(code).map_or("", |rule: &Rule| rule.name);
                write!(f, "{code} {name}")
            }
        }
    }
}

/// What is done to the object.
#[derive(Debug, Clone, PartialEq)]
enum Mending {
    Rewrite(Vec<Edit>),
    Suggested(Change),
}

impl Fix {
    /// The change as a JSON Patch of the object.
    pub(super) fn patch(&self, object: &Value) -> Result<Patch, String> {
        let gone = || "the field is not there".to_owned();
        match &self.change {
            Mending::Rewrite(edits) => {
                let after = apply(object, edits).ok_or_else(gone)?;
                Ok(json_patch::diff(object, &after))
            }
            Mending::Suggested(change) => {
                refuse_selected_label(object, change)?;
                change.patch(object).ok_or_else(gone)
            }
        }
    }

    /// Whether both are about the same field.
    fn rivals(&self, other: &Self) -> bool {
        let path = |fix: &Self| match &fix.change {
            Mending::Suggested(Change::Append { .. }) | Mending::Rewrite(_) => None,
            Mending::Suggested(change) => Some(change.path().to_owned()),
        };
        self == other || (self.object == other.object && path(self).is_some() && path(self) == path(other))
    }
}

/// A workload's selector has to choose its own pods, and a cluster lets nobody change it.
fn refuse_selected_label(object: &Value, change: &Change) -> Result<(), String> {
    let path = crate::yaml::pointer(change.path());
    let label = path.as_str().strip_prefix("/spec/template/metadata/labels/");
    let selected = label.and_then(|label| object.pointer(&format!("/spec/selector/matchLabels/{label}")));
    match selected {
        Some(_) => Err(
            "spec.selector has the label too, and no cluster lets it be changed: delete the workload and apply it with both corrected"
                .to_owned(),
        ),
        None => Ok(()),
    }
}

/// All that there is to mend: what gateway routes need, and, `with_guesses`, what the findings suggest.
pub(super) fn plan(files: &Files, world: &World, report: &Report, with_guesses: bool) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = files
        .objects
        .iter()
        .flat_map(|object| rewriting(files, world, object))
        .collect();
    let findings = report.findings.iter().filter(|_| with_guesses);
    for finding in findings.map(|reported| &reported.finding) {
        let Some(suggestion) = &finding.suggestion else {
            continue;
        };
        let reference = &suggestion.object;
        let object = files.objects.iter().find(|object| object.resource.reference() == *reference);
        let Some(object) = object else { continue };
        let json = files.json(object).unwrap_or_default();
        let fix = Fix {
            file: files.file_of(object).unwrap_or_default().to_owned(),
            object: reference.clone(),
            source: Source::Finding(finding.code),
            lines: suggestion.change.written(&json).into_iter().collect(),
            change: Mending::Suggested(suggestion.change.clone()),
        };
        if !fixes.iter().any(|known| known.rivals(&fix)) {
            fixes.push(fix);
        }
    }
    fixes
}

/// What the gateway routes of an object need, a fix for each of them.
fn rewriting(files: &Files, world: &World, object: &FileObject) -> Vec<Fix> {
    let reference = object.resource.reference();
    let Some(Resource::VirtualService(vs)) = world.get(&reference) else {
        return Vec::new();
    };
    // What Argo CD manages is rewritten too: it is in its repository that the lines have to stand.
    if is_opted_out(vs) {
        return Vec::new();
    }
    let edits = edits(&View::new(world), None, vs);
    let of_routes = edits.chunk_by(|one, other| one.route == other.route);
    let fix = |edits: &[Edit]| Fix {
        file: files.file_of(object).unwrap_or_default().to_owned(),
        object: reference.clone(),
        source: Source::Rewriting,
        lines: edits.iter().map(ToString::to_string).collect(),
        change: Mending::Rewrite(edits.to_vec()),
    };
    of_routes.map(fix).collect()
}
