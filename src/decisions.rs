//! The decision log, read back: its lines, which of them are asked for, and what they sum up to.
//!
//! The server writes a line for each [`Record`](crate::admission::Record). A reader meets them alone, behind what a
//! container's runtime or `kubectl logs` puts before each, among the lines of the program's own log, and cut short.

mod filter;
mod lines;
mod summary;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::filter::{Filter, Names, NamesError};
pub use self::lines::{Line, Lines};
pub use self::summary::{Counts, Durations, Slowest, Summary};

/// What is known of one decision. Fields that a later version adds are passed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision<'a> {
    /// When it was decided.
    pub time: Timestamp,
    /// The id of the decision, the one in the audit annotations.
    #[serde(borrow)]
    pub decision: Cow<'a, str>,
    /// The review's uid.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// Who made the change.
    #[serde(borrow, default)]
    pub user: Cow<'a, str>,
    /// `validate` or `mutate`.
    #[serde(borrow)]
    pub webhook: Cow<'a, str>,
    /// The namespace's mode.
    #[serde(borrow, default)]
    pub mode: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    /// The object's kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The object's namespace; empty for a kind that has none.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// The object's name; empty where the API server had yet to generate it.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Whether the change was only tried.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether the change was let through.
    pub allowed: bool,
    /// The codes of the findings that refused it.
    #[serde(default)]
    pub codes: Vec<String>,
    /// The codes of the findings that it was warned of.
    #[serde(default)]
    pub warned: Vec<String>,
    patch: Option<IgnoredAny>,
    /// What the user was told.
    #[serde(borrow, default)]
    pub message: Option<Cow<'a, str>>,
    /// How long the decision took, in microseconds.
    #[serde(default)]
    pub duration_micros: u64,
}

/// What came of a change, as the metrics tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was refused.
    Denied,
    /// It was let through with a patch.
    Patched,
    /// It was let through with a warning.
    Warned,
    /// It was let through.
    Allowed,
}

impl Outcome {
    /// Every outcome, the one that matters most first.
    pub const ALL: [Self; 4] = [Self::Denied, Self::Warned, Self::Patched, Self::Allowed];

    /// The outcome in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Patched => "patched",
            Self::Warned => "warned",
            Self::Allowed => "allowed",
        }
    }
}

impl Decision<'_> {
    /// What came of the change.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self { allowed: false, .. } => Outcome::Denied,
            Self { patch: Some(_), .. } => Outcome::Patched,
            Self { warned, .. } if !warned.is_empty() => Outcome::Warned,
            _ => Outcome::Allowed,
        }
    }

    /// The codes that tell why: those that refused it, or else those that it was warned of.
    pub fn reasons(&self) -> &[String] {
        if self.codes.is_empty() {
            &self.warned
        } else {
            &self.codes
        }
    }

    /// The object, as messages name it: `VirtualService cars/portal`.
    pub fn object(&self) -> String {
        match &*self.namespace {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}
