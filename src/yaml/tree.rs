//! Builds the tree of one YAML document from the parser's events: resolves scalars, puts in aliases and merge keys.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::repair::repair;
use super::{Entry, Error, Node, Position, Scalar, Span, Value, count, scalar};

/// How deep lists and mappings may lie in one another.
const MAX_DEPTH: usize = 128;

/// What aliases may add to a document: so much for each of its bytes, within these bounds. A value counts one, and one more for
/// each [`WEIGHT_OF_TEXT`] bytes of text that have to be copied.
const COPIES_PER_BYTE: usize = 10;
const COPIES: std::ops::RangeInclusive<usize> = 10_000..=1_000_000;
const WEIGHT_OF_TEXT: usize = 32;

/// How many bytes may be read again because of a repair.
const REPAIRS: usize = 1 << 25;

/// Decodes one document, which starts at `start` in its file.
pub(super) fn decode(text: &str, start: Position) -> Result<Node<'_>, Error> {
    let is_control = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f;
    // Without a way out early the compiler checks many bytes at once.
    if text.bytes().fold(false, |found, byte| found | is_control(byte)) {
        let at = text.bytes().position(is_control).unwrap_or_default();
        return Err(Error::new(start.after(&text[..at]), "control characters are not allowed here"));
    }
    let mut source = Cow::Borrowed(text);
    let mut repairs = REPAIRS / (text.len() + 1);
    loop {
        match build(&source, text, start) {
            Ok(node) => return Ok(node),
            Err(Failure { repaired: Some(next), .. }) if repairs > 0 => source = Cow::Owned(next),
            Err(Failure { error, .. }) => return Err(error),
        }
        repairs -= 1;
    }
}

struct Failure {
    error: Error,
    /// A text that may be read instead.
    repaired: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, repaired: None }
    }
}

/// Builds the tree from the events of `source`, which is the text or a repaired copy.
fn build<'a>(source: &str, text: &'a str, start: Position) -> Result<Node<'a>, Failure> {
    let mut tree = Tree {
        places: Places::new(source, text, start),
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        copies_left: (text.len() * COPIES_PER_BYTE).clamp(*COPIES.start(), *COPIES.end()),
    };
    let mut parser = Parser::new_from_str(source);
    let mut last = 0;
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                tree.event(event, span.start, span.end)?;
                last = span.end.index();
            }
            Err(error) => {
                let [last, at] = [last, error.marker().index()].map(|index| tree.places.byte(index));
                let brackets = tree.open_brackets().unwrap_or(last);
                return Err(Failure {
                    repaired: repair(source, error.info(), brackets, at),
                    error: tree.syntax_error(*error.marker(), error.info()),
                });
            }
        }
    }
    let null = || Node {
        span: Span { start, end: start },
        value: Value::Scalar(Scalar::Null, Cow::Borrowed("")),
    };
    Ok(tree.root.unwrap_or_else(null))
}

struct Tree<'s, 'a> {
    places: Places<'s, 'a>,
    /// The lists and mappings that are still open, the innermost last.
    stack: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    /// The values that an alias can stand for.
    anchors: HashMap<usize, Node<'a>>,
    copies_left: usize,
}

/// A list or mapping that has started and not ended.
struct Open<'a> {
    start: Position,
    anchor: usize,
    content: Content<'a>,
}

