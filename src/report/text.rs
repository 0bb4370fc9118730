//! For people: the finding, the lines that it is about, and how to mend it.

use std::io::{self, Write};

use annotate_snippets::{Group, Level as Heading, Renderer};

use super::draw::{Mark, Sources};
use super::{Report, Reported, field_of, plain};
use crate::files::{Files, Problem};
use crate::rule::{Evidence, Level};

/// How text looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Whether it is in colour.
    pub colour: bool,
    /// How many columns there are; longer lines of files are cut. Without it, enough for most.
    pub columns: Option<usize>,
}

impl Look {
    fn renderer(self) -> Renderer {
        /// Too narrow to show anything.
        const LEAST: usize = 40;
        let renderer = if self.colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        match self.columns {
            Some(columns) => renderer.term_width(columns.max(LEAST)),
            None => renderer,
        }
    }
}

/// Writes the report as text, with the lines of `files`.
pub fn write_text(report: &Report, files: &Files, look: Look, out: &mut impl Write) -> io::Result<()> {
    let renderer = look.renderer();
    let mut sources = Sources::new(files);
    for reported in &report.findings {
        writeln!(out, "{}\n", renderer.render(&[finding(reported, &mut sources)]))?;
    }
    for each in &report.problems {
        writeln!(out, "{}\n", renderer.render(&[problem(each, &mut sources)]))?;
    }
    writeln!(out, "{}", summary(report))
}

fn finding(reported: &Reported, sources: &mut Sources<'_>) -> Group<'static> {
    let finding = &reported.finding;
    let heading = match reported.level {
        Level::Deny => Heading::ERROR.with_name("deny"),
        Level::Warn | Level::Off => Heading::WARNING.with_name("warn"),
    };
    let mut group = heading
        .primary_title(plain(&finding.message))
        .id(format!("{} {}", finding.code, finding.rule))
        .elements(sources.draw(&marks(reported)));
    let note = |name, text: &str| Heading::NOTE.with_name(name).message(plain(text));
    for related in reported.related.iter().filter(|related| related.place.is_none()) {
        let Evidence {
            object,
            path,
            note: seen,
        } = &related.evidence;
        let field = field_of(object, path);
        let told = if seen.is_empty() {
            field
        } else {
            format!("{field}: {seen}")
        };
        group = group.element(note("see", &told));
    }
    group = group.element(note("object", &field_of(&finding.object, &finding.path)));
    if !finding.help.is_empty() {
        group = group.element(Heading::HELP.message(plain(&finding.help)));
    }
    group
}

/// The finding's own place and those of what it follows from, each once.
fn marks(reported: &Reported) -> Vec<Mark<'_>> {
    let own = reported.place.iter().map(|place| Mark {
        place,
        is_primary: true,
        label: String::new(),
    });
    let mut marks: Vec<Mark<'_>> = own.collect();
    for related in &reported.related {
        let Some(place) = &related.place else { continue };
        if marks.iter().all(|mark| mark.place != place) {
            marks.push(Mark {
                place,
                is_primary: false,
                label: related.told(&reported.finding.object),
            });
        }
    }
    marks
}

fn problem(problem: &Problem, sources: &mut Sources<'_>) -> Group<'static> {
    let mark = Mark {
        place: &problem.place,
        is_primary: true,
        label: String::new(),
    };
    Heading::ERROR
        .primary_title(plain(&problem.message))
        .elements(sources.draw(&[mark]))
}

/// What it all came to.
fn summary(report: &Report) -> String {
    use std::fmt::Write as _;
    let (deny, warn) = (report.count(Level::Deny), report.count(Level::Warn));
    let mut text = format!("{}: ", report.extent());
    if deny + warn == 0 {
        text.push_str(if report.known == 0 {
            "no findings"
        } else {
            "no new findings"
        });
    } else {
        let _ = write!(text, "{deny} deny, {warn} warn");
    }
    for (count, what) in [
        (report.known, "known"),
        (report.suppressed, "suppressed"),
        (report.skipped, "skipped"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if !report.problems.is_empty() {
        let _ = write!(text, ", {}", number(report.problems.len(), "error"));
    }
    text
}

/// `1 file`, `2 files`.
pub(crate) fn number(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
