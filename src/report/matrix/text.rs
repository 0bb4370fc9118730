//! A table for a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Tone, columns, subject, title};
use crate::matrix::Matrix;
use crate::report::one_line;

/// Writes each matrix as a table, and what is not whole below it.
pub fn write_matrices_text(matrices: &[Matrix], colour: bool, out: &mut impl Write) -> io::Result<()> {
    for (at, matrix) in matrices.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write_one(matrix, colour, out)?;
    }
    Ok(())
}

fn write_one(matrix: &Matrix, colour: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n", one_line(&title(matrix)))?;
    let columns = columns(matrix);
    let names: Vec<String> = matrix.rows.iter().map(|row| one_line(&row.to_string())).collect();
    let first = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = matrix.rows.iter().filter_map(|row| row.cells.get(at));
            let widest = cells.map(|cell| cell.reached.to_string().chars().count()).max();
            widest.unwrap_or(0).max(column.chars().count())
        })
        .collect();
    let last = columns.len().saturating_sub(1);
    write!(out, "{:first$}", "")?;
    for (at, (column, width)) in columns.iter().zip(&widths).enumerate() {
        let width = if at == last { 0 } else { *width };
        write!(out, "  {column:width$}")?;
    }
    writeln!(out)?;
    for (row, name) in matrix.rows.iter().zip(&names) {
        write!(out, "{name:first$}")?;
        for (at, (cell, width)) in row.cells.iter().zip(&widths).enumerate() {
            let text = one_line(&cell.reached.to_string());
            let width = if at == last { 0 } else { *width };
            let style = if colour {
                style(Tone::of(cell))
            } else {
                Style::new()
            };
            // The padding is not coloured.
            let padding = width.saturating_sub(text.chars().count());
            write!(out, "  {style}{text}{style:#}{:padding$}", "")?;
        }
        writeln!(out)?;
    }
    let mut faults = matrix.faults().peekable();
    if faults.peek().is_some() {
        writeln!(out)?;
    }
    for (row, cell) in faults {
        writeln!(
            out,
            "{}: {}: {}",
            one_line(&subject(row, cell)),
            one_line(&cell.reached.to_string()),
            one_line(&cell.why)
        )?;
    }
    Ok(())
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Plain => Style::new(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
    }
}
