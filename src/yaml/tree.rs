//! Builds the tree of one YAML document from the parser's events: resolves scalars, puts in aliases and merge
//! keys.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, Tag};

use super::merge::{merge, refuse_duplicates};
use super::place::Places;
use super::syntax::{explain, repair, with_hint};
use super::{Entry, Error, Node, Position, Scalar, Span, Value, block, scalar};

/// How deep lists and mappings may lie in one another.
pub(super) const MAX_DEPTH: usize = 128;
const TOO_DEEP: &str = "lists and mappings lie more than 128 deep in one another";

/// What anchors and aliases may add to a document: so much for each of its bytes, within these bounds. A
/// value counts one, and one more for each [`WEIGHT_OF_TEXT`] bytes of text that have to be copied.
const COPIES_PER_BYTE: usize = 10;
const COPIES: std::ops::RangeInclusive<usize> = 10_000..=1_000_000;
const WEIGHT_OF_TEXT: usize = 32;

/// Decodes one document, which starts at `start` in its file.
pub(super) fn decode(text: &str, start: Position) -> Result<Node<'_>, Error> {
    let is_control = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f;
    // Without a way out early the compiler checks many bytes at once.
    if text.bytes().fold(false, |found, byte| found | is_control(byte)) {
        let at = text.bytes().position(is_control).unwrap_or_default();
        let message = "control characters are not allowed here";
        return Err(Error::new(start.after(&text[..at]), message));
    }
    if let Some(node) = block::decode(text, start) {
        return Ok(node);
    }
    build(text, text, start).or_else(|error| match repair(text) {
        Some(repaired) => build(&repaired, text, start),
        None => Err(error),
    })
}

/// Builds the tree from the events of `source`, which is the text or a repaired copy.
pub(super) fn build<'a>(source: &str, text: &'a str, start: Position) -> Result<Node<'a>, Error> {
    let mut tree = Tree::new(source, text, start);
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, marks)) => tree.event(event, marks)?,
            Err(error) => {
                // At the end of a last line without a line end the parser counts one more.
                let place = tree.places.at(*error.marker()).min(start.after(text));
                let message = explain(error.info(), text, tree.places.byte(place));
                return Err(Error::new(place, message));
            }
        }
    }
    Ok(tree.root.unwrap_or(Node::null(start)))
}

/// The tree of a document while it grows.
pub(super) struct Tree<'s, 'a> {
    places: Places<'s, 'a>,
    /// The lists and mappings that are still open, the innermost last.
    stack: Vec<Open<'a>>,
    pub(super) root: Option<Node<'a>>,
    /// Where the last scalar, alias or bracket ended.
    pub(super) end: Position,
    /// The values that an alias can stand for.
    anchors: HashMap<usize, Node<'a>>,
    copies_left: usize,
}

