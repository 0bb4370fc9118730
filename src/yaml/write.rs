//! Writes objects as YAML, as people write manifests: a line a field, lists not indented, quotes where they are needed.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::documents;

/// An object as a YAML document. Fields that are in `order` come first, in its order; the others by name.
pub fn write(object: &Value, order: &[&str]) -> String {
    let mut writer = Writer {
        order,
        text: String::new(),
    };
    match object {
        Value::Object(fields) if !fields.is_empty() => writer.fields(fields, 0),
        Value::Array(items) if !items.is_empty() => writer.items(items, 0),
        other => {
            writer.text.push_str(&scalar(other));
            writer.text.push('\n');
        }
    }
    writer.text
}

/// The fields of an object in this order: first those that are in `order`, then the others by name.
pub fn in_order<'f>(fields: &'f Map<String, Value>, order: &[&str]) -> Vec<(&'f String, &'f Value)> {
    let mut sorted: Vec<_> = fields.iter().collect();
    let rank = |key: &str| order.iter().position(|known| *known == key);
    sorted.sort_by_key(|(key, _)| (rank(key).unwrap_or(order.len()), *key));
    sorted
}

struct Writer<'o> {
    order: &'o [&'o str],
    text: String,
}

impl Writer<'_> {
    /// Fields, the first of them where the text ends, the others on lines of their own at this depth.
    fn fields(&mut self, fields: &Map<String, Value>, depth: usize) {
        for (at, (key, value)) in in_order(fields, self.order).into_iter().enumerate() {
            if at > 0 {
                self.indent(depth);
            }
            self.text.push_str(&string(key));
            self.text.push(':');
            match value {
                Value::Object(fields) if !fields.is_empty() => {
                    self.text.push('\n');
                    self.indent(depth + 2);
                    self.fields(fields, depth + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.text.push('\n');
                    self.indent(depth);
                    self.items(items, depth);
                }
                other => self.rest_of_line(other),
            }
        }
    }

    fn items(&mut self, items: &[Value], depth: usize) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.indent(depth);
            }
            self.text.push('-');
            match item {
                Value::Object(fields) if !fields.is_empty() => {
                    self.text.push(' ');
                    self.fields(fields, depth + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.text.push(' ');
                    self.items(items, depth + 2);
                }
                other => self.rest_of_line(other),
            }
        }
    }

    fn rest_of_line(&mut self, value: &Value) {
        self.text.push(' ');
        self.text.push_str(&scalar(value));
        self.text.push('\n');
    }

    fn indent(&mut self, depth: usize) {
        self.text.extend(std::iter::repeat_n(' ', depth));
    }
}

/// A value on one line: what is no string is written as in JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

/// A string, in quotes unless it reads as itself without.
fn string(text: &str) -> String {
    let is_itself = |read: &str| matches!(documents(read).as_slice(), [one] if one.decode().is_ok_and(|node| node.as_str() == Some(text)));
    // What begins with a digit or a sign is a time or another number to some readers.
    let is_simple = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if is_simple && is_itself(text) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' ' => quoted.push(c),
            _ if c.is_ascii_graphic() || (c.is_alphanumeric() && !c.is_ascii()) => quoted.push(c),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_written_with_its_fields_in_order_and_its_lists_not_indented() {
        let object = json!({"spec": {"http": [{"route": [{"destination": {"host": "a"}}], "name": "x"}], "gateways": ["mesh"],
                "empty": {}, "none": []}, "kind": "VirtualService", "metadata": {"name": "a"}});
        assert_eq!(
            write(&object, &["kind", "metadata", "name"]),
            "kind: VirtualService
metadata:
  name: a
spec:
  empty: {}
  gateways:
  - mesh
  http:
  - name: x
    route:
    - destination:
        host: a
  none: []
"
        );
    }

    #[test]
    fn what_another_reader_of_yaml_may_take_for_something_else_stands_in_quotes() {
        for text in [
            "",
            "on",
            "1",
            "1.0",
            "0x1f",
            "true",
            "null",
            "~",
            "*",
            "%REQ(buid)%",
            "a: b",
            "a #b",
            "- a",
            " a",
            "[a",
            "{a",
            "a:",
            "&a",
            "!a",
            "`a",
            "@a",
            "2026-01-01",
            "a\nb",
            "'a",
            "\"a",
            "1_000",
            "1:30",
            "=",
            "é",
            "---",
        ] {
            let written = write(&json!({ "k": text }), &[]);
            assert!(written.starts_with("k: \""), "{written}");
        }
        assert_eq!(write(&json!({"k": "a b-c/d.e:f"}), &[]), "k: a b-c/d.e:f\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_what_it_was(object in super::super::tests::json_values()) {
            let text = write(&object, &["name"]);
            let documents = documents(&text);
            prop_assert_eq!(documents.len(), 1, "{}", &text);
            let node = documents[0].decode();
            prop_assert!(node.is_ok(), "{:?} in\n{}", node, &text);
            let read = Value::deserialize(&node.unwrap()).unwrap();
            prop_assert_eq!(read, object, "{}", &text);
        }
    }
}
