//! Takes a file apart into documents, each of which can be decoded on its own.

use serde::de::IgnoredAny;

use super::{Error, Node, Position, count, json, tree};

const BYTE_ORDER_MARK: char = '\u{feff}';
const UNREAD_MARKER: &str =
    "kubectl refuses a `---` with more than a comment behind it; start the document on the next line";
const UNREAD_REST: &str =
    "kubectl passes over what stands between `...` and the next `---`; put a `---` before it";

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

/// What a document takes up of its file: enough to find it there again without reading the file anew.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    start: Position,
    len: u32,
    form: Form,
}

impl Extent {
    /// The document in the text of the file that it was found in.
    pub fn of(self, text: &str) -> RawDocument<'_> {
        let Self { start, len, form } = self;
        let from = start.offset as usize;
        RawDocument {
            text: text.get(from..from + len as usize).unwrap_or_default(),
            start,
            form,
        }
    }

    /// Where the document starts in the file.
    pub fn start(self) -> Position {
        self.start
    }
}

/// How a document is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Yaml,
    /// JSON that has been checked.
    Json,
    /// A document that kubectl refuses or passes over because of the marker before it.
    Refused(Refused),
}

/// Why a document is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Marker,
    Rest,
}

impl Refused {
    fn why(self) -> &'static str {
        match self {
            Self::Marker => UNREAD_MARKER,
            Self::Rest => UNREAD_REST,
        }
    }
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

    /// Whether it is JSON to its end.
    pub(super) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// What it takes up of the file.
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start,
            len: count(self.text.len()),
            form: self.form,
        }
    }

    /// Decodes the document; places count from the start of the file.
    pub fn decode(&self) -> Result<Node<'a>, Error> {
        match self.form {
            Form::Yaml => tree::decode(self.text, self.start),
            Form::Json => json::decode(self.text, self.start),
            Form::Refused(refused) => Err(Error::new(self.start, refused.why())),
        }
    }
}

