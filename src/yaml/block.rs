//! Builds the tree of a document in plain block style, as most manifests are written: a key a line, a dash an item, each
//! scalar on one line. The parser takes several times as long for the same tree. Whatever else YAML has, and whatever
//! is wrong, is the parser's: here it is only found that there is more to it.

use std::borrow::Cow;

use super::place::quoted_len;
use super::tree::{Content, Tree};
use super::{Node, Position, Scalar, Value, count, scalar};

/// How long a key may be. The parser refuses those of more than 1,024 characters.
const LONGEST_KEY: usize = 1000;

/// Decodes one document, which starts at `start` in its file and has no control characters; `None` if it is not all in
/// plain block style.
pub(super) fn decode(text: &str, start: Position) -> Option<Node<'_>> {
    // The parser takes a carriage return for the end of a line, too.
    if start.column != 1 || text.contains('\r') {
        return None;
    }
    let mut reader = Reader {
        tree: Tree::new(text, text, start),
        line: start,
    };
    for line in text.split('\n') {
        reader.line(line)?;
        reader.line.offset += count(line.len() + 1);
        reader.line.line += 1;
    }
    while reader.tree.innermost().is_some() {
        reader.tree.close().ok()?;
    }
    reader.tree.root
}

struct Reader<'a> {
    tree: Tree<'a, 'a>,
    /// Where the line starts.
    line: Position,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) -> Option<()> {
        let content = line.trim_start_matches(' ');
        if content.is_empty() || content.starts_with('#') {
            return Some(());
        }
        let column = line.len() - content.len();
        let is_item = dash(content).is_some();
        while let Some(open) = self.column()
            // The dashes of a list may stand below the key whose value it is.
            && (column < open || (column == open && self.is_in_sequence() && !is_item))
        {
            self.tree.close().ok()?;
        }
        let is_next = match self.column() {
            // Behind a finished document there is nothing more.
            None => self.tree.root.is_none(),
            Some(open) => self.tree.key().is_some() || (column == open && self.is_in_sequence() == is_item),
        };
        is_next.then_some(())?;
        self.content(line, column)
    }

    /// Reads what stands on a line from `column` on: dashes, and then a key, a value, or both.
    fn content(&mut self, line: &'a str, mut column: usize) -> Option<()> {
        let mut is_item = false;
        while let Some(behind) = dash(&line[column..]) {
            if !(self.is_in_sequence() && self.column() == Some(column)) {
                self.open(column, Content::Sequence(Vec::new()))?;
            }
            is_item = true;
            column += behind;
        }
        let Some(Key { len, name }) = key(&line[column..]) else {
            let node = is_item.then(|| self.value(line, column))??;
            return self.tree.finish(node, 0).ok();
        };
        if is_item || self.is_in_sequence() || self.column() != Some(column) {
            self.open(column, Content::Mapping(Vec::new(), false))?;
        }
        let end = self.at(column + len);
        let key = Value::Scalar(Scalar::String, name);
        self.tree.end = end;
        self.tree.set_key(Node::new(self.at(column), end, key));
        let behind = column + len + 1;
        if is_blank(&line[behind..]) {
            return Some(());
        }
        let node = self.value(line, behind)?;
        self.tree.finish(node, 0).ok()
    }

    /// The value that the rest of a line is.
    fn value(&mut self, line: &'a str, column: usize) -> Option<Node<'a>> {
        let text = line[column..].trim_start_matches(' ');
        let (len, value) = match text.as_bytes() {
            [b'"' | b'\'', ..] => {
                let (len, quoted) = quoted(text)?;
                (len, Value::Scalar(Scalar::String, quoted))
            }
            [b'{', b'}', ..] => (2, Value::Mapping(Vec::new())),
            [b'[', b']', ..] => (2, Value::Sequence(Vec::new())),
            _ => {
                let text = uncommented(text);
                let is_key = text.ends_with(':') || text.contains(": ");
                (is_plain(text) && !is_key).then_some(())?;
                let scalar = scalar::resolve(text, true, None).ok()?;
                (text.len(), Value::Scalar(scalar, Cow::Borrowed(text)))
            }
        };
        is_blank(&text[len..]).then_some(())?;
        let column = line.len() - text.len();
        let node = Node::new(self.at(column), self.at(column + len), value);
        self.tree.end = node.span.end;
        Some(node)
    }

    fn open(&mut self, column: usize, content: Content<'a>) -> Option<()> {
        self.tree.open(self.at(column), 0, content).ok()
    }

    fn is_in_sequence(&self) -> bool {
        let content = self.tree.innermost().map(|open| &open.content);
        matches!(content, Some(Content::Sequence(_)))
    }

    /// The column, from 0, at which the keys or dashes of the innermost mapping or list stand: where it starts.
    fn column(&self) -> Option<usize> {
        self.tree.innermost().map(|open| open.start.column as usize - 1)
    }

    /// The place of a column of this line: up to there all characters have one byte.
    fn at(&self, column: usize) -> Position {
        Position {
            offset: self.line.offset + count(column),
            column: count(column) + 1,
            ..self.line
        }
    }
}

