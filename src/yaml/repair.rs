//! Rewrites what the parser refuses although kubectl reads it: lines of a `[` or `{` that are not indented, a tab behind a colon.
//! The rewritten text is as long, byte for byte, so that all places stay as they are.

use super::tree::quoted_len;

/// A text without the fault that the parser found at `at`, if it is one of those; from `brackets` on the next bracket is the
/// outermost that is open there.
pub(super) fn repair(text: &str, info: &str, brackets: usize, at: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    match info {
        "invalid indentation" | "invalid indentation in flow construct" => join_lines(&mut bytes, text, brackets)?,
        "':' must be followed by a valid YAML whitespace" => {
            let tabs = bytes[..at].iter_mut().rev().take_while(|byte| **byte == b'\t');
            tabs.for_each(|byte| *byte = b' ');
        }
        _ => return None,
    }
    String::from_utf8(bytes).ok().filter(|repaired| repaired != text)
}

/// Puts a list or mapping in brackets on one line; `None` if it is not closed.
fn join_lines(bytes: &mut [u8], text: &str, from: usize) -> Option<()> {
    let mut depth = 0_usize;
    let mut last = b' ';
    let mut at = from;
    loop {
        let byte = *bytes.get(at)?;
        let mut len = 1;
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(());
                }
            }
            b'"' | b'\'' if b"[{,:".contains(&last) => len = quoted_len(&text[at..], byte),
            b'#' if at > 0 && bytes[at - 1].is_ascii_whitespace() => {
                len = text[at..].find(['\r', '\n']).unwrap_or(text.len() - at);
                if depth > 0 {
                    bytes[at..at + len].fill(b' ');
                }
            }
            // Within a plain scalar the line break has a meaning of its own.
            b'\r' | b'\n' if depth > 0 && (b"[{,:".contains(&last) || text[at..].trim_start().starts_with([']', '}', ',', '#'])) => {
                bytes[at] = b' ';
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() && byte != b'#' {
            last = byte;
        }
        at += len;
    }
}
