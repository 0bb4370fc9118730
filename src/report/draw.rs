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
        excerpts(marks).iter().map(|marks| self.excerpt(marks)).collect()
    }

    fn excerpt(&mut self, marks: &[&Mark<'_>]) -> Element<'static> {
        let Some(place) = marks.first().map(|mark| mark.place) else {
            return Origin::path("").into();
        };
        let file = plain(&place.file);
        let spans: Option<Vec<Span>> = self.lines(&place.file).map(|lines| {
            marks
                .iter()
                .filter_map(|mark| Span::of(mark.place, lines))
                .collect()
        });
        let (Some(spans), Some(lines)) = (
            spans.filter(|spans| spans.len() == marks.len()),
            self.lines(&place.file),
        ) else {
            let origin = Origin::path(file);
            return match place.line {
                0 => origin.into(),
                _ => origin
                    .line(place.line as usize)
                    .char_column(place.column as usize)
                    .into(),
            };
        };
        let first = spans.iter().map(|span| span.start.0).min().unwrap_or(1);
        let last = spans.iter().map(|span| span.end.0).max().unwrap_or(1);
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
            kind.span(at(span.start)..at(span.end)).label(label)
        });
        let annotations: Vec<Annotation<'static>> = annotations.collect();
        Snippet::source(text)
            .line_start(first as usize)
            .path(file)
            .annotations(annotations)
            .into()
    }
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
        let end = (place.end_line, place.end_column);
        if place.end_line < place.line + MOST_LINES && lines.get(place.end_line).is_some() {
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
