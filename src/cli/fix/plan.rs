//! What there is to mend.

use std::collections::{HashMap, HashSet};
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
    /// What to write, on one line.
    pub(super) fn in_short(&self) -> String {
        let first = self.lines.iter().filter_map(|text| text.lines().next());
        first.collect::<Vec<_>>().join(", ")
    }

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
    let mut planned: Vec<Fix> = files
        .objects
        .iter()
        .flat_map(|object| rewriting(files, world, object))
        .collect();
    if with_guesses {
        planned.extend(suggested(files, report));
    }
    planned
}

/// The objects that are wanted, each with what it is as JSON.
pub(super) fn as_json<'f>(
    files: &'f Files,
    wanted: &HashSet<&ObjectRef>,
) -> HashMap<ObjectRef, (&'f FileObject, Value)> {
    let objects = files.objects.iter();
    let objects = objects.filter(|object| wanted.contains(&object.resource.reference()));
    let objects: Vec<&FileObject> = objects.collect();
    let jsons = files.jsons(&objects);
    let both = objects.into_iter().zip(jsons);
    both.filter_map(|(object, json)| Some((object.resource.reference(), (object, json?))))
        .collect()
}

/// What the findings suggest, of changes of one field the first.
fn suggested(files: &Files, report: &Report) -> Vec<Fix> {
    let findings = report.findings.iter().map(|reported| &reported.finding);
    let suggestions = findings.filter_map(|finding| Some((finding.code, finding.suggestion.as_ref()?)));
    let wanted: HashSet<&ObjectRef> = suggestions
        .clone()
        .map(|(_, suggestion)| &suggestion.object)
        .collect();
    let known = as_json(files, &wanted);
    let mut seen: HashSet<(ObjectRef, String)> = HashSet::new();
    let mut planned = Vec::new();
    for (code, suggestion) in suggestions {
        let Some((object, json)) = known.get(&suggestion.object) else {
            continue;
        };
        let change = &suggestion.change;
        // Of additions to one list there can be several.
        let place = match change {
            Change::Append { .. } => format!("{change:?}"),
            Change::Set { .. } | Change::Rename { .. } => change.path().to_owned(),
        };
        if seen.insert((suggestion.object.clone(), place)) {
            planned.push(Fix {
                file: files.file_of(object).unwrap_or_default().to_owned(),
                object: suggestion.object.clone(),
                source: Source::Finding(code),
                lines: change.written(json).into_iter().collect(),
                change: Mending::Suggested(change.clone()),
            });
        }
    }
    planned
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
