//! Compares an object with the table.

use std::fmt::Write as _;

use super::Fault;
use super::kind::version;
use super::table::{Field, Fields, TABLE, Table, Type};
use crate::lane::meant;
use crate::resource::Kind;
use crate::yaml::{Entry, Node, Scalar, Span, Value, field};

/// Enough to see what is wrong with one object; aliases can repeat a fault thousands of times.
const MOST_FAULTS: usize = 50;

/// A mapping with more fields than this is not told whole.
const FEW_FIELDS: usize = 12;

/// What the API server refuses of an object of this kind, in the order of the file; nothing if its version is newer
/// than the table.
pub fn faults(kind: Kind, object: &Node<'_>) -> Vec<Fault> {
    match version(kind, object) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(fault) => return vec![fault],
    }
    let table = &*TABLE;
    let mut walk = Walk {
        table,
        kind,
        faults: Vec::new(),
    };
    let root = Trail {
        above: None,
        step: Step::Root,
        fields: None,
    };
    walk.value(table.kind(kind), object, &root);
    walk.faults
}

struct Walk<'t> {
    table: &'t Table,
    kind: Kind,
    faults: Vec<Fault>,
}

/// The way from the object to a value.
struct Trail<'w> {
    above: Option<&'w Trail<'w>>,
    step: Step<'w>,
    /// What the mapping that this step leads out of may have.
    fields: Option<&'w Fields>,
}

#[derive(Clone, Copy)]
enum Step<'w> {
    Root,
    Key(&'w Node<'w>),
    Index(usize),
}

impl Walk<'_> {
    fn value(&mut self, expected: &Type, node: &Node<'_>, trail: &Trail<'_>) {
        let value = node.value();
        if node.is_null() || self.faults.len() >= MOST_FAULTS {
            return;
        }
        match (expected, value) {
            (Type::Any, _)
            | (
                Type::String | Type::IntegerOrString | Type::NumberOrString,
                Value::Scalar(Scalar::String, _),
            )
            | (Type::Bool, Value::Scalar(Scalar::Bool(_), _))
            | (
                Type::Number | Type::NumberOrString,
                Value::Scalar(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_), _),
            ) => {}
            (Type::Integer(least, most), Value::Scalar(scalar, text)) => match whole(*scalar) {
                Some(number) if (*least..=*most).contains(&number) => {}
                Some(_) => {
                    let bounds = format!("expected an integer from {least} to {most}, found {text}");
                    self.tell(node.span(), trail, bounds);
                }
                None => self.mismatch(expected, node, trail),
            },
            (Type::IntegerOrString, Value::Scalar(scalar, _)) if whole(*scalar).is_some() => {}
            (Type::Enum(values), Value::Scalar(Scalar::String, text)) => {
                if !values.contains(&&**text) {
                    self.tell(node.span(), trail, no_such_value(text, values));
                }
            }
            (Type::List(expected), Value::Sequence(items)) => {
                for (at, item) in items.iter().enumerate() {
                    let trail = Trail {
                        above: Some(trail),
                        step: Step::Index(at),
                        fields: None,
                    };
                    self.value(expected, item, &trail);
                }
            }
            (Type::Map(expected), Value::Mapping(entries)) => {
                for entry in entries {
                    self.value(expected, &entry.value, &trail.to(entry, None));
                }
            }
            (Type::Mapping(mapping), Value::Mapping(entries)) => {
                self.mapping(self.table.fields(*mapping), node, entries, trail);
            }
            _ => self.mismatch(expected, node, trail),
        }
    }

    fn mapping(&mut self, fields: &Fields, node: &Node<'_>, entries: &[Entry<'_>], trail: &Trail<'_>) {
        let mut required = 0;
        let mut has_unknown = false;
        for entry in entries {
            match fields.get(entry.name()) {
                Some(field) => {
                    required += usize::from(field.is_required);
                    if !matches!(field.value, Type::Any) {
                        self.value(&field.value, &entry.value, &trail.to(entry, Some(fields)));
                    }
                }
                None if fields.is_open => {}
                None => {
                    has_unknown = true;
                    self.unknown(fields, entry, trail);
                }
            }
        }
        // What is missing may be what is misspelt.
        if required < fields.required && !has_unknown {
            let is_missing = |field: &&Field| field.is_required && node.get(field.name).is_none();
            for missing in fields.all().iter().filter(is_missing) {
                let message = format!("the field `{}` is missing; it is required", missing.name);
                self.tell(trail.place(node), trail, message);
            }
        }
        for names in &fields.alternatives {
            let mut present = entries.iter().filter(|entry| names.contains(&entry.name()));
            if let (Some(first), Some(second)) = (present.next(), present.next()) {
                let message = format!(
                    "only one of {} may be set, and `{}` is",
                    names.join(", "),
                    first.name()
                );
                self.tell(second.key.span(), &trail.to(second, None), message);
            }
        }
    }

    fn unknown(&mut self, fields: &Fields, entry: &Entry<'_>, trail: &Trail<'_>) {
        let help = self.belongs(fields, entry.name(), trail).unwrap_or_else(|| {
            let mut names: Vec<&str> = fields.all().iter().map(|field| field.name).collect();
            names.sort_unstable();
            match names.as_slice() {
                few if few.len() <= FEW_FIELDS => format!("expected one of {}", few.join(", ")),
                _ => format!("{} has none of this name", self.kind),
            }
        });
        let message = format!("unknown field; {help}{}", self.table.source(self.kind));
        self.tell(entry.key.span(), &trail.to(entry, None), message);
    }

    /// What an unknown field is likely to be: a slip, or one of the mapping above or below, by its indentation.
    fn belongs(&self, fields: &Fields, name: &str, trail: &Trail<'_>) -> Option<String> {
        let names = || fields.all().iter().map(|field| field.name);
        if let Some(meant) = meant(name, names()) {
            return Some(format!("did you mean `{meant}`?"));
        }
        let has = |fields: &Fields| fields.get(name).is_some();
        let is_below = |field: &&Field| self.table.fields_in(&field.value).is_some_and(has);
        if let Some(below) = fields.all().iter().find(is_below) {
            return Some(format!(
                "`{}` has a field of this name: check the indentation",
                below.name
            ));
        }
        let mut up = Some(trail);
        while let Some(trail) = up {
            if trail.fields.is_some_and(has) {
                let above = trail.above.map(Trail::path).unwrap_or_default();
                let place = if above.is_empty() { "the object" } else { &above };
                return Some(format!("{place} has a field of this name: check the indentation"));
            }
            up = trail.above;
        }
        None
    }

    fn mismatch(&mut self, expected: &Type, node: &Node<'_>, trail: &Trail<'_>) {
        let message = node.other_than(match expected {
            Type::Any => "anything",
            Type::String | Type::Enum(_) => "a string",
            Type::Bool => "true or false",
            Type::Integer(..) => "an integer",
            Type::Number => "a number",
            Type::IntegerOrString => "an integer or a string",
            Type::NumberOrString => "a number or a string",
            Type::List(_) => "a list",
            Type::Map(_) | Type::Mapping(_) => "a mapping",
        });
        self.tell(node.span(), trail, message);
    }

    fn tell(&mut self, span: Span, trail: &Trail<'_>, message: String) {
        if self.faults.len() < MOST_FAULTS {
            let path = trail.path();
            self.faults.push(Fault { span, path, message });
        }
    }
}