/// A key, with its quotes in front of a colon.
struct Key<'a> {
    len: usize,
    name: Cow<'a, str>,
}

/// How far behind a dash its item starts, if there is one on the same line.
fn dash(content: &str) -> Option<usize> {
    let item = content.strip_prefix("- ")?.trim_start_matches(' ');
    Some(content.len() - item.len())
}

/// The key that a text starts with.
fn key(content: &str) -> Option<Key<'_>> {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    let key = if content.starts_with(['"', '\'']) {
        let (len, name) = quoted(content)?;
        Key { len, name }
    } else {
        let mut colons = content.match_indices(':').map(|(colon, _)| colon);
        let name = &content[..colons.find(|colon| is_end(&content[colon + 1..]))?];
        let is_string = scalar::resolve(name, true, None) == Ok(Scalar::String);
        let is_name = is_plain(name) && !name.contains(" #") && !name.ends_with(' ') && name != "<<";
        let (len, name) = (name.len(), Cow::Borrowed(name));
        (is_string && is_name).then_some(Key { len, name })?
    };
    let behind = content[key.len..].strip_prefix(':')?;
    (is_end(behind) && key.len <= LONGEST_KEY).then_some(key)
}

/// How long the quoted scalar is that a text starts with, and what it says.
fn quoted(text: &str) -> Option<(usize, Cow<'_, str>)> {
    let len = quoted_len(text);
    let (written, inner) = (&text[..len], text.get(1..len - 1)?);
    let quote = written.chars().next().filter(|quote| written.ends_with(*quote))?;
    let text = match quote {
        '"' if inner.contains("\\u") => return None,
        // Other escapes are JSON's where JSON has them.
        '"' if inner.contains('\\') => Cow::Owned(serde_json::from_str(written).ok()?),
        '\'' if inner.contains(quote) => {
            let text = inner.replace("''", "'");
            // A quote that stands alone has closed nothing: the scalar goes on.
            (inner.len() - text.len() == text.matches(quote).count()).then_some(Cow::Owned(text))?
        }
        _ => Cow::Borrowed(inner),
    };
    is_simple(written).then_some((len, text))
}

/// A text without the comment behind it.
fn uncommented(text: &str) -> &str {
    let text = text.split_once(" #").map_or(text, |(text, _)| text);
    text.trim_end_matches(' ')
}

/// Whether nothing is left of a line but a comment.
fn is_blank(rest: &str) -> bool {
    let comment = rest.trim_start_matches(' ');
    comment.is_empty() || (comment.starts_with('#') && comment.len() < rest.len())
}

