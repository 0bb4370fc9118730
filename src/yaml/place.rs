//! Turns the parser's places in a document into places in its file, and its scalars into text of the file.

use std::borrow::Cow;

use saphyr_parser::{Marker, ScalarStyle, Span as Marks};

use super::{Position, Span, count};

/// The places of one document.
pub(super) struct Places<'s, 'a> {
    /// What the parser reads: the text or a repaired copy.
    source: &'s str,
    pub(super) text: &'a str,
    start: Position,
    /// The same place as the parser counts and in bytes: events come in order, so the next one is near.
    chars: usize,
    bytes: usize,
    is_ascii: bool,
    /// A place in the text of a repaired document, in which the parser's lines are wrong.
    known: Option<Position>,
}

impl<'s, 'a> Places<'s, 'a> {
    pub(super) fn new(source: &'s str, text: &'a str, start: Position) -> Self {
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

    /// The place of a mark.
    pub(super) fn at(&mut self, mark: Marker) -> Position {
        let byte = self.byte_of(mark.index());
        if let Some(known) = self.known {
            let found = match self.text.get(self.byte(known)..byte) {
                Some(between) => known.after(between),
                None => self.start.after(self.text.get(..byte).unwrap_or_default()),
            };
            self.known = Some(found);
            return found;
        }
        let first_column = if mark.line() == 1 { self.start.column } else { 1 };
        Position {
            offset: self.start.offset + count(byte),
            line: self.start.line + count(mark.line()) - 1,
            column: count(mark.col()) + first_column,
        }
    }

    /// The byte of the document at a place.
    pub(super) fn byte(&self, place: Position) -> usize {
        (place.offset - self.start.offset) as usize
    }

    /// The byte at which a character starts.
    fn byte_of(&mut self, index: usize) -> usize {
        if self.is_ascii {
            return index.min(self.source.len());
        }
        while self.chars > index {
            let before = self.source[..self.bytes].chars();
            self.bytes -= before.last().map_or(0, char::len_utf8);
            self.chars -= 1;
        }
        let ahead = self.source[self.bytes..].chars().take(index - self.chars);
        self.bytes += ahead.map(char::len_utf8).sum::<usize>();
        self.chars = index;
        self.bytes
    }

    fn text_between(&self, start: Position, end: Position) -> &'a str {
        self.text
            .get(self.byte(start)..self.byte(end))
            .unwrap_or_default()
    }

    /// Where a value starts, behind its anchor and tag.
    pub(super) fn value(&mut self, mark: Marker, has_properties: bool) -> Position {
        let start = self.at(mark);
        if !has_properties {
            return start;
        }
        let text = self.text.get(self.byte(start)..).unwrap_or_default();
        let mut rest = text;
        loop {
            rest = rest.trim_start();
            let len = match rest.chars().next() {
                Some('&' | '!') => rest.find(char::is_whitespace),
                Some('#') => rest.find('\n'),
                _ => return start.after(&text[..text.len() - rest.len()]),
            };
            rest = &rest[len.unwrap_or(rest.len())..];
        }
    }

    /// Where a list starts that is the value of a key. If it is not indented, the parser's place is behind
    /// the first dash.
    pub(super) fn dash(&mut self, mark: Marker) -> Position {
        let place = self.at(mark);
        let before = self.text.get(..self.byte(place)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        if !line.starts_with('-') {
            return place;
        }
        Position {
            offset: place.offset - count(line.len()),
            column: place.column - count(line.chars().count()),
            ..place
        }
    }

    /// The span of a scalar. The parser counts what stands behind a closing quote or a block, too.
    pub(super) fn scalar(&mut self, style: ScalarStyle, has_properties: bool, marks: Marks) -> Span {
        let start = self.value(marks.start, has_properties);
        let end = self.at(marks.end).max(start);
        let text = self.text_between(start, end);
        let end = match style {
            ScalarStyle::Plain => end,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => start.after(&text[..quoted_len(text)]),
            ScalarStyle::Literal | ScalarStyle::Folded => start.after(text.trim_end()),
        };
        Span { start, end }
    }

    /// The text of a scalar, taken from the file where it stands there as it is.
    pub(super) fn borrow(&self, text: Cow<'_, str>, span: Span) -> Cow<'a, str> {
        let written = self.text_between(span.start, span.end);
        let quoted = written
            .get(1..written.len().saturating_sub(1))
            .unwrap_or_default();
        if written == text {
            Cow::Borrowed(written)
        } else if quoted == text {
            Cow::Borrowed(quoted)
        } else {
            Cow::Owned(text.into_owned())
        }
    }
}

/// How long the quoted scalar is that a text starts with.
pub(super) fn quoted_len(text: &str) -> usize {
    let is_double = text.starts_with('"');
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        let is_doubled = bytes.peek().is_some_and(|(_, next)| *next == b'\'');
        match byte {
            b'\\' if is_double => _ = bytes.next(),
            b'\'' if !is_double && is_doubled => _ = bytes.next(),
            b'"' if is_double => return at + 1,
            b'\'' if !is_double => return at + 1,
            _ => {}
        }
    }
    text.len()
}
