//! Reads YAML and JSON files as kubectl and the API server would, and remembers where everything stood.
//!
//! ```text
//!  bytes ──read──► text ──documents──► RawDocument … ──decode──► Node ──serde──► typed view
//!         UTF-8          `---`, `...`    one object,    aliases,    │  Error { line, column, path }
//!                        JSON streams    any thread     merge keys  └─find(path)──► Span
//! ```
//!
//! kubectl turns a file into JSON before the API server sees it, with the rules of YAML 1.1: `on` is a
//! boolean, `0777` is 511 and `1.0` is a number. The API server then refuses a number where a string belongs.
//! [`Node`] follows both, so that a file which decodes here is a file that the cluster can read. Where
//! kubectl is silent about a loss (the same key twice, text after `...`), decoding fails instead.

mod block;
mod de;
mod document;
mod edit;
mod json;
mod merge;
mod path;
mod place;
mod scalar;
mod syntax;
mod tree;
mod write;

use std::borrow::Cow;

pub use self::document::{Extent, RawDocument, documents, read};
pub use self::edit::EditError;
pub use self::path::{Found, field, pointer};
pub use self::write::{in_order, write};

/// A place in a file; line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Bytes before this place, from the start of the file.
    pub offset: u32,
    /// The line.
    pub line: u32,
    /// The character of the line.
    pub column: u32,
}

impl Position {
    /// The first place of a file.
    const START: Self = Self {
        offset: 0,
        line: 1,
        column: 1,
    };

    /// The place behind `text`, which starts here.
    fn after(self, text: &str) -> Self {
        let lines = count(text.bytes().filter(|byte| *byte == b'\n').count());
        let (before, last) = match text.rfind('\n') {
            Some(newline) => (1, &text[newline + 1..]),
            None => (self.column, text),
        };
        Self {
            offset: self.offset.saturating_add(count(text.len())),
            line: self.line.saturating_add(lines),
            column: count(last.chars().count()).saturating_add(before),
        }
    }
}

/// What lies between two places; the end is the first place behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub start: Position,
    /// Where it has ended.
    pub end: Position,
}

/// One value of a document and where it was written. What an alias or a merge key brought in stands where its
/// anchor does.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    span: Span,
    value: Value<'a>,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A null, boolean, number or string, and its text: of a string the content, of the others how they were
    /// written.
    Scalar(Scalar, Cow<'a, str>),
    /// A list.
    Sequence(Vec<Node<'a>>),
    /// A mapping, in the order of the file.
    Mapping(Vec<Entry<'a>>),
}

/// The type of a scalar, as kubectl resolves it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Nothing, `~` or `null`.
    Null,
    /// A boolean: also `yes`, `no`, `on`, `off`, `y` and `n`.
    Bool(bool),
    /// An integer: also octal, hexadecimal, binary and with underscores.
    Int(i64),
    /// An integer above the range of [`Scalar::Int`].
    Uint(u64),
    /// A number with a fraction or an exponent, always finite.
    Float(f64),
    /// A string.
    String,
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// The key, always a string: kubectl writes `1:` as `"1"` and `on:` as `"true"`.
    pub key: Node<'a>,
    /// The value.
    pub value: Node<'a>,
}

impl Entry<'_> {
    /// The key's text.
    pub fn name(&self) -> &str {
        self.key.as_str().unwrap_or_default()
    }
}

impl<'a> Node<'a> {
    /// Where the value was written.
    pub fn span(&self) -> Span {
        self.span
    }

    /// What the node holds.
    pub fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null, _))
    }

    /// The text of a string; `None` for everything else, numbers and booleans included.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar::String, text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; empty for everything else.
    pub fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; empty for everything else.
    pub fn entries(&self) -> &[Entry<'a>] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entries()
            .iter()
            .find(|entry| entry.name() == key)
            .map(|entry| &entry.value)
    }

    fn new(start: Position, end: Position, value: Value<'a>) -> Self {
        let span = Span { start, end };
        Self { span, value }
    }

    fn null(place: Position) -> Self {
        Self::new(place, place, Value::Scalar(Scalar::Null, Cow::Borrowed("")))
    }
}

/// Why a file, a document or a value cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {}{message}", prefix(path))]
pub struct Error {
    /// What is wrong and what helps.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The field as Kubernetes writes it, `spec.http[0].route[0].weight`; empty when the document itself is
    /// at fault.
    pub path: String,
}

