//! One broken rule on one object.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Rule, Suggestion};
use crate::resource::ObjectRef;
use crate::symbol::Symbol;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is not told.
    Off,
    /// It is told.
    Warn,
    /// It refuses the change, and fails a check.
    Deny,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Deny => "deny",
        })
    }
}

/// Whether what is found can still come right by itself [s1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Something else is expected that is not there: objects arrive in sets, so it may be on its way.
    Missing,
    /// A near miss of what is there, or a contradiction within the object: waiting does not mend it.
    Contradicted,
    /// It is too large to be judged whole, and nothing is known of the rest: that never refuses, whatever the rule's level.
    Unjudged,
}

/// What a finding is about; together with code and object, its identity: it does not change when routes are
/// inserted above it or messages are reworded [s4].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// The full host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Symbol>,
    /// The port's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// The subset's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Symbol>,
    /// The lane's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Symbol>,
    /// The header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Symbol>,
}

/// What a finding follows from: an object, or one field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The object; that of the finding too, for another field of it.
    pub object: ObjectRef,
    /// The field, as Kubernetes writes it; empty for the object as a whole.
    pub path: String,
    /// What is to be seen there, as in `its ports`; may be empty.
    pub note: String,
}

/// One broken rule on one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's code, `LK101`.
    pub code: &'static str,
    /// The rule's name, `subset-without-workload`.
    pub rule: &'static str,
    /// How much it weighs in itself: the rule's level, or less where the rule is less sure.
    pub level: Level,
    /// Whether it can come right by itself.
    pub certainty: Certainty,
    /// The object that has to change.
    pub object: ObjectRef,
    /// The field, as Kubernetes writes it: `spec.http[0].route[0].destination.subset`.
    pub path: String,
    /// What it is about.
    pub subject: Subject,
    /// What was found and what was expected.
    pub message: String,
    /// How to mend it.
    pub help: String,
    /// What it follows from, besides its own field.
    pub evidence: Vec<Evidence>,
    /// A change that would mend it, where there is one to guess.
    pub suggestion: Option<Suggestion>,
}

/// What makes two findings the same one.
pub type Identity = (&'static str, ObjectRef, Subject);

impl Finding {
    /// A finding of `rule` on the field `path` of `object`, contradicted and at the rule's level until told
    /// otherwise.
    pub fn new(rule: &Rule, object: ObjectRef, path: impl Into<String>) -> Self {
        Self {
            code: rule.code,
            rule: rule.name,
            level: rule.level,
            certainty: Certainty::Contradicted,
            object,
            path: path.into(),
            subject: Subject::default(),
            message: String::new(),
            help: String::new(),
            evidence: Vec::new(),
            suggestion: None,
        }
    }

    /// The same finding, about `subject`.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    /// The same finding, that says this.
    #[must_use]
    pub fn says(mut self, message: impl Into<String>, help: impl Into<String>) -> Self {
        self.message = message.into();
        self.help = help.into();
        self
    }

    /// The same finding, that this change would mend.
    #[must_use]
    pub fn mended_by(mut self, suggestion: impl Into<Option<Suggestion>>) -> Self {
        self.suggestion = suggestion.into();
        self
    }

    /// The same finding, of which something is only missing.
    #[must_use]
    pub fn missing_if(mut self, missing: bool) -> Self {
        if missing {
            self.certainty = Certainty::Missing;
        }
        self
    }

    /// The same finding, that only says that something was not judged.
    #[must_use]
    pub fn unjudged(mut self) -> Self {
        self.certainty = Certainty::Unjudged;
        self.warning_if(true)
    }

    /// The same finding, that weighs no more than a warning.
    #[must_use]
    pub fn warning_if(mut self, warning: bool) -> Self {
        if warning {
            self.level = self.level.min(Level::Warn);
        }
        self
    }

    /// The same finding, that follows from these objects too.
    #[must_use]
    pub fn from_objects(mut self, evidence: impl IntoIterator<Item = ObjectRef>) -> Self {
        self.evidence.extend(evidence.into_iter().map(|object| Evidence {
            object,
            path: String::new(),
            note: String::new(),
        }));
        self
    }

    /// The same finding, that follows from this field too, where `note` is to be seen.
    #[must_use]
    pub fn from_field(mut self, object: ObjectRef, path: impl Into<String>, note: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            object,
            path: path.into(),
            note: note.into(),
        });
        self
    }

    /// The same finding, that follows from the field `path` of each of these objects too.
    #[must_use]
    pub fn from_each(
        self,
        objects: impl IntoIterator<Item = ObjectRef>,
        path: &str,
        note: &'static str,
    ) -> Self {
        self.from_fields(objects.into_iter().map(|object| (object, path.to_owned(), note)))
    }

    /// The same finding, that follows from these fields too, each with its note.
    #[must_use]
    pub fn from_fields(self, evidence: impl IntoIterator<Item = (ObjectRef, String, &'static str)>) -> Self {
        let each = evidence.into_iter();
        each.fold(self, |finding, (object, path, note)| {
            finding.from_field(object, path, note)
        })
    }

    /// What makes it this finding and no other.
    pub fn identity(&self) -> Identity {
        (self.code, self.object.clone(), self.subject.clone())
    }
}

/// `[LK101 subset-without-workload] VirtualService cars/portal spec.http[0]…: message; help`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            rule,
            object,
            path,
            message,
            help,
            ..
        } = self;
        write!(f, "[{code} {rule}] {object} {path}: {message}")?;
        if help.is_empty() {
            Ok(())
        } else {
            write!(f, "; {help}")
        }
    }
}
