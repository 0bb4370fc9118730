//! Where in a file something is.

use std::fmt;

use crate::yaml::{Node, Span};

/// A range of a file; lines and columns count from 1, columns in characters. Line 0 is the file as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named, `-` for standard input.
    pub file: String,
    /// The line where it starts.
    pub line: u32,
    /// The column where it starts.
    pub column: u32,
    /// The line where it ends.
    pub end_line: u32,
    /// The first column behind it.
    pub end_column: u32,
}

impl Place {
    /// Where the field `path` of an object of the file stands, from its key to the end of its value; of a field that is
    /// not written, the nearest one above it: its key, for its value is what is right. An empty path is the object's
    /// name.
    pub(super) fn of(file: &str, object: &Node<'_>, path: &str) -> Self {
        let path = if path.is_empty() { "metadata.name" } else { path };
        let found = object.find(path);
        let value = found.node.span();
        let span = match found.key {
            // An alias brings its value from further up.
            Some(key) if !found.is_exact || value.start < key.end => key,
            Some(key) => Span {
                start: key.start,
                end: value.end,
            },
            None => value,
        };
        Self::over(file, span)
    }

    /// What a span of the file covers.
    pub(super) fn over(file: &str, span: Span) -> Self {
        Self {
            file: file.to_owned(),
            line: span.start.line,
            column: span.start.column,
            end_line: span.end.line,
            end_column: span.end.column,
        }
    }

    /// The file as a whole.
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            ..Self::default()
        }
    }

    /// One place of the file.
    pub fn point(file: &str, line: u32, column: u32) -> Self {
        Self {
            file: file.to_owned(),
            line,
            column,
            end_line: line,
            end_column: column,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            _ => write!(f, "{}:{}:{}", self.file, self.line, self.column),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::documents;

    /// The text of a file at the place of a field of its last document.
    fn at(text: &str, path: &str) -> String {
        let documents = documents(text);
        let node = documents.last().unwrap().decode().unwrap();
        let place = Place::of("a.yaml", &node, path);
        let lines: Vec<&str> = text.trim_start_matches('\u{feff}').split('\n').collect();
        let mut found = String::new();
        for number in place.line..=place.end_line {
            let line = lines[number as usize - 1];
            let from = if number == place.line { place.column } else { 1 };
            let len = if number == place.end_line {
                (place.end_column - from) as usize
            } else {
                usize::MAX
            };
            found.extend(line.chars().skip(from as usize - 1).take(len));
            if number < place.end_line {
                found.push('\n');
            }
        }
        found
    }

    #[test]
    fn a_field_stands_from_its_key_to_the_end_of_its_value() {
        let text = "a: 1\n--- # 一\nspec: # 规格\n  车: x\n  subsets:\n  - labels:\n      verison: wicph # 标签\n  - {name: 车, labels: {build: 'b'}, ports: [1, 2]}\n";
        assert_eq!(at(text, "spec.subsets[0].labels.verison"), "verison: wicph");
        assert_eq!(
            at(text, "spec.subsets[0].labels"),
            "labels:\n      verison: wicph"
        );
        assert_eq!(at(text, "spec.subsets[1].labels.build"), "build: 'b'");
        assert_eq!(at(text, "spec.subsets[1].ports"), "ports: [1, 2]");
        assert_eq!(at(text, "spec.subsets[1].ports[1]"), "2");
        assert_eq!(at(text, "spec.车"), "车: x");
    }

    #[test]
    fn lines_may_end_with_a_carriage_return_behind_a_byte_order_mark() {
        let text = "\u{feff}a: 1\r\nb:\r\n  # 注\r\n  - c: \"d\"\r\n    e: f\r\n";
        assert_eq!(at(text, "a"), "a: 1");
        assert_eq!(at(text, "b[0].c"), "c: \"d\"");
        assert_eq!(at(text, "b[0]"), "c: \"d\"\r\n    e: f");
    }

    #[test]
    fn json_has_places_too_with_tabs_and_several_values() {
        let text = "{\"a\": 1}\n{\n\t\"b\": {\"verison\":\t\"车\"},\n\t\"c\": [{\"d\": 1}, {\"d\": [2]}]\n}";
        assert_eq!(at(text, "b.verison"), "\"verison\":\t\"车\"");
        assert_eq!(at(text, "c[1].d"), "\"d\": [2]");
        assert_eq!(at(text, "c[1].d[0]"), "2");
    }

    #[test]
    fn what_an_alias_brings_stands_where_it_is_written_and_the_alias_at_its_key() {
        let text = "base: &base\n  labels: &labels\n    version: v1\nlist:\n- *labels\nown:\n  <<: *base\n  labels:   *labels\n";
        assert_eq!(at(text, "own.labels"), "labels");
        assert_eq!(at(text, "own.labels.version"), "version: v1");
        assert_eq!(at(text, "list[0].version"), "version: v1");
        let merged = "base: &base {labels: {version: v1}}\nown:\n  <<: *base\n";
        assert_eq!(at(merged, "own.labels.version"), "version: v1");
        assert_eq!(at(merged, "own.labels"), "labels: {version: v1}");
    }

    #[test]
    fn what_is_not_written_stands_at_the_key_above_it() {
        let text = "metadata: {name: a}\nspec:\n  http:\n  - route:\n    - x: 1\n";
        assert_eq!(at(text, "spec.http[0].route[0].x.y"), "x");
        assert_eq!(at(text, "spec.tcp"), "spec");
        assert_eq!(at(text, "spec.http[0].headers"), "route:\n    - x: 1");
        assert_eq!(at(text, "status"), text.trim_end());
    }

    #[test]
    fn an_object_stands_at_its_name() {
        assert_eq!(at("kind: A\nmetadata:\n  name: a\n", ""), "name: a");
        assert_eq!(at("kind: A\nmetadata:\n  generateName: a-\n", ""), "metadata");
    }
}
