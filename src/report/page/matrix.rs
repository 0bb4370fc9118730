//! What the lanes reach: a table for each group, and for each cell how it comes about.

use std::io::{self, Write};

use maud::{Markup, html};

use super::{page, text};
use crate::matrix::{Cell, Matrix, Part, Row, Step};
use crate::report::matrix::{Tone, columns, subject, title};
use crate::resource::ObjectRef;

/// Writes the matrices as one page, whose cells tell how they come about where the matrices have their steps.
pub fn write_matrices_html(matrices: &[Matrix], out: &mut impl Write) -> io::Result<()> {
    let shown = Shown {
        matrices,
        from: 0,
        most: usize::MAX,
        findings: &|_| Vec::new(),
        trace: &|_, _, _| None,
    };
    let body = matrices_section(&shown);
    let page = page("Lanes", &[("#lanes", "Lanes")], &body);
    writeln!(out, "{}", page.into_string())
}

/// The findings on an object: where each is on the page, and its name.
pub type FindingsOn<'s> = dyn Fn(&ObjectRef) -> Vec<(String, &'static str)> + 's;

/// Where the request of a cell is followed; `None`: nowhere.
pub type TraceOf<'s> = dyn Fn(&Matrix, &Row, &Cell) -> Option<String> + 's;

/// What is shown of matrices.
pub struct Shown<'s> {
    /// The matrices.
    pub matrices: &'s [Matrix],
    /// The first row that is shown of each.
    pub from: usize,
    /// How many rows are shown of each.
    pub most: usize,
    /// What is wrong with the objects of a cell.
    pub findings: &'s FindingsOn<'s>,
    /// What leads on from a cell.
    pub trace: &'s TraceOf<'s>,
}

/// The part of the page about lanes.
pub fn matrices_section(shown: &Shown<'_>) -> Markup {
    html! {
        section #lanes aria-labelledby="lanes-title" {
            h2 #lanes-title { "What each lane reaches" }
            @if shown.matrices.is_empty() {
                p { "No service takes part in a lane group: neither a LaneGroup nor a lane plugin selects one." }
            } @else {
                p .faint {
                    "Each cell is one simulated request of a lane, to a way in or to a service. Choose one to see how it comes about."
                }
                label .row { input #only-broken type="checkbox"; "Only rows with something broken" }
            }
            @for (at, matrix) in shown.matrices.iter().enumerate() { (group(shown, at, matrix)) }
        }
    }
}

fn group(shown: &Shown<'_>, at: usize, matrix: &Matrix) -> Markup {
    let broken = matrix.faults().count();
    let rows = matrix.rows.iter().enumerate().skip(shown.from).take(shown.most);
    let rows: Vec<(usize, &Row)> = rows.collect();
    let (more_before, end) = (shown.from > 0, shown.from + rows.len());
    let has_more = end < matrix.rows.len();
    html! {
        h3 id={ "group-" (at) } {
            (text(&title(matrix))) " "
            @if broken == 0 {
                span .mark.good { "whole" }
            } @else {
                span .mark.bad { (broken) @if broken == 1 { " cell is broken" } @else { " cells are broken" } }
            }
        }
        div .scrolls role="region" aria-labelledby={ "group-" (at) } tabindex="0" {
            table .matrix {
                thead {
                    tr {
                        th scope="col" { "request to" }
                        @for column in columns(matrix) { th scope="col" { (text(&column)) } }
                    }
                }
                tbody {
                    @for (number, row) in &rows {
                        tr .whole[row.is_whole()] {
                            th .mono scope="row" { (text(&row.to_string())) }
                            @for (column, cell) in row.cells.iter().enumerate() {
                                (the_cell(cell, &format!("{at}-{number}-{column}")))
                            }
                        }
                    }
                }
            }
        }
        @if more_before || has_more {
            p {
                "Rows " (shown.from + 1) " to " (end) " of " (matrix.rows.len()) ". "
                @if more_before { a href={ "?from=" (shown.from.saturating_sub(shown.most)) } { "Before" } " " }
                @if has_more { a href={ "?from=" (end) } { "After" } }
            }
        }
        @for (number, row) in &rows {
            @for (column, cell) in row.cells.iter().enumerate() {
                (explanation(shown, matrix, row, cell, &format!("{at}-{number}-{column}")))
            }
        }
    }
}

fn the_cell(cell: &Cell, id: &str) -> Markup {
    let tone = Tone::of(cell);
    let reached = text(&cell.reached.to_string());
    html! {
        td .good[tone == Tone::Good] .bad[tone == Tone::Bad] id={ "cell-" (id) } {
            a href={ "#why-" (id) } {
                @if tone == Tone::Bad { span .unseen { "broken: " } }
                (reached)
            }
        }
    }
}

fn explanation(shown: &Shown<'_>, matrix: &Matrix, row: &Row, cell: &Cell, id: &str) -> Markup {
    let trace = (shown.trace)(matrix, row, cell);
    html! {
        section .why id={ "why-" (id) } tabindex="-1" aria-labelledby={ "why-" (id) "-title" } {
            a .close href={ "#cell-" (id) } { "Close" }
            h4 id={ "why-" (id) "-title" } {
                (text(&subject(row, cell))) ": " (text(&cell.reached.to_string()))
            }
            p { (text(&cell.why)) }
            @if !cell.steps.is_empty() {
                ol .steps { @for step in &cell.steps { (the_step(shown, step)) } }
            }
            @if let Some(trace) = trace { p { a href=(trace) { "Follow this request from hop to hop" } } }
        }
    }
}

fn the_step(shown: &Shown<'_>, step: &Step) -> Markup {
    let findings = step.object.as_ref().map(shown.findings).unwrap_or_default();
    html! {
        li .passes[step.part == Part::Passed] {
            span .part { (step.part.name()) }
            span {
                @if let Some(object) = &step.object {
                    code { (text(&object.to_string())) @if !step.path.is_empty() { " " (text(&step.path)) } }
                    @if !step.text.is_empty() { ": " }
                }
                (text(&step.text))
                @for (place, name) in findings { " " a .mark.bad href=(place) { (name) } }
            }
        }
    }
}