impl Error {
    fn new(place: Position, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: place.line,
            column: place.column,
            path: String::new(),
        }
    }

    /// The error as seen from the list in which it arose.
    fn under_index(self, index: usize) -> Self {
        let path = path::under_index(index, &self.path);
        Self { path, ..self }
    }

    /// The error as seen from the mapping in which it arose.
    fn under_key(self, key: &str) -> Self {
        let path = path::under_key(key, &self.path);
        Self { path, ..self }
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

/// Lengths and lines as the spans hold them; [`read`] refuses files that are too large for it.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value as Json, json};

    use super::*;

    pub(super) fn json_values() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            // kubectl writes a whole float as an integer.
            any::<i32>().prop_map(|number| json!(f64::from(number) + 0.25)),
            "\\PC{0,12}".prop_map(Json::from),
            "([a-z:#'\"\\[{&*!|>%@ -]|\n|\t|é){0,12}".prop_map(Json::from),
            "(yes|no|on|1|1\\.0|~|null|0x1|<<|\\.inf)".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 60, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                prop::collection::hash_map("(\\PC|\n){0,8}|on|1|<<", inner, 0..5)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Writes a value as block YAML: each item and key on a line of its own, strings in double quotes.
    fn print(value: &Json, indent: usize, out: &mut String) {
        let line = format!("\n{}", " ".repeat(indent));
        match value {
            Json::Array(items) if !items.is_empty() => {
                for item in items {
                    write!(out, "{line}-  # é\n{}", " ".repeat(indent + 2)).unwrap();
                    print(item, indent + 2, out);
                }
            }
            Json::Object(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    write!(out, "{line}{}:  ", Json::from(key.as_str())).unwrap();
                    print(value, indent + 1, out);
                }
            }
            scalar => write!(out, "{scalar}").unwrap(),
        }
    }

    /// Writes a value in brackets, with line breaks that have no indentation.
    fn print_flow(value: &Json) -> String {
        let lines = |parts: Vec<String>| parts.join(",\n");
        match value {
            Json::Array(items) => format!("[\n{}\n]", lines(items.iter().map(print_flow).collect())),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| {
                    format!("{}: {}", Json::from(key.as_str()), print_flow(value))
                };
                format!("{{\n{}\n}}", lines(entries.iter().map(entry).collect()))
            }
            scalar => scalar.to_string(),
        }
    }

    fn decode(text: &str) -> Json {
        let documents = documents(text);
        let Some(document) = documents.first() else {
            return Json::Null;
        };
        let node = document.decode().unwrap();
        assert_places(text, &node);
        Json::deserialize(&node).unwrap()
    }

    /// Checks that lines and columns are those of the offsets.
    fn assert_places(text: &str, node: &Node<'_>) {
        let Span { start, end } = node.span();
        for place in [start, end] {
            let before = text[..place.offset as usize].trim_start_matches('\u{feff}');
            let mut expected = Position::START.after(before);
            expected.offset = place.offset;
            assert_eq!(place, expected, "{text:?}");
        }
        assert!(start <= end, "{text:?} {node:?}");
        node.items().iter().for_each(|item| assert_places(text, item));
        for Entry { key, value } in node.entries() {
            assert_places(text, key);
            assert_places(text, value);
        }
    }

    const SAMPLE: &str = "kind: Service # é\nmetadata: &m\n  labels: {app: a, \"x/y\": '1'}\nspec:\n  <<: *m\n  ports:\n  - port: 80\n\n    name: >-\n      f\n      g\n  - [\n  a, # b\n\"c\",\n]\n---\n{\"a\":\t[1, \"\\u00e9\"]}\n";

    proptest! {
        #[test]
        fn json_reads_as_itself(value in json_values()) {
            let value = json!({ "root": value });
            prop_assert_eq!(decode(&value.to_string()), value.clone());
            prop_assert_eq!(decode(&serde_json::to_string_pretty(&value).unwrap()), value);
        }

        #[test]
        fn json_reads_as_itself_when_written_as_block_yaml(value in json_values()) {
            let mut text = String::new();
            print(&json!({ "root": value }), 0, &mut text);
            prop_assert_eq!(decode(&text), json!({ "root": value }));
        }

        #[test]
        fn json_reads_as_itself_in_brackets_without_indentation(value in json_values()) {
            let text = format!("é: &a # é\n  b\nroot: {}\n", print_flow(&value));
            prop_assert_eq!(decode(&text), json!({ "é": "b", "root": value }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(text) = read(&bytes) {
                for document in documents(text) {
                    drop(document.decode());
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([-a:\\[\\]{},&*!|>'\"#%? \t\n\r<é.~0]|<<|\\.\\.\\.|---){0,40}") {
            let text = text.replace('\r', "\r\n");
            for document in documents(&text) {
                if let Ok(node) = document.decode() {
                    assert_places(&text, &node);
                }
            }
        }

        #[test]
        fn a_changed_document_is_read_or_refused(at in any::<prop::sample::Index>(), len in 0..6_usize, new in "[-a:\\[\\]{}&*|'\"# \t\n\ré]{0,3}") {
            let mut chars: Vec<char> = SAMPLE.chars().collect();
            let at = at.index(chars.len());
            let end = chars.len().min(at + len);
            chars.splice(at..end, new.chars());
            let text = String::from_iter(chars).replace('\r', "\r\n");
            for document in documents(&text) {
                if let Ok(node) = document.decode() {
                    assert_places(&text, &node);
                    Json::deserialize(&node).unwrap();
                }
            }
        }
    }
}