/// A list or mapping that has started and not ended.
pub(super) struct Open<'a> {
    pub(super) start: Position,
    anchor: usize,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Sequence(Vec<Node<'a>>),
    /// The entries, and whether the value of the last is still to come. A merge key is null.
    Mapping(Vec<Entry<'a>>, bool),
}

impl<'s, 'a> Tree<'s, 'a> {
    /// An empty one of `source`, which is the text or a repaired copy.
    pub(super) fn new(source: &'s str, text: &'a str, start: Position) -> Self {
        Self {
            places: Places::new(source, text, start),
            stack: Vec::new(),
            root: None,
            end: start,
            anchors: HashMap::new(),
            copies_left: (text.len() * COPIES_PER_BYTE).clamp(*COPIES.start(), *COPIES.end()),
        }
    }

    fn event(&mut self, event: Event<'_>, marks: Marks) -> Result<(), Error> {
        // Only brackets have a length.
        let is_block = marks.start == marks.end;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let span = if text.is_empty() && style == ScalarStyle::Plain {
                    // What was left out stands behind its key.
                    let start = self.places.at(marks.start);
                    let start = self.key().map_or(start, |key| key.span.end);
                    Span { start, end: start }
                } else {
                    self.places.scalar(style, anchor > 0 || tag.is_some(), marks)
                };
                self.scalar(text, style, tag.as_deref(), anchor, span)
            }
            Event::Alias(anchor) => {
                let place = self.places.at(marks.start);
                self.end = self.places.at(marks.end);
                let node = self.alias(anchor, place)?;
                self.finish(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                let start = match self.key() {
                    Some(_) if is_block => self.places.dash(marks.start),
                    _ => self.places.value(marks.start, anchor > 0 || tag.is_some()),
                };
                self.open(start, anchor, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let start = self.places.value(marks.start, anchor > 0 || tag.is_some());
                self.open(start, anchor, Content::Mapping(Vec::new(), false))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if !is_block {
                    self.end = self.places.at(marks.start).after("]");
                }
                self.close()
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        anchor: usize,
        span: Span,
    ) -> Result<(), Error> {
        let Span { start, end } = span;
        self.end = end;
        if text == "<<" && self.wants_key() && is_merge(style, tag) {
            let key = Node::new(start, end, Value::Scalar(Scalar::Null, Cow::Borrowed("<<")));
            self.set_key(key);
            return Ok(());
        }
        let scalar = scalar::resolve(&text, style == ScalarStyle::Plain, tag);
        let scalar = scalar.map_err(|message| self.error(start, message))?;
        let text = self.places.borrow(text, span);
        self.finish(Node::new(start, end, Value::Scalar(scalar, text)), anchor)
    }

    pub(super) fn open(&mut self, start: Position, anchor: usize, content: Content<'a>) -> Result<(), Error> {
        if self.wants_key() {
            return Err(self.error(start, with_hint(NO_KEY, self.places.text)));
        }
        if self.stack.len() == MAX_DEPTH {
            return Err(self.error(start, TOO_DEEP));
        }
        self.stack.push(Open {
            start,
            anchor,
            content,
        });
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), Error> {
        let Some(Open {
            start,
            anchor,
            content,
        }) = self.stack.pop()
        else {
            return Ok(());
        };
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping(entries, _) => {
                let entries = refuse_duplicates(&entries).and_then(|()| merge(entries));
                Value::Mapping(entries.map_err(|error| self.under_path(error))?)
            }
        };
        self.finish(Node::new(start, self.end.max(start), value), anchor)
    }

    /// Puts a finished value where it belongs.
    pub(super) fn finish(&mut self, mut node: Node<'a>, anchor: usize) -> Result<(), Error> {
        if anchor > 0 {
            let copy = self.copy(&node, node.span.start)?;
            self.anchors.insert(anchor, copy);
        }
        if self.wants_key() {
            if node.as_str().is_none() {
                let text = name(&node).ok_or_else(|| self.error(node.span.start, NO_KEY))?;
                node.value = Value::Scalar(Scalar::String, Cow::Owned(text));
            }
            self.set_key(node);
            return Ok(());
        }
        match self.stack.last_mut().map(|open| &mut open.content) {
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping(entries, wants_value)) => {
                *wants_value = false;
                if let Some(entry) = entries.last_mut() {
                    entry.value = node;
                }
            }
            None => self.root = Some(node),
        }
        Ok(())
    }

    /// A copy of the value that an alias stands for.
    fn alias(&mut self, anchor: usize, place: Position) -> Result<Node<'a>, Error> {
        let Some(node) = self.anchors.remove(&anchor) else {
            return Err(self.error(place, "the alias stands inside the value of its own anchor"));
        };
        let copy = self.copy(&node, place);
        self.anchors.insert(anchor, node);
        copy
    }

    /// A copy of a value, if the budget allows it.
    fn copy(&mut self, node: &Node<'a>, place: Position) -> Result<Node<'a>, Error> {
        let (weight, depth) = weigh(node);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(self.error(place, TOO_DEEP));
        }
        let Some(left) = self.copies_left.checked_sub(weight) else {
            let message = "aliases repeat too much here: they would make the document many times larger";
            return Err(self.error(place, message));
        };
        self.copies_left = left;
        Ok(node.clone())
    }

    /// The key whose value comes next.
    pub(super) fn key(&self) -> Option<&Node<'a>> {
        match &self.innermost()?.content {
            Content::Mapping(entries, true) => entries.last().map(|entry| &entry.key),
            _ => None,
        }
    }

    fn wants_key(&self) -> bool {
        let content = self.innermost().map(|open| &open.content);
        matches!(content, Some(Content::Mapping(_, false)))
    }

    /// The list or mapping that the next node belongs to.
    pub(super) fn innermost(&self) -> Option<&Open<'a>> {
        self.stack.last()
    }

    pub(super) fn set_key(&mut self, key: Node<'a>) {
        if let Some(Content::Mapping(entries, wants_value)) =
            self.stack.last_mut().map(|open| &mut open.content)
        {
            *wants_value = true;
            let value = Node::null(key.span.end);
            entries.push(Entry { key, value });
        }
    }

    fn error(&self, place: Position, message: impl Into<String>) -> Error {
        self.under_path(Error::new(place, message))
    }

    /// Puts the path of what is open in front of an error's.
    fn under_path(&self, error: Error) -> Error {
        self.stack
            .iter()
            .rev()
            .fold(error, |error, open| match &open.content {
                Content::Sequence(items) => error.under_index(items.len()),
                Content::Mapping(entries, wants_value) => match entries.last() {
                    Some(entry) if *wants_value && !entry.key.is_null() => error.under_key(entry.name()),
                    _ => error,
                },
            })
    }
}

