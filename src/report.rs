//! Findings on paper: text for people, and what programs read.

mod baseline;
mod decisions;
mod draw;
mod github;
mod json;
mod junit;
mod matrix;
mod oneline;
mod page;
mod sarif;
mod text;
mod trace;

pub use baseline::{BaselineError, read_baseline, write_baseline};
pub use decisions::{DecisionTable, write_decision_summary_json, write_decision_summary_text};
pub use github::write_github;
pub use json::{write_findings_json, write_json};
pub use junit::write_junit;
pub use matrix::{write_groups_json, write_matrices_json, write_matrices_text};
pub use oneline::write_oneline;
pub use page::{
    FindingsOf, Form, Links, POLICY, Shown, SomeRows, ToObject, ToRows, TraceOf, cell_title, decision_row,
    decisions_section, findings_section, matrices_section, page, steps, trace_section, write_matrices_html,
};
pub use sarif::write_sarif;
pub(crate) use text::number;
pub use text::{Look, write_text};
pub use trace::{Placing, write_trace_json, write_trace_text};

use crate::files::{Place, Problem};
use crate::resource::ObjectRef;
use crate::rule::{Evidence, Finding, Level, Tally};
use crate::text::{one_line, plain};

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
    /// What it follows from.
    pub related: Vec<Related>,
}

/// What a finding follows from, and where that stands.
#[derive(Debug, Clone)]
pub struct Related {
    /// The object and its field.
    pub evidence: Evidence,
    /// The `apiVersion` of the object, as written; empty for one that is in no file.
    pub api_version: String,
    /// Where it stands; `None` for an object that is in no file.
    pub place: Option<Place>,
}

impl Related {
    /// What is to be seen there, beside a finding on `object`.
    fn told(&self, object: &ObjectRef) -> String {
        let Evidence {
            object: seen, note, ..
        } = &self.evidence;
        match (seen == object, note.is_empty()) {
            (true, false) => note.clone(),
            (_, true) => seen.to_string(),
            (false, false) => format!("{seen}: {note}"),
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The findings, by file, line and code.
    pub findings: Vec<Reported>,
    /// What could not be read, or what the API server would refuse.
    pub problems: Vec<Problem>,
    /// How many files were read.
    pub files: usize,
    /// How many objects were judged.
    pub objects: usize,
    /// How many of them are a cluster's and in no file; `None`: no cluster was looked at.
    pub of_cluster: Option<usize>,
    /// How many documents hold something that no rule reads.
    pub skipped: usize,
    /// How many findings an annotation or the configuration keeps quiet.
    pub suppressed: usize,
    /// How many findings are not new.
    pub known: usize,
}

impl Report {
    /// How many findings have this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|reported| reported.level == level)
            .count()
    }

    /// What was judged: `3 objects in 2 files`.
    fn extent(&self) -> String {
        let in_files = || {
            let objects = self.objects - self.of_cluster.unwrap_or_default();
            let files = number(self.files, "file");
            format!("{} in {files}", number(objects, "object"))
        };
        match self.of_cluster {
            None => in_files(),
            Some(of_cluster) if self.files == 0 => format!("{} of the cluster", number(of_cluster, "object")),
            Some(of_cluster) => format!("{} over {of_cluster} of the cluster", in_files()),
        }
    }

    /// Leaves only the findings that are not among those of `tally`, from which they are taken.
    pub fn leave_new(&mut self, tally: &mut Tally) {
        let before = self.findings.len();
        self.findings.retain(|reported| !tally.take(&reported.finding));
        self.known += before - self.findings.len();
    }

    /// Sorts the findings by file, line and code, and the problems by their places.
    pub fn sort(&mut self) {
        fn key(reported: &Reported) -> impl Ord + '_ {
            let Reported { finding, place, .. } = reported;
            let whole = place.as_ref().map(|place| (&*place.file, place.line));
            (whole, finding.code, place, &finding.object, &finding.path)
        }
        self.findings.sort_by(|a, b| key(a).cmp(&key(b)));
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
    }
}

/// A field of an object, for people: `VirtualService shop/cart, spec.hosts[0]`.
fn field_of(object: &ObjectRef, path: &str) -> String {
    if path.is_empty() {
        object.to_string()
    } else {
        format!("{object}, {path}")
    }
}
