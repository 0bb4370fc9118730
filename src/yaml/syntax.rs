//! What the parser refuses: explains it, or rewrites what kubectl reads all the same, namely brackets whose
//! lines are not indented and a tab behind a colon.

use super::place::quoted_len;
use super::tree::MAX_DEPTH;

/// A parser's error in words that help; `at` is its place in the text.
pub(super) fn explain(info: &str, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = &text[before.rfind('\n').map_or(0, |newline| newline + 1)..];
    let indentation = &line[..line.len() - line.trim_start().len()];
    let message = match info {
        _ if indentation.contains('\t') => "the line is indented with a tab; YAML takes only spaces",
        "while scanning a quoted scalar, found unexpected end of stream" => {
            "the quote that opens here is not closed"
        }
        "invalid indentation in quoted scalar" => {
            "the quote that opens here is not closed, or the lines of its text are not indented"
        }
        "invalid trailing content after double-quoted scalar" => {
            "text follows a closing quote; is the quote closed where it should be?"
        }
        "mapping values are not allowed in this context" => {
            "no `: ` may stand here; quote the value that has it, or check the indentation"
        }
        "while parsing a block mapping, did not find expected key" => {
            "a key should stand here; check the indentation"
        }
        "while parsing node, found unknown anchor" => "no anchor of this name stands before the alias",
        _ if info.starts_with("unexpected character") => {
            "a value that starts with this character needs quotes"
        }
        _ => info,
    };
    with_hint(message, text)
}

/// A message that names the likely cause, if the document has the marks of a template.
pub(super) fn with_hint(message: &str, text: &str) -> String {
    if text.contains("{{") {
        format!("{message}; this looks like a Helm template, render it first (helm template)")
    } else {
        message.to_owned()
    }
}

/// A copy of the same length, byte for byte, that the parser understands as kubectl does the text; `None` if
/// there is nothing to change. It reads lines roughly: what stands in block scalars and quotes stays as it is.
pub(super) fn repair(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    // The column of the key or dash whose block scalar the next lines may be part of.
    let mut owner = None;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let column = rest.len() - rest.trim_start_matches(' ').len();
        let is_blank = rest[column..].starts_with(['\r', '\n']);
        if !is_blank && owner.is_none_or(|owner| column <= owner) {
            (at, owner) = repair_line(&mut bytes, text, at, column)?;
        }
        at = text[at..]
            .find('\n')
            .map_or(text.len(), |newline| at + newline + 1);
    }
    String::from_utf8(bytes).ok().filter(|repaired| repaired != text)
}

/// Repairs the line that starts at `line`, and what goes on in the next ones. Returns where that ends, and the
/// column of the key or dash whose block scalar starts there.
fn repair_line(bytes: &mut [u8], text: &str, line: usize, column: usize) -> Option<(usize, Option<usize>)> {
    let mut owner = column;
    let mut at = line + column;
    for _ in 0..MAX_DEPTH {
        let rest = text[at..].split('\n').next().unwrap_or_default();
        let first = rest.chars().next();
        if let Some('|' | '>') = first {
            return Some((at, Some(owner)));
        }
        if let Some('[' | '{') = first {
            // At the start of a line a bracket may also be a part of the plain scalar above.
            let is_value = at > line + column;
            let end = if is_value {
                join_lines(bytes, text, at)?
            } else {
                at
            };
            return Some((end, None));
        }
        if !matches!(first, Some('&' | '!')) {
            owner = at - line;
        }
        // The value of what stands here.
        let value = match first {
            Some('&' | '!') => rest.find([' ', '\t']),
            Some('-') if rest[1..].starts_with([' ', '\t']) => Some(1),
            Some('"' | '\'') => {
                let end = quoted_len(&text[at..]);
                if !text[at + end..].starts_with(':') {
                    return Some((at + end, None));
                }
                Some(end + 1)
            }
            _ => {
                let uncommented = rest.split(" #").next().unwrap_or_default();
                let mut colons = uncommented.match_indices(':').map(|(colon, _)| colon + 1);
                colons.find(|behind| rest[*behind..].starts_with([' ', '\t']))
            }
        };
        let Some(value) = value.filter(|_| first != Some('#')) else {
            return Some((at, None));
        };
        at += value;
        while let Some(b' ' | b'\t') = bytes.get(at) {
            bytes[at] = b' ';
            at += 1;
        }
    }
    Some((at, None))
}

/// Puts the list or mapping in brackets that starts at a byte on one line. Returns where it ends; `None` if it
/// is not closed.
fn join_lines(bytes: &mut [u8], text: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut last = b' ';
    let mut at = from;
    loop {
        let byte = *bytes.get(at)?;
        let mut len = 1;
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' | b'\'' if b"[{,:".contains(&last) => len = quoted_len(&text[at..]),
            b'#' if bytes[at - 1].is_ascii_whitespace() => {
                len = text[at..].find(['\r', '\n'])?;
                bytes[at..at + len].fill(b' ');
            }
            // Within a plain scalar the line break has a meaning of its own.
            b'\r' | b'\n' if b"[{,:".contains(&last) || ends_scalar(&text[at..]) => bytes[at] = b' ',
            _ => {}
        }
        if !byte.is_ascii_whitespace() && byte != b'#' {
            last = byte;
        }
        at += len;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Whether what comes next cannot be a part of a plain scalar.
fn ends_scalar(text: &str) -> bool {
    text.trim_start().starts_with([']', '}', ',', '#'])
}
