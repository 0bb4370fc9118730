//! Objects on paper, in every way that people and programs write them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "test support: each test uses its own part of it"
)]

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line for each field.
    Block {
        /// Whether lists are indented below their key.
        indents_lists: bool,
        /// What strings stand in.
        quote: Option<char>,
        /// Whether some lines have comments, and others stand between them.
        has_comments: bool,
    },
    /// Everything in brackets, without quotes.
    Flow,
    /// JSON on one line.
    Json,
    /// JSON on many lines, with tabs.
    Tabs,
}

/// The whole of a file: its documents, with a mark between any two.
pub fn file(documents: &[(Style, Value)], has_mark: bool, has_returns: bool) -> String {
    let written: Vec<String> = documents
        .iter()
        .map(|(style, value)| document(*style, value))
        .collect();
    let text = written.join("---\n");
    let text = if has_returns {
        text.replace('\n', "\r\n")
    } else {
        text
    };
    if has_mark { format!("\u{feff}{text}") } else { text }
}

/// A `List` of objects.
pub fn list(objects: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

fn document(style: Style, value: &Value) -> String {
    match style {
        Style::Block { .. } => {
            let mut writer = Writer {
                style,
                out: String::new(),
                lines: 0,
            };
            writer.block(value, 0);
            writer.out
        }
        Style::Flow => format!("{}\n", flow(value)),
        Style::Json => format!("{value}\n"),
        Style::Tabs => {
            let spaces = serde_json::to_string_pretty(value).unwrap_or_default();
            let tabs = spaces.lines().map(|line| {
                let rest = line.trim_start_matches(' ');
                "\t".repeat((line.len() - rest.len()) / 2) + rest
            });
            tabs.collect::<Vec<_>>().join("\n") + "\n"
        }
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) if needs_quotes(text) => format!("\"{text}\""),
        Value::String(text) => text.clone(),
        scalar => scalar.to_string(),
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.contains(['%', '*', '{', '}', '[', ']', ',', '#', ' '])
}

struct Writer {
    style: Style,
    out: String,
    lines: usize,
}

impl Writer {
    /// Ends a line; which ones have comments depends on nothing but their number.
    fn end(&mut self) {
        self.lines += 1;
        let Style::Block { has_comments, .. } = self.style else {
            return;
        };
        match self.lines % 5 {
            1 if has_comments => _ = writeln!(self.out, "   # 注 {}", self.lines),
            3 if has_comments => _ = writeln!(self.out, "\n# between {}\n", self.lines),
            _ => self.out.push('\n'),
        }
    }

    fn scalar(&self, value: &Value) -> String {
        let Style::Block { quote, .. } = self.style else {
            return value.to_string();
        };
        match (value, quote) {
            (Value::String(text), None) if needs_quotes(text) => format!("\"{text}\""),
            (Value::String(text), None) => text.clone(),
            (Value::String(text), Some(quote)) => format!("{quote}{text}{quote}"),
            (scalar, _) => scalar.to_string(),
        }
    }

    /// A value whose first line has begun at this depth.
    fn block(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(fields) => {
                for (at, (key, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(&" ".repeat(depth));
                    }
                    let _ = write!(self.out, "{key}:");
                    self.below(value, depth);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(&" ".repeat(depth));
                    }
                    self.out.push_str("- ");
                    self.block(item, depth + 2);
                }
            }
            scalar => {
                self.out.push_str(&self.scalar(scalar));
                self.end();
            }
        }
    }

    /// What stands behind a key.
    fn below(&mut self, value: &Value, depth: usize) {
        let is_indented = matches!(
            self.style,
            Style::Block {
                indents_lists: true,
                ..
            }
        );
        let depth = match value {
            Value::Object(fields) if !fields.is_empty() => depth + 2,
            Value::Array(items) if !items.is_empty() && is_indented => depth + 2,
            Value::Array(items) if !items.is_empty() => depth,
            scalar => {
                let _ = write!(self.out, " {}", self.scalar(scalar));
                self.end();
                return;
            }
        };
        self.end();
        self.out.push_str(&" ".repeat(depth));
        self.block(value, depth);
    }
}