/// Takes a file apart at its markers; documents of nothing but comments are left out. JSON objects may also
/// follow one another without a marker, as kubectl allows.
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
        push(
            &mut found,
            RawDocument {
                text: &text[from..at],
                start,
                form,
            },
        );
        start = start.after(&text[from..at]);
        (from, form) = (at, next);
        // A refused `---` stays in its document, so that the error points at it.
        if next != Form::Refused(Refused::Marker) {
            let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
            start = start.after(line);
            from += line.len();
        }
    }
    push(
        &mut found,
        RawDocument {
            text: &text[from..],
            start,
            form,
        },
    );
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
        (false, false) => Some(Form::Refused(Refused::Marker)),
        (true, _) if rest.is_empty() || rest.starts_with([' ', '\t']) => Some(Form::Refused(Refused::Rest)),
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
        found.push(RawDocument {
            text,
            start,
            form: Form::Json,
        });
        start = start.after(text);
        from = values.byte_offset();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn values(text: &str) -> Vec<Result<Value, String>> {
        let decode = |document: &RawDocument<'_>| Value::deserialize(&document.decode()?);
        let found = documents(text);
        found
            .iter()
            .map(|document| decode(document).map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn every_document_knows_where_it_starts() {
        let text = "a: 1\n---\nb: 2\n--- # the third\n\nc: é\n---\nd: 4";
        let found = documents(text);
        let lines: Vec<u32> = found.iter().map(|document| document.start().line).collect();
        assert_eq!(lines, [1, 3, 5, 8]);
        let third = found[2].decode().unwrap();
        let span = third.get("c").unwrap().span();
        assert_eq!((span.start.line, span.start.column), (6, 4));
        assert_eq!(&text[span.start.offset as usize..span.end.offset as usize], "é");
    }

    #[test]
    fn a_broken_document_does_not_hide_the_others() {
        let found = values("a: 1\n---\nb: [\n---\nc: 3\n");
        assert_eq!(found[0], Ok(json!({"a": 1})));
        assert!(found[1].is_err());
        assert_eq!(found[2], Ok(json!({"c": 3})));
    }

    #[test]
    fn documents_of_nothing_but_comments_are_left_out() {
        assert_eq!(
            values("# top\n---\n---\n  # more\n\n---\na: 1\n---\n"),
            [Ok(json!({"a": 1}))]
        );
        assert!(documents("").is_empty());
    }

    #[test]
    fn a_marker_may_end_with_a_carriage_return_or_start_behind_a_byte_order_mark() {
        assert_eq!(
            values("\u{feff}---\r\na: 1\r\n---\r\nb: 2\r\n...\r\n"),
            [Ok(json!({"a": 1})), Ok(json!({"b": 2}))]
        );
        let json = "\u{feff}{\"a\": \"\\ud83d\\ude00\"}";
        assert_eq!(values(json), [Ok(json!({"a": "😀"}))]);
        let documents = documents("\u{feff}a: 1\n");
        let start = documents[0].decode().unwrap().span().start;
        assert_eq!((start.offset, start.line, start.column), (3, 1, 1));
    }

    #[test]
    fn three_dashes_within_a_block_are_text() {
        assert_eq!(values("a: |\n  ---\n  ...\n"), [Ok(json!({"a": "---\n...\n"}))]);
    }

    #[test]
    fn text_behind_a_marker_is_refused_where_it_stands() {
        for marker in ["--- {a: 1}", "--- |", "---x", "----"] {
            let text = format!("a: 1\n{marker}\n");
            let error = documents(&text)[1].decode().unwrap_err();
            assert!(error.message.starts_with("kubectl refuses a `---`"), "{error}");
            assert_eq!((error.line, error.column), (2, 1));
        }
    }

    #[test]
    fn what_kubectl_passes_over_is_refused() {
        let found = values("a: 1\n...\nb: 2\n---\nc: 3\n");
        let error = found[1].as_ref().unwrap_err();
        assert!(
            error.starts_with("line 3, column 1: kubectl passes over"),
            "{error}"
        );
        assert_eq!(found[2], Ok(json!({"c": 3})));
    }

    #[test]
    fn json_objects_may_follow_one_another() {
        let text = "{\n\t\"a\": \"\\ud83d\\ude00\\/\"}{\"b\": [1.5, -2, true, null, {}, []]}\n---\nc: 3";
        let expected = [
            json!({"a": "😀/"}),
            json!({"b": [1.5, -2, true, null, {}, []]}),
            json!({"c": 3}),
        ];
        assert_eq!(values(text), expected.map(Ok));
        let second = documents(text)[1].decode().unwrap();
        let start = second.get("b").unwrap().items()[1].span().start;
        assert_eq!((start.line, start.column), (2, 36));
    }

    #[test]
    fn a_document_is_found_again_by_its_extent() {
        let text = "\u{feff}a: é\n---\n{\"b\": 2} {\"c\": 3}\n--- x\n...\nd: 4\n---\ne: 5\n";
        let found = documents(text);
        assert_eq!(found.len(), 6);
        for document in found {
            let again = document.extent().of(text);
            assert_eq!(again.text(), document.text());
            assert_eq!(again.decode(), document.decode());
        }
    }

    #[test]
    fn brackets_that_are_no_json_are_read_as_yaml() {
        assert_eq!(values("{a: 1}"), [Ok(json!({"a": 1}))]);
        assert_eq!(values("{\n\t\"a\": 1,\n}"), [Ok(json!({"a": 1}))]);
    }

    #[test]
    fn json_errors_have_a_path() {
        let error = documents(r#"{"a": [{"b": 1, "b": 2}]}"#)[0].decode().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 17: a[0].b: the key `b` is already on line 1"
        );
        let error = documents(r#"{"a": [1e400]}"#)[0].decode().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 8: a[0]: the number 1e400 is too large"
        );
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_with_their_place() {
        let error = read(b"a: 1\nb: \xe9t\xe9\n").unwrap_err();
        assert_eq!((error.line, error.column), (2, 4));
        assert!(error.message.contains("0xe9"), "{error}");
        let error = read(b"\xff\xfea\0").unwrap_err();
        assert!(error.message.contains("UTF-16"), "{error}");
        assert_eq!(read("é".as_bytes()), Ok("é"));
    }
}