const NO_KEY: &str = "a key must be a string";

fn is_merge(style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => tag.is_yaml_core_schema() && tag.suffix == "merge",
    }
}

/// The text of the key that kubectl makes of a value that is no string.
fn name(node: &Node<'_>) -> Option<String> {
    match node.value {
        Value::Scalar(scalar, _) => scalar::key(scalar),
        _ => None,
    }
}

/// What a copy of a value costs, and how deep it is.
fn weigh(node: &Node<'_>) -> (usize, usize) {
    let sum = |one: (usize, usize), other: (usize, usize)| (one.0 + other.0, one.1.max(other.1));
    let children = match &node.value {
        Value::Scalar(_, Cow::Owned(text)) => return (1 + text.len() / WEIGHT_OF_TEXT, 0),
        Value::Scalar(..) => return (1, 0),
        Value::Sequence(items) => items.iter().map(weigh).fold((0, 0), sum),
        Value::Mapping(entries) => {
            let nodes = entries.iter().flat_map(|entry| [&entry.key, &entry.value]);
            nodes.map(weigh).fold((0, 0), sum)
        }
    };
    (children.0 + 1, children.1 + 1)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use serde::Deserialize;
    use serde_json::{Value as Json, json};

    use super::super::documents;
    use super::*;

    fn value(text: &str) -> Json {
        Json::deserialize(&documents(text)[0].decode().unwrap()).unwrap()
    }

    fn error(text: &str) -> String {
        documents(text)[0].decode().unwrap_err().to_string()
    }

    /// The text of a value, by its span.
    fn written<'t>(text: &'t str, path: &str) -> &'t str {
        let documents = documents(text);
        let node = documents[0].decode().unwrap();
        let span = node.find(path).node.span();
        assert_eq!(
            span.start,
            Position::START.after(&text[..span.start.offset as usize])
        );
        &text[span.start.offset as usize..span.end.offset as usize]
    }

    #[test]
    fn spans_hold_the_value_and_nothing_else() {
        let text = "é: 'x' # note\nb:\n  - \"y\" \n  - {c: [1,\n    2]}   # end\n# last\nd: |\n  t\n\n\ne:\nf: g h # i\n";
        assert_eq!(written(text, "é"), "'x'");
        assert_eq!(written(text, "b[0]"), "\"y\"");
        assert_eq!(written(text, "b[1]"), "{c: [1,\n    2]}");
        assert_eq!(written(text, "b[1].c"), "[1,\n    2]");
        assert_eq!(written(text, "b"), "- \"y\" \n  - {c: [1,\n    2]}");
        assert_eq!(written(text, "d"), "t");
        assert_eq!(written(text, "e"), "");
        assert_eq!(written(text, "f"), "g h");
        let text = "a: &x 'b' # c\nd: !!str &y # e\n  f\ng: &z\n  h: i\nj:\n- - k # l\n  - m\ns: &v !!seq [o] # p\nq: &u\n- r\nt:\n-  # é\n  v\n";
        assert_eq!(
            ["a", "d", "g", "j", "j[0]", "s", "q", "t"].map(|path| written(text, path)),
            [
                "'b'",
                "f",
                "h: i",
                "- - k # l\n  - m",
                "- k # l\n  - m",
                "[o]",
                "- r",
                "-  # é\n  v"
            ]
        );
    }

    #[test]
    fn a_value_that_was_left_out_stands_behind_its_key() {
        let text = "a: 1\nb:\nc: # d\n\ne: &f\ng: {h, i: , j: !!null }\nk:\n-\n- &l\n- !!null # m\n";
        let documents = documents(text);
        let node = documents[0].decode().unwrap();
        let place = |path: &str| {
            let Span { start, end } = node.find(path).node.span();
            assert_eq!(start, end);
            (start.line, start.column)
        };
        assert_eq!(["b", "c", "e"].map(place), [(2, 2), (3, 2), (5, 2)]);
        assert_eq!(["g.h", "g.i", "g.j"].map(place), [(6, 6), (6, 9), (6, 14)]);
        assert_eq!(["k[0]", "k[1]", "k[2]"].map(place), [(8, 2), (9, 3), (10, 3)]);
    }

    #[test]
    fn text_is_borrowed_where_it_stands_as_it_is() {
        let text = "{a: plain, b: 'quoted', c: \"double\", d: 'it''s'}";
        let documents = documents(text);
        let node = documents[0].decode().unwrap();
        let is_borrowed =
            |key: &str| matches!(node.get(key).unwrap().value(), Value::Scalar(_, Cow::Borrowed(_)));
        assert_eq!(["a", "b", "c", "d"].map(is_borrowed), [true, true, true, false]);
    }

    #[test]
    fn an_error_at_the_end_stands_on_the_last_line() {
        for text in ["a: 1\nb: {c", "a: 1\nb: 'c", "a: 1\nb: [é"] {
            assert!(error(text).starts_with("line 2, column "), "{}", error(text));
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_put_in() {
        let text = "x: &x {a: 1, b: 2}\nz: &z {b: 3, c: 4}\nd: *x\ne: {<<: *x, a: 5}\nf: {<<: [*x, *z]}\ng: {'<<': 1}\nh: <<\n";
        let found = value(text);
        assert_eq!(found["d"], json!({"a": 1, "b": 2}));
        assert_eq!(found["e"], json!({"a": 5, "b": 2}));
        assert_eq!(found["f"], json!({"a": 1, "b": 2, "c": 4}));
        assert_eq!(found["g"], json!({"<<": 1}));
        assert_eq!(found["h"], json!("<<"));
    }

    #[test]
    fn a_merge_key_replaces_what_stands_before_it_as_in_kubectl() {
        assert_eq!(
            value("x: &x {a: 1, b: 2}\ne: {a: 3, <<: *x}\n")["e"],
            json!({"a": 1, "b": 2})
        );
    }

    #[test]
    fn a_merge_key_takes_only_mappings() {
        let message = "a merge key `<<` takes a mapping or a list of mappings";
        assert_eq!(error("e: {<<: 1}"), format!("line 1, column 9: e: {message}"));
        assert_eq!(error("e:\n  <<: [1]"), format!("line 2, column 7: e: {message}"));
    }

    #[test]
    fn an_anchor_can_be_set_again() {
        assert_eq!(
            value("a: &x 1\nb: &x 2\nc: *x\n"),
            json!({"a": 1, "b": 2, "c": 2})
        );
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{items}]").unwrap();
        }
        let error = error(&text);
        assert!(
            error.starts_with("line 4, column 55: a3[9]: aliases repeat too much"),
            "{error}"
        );
    }

    #[test]
    fn copies_of_long_texts_count_for_their_length() {
        let long = "long \\n ".repeat(10_000);
        let text = format!("a: &a \"{long}\"\nb: [{}]\n", "*a, ".repeat(100_000));
        assert!(error(&text).contains("aliases repeat too much"));
    }

    #[test]
    fn an_alias_within_its_own_anchor_is_refused() {
        assert_eq!(
            error("a: &a [*a]"),
            "line 1, column 8: a[0]: the alias stands inside the value of its own anchor"
        );
        assert_eq!(
            error("a: *b"),
            "line 1, column 4: no anchor of this name stands before the alias"
        );
    }

    #[test]
    fn what_lies_too_deep_is_refused() {
        assert!(
            documents(&format!("{}{}", "[".repeat(128), "]".repeat(128)))[0]
                .decode()
                .is_ok()
        );
        assert!(error(&"[".repeat(129)).contains("more than 128 deep"));
        assert!(error(&"- ".repeat(1000)).contains("more than 128 deep"));
        let chained = format!(
            "a: &a {}{}\nb: {}*a{}\n",
            "[".repeat(100),
            "]".repeat(100),
            "[".repeat(50),
            "]".repeat(50)
        );
        assert!(error(&chained).contains("more than 128 deep"));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_its_second_place() {
        let text = "spec:\n  hosts: []\n  http:\n  - name: a\n    'name': b\n";
        assert_eq!(
            error(text),
            "line 5, column 5: spec.http[0].name: the key `name` is already on line 4"
        );
        let many: Vec<String> = (0..40).map(|key| format!("k{key}: 1\n")).collect();
        assert_eq!(
            error(&format!("{}k7: 2\n", many.concat())),
            "line 41, column 1: k7: the key `k7` is already on line 8"
        );
        assert_eq!(
            error("1: a\n'1': b\n"),
            "line 2, column 1: 1: the key `1` is already on line 1"
        );
    }

    #[test]
    fn a_template_is_named_as_one() {
        let hint = "this looks like a Helm template, render it first (helm template)";
        let unquoted = error("metadata:\n  name: {{ .Values.name }}\n");
        assert_eq!(
            unquoted,
            format!("line 2, column 10: metadata.name: a key must be a string; {hint}")
        );
        let block = error("{{- if .Values.on }}\na: b\n{{- end }}\n");
        assert!(block.starts_with("line 1") && block.ends_with(hint), "{block}");
        assert!(documents("a: '{{ x }}'")[0].decode().is_ok());
    }

    #[test]
    fn common_mistakes_are_named_with_their_place() {
        for (text, expected) in [
            (
                "a:\n\tb: c\n",
                "line 2, column 2: the line is indented with a tab; YAML takes only spaces",
            ),
            (
                "b: 1\na: \"x\n",
                "line 2, column 4: the quote that opens here is not closed",
            ),
            (
                "a: b: c\n",
                "line 1, column 5: no `: ` may stand here; quote the value that has it, or check the indentation",
            ),
            (
                "a:\n  b: 1\n c: 2\n",
                "line 3, column 2: a key should stand here; check the indentation",
            ),
            (
                "a: @b\n",
                "line 1, column 4: a value that starts with this character needs quotes",
            ),
            (
                "a: \"b\"c\n",
                "line 1, column 7: text follows a closing quote; is the quote closed where it should be?",
            ),
            (
                "a: \u{7}\n",
                "line 1, column 4: control characters are not allowed here",
            ),
            (
                "a: !!int x\n",
                "line 1, column 10: a: the tag !!int does not fit `x`",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn brackets_may_close_at_the_indentation_of_their_key() {
        let text = "é:\n  a: [\n    \"x, y\", # é ]\n    'z'\n  ]\n  b: {\nc: [\n1, two\n    words]\n}\nd: [\r\n]\ne: 5\n";
        let expected = json!({"é": {"a": ["x, y", "z"], "b": {"c": [1, "two words"]}}, "d": [], "e": 5});
        assert_eq!(value(text), expected);
        let documents = documents(text);
        let start = documents[0].decode().unwrap().get("e").unwrap().span().start;
        assert_eq!((start.line, start.column), (13, 4));
        assert_eq!(written(text, "é.b.c[0]"), "1");
    }

    #[test]
    fn a_repair_leaves_block_scalars_and_quotes_as_they_are() {
        let text = "a: |\n  {\n  \"b\":\t[\n  ]}\nc:\n  - >-\n   d:\te\n  - f: |\n     g: [\n\n    # h\n    i: 'j:\t[\n      k' \nl: m # n: [\no: &p !!seq [\n]\n";
        let expected = json!({
            "a": "{\n\"b\":\t[\n]}\n",
            "c": ["d:\te", {"f": "g: [\n", "i": "j:\t[ k"}],
            "l": "m",
            "o": [],
        });
        assert_eq!(value(text), expected);
        assert!(documents("a: b\n  [1,\n2]\n")[0].decode().is_err());
    }

    #[test]
    fn a_tab_may_follow_a_colon() {
        assert_eq!(value("a:\tb\nc:\t\td # e\n"), json!({"a": "b", "c": "d"}));
        assert_eq!(written("a:\t\tb\n", "a"), "b");
    }
}
