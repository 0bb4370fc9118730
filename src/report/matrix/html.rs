//! One page for a browser, which needs nothing else.

use std::fmt;
use std::io::{self, Write};

use super::{Tone, columns, subject, title};
use crate::matrix::Matrix;
use crate::report::plain;

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { border: 1px solid #8886; padding: .3rem .7rem; text-align: left; }
th[scope=row] { font-weight: normal; font-family: ui-monospace, monospace; }
td.good { background: #2da44e33; } td.bad { background: #cf222e33; font-weight: 600; }
li { margin: .2rem 0; }";

/// Writes the matrices as one page of HTML.
pub fn write_matrices_html(matrices: &[Matrix], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Lanes</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>What each lane reaches</h1>"
    )?;
    for matrix in matrices {
        write_one(matrix, out)?;
    }
    writeln!(out, "</body>\n</html>")
}

fn write_one(matrix: &Matrix, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "<h2>{}</h2>\n<table>\n<thead><tr><td></td>",
        Escaped(&title(matrix))
    )?;
    for column in columns(matrix) {
        writeln!(out, "<th scope=\"col\">{}</th>", Escaped(&column))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for row in &matrix.rows {
        writeln!(out, "<tr><th scope=\"row\">{}</th>", Escaped(&row.to_string()))?;
        for cell in &row.cells {
            let class = match Tone::of(cell) {
                Tone::Good => "good",
                Tone::Plain => "plain",
                Tone::Bad => "bad",
            };
            writeln!(
                out,
                "<td class=\"{class}\" title=\"{}\">{}</td>",
                Escaped(&cell.why),
                Escaped(&cell.reached.to_string())
            )?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>")?;
    let mut faults = matrix.faults().peekable();
    if faults.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "<ul>")?;
    for (row, cell) in faults {
        writeln!(
            out,
            "<li><b>{}</b>: {}: {}</li>",
            Escaped(&subject(row, cell)),
            Escaped(&cell.reached.to_string()),
            Escaped(&cell.why)
        )?;
    }
    writeln!(out, "</ul>")
}

/// Text in HTML.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        plain(self.0).chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}
