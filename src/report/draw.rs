//! The lines of files that findings are about, with marks under them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use annotate_snippets::{Annotation, AnnotationKind, Element, Origin, Snippet};

use super::plain;
use crate::files::{Files, Place};

/// A place of more lines than this is marked on its first line only.
const MOST_LINES: u32 = 6;

/// Places no further apart than so many lines are drawn as one excerpt; the lines between them are left out.
const MOST_BETWEEN: u32 = 40;

/// Nor further apart than so many columns: a file may be a single line.
const MOST_COLUMNS_BETWEEN: u32 = 80;

/// A place to draw.
pub(super) struct Mark<'p> {
    pub(super) place: &'p Place,
    /// Whether it is what the finding is about, or something that this follows from.
    pub(super) is_primary: bool,
    /// What is to be seen there.
    pub(super) label: String,
}

/// The texts of the files, and where their lines start.
pub(super) struct Sources<'f> {
    files: &'f Files,
    lines: HashMap<String, Option<Lines<'f>>>,
}

impl<'f> Sources<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        Self {
            files,
            lines: HashMap::new(),
        }
    }

    fn lines(&mut self, file: &str) -> Option<&Lines<'f>> {
        if !self.lines.contains_key(file) {
            let lines = self.files.text(file).map(Lines::new);
            self.lines.insert(file.to_owned(), lines);
        }
        self.lines.get(file)?.as_ref()
    }

    /// Draws the marks: those of one file that are near each other as one excerpt, what the finding is about first.
    pub(super) fn draw(&mut self, marks: &[Mark<'_>]) -> Vec<Element<'static>> {
        let drawn = excerpts(marks).into_iter().filter_map(|marks| {
            let place = marks.first()?.place;
            let excerpt = self.lines(&place.file).and_then(|lines| excerpt(lines, &marks));
            Some(excerpt.unwrap_or_else(|| origin(place)))
        });
        drawn.collect()
    }
}

/// The name of a place of which there is no text.
fn origin(place: &Place) -> Element<'static> {
    let origin = Origin::path(plain(&place.file));
    match place.line {
        0 => origin.into(),
        _ => origin
            .line(place.line as usize)
            .char_column(place.column as usize)
            .into(),
    }
}

/// The lines of the marks, with something under each; `None` if the text does not have those lines.
fn excerpt(lines: &Lines<'_>, marks: &[&Mark<'_>]) -> Option<Element<'static>> {
    let spans = marks.iter().map(|mark| Span::of(mark.place, lines));
    let spans: Vec<Span> = spans.collect::<Option<_>>()?;
    let first = spans.iter().map(|span| span.start.0).min()?;
    let last = spans.iter().map(|span| span.end.0).max()?;
    let (text, starts) = lines.clean(first..=last);
    let at = |(line, column): (u32, u32)| {
        let start = starts.get((line - first) as usize).copied().unwrap_or(text.len());
        let line = text[start..].split('\n').next().unwrap_or_default();
        let before = line.chars().take(column.saturating_sub(1) as usize);
        start + before.map(char::len_utf8).sum::<usize>()
    };
    let annotations = marks.iter().zip(&spans).map(|(mark, span)| {
        let kind = if mark.is_primary {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let label = (!mark.label.is_empty()).then(|| plain(&mark.label));
        let start = at(span.start);
        kind.span(start..at(span.end).max(start)).label(label)
    });
    let annotations: Vec<Annotation<'static>> = annotations.collect();
    let path = marks.first().map(|mark| plain(&mark.place.file));
    let snippet = Snippet::source(text)
        .line_start(first as usize)
        .path(path)
        .annotations(annotations);
    Some(snippet.into())
}

/// The marks that go into one excerpt each, the excerpts in the order of what comes first in each.
fn excerpts<'m, 'p>(marks: &'m [Mark<'p>]) -> Vec<Vec<&'m Mark<'p>>> {
    let mut sorted: Vec<&Mark<'p>> = marks.iter().collect();
    sorted.sort_by_key(|mark| (&mark.place.file, mark.place.line, mark.place.column));
    let place_of = |mark: &&Mark<'p>| marks.iter().position(|other| std::ptr::eq(other, *mark));
    let mut excerpts: Vec<Vec<&Mark<'p>>> = Vec::new();
    for mark in sorted {
        let is_near = |earlier: &&mut Vec<&Mark<'p>>| {
            let in_lines = earlier.last().is_some_and(|last| {
                last.place.file == mark.place.file
                    && mark.place.line.abs_diff(last.place.line) <= MOST_BETWEEN
            });
            in_lines
                && earlier
                    .iter()
                    .all(|other| mark.place.column.abs_diff(other.place.column) <= MOST_COLUMNS_BETWEEN)
        };
        match excerpts.last_mut().filter(is_near) {
            Some(excerpt) => excerpt.push(mark),
            None => excerpts.push(vec![mark]),
        }
    }
    excerpts.sort_by_key(|excerpt| excerpt.iter().filter_map(place_of).min());
    excerpts
}