/// Whether a text is a plain scalar, by its first characters. Some that are may be none here.
fn is_plain(text: &str) -> bool {
    let may_start = match text.as_bytes() {
        [b'-', next, ..] => *next != b' ',
        [first, ..] => first.is_ascii_alphanumeric() || b"_./~+<=$(^".contains(first),
        [] => false,
    };
    may_start && is_simple(text)
}

/// Whether all characters have one byte and are no control characters.
fn is_simple(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::documents;
    use super::super::tree::build;
    use super::*;

    /// Whether all documents are in plain block style. The parser has to make the same of those that are.
    fn is_read(text: &str) -> bool {
        let documents = documents(text).into_iter();
        let read = documents.map(|document| {
            let (text, start) = (document.text(), document.start());
            let read = decode(text, start);
            if let Some(node) = &read {
                assert_eq!(Ok(node), build(text, text, start).as_ref(), "{text:?}");
            }
            read.is_some()
        });
        // Each is looked at.
        read.fold(true, |all, is_read| all & is_read)
    }

    /// Mostly of the first kind.
    fn mostly(usual: &'static str, odd: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![12 => usual, 1 => odd]
    }

    /// A line of a manifest, or nearly one.
    fn line() -> impl Strategy<Value = String> {
        let indent = mostly("(|  |    )", " {0,5}|\t");
        let dashes = mostly("(- )?", "(- {1,2}){0,3}");
        let key = mostly(
            "([abcdef]|b.d/e|f:g|k:[{]\"x\":1[}]|\"q\"|'a: b'|a b|\\$e)",
            "(1|on|<<|-x|#|e #|'it''s'|\"\\\\n\"|&a|[*]a|é|[?] a|a\tb|)",
        );
        let colon = mostly("(:|: {1,2})", "( :|:\t|:x|)");
        let value = mostly(
            "(|v|1|-1|~|null|\\.5|http://h:80/p|'q: r'|\"d #\"|\"\\\\\"\\\\\\\\n\"|\"\\\\/\\\\b\"|'it''s'|[{][}]|\\[\\]|x#|a,b\\]|<<|=)",
            "(-|- a|\\.inf|'it'''|\"\\\\x41\"|\"\\\\u0041\"|\"\\\\\"|\"|\\[|[|]|>|x #|b: c|b:|é|:|&a|[*]a|!t|\t|%|@|[?] a|[{]a: b[}]|[{][}]x|\"d\"e|---)",
        );
        let comment = mostly("(| | #c| # c: d|  # é)", "(#c|\t#|\r| \r|\t)");
        (indent, dashes, key, colon, value, comment).prop_map(
            |(indent, dashes, key, colon, value, comment)| {
                format!("{indent}{dashes}{key}{colon}{value}{comment}")
            },
        )
    }

    /// An item that is no mapping.
    fn item() -> impl Strategy<Value = String> {
        (
            "(|  |    )",
            "- (- )?",
            "(v|\"q\"|'a: b'|[{][}]|1|x #y: z|-|# c|)",
        )
            .prop_map(|(indent, dash, item)| format!("{indent}{dash}{item}"))
    }

    /// A manifest, or nearly one.
    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![6 => line(), 2 => item(), 1 => "( {0,4}(#\\PC{0,4}|))"];
        let start = mostly("", "\u{feff}|a: b\n---\n|# é\n--- # é\n");
        let lines = prop::collection::vec(line, 1..7);
        (start, lines, "(\n| \n|)").prop_map(|(start, lines, end)| start + &lines.join("\n") + &end)
    }

    proptest! {
        #[test]
        fn the_parser_reads_the_same(text in text()) {
            is_read(&text);
        }
    }

    #[test]
    fn manifests_are_in_plain_block_style() {
        let text = "# é\napiVersion: v1\nkind: 'Service'\nmetadata: {}\nspec:\n  ports:\n  - name: http # é\n\n    port: 80\n  \
            - name: \"grpc\"\n  externalIPs:\n    - 10.0.0.1\n    - - a\n      - b\n  selector:\n";
        assert!(is_read(text));
    }
}
