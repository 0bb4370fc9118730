//! What the lanes reach: a table for each group, and for each cell how it comes about.

use std::io::{self, Write};

use maud::{Markup, html};

use super::{page, text};
use crate::matrix::{Cell, Matrix, Part, Row, Step};
use crate::report::matrix::{Tone, columns, subject, title};
use crate::resource::ObjectRef;

/// The fewest rows that are shown of a group, and the most.
const ROWS: (usize, usize) = (5, 200);

/// Writes the matrices as one page, whose cells tell how they come about where the matrices have their steps.
pub fn write_matrices_html(matrices: &[Matrix], out: &mut impl Write) -> io::Result<()> {
    let shown = Shown {
        matrices,
        part: None,
        links: &Links::default(),
    };
    let body = matrices_section(&shown);
    let page = page("Lanes", "./", &[("#lanes", "Lanes")], &body);
    writeln!(out, "{}", page.into_string())
}

/// What is shown of matrices.
pub struct Shown<'s> {
    /// The matrices.
    pub matrices: &'s [Matrix],
    /// The part that is shown of them; `None`: all.
    pub part: Option<SomeRows>,
    /// Where a cell leads.
    pub links: &'s Links<'s>,
}

/// A part of matrices that are too large for one page.
#[derive(Debug, Clone, Copy)]
pub struct SomeRows {
    /// How many cells are on the page in all, more or less.
    pub most_cells: usize,
    /// The group of which not the first rows are shown, by its place, and the first row that is.
    pub from: (usize, usize),
}

/// Where a cell leads; by default nowhere.
#[derive(Default)]
pub struct Links<'l> {
    /// To what is wrong with the object of a step, and its name.
    pub findings: Option<&'l FindingsOf<'l>>,
    /// To all that is known of an object.
    pub object: Option<&'l ToObject<'l>>,
    /// To its request, from hop to hop.
    pub trace: Option<&'l TraceOf<'l>>,
    /// To another part of a group, from a row on.
    pub rows: Option<&'l ToRows<'l>>,
}

/// Where what is wrong with the object of a step is told, and the codes.
pub type FindingsOf<'l> = dyn Fn(&Step) -> Vec<(String, &'static str)> + 'l;

/// Where an object is told of.
pub type ToObject<'l> = dyn Fn(&ObjectRef) -> String + 'l;

/// Where the request of a cell is followed, if it can be.
pub type TraceOf<'l> = dyn Fn(&Cell) -> Option<String> + 'l;

/// Where the rows of a group are, by its place, from one on.
pub type ToRows<'l> = dyn Fn(usize, usize) -> String + 'l;

/// The part of the page about lanes.
pub fn matrices_section(shown: &Shown<'_>) -> Markup {
    let mut left = shown.part.map(|part| part.most_cells);
    let parts: Vec<Rows<'_>> = shown
        .matrices
        .iter()
        .enumerate()
        .map(|(at, matrix)| {
            let rows = Rows::of(shown.part, left, at, matrix);
            left = left.map(|left| left.saturating_sub(rows.shown.len() * columns(matrix).len()));
            rows
        })
        .collect();
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
            @for rows in &parts { (group(shown, rows)) }
        }
    }
}

/// The rows of a group that are on the page.
struct Rows<'m> {
    at: usize,
    matrix: &'m Matrix,
    /// Each with its place in the matrix.
    shown: Vec<(usize, &'m Row)>,
    /// How many come before them, and how many are shown at a time.
    from: usize,
    most: usize,
}

impl<'m> Rows<'m> {
    fn of(part: Option<SomeRows>, left: Option<usize>, at: usize, matrix: &'m Matrix) -> Self {
        let mut rows: Vec<(usize, &Row)> = matrix.rows.iter().enumerate().collect();
        let (Some(part), Some(left)) = (part, left) else {
            let most = rows.len();
            return Self {
                at,
                matrix,
                shown: rows,
                from: 0,
                most,
            };
        };
        let most = (left / columns(matrix).len()).clamp(ROWS.0, ROWS.1);
        if rows.len() > most {
            // What is broken is not to be looked for.
            rows.sort_by_key(|(at, row)| (row.is_whole(), *at));
        }
        let last = rows.len().saturating_sub(1) / most * most;
        let from = if part.from.0 == at {
            part.from.1.min(last)
        } else {
            0
        };
        let shown = rows.into_iter().skip(from).take(most).collect();
        Self {
            at,
            matrix,
            shown,
            from,
            most,
        }
    }
}

fn group(shown: &Shown<'_>, rows: &Rows<'_>) -> Markup {
    let Rows { at, matrix, .. } = rows;
    let broken = matrix.faults().count();
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
                    @for (number, row) in &rows.shown {
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
        (others(shown, rows))
        @for (number, row) in &rows.shown {
            @for (column, cell) in row.cells.iter().enumerate() {
                (explanation(shown, row, cell, &format!("{at}-{number}-{column}")))
            }
        }
    }
}

/// The way to the rows that are not on the page.
fn others(shown: &Shown<'_>, rows: &Rows<'_>) -> Markup {
    let (from, end, all) = (rows.from, rows.from + rows.shown.len(), rows.matrix.rows.len());
    let to = |row: usize| shown.links.rows.map(|to| to(rows.at, row)).unwrap_or_default();
    html! {
        @if rows.shown.len() < all {
            p {
                "Rows " (from + 1) " to " (end) " of " (all) ", the broken ones first. "
                @if from > 0 { a href=(to(from.saturating_sub(rows.most))) { "Before" } " " }
                @if end < all { a href=(to(end)) { "After" } }
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

fn explanation(shown: &Shown<'_>, row: &Row, cell: &Cell, id: &str) -> Markup {
    html! {
        section .why id={ "why-" (id) } tabindex="-1" aria-labelledby={ "why-" (id) "-title" } {
            a .close href={ "#cell-" (id) } { "Close" }
            h4 id={ "why-" (id) "-title" } { (cell_title(row, cell)) }
            (steps(shown.links, cell))
        }
    }
}

/// What a cell is about, and what it comes to: `cars-aggregator:8080 (http), lane wicph: 503`.
pub fn cell_title(row: &Row, cell: &Cell) -> String {
    text(&format!("{}: {}", subject(row, cell), cell.reached))
}

/// How a cell comes about.
pub fn steps(links: &Links<'_>, cell: &Cell) -> Markup {
    let trace = links.trace.and_then(|trace| trace(cell));
    html! {
        p { (text(&cell.why)) }
        @if !cell.steps.is_empty() {
            ol .steps { @for step in &cell.steps { (the_step(links, step)) } }
        }
        @if let Some(trace) = trace { p { a href=(trace) { "Follow this request from hop to hop" } } }
    }
}

fn the_step(links: &Links<'_>, step: &Step) -> Markup {
    let findings = links.findings.map(|findings| findings(step)).unwrap_or_default();
    html! {
        li .passes[step.part == Part::Passed] {
            span .part { (step.part.name()) }
            span {
                @if let Some(object) = &step.object {
                    (the_object(links, object))
                    @if !step.path.is_empty() { " " code { (text(&step.path)) } }
                    @if !step.text.is_empty() { ": " }
                }
                (text(&step.text))
                @for (place, code) in findings { " " a .mark.bad href=(place) { (code) } }
            }
        }
    }
}

/// An object's name, which leads to it where that is somewhere.
fn the_object(links: &Links<'_>, object: &ObjectRef) -> Markup {
    let name = html! { code { (text(&object.to_string())) } };
    match links.object {
        Some(to) => html! { a href=(to(object)) { (name) } },
        None => name,
    }
}
