//! Builds the tree of a JSON document, which kubectl reads without its YAML rules. The text has been checked
//! by `serde_json`, so that this reader only has to find where things stand.

use std::borrow::Cow;

use super::merge::refuse_duplicates;
use super::place::quoted_len;
use super::{Entry, Error, Node, Position, Scalar, Value, count};

const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

/// Decodes one JSON value, which starts at `start` in its file.
pub(super) fn decode(text: &str, start: Position) -> Result<Node<'_>, Error> {
    let mut reader = Reader {
        rest: text,
        place: start,
    };
    reader.value()
}

struct Reader<'a> {
    rest: &'a str,
    /// Where the rest starts in the file.
    place: Position,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Node<'a>, Error> {
        let first = self.peek();
        let start = self.place;
        let value = match first {
            Some('{') => {
                let mut entries = Vec::new();
                while self.has_next('}') {
                    let key = self.value()?;
                    self.peek();
                    self.take(1);
                    let value = self
                        .value()
                        .map_err(|error| error.under_key(key.as_str().unwrap_or_default()))?;
                    entries.push(Entry { key, value });
                }
                refuse_duplicates(&entries)?;
                Value::Mapping(entries)
            }
            Some('[') => {
                let mut items = Vec::new();
                while self.has_next(']') {
                    items.push(self.value().map_err(|error| error.under_index(items.len()))?);
                }
                Value::Sequence(items)
            }
            Some('"') => Value::Scalar(Scalar::String, self.string()?),
            _ => self.word()?,
        };
        Ok(Node::new(start, self.place, value))
    }

    /// Takes the opening bracket or a comma, and the closing bracket if that is all that is left.
    fn has_next(&mut self, close: char) -> bool {
        if self.peek() != Some(close) {
            self.take(1);
        }
        let is_end = self.peek().is_none_or(|next| next == close);
        if is_end {
            self.take(1);
        }
        !is_end
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let start = self.place;
        let quoted = self.take(quoted_len(self.rest));
        if quoted.contains('\\') {
            let text = serde_json::from_str(quoted);
            return text
                .map(Cow::Owned)
                .map_err(|error| Error::new(start, error.to_string()));
        }
        Ok(Cow::Borrowed(quoted.trim_matches('"')))
    }

    fn word(&mut self) -> Result<Value<'a>, Error> {
        let start = self.place;
        let is_end = |c: char| BLANK.contains(&c) || matches!(c, ',' | ']' | '}');
        let text = self.take(self.rest.find(is_end).unwrap_or(self.rest.len()));
        let number = || {
            let float = text.parse().ok().filter(|number: &f64| number.is_finite());
            let unsigned = text.parse().ok().map(Scalar::Uint);
            text.parse()
                .ok()
                .map(Scalar::Int)
                .or(unsigned)
                .or(float.map(Scalar::Float))
        };
        let scalar = match text {
            "null" => Some(Scalar::Null),
            "true" => Some(Scalar::Bool(true)),
            "false" => Some(Scalar::Bool(false)),
            _ => number(),
        };
        match scalar {
            Some(scalar) => Ok(Value::Scalar(scalar, Cow::Borrowed(text))),
            None => Err(Error::new(start, format!("the number {text} is too large"))),
        }
    }

    /// The next character that is not blank.
    fn peek(&mut self) -> Option<char> {
        let content = self.rest.trim_start_matches(BLANK);
        let blank = &self.rest[..self.rest.len() - content.len()];
        if !blank.is_empty() {
            self.place = self.place.after(blank);
            self.rest = content;
        }
        content.chars().next()
    }

    /// Takes bytes of one line.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.place.offset += count(taken.len());
        self.place.column += count(taken.chars().count());
        self.rest = rest;
        taken
    }
}