impl<'w> Trail<'w> {
    fn to<'n: 'w>(&'w self, entry: &'n Entry<'n>, fields: Option<&'w Fields>) -> Trail<'w> {
        Trail {
            above: Some(self),
            step: Step::Key(&entry.key),
            fields,
        }
    }

    /// The field as Kubernetes writes it.
    fn path(&self) -> String {
        let mut path = self.above.map(Trail::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                let segment = field(key.as_str().unwrap_or_default());
                let is_first = path.is_empty();
                path.push_str(if is_first {
                    segment.trim_start_matches('.')
                } else {
                    &segment
                });
            }
            Step::Index(at) => _ = write!(path, "[{at}]"),
        }
        path
    }

    /// Where a mapping stands that lacks something: at its key, or where it starts.
    fn place(&self, node: &Node<'_>) -> Span {
        let start = node.span().start;
        match self.step {
            Step::Key(key) => key.span(),
            _ => Span { start, end: start },
        }
    }
}

/// The integer that kubectl writes for a number.
fn whole(scalar: Scalar) -> Option<i64> {
    match scalar {
        Scalar::Int(number) => Some(number),
        Scalar::Uint(_) => Some(i64::MAX),
        #[allow(clippy::cast_possible_truncation, reason = "beyond the range it is a bound")]
        Scalar::Float(number) if number.fract() == 0.0 => Some(number as i64),
        _ => None,
    }
}

fn no_such_value(text: &str, values: &[&str]) -> String {
    let help = match meant(text, values.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("expected one of {}", values.join(", ")),
    };
    format!("`{text}` is none of the values that it can have; {help}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::documents;

    fn told(text: &str) -> Vec<String> {
        let text = format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\n{text}");
        let node = documents(&text)[0].decode().unwrap();
        let faults = faults(Kind::VirtualService, &node).into_iter();
        faults
            .map(|fault| format!("{}: {}", fault.path, fault.message))
            .collect()
    }

    #[test]
    fn every_fault_of_an_object_is_told() {
        let text = "spec:\n  hosts: a\n  http:\n  - {route: {}, timeout: 1}\n  - 7\n  tcp: {}\n";
        let paths: Vec<String> = told(text)
            .iter()
            .map(|told| told.split(": ").next().unwrap().to_owned())
            .collect();
        assert_eq!(
            paths,
            [
                "spec.hosts",
                "spec.http[0].route",
                "spec.http[0].timeout",
                "spec.http[1]",
                "spec.tcp"
            ]
        );
    }

    #[test]
    fn a_null_is_taken_for_any_field() {
        assert_eq!(
            told("spec: {hosts: null, http: [{route: ~, timeout: }]}\n"),
            [""; 0]
        );
        assert_eq!(told("spec:\n"), [""; 0]);
    }

    #[test]
    fn a_fault_that_aliases_repeat_is_not_told_without_end() {
        let items = vec!["*a"; 200].join(", ");
        assert_eq!(
            told(&format!("spec: {{http: [&a {{x: 1}}, {items}]}}\n")).len(),
            MOST_FAULTS
        );
    }

    #[test]
    fn what_a_merge_key_brings_is_compared_too() {
        let text = "spec: {http: [{route: [&a {destination: {host: a}, wieght: 1}, {<<: *a}]}]}\n";
        assert_eq!(told(text).len(), 2);
    }
}
