//! Findings on paper: text for people, JSON for programs.

mod json;
mod text;

pub use json::write_json;
pub use text::write_text;

use crate::files::Place;
use crate::rule::{Finding, Level};

/// A finding with its level on this occasion and its place.
#[derive(Debug, Clone)]
pub struct Reported {
    /// The finding.
    pub finding: Finding,
    /// What it leads to.
    pub level: Level,
    /// The `apiVersion` of its object, as written.
    pub api_version: String,
    /// Where it stands; `None` for an object that is in no file.
    pub place: Option<Place>,
}

/// What a check came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The findings, by file, line and code.
    pub findings: Vec<Reported>,
    /// What could not be read.
    pub problems: Vec<String>,
    /// How many files were read.
    pub files: usize,
    /// How many objects were judged.
    pub objects: usize,
    /// How many documents hold something that no rule reads.
    pub skipped: usize,
    /// How many findings an annotation or the configuration keeps quiet.
    pub suppressed: usize,
}

impl Report {
    /// How many findings have this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|reported| reported.level == level)
            .count()
    }

    /// Sorts the findings by file, line and code.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            let key = |reported: &Reported| {
                let place = reported.place.clone().unwrap_or_default();
                (
                    place.file.clone(),
                    place.line,
                    reported.finding.code,
                    place,
                    reported.finding.object.clone(),
                    reported.finding.path.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
    }
}