enum Content<'a> {
    Sequence(Vec<Node<'a>>),
    Mapping {
        entries: Vec<Entry<'a>>,
        /// The key whose value comes next.
        key: Option<Key<'a>>,
        /// What the merge keys bring in, each with the number of entries before it.
        merges: Vec<(usize, Node<'a>)>,
    },
}

enum Key<'a> {
    Name(Node<'a>),
    Merge,
}

impl<'a> Tree<'_, 'a> {
    fn event(&mut self, event: Event<'_>, start: Marker, end: Marker) -> Result<(), Error> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() && text == "<<" && is_merge(style, tag.as_deref()) {
                    self.set_key(Key::Merge);
                    return Ok(());
                }
                let node = self.scalar(text, style, tag.as_deref(), start, end)?;
                self.finish(node, anchor)
            }
            Event::Alias(anchor) => {
                let place = self.places.at(start);
                let node = self.alias(anchor, place)?;
                self.finish(node, 0)
            }
            Event::SequenceStart(anchor, _) => self.open(start, anchor, Content::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let content = Content::Mapping {
                    entries: Vec::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.open(start, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(start, end),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        start: Marker,
        end: Marker,
    ) -> Result<Node<'a>, Error> {
        let is_plain = style == ScalarStyle::Plain;
        let mut span = self.places.scalar(style, start, end);
        if let (true, Some(key_end)) = (text.is_empty() && is_plain, self.key_end()) {
            // The parser places what was left out where the next thing starts.
            span = Span { start: key_end, end: key_end };
        }
        match scalar::resolve(&text, is_plain, tag) {
            Ok(scalar) => Ok(Node {
                span,
                value: Value::Scalar(scalar, self.places.borrow(text, span)),
            }),
            Err(message) => Err(self.error(span.start, message)),
        }
    }

    /// A copy of the anchored value, if the budget allows it.
    fn alias(&mut self, anchor: usize, place: Position) -> Result<Node<'a>, Error> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.error(place, "the alias stands inside the value of its own anchor"));
        };
        let (weight, depth) = weigh(node);
        let Some(left) = self.copies_left.checked_sub(weight) else {
            return Err(self.error(place, "the aliases repeat too much: they would make the document many times larger"));
        };
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(self.error(place, TOO_DEEP));
        }
        let copy = node.clone();
        self.copies_left = left;
        Ok(copy)
    }

    fn open(&mut self, start: Marker, anchor: usize, content: Content<'a>) -> Result<(), Error> {
        let start = self.places.at(start);
        if self.wants_key() {
            return Err(self.error(start, self.places.with_hint("a key must be a string")));
        }
        if self.stack.len() == MAX_DEPTH {
            return Err(self.error(start, TOO_DEEP));
        }
        self.stack.push(Open { start, anchor, content });
        Ok(())
    }

    fn close(&mut self, start: Marker, end: Marker) -> Result<(), Error> {
        let Some(Open { start: opened, anchor, content }) = self.stack.pop() else {
            return Ok(());
        };
        let (value, last) = match content {
            Content::Sequence(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::Sequence(items), last)
            }
            Content::Mapping { entries, merges, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end);
                let merged = refuse_duplicates(&entries).and_then(|()| merge(entries, merges));
                (Value::Mapping(merged.map_err(|error| self.under_path(error))?), last)
            }
        };
        // Only a closing bracket has a length; a block ends with the last value in it.
        let end = match last {
            Some(last) if start == end && last > opened => last,
            _ => self.places.at(end),
        };
        let span = Span { start: opened, end };
        self.finish(Node { span, value }, anchor)
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, node: Node<'a>, anchor: usize) -> Result<(), Error> {
        if anchor > 0 {
            self.copies_left = self.copies_left.saturating_sub(weigh(&node).0);
            self.anchors.insert(anchor, node.clone());
        }
        if self.wants_key() {
            let place = node.span.start;
            let Some(name) = name(node) else {
                return Err(self.error(place, "a key must be a string"));
            };
            self.set_key(Key::Name(name));
            return Ok(());
        }
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, key, merges }) => match key.take() {
                Some(Key::Name(key)) => entries.push(Entry { key, value: node }),
                _ => merges.push((entries.len(), node)),
            },
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { content: Content::Mapping { key: None, .. }, .. }))
    }

    fn set_key(&mut self, next: Key<'a>) {
        if let Some(Open { content: Content::Mapping { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(next);
        }
    }

    /// Where the key ends whose value comes next.
    fn key_end(&self) -> Option<Position> {
        match self.stack.last() {
            Some(Open { content: Content::Mapping { key: Some(Key::Name(key)), .. }, .. }) => Some(key.span.end),
            _ => None,
        }
    }

    /// Where the outermost list or mapping in brackets starts that is still open.
    fn open_brackets(&self) -> Option<usize> {
        let starts = self.stack.iter().map(|open| (open.start.offset - self.places.start.offset) as usize);
        let rest = |at: &usize| self.places.source.get(*at..).unwrap_or_default();
        let mut in_brackets = starts.filter(|at| rest(at).starts_with(['[', '{']));
        in_brackets.next()
    }

    fn error(&self, place: Position, message: impl Into<String>) -> Error {
        self.under_path(Error::new(place, message))
    }

    /// Puts the path of what is open in front of an error's.
    fn under_path(&self, error: Error) -> Error {
        self.stack.iter().rev().fold(error, |error, open| match &open.content {
            Content::Sequence(items) => error.under_index(items.len()),
            Content::Mapping { key: Some(Key::Name(key)), .. } => error.under_key(key.as_str().unwrap_or_default()),
            Content::Mapping { .. } => error,
        })
    }

    /// A parser's error in words that help.
    fn syntax_error(&mut self, marker: Marker, info: &str) -> Error {
        let place = self.places.at(marker);
        let line = self.places.line_of(place);
        let indentation = &line[..line.len() - line.trim_start().len()];
        let message = match info {
            _ if indentation.contains('\t') => "the line is indented with a tab; YAML takes only spaces",
            "while scanning a quoted scalar, found unexpected end of stream" => "the quote that opens here is not closed",
            "invalid indentation in quoted scalar" => {
                "the quote that opens here is not closed, or the lines of its text are not indented"
            }
            "invalid trailing content after double-quoted scalar" => "text follows a closing quote; is the quote closed where it should be?",
            "mapping values are not allowed in this context" => {
                "no `: ` may stand here; quote the value that has it, or check the indentation"
            }
            "while parsing a block mapping, did not find expected key" => "a key should stand here; check the indentation",
            "while parsing node, found unknown anchor" => "no anchor of this name stands before the alias",
            _ if info.starts_with("unexpected character") => "a value that starts with this character needs quotes",
            _ => info,
        };
        Error::new(place, self.places.with_hint(message))
    }
}

const TOO_DEEP: &str = "lists and mappings lie more than 128 deep in one another";

fn is_merge(style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => tag.is_yaml_core_schema() && tag.suffix == "merge",
    }
}

