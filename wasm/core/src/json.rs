//! A small JSON reader (RFC 8259), for the one document that the filter is given: its configuration.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How deep arrays and objects may stand in one another.
const MAX_DEPTH: u32 = 32;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written: nothing here computes with more than whole ones.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object's members in their order; of two with one name the later counts.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// What the value is called in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// What is wrong with a document, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    /// The byte's offset from the start.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

/// Reads one JSON document.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("the end")),
    }
}

struct Reader<'t> {
    text: &'t str,
    /// How many bytes are read; always at a character's start.
    at: usize,
}

impl Reader<'_> {
    fn error(&self, expected: &'static str) -> JsonError {
        JsonError {
            at: self.at,
            expected,
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.advance(1);
        }
    }

    fn take(&mut self, literal: &str) -> bool {
        let is_next = self.rest().starts_with(literal);
        if is_next {
            self.advance(literal.len());
        }
        is_next
    }

    fn value(&mut self, depth: u32) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.error("less nesting"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take("null") => Ok(Value::Null),
            _ if self.take("true") => Ok(Value::Bool(true)),
            _ if self.take("false") => Ok(Value::Bool(false)),
            _ => Err(self.error("a value")),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, JsonError> {
        let mut members = Vec::new();
        self.advance(1);
        self.skip_space();
        if self.take("}") {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a member's name"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(":") {
                return Err(self.error("`:`"));
            }
            members.push((name, self.value(depth.saturating_add(1))?));
            self.skip_space();
            if self.take("}") {
                return Ok(Value::Object(members));
            }
            if !self.take(",") {
                return Err(self.error("`,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        self.advance(1);
        self.skip_space();
        if self.take("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth.saturating_add(1))?);
            self.skip_space();
            if self.take("]") {
                return Ok(Value::List(items));
            }
            if !self.take(",") {
                return Err(self.error("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let mut text = String::new();
        self.advance(1);
        loop {
            let Some(next) = self.rest().chars().next() else {
                return Err(self.error("the end of a string"));
            };
            if next.is_ascii_control() {
                return Err(self.error("no control character in a string"));
            }
            self.advance(next.len_utf8());
            match next {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let escaped = self.peek();
        self.advance(1);
        Ok(match escaped {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => {
                self.at = self.at.saturating_sub(1);
                return Err(self.error("an escape"));
            }
        })
    }

    fn code_point(&mut self) -> Result<char, JsonError> {
        let first = self.code_unit()?;
        if let Some(single) = char::from_u32(first) {
            return Ok(single);
        }
        // A surrogate: the pair makes one character.
        if !self.take("\\u") {
            return Err(self.error("the second half of a surrogate pair"));
        }
        let second = self.code_unit()?;
        char::decode_utf16([low_half(first), low_half(second)])
            .next()
            .and_then(Result::ok)
            .ok_or_else(|| self.error("a surrogate pair"))
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error("four hexadecimal digits"))?;
        self.advance(4);
        Ok(unit)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let length = self
            .rest()
            .bytes()
            .take_while(|byte| b"+-.eE0123456789".contains(byte))
            .count();
        let text = self.rest().get(..length).unwrap_or_default();
        if !is_number(text) {
            return Err(self.error("a number"));
        }
        let number = String::from(text);
        self.advance(length);
        Ok(Value::Number(number))
    }
}

/// The low 16 bits: four hexadecimal digits are no more.
fn low_half(unit: u32) -> u16 {
    u16::try_from(unit & 0xffff).unwrap_or_default()
}

/// Whether `text` is a number as JSON writes it.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_exponent = |exponent: &str| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    is_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(is_exponent)
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let value =
            parse(r#" {"a": [1, -2.5e2, true, false, null], "b": {"c": "d"}, "e": [], "f": {}} "#).unwrap();
        let list = vec![
            Value::Number("1".to_owned()),
            Value::Number("-2.5e2".to_owned()),
            Value::Bool(true),
            Value::Bool(false),
            Value::Null,
        ];
        let inner = Value::Object(vec![("c".to_owned(), Value::Text("d".to_owned()))]);
        let members = vec![
            ("a".to_owned(), Value::List(list)),
            ("b".to_owned(), inner),
            ("e".to_owned(), Value::List(vec![])),
            ("f".to_owned(), Value::Object(vec![])),
        ];
        assert_eq!(value, Value::Object(members));
    }

    #[test]
    fn escapes_are_read() {
        let text = parse(r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00泳""#).unwrap();
        assert_eq!(text, Value::Text("\"\\/\u{8}\u{c}\n\r\tA😀泳".to_owned()));
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_starts() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\" 1}", 5),
            ("{a: 1}", 1),
            ("01", 0),
            ("1.", 0),
            ("+1", 0),
            ("-", 0),
            ("1e", 0),
            ("nul", 0),
            ("\"a", 2),
            ("\"\\x\"", 2),
            ("\"\\ud83d\"", 7),
            ("\"\\ud83d\\u0041\"", 13),
            ("\"\\u00g0\"", 3),
            ("\"\n\"", 1),
            ("1 2", 2),
        ] {
            assert_eq!(parse(text).map_err(|error| error.at), Err(at), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_overflows_nothing() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&deep(30)).is_ok());
        assert!(parse(&deep(40)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn text_that_looks_like_json_does_not_either(text in r#"[\[\]{}",:0-9eE+\-.\\untrfals ]{0,64}"#) {
            let _ = parse(&text);
        }

        #[test]
        fn a_string_is_read_as_it_was_written(text in "\\PC*") {
            let written = text.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(parse(&alloc::format!("\"{written}\"")), Ok(Value::Text(text)));
        }
    }
}
