//! Takes a file apart into documents, each of which can be decoded on its own.

use serde::de::IgnoredAny;

use super::{Error, Node, Position, count, json, tree};

const BYTE_ORDER_MARK: char = '\u{feff}';
const UNREAD_MARKER: &str = "kubectl refuses a `---` with more than a comment behind it; start the document on the next line";
const UNREAD_REST: &str = "kubectl passes over what stands between `...` and the next `---`; put a `---` before it";

/// Checks that a file is text in UTF-8.
pub fn read(bytes: &[u8]) -> Result<&str, Error> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(Error::new(Position::START, "the file is larger than 4 GiB"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "the file is UTF-16; save it as UTF-8";
        return Err(Error::new(Position::START, message));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let bad = error.valid_up_to();
        let before = std::str::from_utf8(&bytes[..bad]).unwrap_or_default();
        let byte = bytes.get(bad).copied().unwrap_or_default();
        let message = format!("the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8");
        Error::new(Position::START.after(before), message)
    })
}

/// One document of a file, not decoded yet.
#[derive(Debug, Clone, Copy)]
pub struct RawDocument<'a> {
    text: &'a str,
    start: Position,
    form: Form,
}

/// How a document is to be read.
#[derive(Debug, Clone, Copy)]
enum Form {
    Yaml,
    /// JSON that has been checked.
    Json,
    /// A document that kubectl refuses or passes over because of the marker before it.
    Refused(&'static str),
}

impl<'a> RawDocument<'a> {
    /// The document without its markers.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Where the text starts in the file.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Decodes the document; places count from the start of the file.
    pub fn decode(&self) -> Result<Node<'a>, Error> {
        match self.form {
            Form::Yaml => tree::decode(self.text, self.start),
            Form::Json => json::decode(self.text, self.start),
            Form::Refused(why) => Err(Error::new(self.start, why)),
        }
    }
}

/// Takes a file apart at its markers; documents of nothing but comments are left out. JSON objects may also follow one another
/// without a marker, as kubectl allows.
pub fn documents(text: &str) -> Vec<RawDocument<'_>> {
    let mut found = Vec::new();
    let (mut from, mut start, mut form) = (0, Position::START, Form::Yaml);
    if text.starts_with(BYTE_ORDER_MARK) {
        from = BYTE_ORDER_MARK.len_utf8();
        start.offset = count(from);
    }
    let line_starts = std::iter::once(from).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    for at in line_starts {
        let Some(next) = marker(&text[at..]) else {
            continue;
        };
        push(&mut found, RawDocument { text: &text[from..at], start, form });
        start = start.after(&text[from..at]);
        (from, form) = (at, next);
        // A refused `---` stays in its document, so that the error points at it.
        if !matches!(next, Form::Refused(UNREAD_MARKER)) {
            let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
            start = start.after(line);
            from += line.len();
        }
    }
    push(&mut found, RawDocument { text: &text[from..], start, form });
    found
}

/// Whether a line is a document marker, and how to read what follows it.
fn marker(line: &str) -> Option<Form> {
    let is_end = line.starts_with("...");
    if !is_end && !line.starts_with("---") {
        return None;
    }
    let rest = line[3..].lines().next().unwrap_or_default();
    let is_bare = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    match (is_end, is_bare) {
        (false, true) => Some(Form::Yaml),
        (false, false) => Some(Form::Refused(UNREAD_MARKER)),
        (true, _) if rest.is_empty() || rest.starts_with([' ', '\t']) => Some(Form::Refused(UNREAD_REST)),
        (true, _) => None,
    }
}

fn push<'a>(found: &mut Vec<RawDocument<'a>>, document: RawDocument<'a>) {
    let is_blank = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    if document.text.lines().all(is_blank) {
        return;
    }
    match document.form {
        Form::Yaml if document.text.trim_start().starts_with('{') => match json_stream(document) {
            Some(objects) => found.extend(objects),
            None => found.push(document),
        },
        _ => found.push(document),
    }
}

/// The JSON values that a text holds one after the other, if it is JSON to its end.
fn json_stream(document: RawDocument<'_>) -> Option<Vec<RawDocument<'_>>> {
    let RawDocument { text, mut start, .. } = document;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(value) = values.next() {
        value.ok()?;
        let text = &text[from..values.byte_offset()];
        found.push(RawDocument { text, start, form: Form::Json });
        start = start.after(text);
        from = values.byte_offset();
    }
    Some(found)
}
