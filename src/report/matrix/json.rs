//! JSON for programs, whose fields only ever grow in number (`schema` 1).

use std::io::{self, Write};

use serde::Serialize;

use crate::matrix::{self, Matrix};
use crate::symbol::Symbol;

#[derive(Serialize)]
struct Wire<'m> {
    schema: u32,
    groups: Vec<Group<'m>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'m> {
    #[serde(rename = "group")]
    title: &'m str,
    namespace: &'m str,
    header: &'m str,
    entry_header: Option<&'m str>,
    lanes: Vec<&'m str>,
    default_lane: Option<&'m str>,
    strict: bool,
    whole: bool,
    #[serde(flatten)]
    content: Content<'m>,
}

/// What is told of a group's rows.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'m> {
    All { rows: Vec<Row<'m>> },
    Counts { rows: usize, broken: usize },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'m> {
    gateway: Option<&'m str>,
    host: &'m str,
    port: u32,
    port_name: &'m str,
    method: &'m str,
    path: &'m str,
    headers: Vec<[&'m str; 2]>,
    grpc: bool,
    cells: Vec<Cell<'m>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cell<'m> {
    lane: Option<&'m str>,
    reached: String,
    whole: bool,
    why: &'m str,
    /// Only of matrices that have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step<'m>>,
}

#[derive(Serialize)]
struct Step<'m> {
    part: &'static str,
    object: Option<String>,
    path: &'m str,
    text: &'m str,
}

/// Writes the matrices as one JSON object.
pub fn write_matrices_json<'m>(
    matrices: impl IntoIterator<Item = &'m Matrix>,
    out: &mut impl Write,
) -> io::Result<()> {
    let of_rows = |matrix: &'m Matrix| Content::All {
        rows: matrix.rows.iter().map(row).collect(),
    };
    write_all(
        matrices.into_iter().map(|matrix| group(matrix, of_rows(matrix))),
        out,
    )
}

/// Writes the groups as one JSON object, without their rows.
pub fn write_groups_json(matrices: &[Matrix], out: &mut impl Write) -> io::Result<()> {
    let counts = |matrix: &Matrix| Content::Counts {
        rows: matrix.rows.len(),
        broken: matrix.faults().count(),
    };
    write_all(matrices.iter().map(|matrix| group(matrix, counts(matrix))), out)
}

fn write_all<'m>(groups: impl Iterator<Item = Group<'m>>, out: &mut impl Write) -> io::Result<()> {
    let wire = Wire {
        schema: 1,
        groups: groups.collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &wire)?;
    writeln!(out)
}

fn group<'m>(matrix: &'m Matrix, content: Content<'m>) -> Group<'m> {
    Group {
        title: &matrix.title,
        namespace: &matrix.namespace,
        header: &matrix.header,
        entry_header: matrix.entry.as_deref(),
        lanes: matrix.lanes.iter().map(Symbol::as_str).collect(),
        default_lane: matrix.default_lane.as_deref(),
        strict: matrix.is_strict,
        whole: matrix.is_whole(),
        content,
    }
}

fn row(row: &matrix::Row) -> Row<'_> {
    let headers = row.probe.headers.iter();
    let cells = row.cells.iter().map(|cell| Cell {
        lane: cell.lane.as_deref(),
        reached: cell.reached.to_string(),
        whole: cell.is_whole,
        why: &cell.why,
        steps: cell.steps.iter().map(step).collect(),
    });
    Row {
        gateway: row.gateway.as_deref(),
        host: &row.host,
        port: row.port.number,
        port_name: &row.port.name,
        method: &row.probe.method,
        path: &row.probe.path,
        headers: headers
            .map(|(name, value)| [name.as_str(), value.as_str()])
            .collect(),
        grpc: row.probe.is_grpc,
        cells: cells.collect(),
    }
}

fn step(step: &matrix::Step) -> Step<'_> {
    Step {
        part: step.part.name(),
        object: step.object.as_ref().map(ToString::to_string),
        path: &step.path,
        text: &step.text,
    }
}