/// The key that kubectl makes of a value.
fn name(node: Node<'_>) -> Option<Node<'_>> {
    match node.value {
        Value::Scalar(Scalar::String, _) => Some(node),
        Value::Scalar(scalar, _) => scalar::key(scalar).map(|text| Node::string(node.span, Cow::Owned(text))),
        _ => None,
    }
}

/// What a copy of a value costs, and how deep it is.
fn weigh(node: &Node<'_>) -> (usize, usize) {
    let children: (usize, usize) = match &node.value {
        Value::Scalar(_, Cow::Owned(text)) => return (1 + text.len() / WEIGHT_OF_TEXT, 0),
        Value::Scalar(..) => return (1, 0),
        Value::Sequence(items) => items.iter().map(weigh).fold((0, 0), sum),
        Value::Mapping(entries) => {
            let both = |entry: &Entry<'_>| sum(weigh(&entry.key), weigh(&entry.value));
            entries.iter().map(both).fold((0, 0), sum)
        }
    };
    (children.0 + 1, children.1 + 1)
}

fn sum(one: (usize, usize), other: (usize, usize)) -> (usize, usize) {
    (one.0 + other.0, one.1.max(other.1))
}

/// An error for the first key that a mapping has twice; kubectl would keep the last in silence.
pub(super) fn refuse_duplicates(entries: &[Entry<'_>]) -> Result<(), Error> {
    const FEW: usize = 16;
    let pair = if entries.len() <= FEW {
        entries.iter().enumerate().find_map(|(at, entry)| {
            let same = entries[..at].iter().find(|earlier| earlier.name() == entry.name());
            same.map(|earlier| (earlier, entry))
        })
    } else {
        let mut seen = HashMap::with_capacity(entries.len());
        entries
            .iter()
            .find_map(|entry| seen.insert(entry.name(), entry).map(|earlier| (earlier, entry)))
    };
    let Some((first, second)) = pair else {
        return Ok(());
    };
    let name = second.name();
    let message = format!("the key `{name}` is already on line {}", first.key.span.start.line);
    Err(Error::new(second.key.span.start, message).under_key(name))
}

/// Puts in what merge keys bring. As in kubectl the order decides: a merge key replaces what stands before it in the mapping and
/// gives way to what follows; of several mappings in its list the first counts most.
fn merge<'a>(entries: Vec<Entry<'a>>, merges: Vec<(usize, Node<'a>)>) -> Result<Vec<Entry<'a>>, Error> {
    if merges.is_empty() {
        return Ok(entries);
    }
    let mut merged = Merged::default();
    let mut entries = entries.into_iter();
    let mut taken = 0;
    for (before, node) in merges {
        entries.by_ref().take(before - taken).for_each(|entry| merged.set(entry));
        taken = before;
        let place = node.span.start;
        let sources = match node.value {
            Value::Sequence(items) => items,
            _ => vec![node],
        };
        for source in sources.into_iter().rev() {
            let Value::Mapping(entries) = source.value else {
                return Err(Error::new(place, "a merge key `<<` takes a mapping or a list of mappings"));
            };
            entries.into_iter().for_each(|entry| merged.set(entry));
        }
    }
    entries.for_each(|entry| merged.set(entry));
    Ok(merged.entries)
}

/// Entries of which a later one replaces an earlier one of the same name.
#[derive(Default)]
struct Merged<'a> {
    entries: Vec<Entry<'a>>,
    places: HashMap<String, usize>,
}

impl<'a> Merged<'a> {
    fn set(&mut self, entry: Entry<'a>) {
        match self.places.get(entry.name()) {
            Some(at) => self.entries[*at] = entry,
            None => {
                self.places.insert(entry.name().to_owned(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

/// Turns the parser's places in a document into places in its file.
struct Places<'s, 'a> {
    /// What the parser reads: the text or a repaired copy.
    source: &'s str,
    text: &'a str,
    start: Position,
    /// The same place as the parser counts and in bytes: events come in order, so the next one is near.
    chars: usize,
    bytes: usize,
    is_ascii: bool,
    /// A place that was looked for in the text of a repaired document, where the parser's lines are wrong.
    known: Option<Position>,
}

impl<'s, 'a> Places<'s, 'a> {
    fn new(source: &'s str, text: &'a str, start: Position) -> Self {
        Self {
            source,
            text,
            start,
            chars: 0,
            bytes: 0,
            is_ascii: source.is_ascii(),
            known: (source.as_ptr() != text.as_ptr()).then_some(start),
        }
    }

    fn at(&mut self, marker: Marker) -> Position {
        let byte = self.byte(marker.index());
        if let Some(known) = self.known {
            let from = (known.offset - self.start.offset) as usize;
            let found = match self.text.get(from..byte) {
                Some(between) => known.after(between),
                None => self.start.after(self.text.get(..byte).unwrap_or_default()),
            };
            self.known = Some(found);
            return found;
        }
        Position {
            offset: self.start.offset + count(byte),
            line: self.start.line + count(marker.line()) - 1,
            column: count(marker.col()) + if marker.line() == 1 { self.start.column } else { 1 },
        }
    }

    /// The byte at which a character starts.
    fn byte(&mut self, index: usize) -> usize {
        if self.is_ascii {
            return index.min(self.source.len());
        }
        while self.chars > index {
            self.bytes -= self.source[..self.bytes].chars().next_back().map_or(0, char::len_utf8);
            self.chars -= 1;
        }
        let ahead = &self.source[self.bytes..];
        self.bytes += ahead.chars().take(index - self.chars).map(char::len_utf8).sum::<usize>();
        self.chars = index;
        self.bytes
    }

    /// The span of a scalar. The parser counts blanks and a comment behind a closing quote, and the line breaks behind a block.
    fn scalar(&mut self, style: ScalarStyle, start: Marker, end: Marker) -> Span {
        let mut span = Span { start: self.at(start), end: self.at(end) };
        let text = self.written(span);
        let quote = match style {
            ScalarStyle::Plain => return span,
            ScalarStyle::SingleQuoted => b'\'',
            ScalarStyle::DoubleQuoted => b'"',
            ScalarStyle::Literal | ScalarStyle::Folded => {
                span.end = span.start.after(text.trim_end());
                return span;
            }
        };
        let len = quoted_len(text, quote);
        let behind = &text[len..];
        span.end.offset -= count(behind.len());
        span.end.column -= count(behind.chars().count());
        span
    }

    fn written(&self, span: Span) -> &'a str {
        let [from, to] = [span.start, span.end].map(|place| (place.offset - self.start.offset) as usize);
        self.text.get(from..to).unwrap_or_default()
    }

    /// The text of a scalar, taken from the document where it stands there as it is.
    fn borrow(&self, text: Cow<'_, str>, span: Span) -> Cow<'a, str> {
        let written = self.written(span);
        let quoted = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
        if written == text {
            Cow::Borrowed(written)
        } else if quoted == text {
            Cow::Borrowed(quoted)
        } else {
            Cow::Owned(text.into_owned())
        }
    }

    fn line_of(&self, place: Position) -> &'a str {
        let line = (place.line - self.start.line) as usize;
        self.text.lines().nth(line).unwrap_or_default()
    }

    /// A message that names the likely cause, if the document has the marks of a template.
    fn with_hint(&self, message: &str) -> String {
        if self.text.contains("{{") {
            format!("{message}; this looks like a Helm template, render it first (helm template)")
        } else {
            message.to_owned()
        }
    }
}

/// How long the quoted scalar is that a text starts with.
pub(super) fn quoted_len(text: &str, quote: u8) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        let is_pair = byte == b'\'' && bytes.peek().is_some_and(|(_, next)| *next == b'\'');
        if byte == b'\\' && quote == b'"' || is_pair && quote == b'\'' {
            bytes.next();
        } else if byte == quote {
            return at + 1;
        }
    }
    text.len()
}
