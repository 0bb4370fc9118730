//! Text of others on a terminal.

/// Text from a file must not move the cursor of a terminal, nor turn the order of its letters.
pub(crate) fn plain(text: &str) -> String {
    let is_turning = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let keep = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || is_turning(c));
    text.chars()
        .map(|c| if keep(c) { c } else { '\u{fffd}' })
        .collect()
}

/// The text in one line.
pub(crate) fn one_line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}