/// What is marked of a place: lines and columns from 1, the end behind it.
struct Span {
    start: (u32, u32),
    end: (u32, u32),
}

impl Span {
    /// `None` for a place that is in no line of the text.
    fn of(place: &Place, lines: &Lines<'_>) -> Option<Self> {
        let first = lines.get(place.line)?;
        let start = (place.line, place.column);
        let end = (place.end_line, place.end_column).max(start);
        if end.0 < place.line.saturating_add(MOST_LINES) && lines.get(end.0).is_some() {
            return Some(Self { start, end });
        }
        let content = first.split(" #").next().unwrap_or_default().trim_end();
        let column = u32::try_from(content.chars().count()).unwrap_or(u32::MAX);
        let end = (place.line, column.saturating_add(1).max(place.column));
        Some(Self { start, end })
    }
}

/// A text by its lines.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let text = text.trim_start_matches('\u{feff}');
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The line of this number, from 1, without what ends it.
    fn get(&self, number: u32) -> Option<&'t str> {
        let start = *self.starts.get((number as usize).checked_sub(1)?)?;
        let line = self.text[start..].split('\n').next()?;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// Some lines, fit for a terminal, and where each starts.
    fn clean(&self, numbers: RangeInclusive<u32>) -> (String, Vec<usize>) {
        let (mut text, mut starts) = (String::new(), Vec::new());
        for line in numbers.map_while(|number| self.get(number)) {
            if !starts.is_empty() {
                text.push('\n');
            }
            starts.push(text.len());
            text.push_str(&plain(line));
        }
        (text, starts)
    }
}

#[cfg(test)]
mod tests {
    use annotate_snippets::{Level, Renderer};
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str, places: &[Place]) -> String {
        let lines = Lines::new(text);
        let marks: Vec<Mark<'_>> = places
            .iter()
            .enumerate()
            .map(|(at, place)| Mark {
                place,
                is_primary: at == 0,
                label: "it\u{1b}[2J".to_owned(),
            })
            .collect();
        let drawn = excerpts(&marks).into_iter().filter_map(|marks| {
            let place = marks.first()?.place;
            Some(excerpt(&lines, &marks).unwrap_or_else(|| origin(place)))
        });
        let group = Level::ERROR.primary_title("wrong").elements(drawn);
        Renderer::plain().render(&[group])
    }

    fn place(line: u32, column: u32, end_line: u32, end_column: u32) -> Place {
        Place {
            file: "a.yaml".to_owned(),
            line,
            column,
            end_line,
            end_column,
        }
    }

    #[test]
    fn places_far_apart_are_excerpts_of_their_own() {
        let text = "a: 1\n".repeat(100);
        let near = rendered(&text, &[place(41, 1, 41, 5), place(1, 1, 1, 5)]);
        assert!(near.contains("...") && !near.contains(":::"), "{near}");
        let far = rendered(&text, &[place(42, 1, 42, 5), place(1, 1, 1, 5)]);
        assert!(far.contains("::: a.yaml:1:1"), "{far}");
    }

    #[test]
    fn a_place_of_which_there_is_no_text_is_named() {
        assert!(rendered("a: 1\n", &[place(7, 3, 7, 4)]).ends_with("--> a.yaml:7:3"));
        assert!(rendered("", &[Place::whole("a.yaml")]).ends_with("--> a.yaml"));
    }

    fn places() -> impl Strategy<Value = Place> {
        (0..12_u32, 0..20_u32, 0..12_u32, 0..20_u32).prop_map(|(a, b, c, d)| place(a, b, c, d))
    }

    proptest! {
        #[test]
        fn any_place_of_any_text_is_drawn(
            text in "([a:#'{ \t\r\n\u{feff}車é\u{301}\u{200d}\u{202e}\u{1b}\0😀]|ab: c # d\n){0,40}",
            places in prop::collection::vec(places(), 1..4),
        ) {
            let drawn = rendered(&text, &places);
            let is_hostile = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            prop_assert!(!drawn.contains(is_hostile), "{drawn:?}");
        }
    }
}
