//! What `check` finds in files, with every rule on.

use std::fmt;
use std::path::PathBuf;

use lanekeeper::files::{self, Files, Place};
use lanekeeper::rule::{Check, Finding, Level, RULES};
use lanekeeper::verdict::{Occasion, Settings, Standing, verdict};
use lanekeeper::world::{Settings as MeshSettings, View, World};

/// A finding as `check` would report it.
#[derive(Debug)]
#[allow(dead_code, reason = "each test uses its own part of it")]
pub(crate) struct Found {
    pub(crate) finding: Finding,
    pub(crate) level: Level,
    pub(crate) place: Place,
    /// The written part of its path, as keys and indexes.
    pub(crate) written: Vec<String>,
    /// The value at its path, if it is a single one.
    pub(crate) value: Option<String>,
}

/// `LK101 deny spec.subsets[1].labels`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { code, path, .. } = &self.finding;
        write!(f, "{code} {} {path}", self.level)
    }
}

/// The files, of which every document is one that rules read.
pub(crate) fn load(paths: &[PathBuf]) -> (Files, World) {
    let files = files::load(paths, None);
    let problems: Vec<String> = files.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{paths:?} cannot be read: {problems:#?}");
    assert_eq!(files.skipped, 0, "{paths:?} has objects that no rule reads");
    let world = files.world(MeshSettings::default());
    (files, world)
}

/// Every finding on every object of the files.
pub(crate) fn judge(files: &Files, world: &World) -> Vec<Found> {
    let view = View::new(world);
    let check = Check {
        view: &view,
        before: None,
    };
    let mut all = Vec::new();
    for object in &files.objects {
        let resource = world
            .get(&object.resource.reference())
            .expect("the world has every object of its files");
        let json = files.json(object).expect("what was parsed is JSON");
        for finding in check.object(RULES, resource) {
            let occasion = Occasion::Files { partial: false };
            let level = verdict(&finding, &Standing::default(), &occasion, &Settings::default());
            let (written, value) = follow(&json, &finding.path);
            all.push(Found {
                level,
                place: files.place(object, &finding.path),
                written,
                value,
                finding,
            });
        }
    }
    all
}

/// How far a path is written, and the single value at its end.
fn follow(object: &serde_json::Value, path: &str) -> (Vec<String>, Option<String>) {
    let mut written = Vec::new();
    let mut value = object;
    for part in segments(path) {
        let next = match part.parse::<usize>() {
            Ok(index) if value.is_array() => value.get(index),
            _ => value.get(&part),
        };
        let Some(next) = next else {
            return (written, None);
        };
        value = next;
        written.push(part);
    }
    let single = match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    (written, single)
}

/// `spec.http[0].set[x.y]` as `spec`, `http`, `0`, `set`, `x.y`.
fn segments(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for outside in path.split(']') {
        let (names, inside) = outside.split_once('[').unwrap_or((outside, ""));
        parts.extend(names.split('.').map(ToOwned::to_owned));
        parts.push(inside.to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts
}
