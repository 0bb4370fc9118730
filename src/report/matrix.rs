//! What the lanes reach, on paper: a table for people, and JSON for programs. `page` has the page for a browser.

mod json;
mod text;

pub use json::{write_groups_json, write_matrices_json};
pub use text::write_matrices_text;

use crate::matrix::{Cell, Matrix, Reached};

/// How much a cell asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// The lane answers.
    Good,
    /// It is as promised, and another lane's doing.
    Plain,
    /// It is not as promised.
    Bad,
}

impl Tone {
    pub(super) fn of(cell: &Cell) -> Self {
        match cell.reached {
            _ if !cell.is_whole => Self::Bad,
            Reached::Ok => Self::Good,
            _ => Self::Plain,
        }
    }
}

/// What the columns are called: the lanes, and one for requests that name none.
pub(super) fn columns(matrix: &Matrix) -> Vec<String> {
    let lanes = matrix.lanes.iter().map(ToString::to_string);
    lanes.chain(["no lane".to_owned()]).collect()
}

/// The group in one line: `LaneGroup shop/cars: header bu, entry header buid, default lane wtchk`.
pub(super) fn title(matrix: &Matrix) -> String {
    let of = if matrix.title.contains('/') {
        String::new()
    } else {
        format!(" in {}", matrix.namespace)
    };
    let entry = matrix.entry.as_ref().filter(|entry| **entry != matrix.header);
    let entry = entry.map(|entry| format!(", entry header {entry}"));
    let default = matrix.default_lane.as_ref();
    let default = default.map(|default| format!(", default lane {default}"));
    format!(
        "{}{of}: lane header {}{}{}",
        matrix.title,
        matrix.header,
        entry.unwrap_or_default(),
        default.unwrap_or_default()
    )
}

/// What a fault is about: `cars-aggregator:8080 (http), lane wicph`.
pub(super) fn subject(row: &crate::matrix::Row, cell: &Cell) -> String {
    match &cell.lane {
        Some(lane) => format!("{row}, lane {lane}"),
        None => format!("{row}, no lane"),
    }
}
