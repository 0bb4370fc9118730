//! What to ask the API server again before a denial.

use crate::resource::{Kind, Labels, ObjectRef, Resource};
use crate::symbol::Symbol;

/// One question that the view answered, in the form that the API server can answer: a list of a kind in a
/// namespace, or one object. Repeated as a quorum read, it tells whether the watch lagged [s5].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Read {
    /// Every object of a kind in a namespace; in all, where it is empty.
    List(Kind, Symbol),
    /// The pods of a namespace with these labels.
    Pods(Symbol, Labels),
    /// One object.
    Object(ObjectRef),
}

impl Read {
    /// The kind it reads.
    pub fn kind(&self) -> Kind {
        match self {
            Self::List(kind, _) => *kind,
            Self::Pods(..) => Kind::Pod,
            Self::Object(reference) => reference.kind,
        }
    }

    /// Whether the answer would hold `object`, if that existed.
    pub fn covers(&self, object: &Resource) -> bool {
        let meta = object.meta();
        let in_namespace = |namespace: &Symbol| namespace.is_empty() || meta.namespace == *namespace;
        object.kind() == self.kind()
            && match self {
                Self::List(_, namespace) => in_namespace(namespace),
                Self::Pods(namespace, labels) => in_namespace(namespace) && labels.select(&meta.labels),
                Self::Object(reference) => object.is(reference),
            }
    }

    /// Whether the answer to this read holds all of the answer to `other`.
    pub fn includes(&self, other: &Self) -> bool {
        let holds = |outer: &Symbol, inner: &Symbol| outer.is_empty() || outer == inner;
        match (self, other) {
            (Self::List(kind, outer), Self::List(_, inner) | Self::Pods(inner, _)) => {
                *kind == other.kind() && holds(outer, inner)
            }
            (Self::List(kind, outer), Self::Object(object)) => {
                *kind == object.kind && holds(outer, &object.namespace)
            }
            (Self::Pods(outer, fewer), Self::Pods(inner, more)) => holds(outer, inner) && fewer.select(more),
            (Self::Object(object), Self::Object(other)) => object == other,
            (Self::Pods(..) | Self::Object(_), _) => false,
        }
    }
}
