//! Hop by hop, for a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Line, Placing, lines, verdict};
use crate::report::one_line;
use crate::trace::Trace;

/// Writes a trace as text; `placing` tells where routes stand.
pub fn write_trace_text(
    trace: &Trace<'_>,
    placing: Placing<'_>,
    colour: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let styled = |style: Style| if colour { style } else { Style::new() };
    let (plain, bold, bad, good) = (
        Style::new(),
        styled(Style::new().bold()),
        styled(AnsiColor::Red.on_default().bold()),
        styled(AnsiColor::Green.on_default()),
    );
    for (at, hop) in trace.hops.iter().enumerate() {
        let number = at + 1;
        let request = one_line(&hop.request.to_string());
        writeln!(out, "{bold}{number}  {request}{bold:#}")?;
        for Line { what, text, is_bad } in lines(hop, trace.lane.as_ref(), placing) {
            let style = if is_bad { bad } else { plain };
            writeln!(out, "   {what:9} {style}{}{style:#}", one_line(&text))?;
        }
        writeln!(out)?;
    }
    for call in &trace.unmade {
        let call = one_line(&format!("{}{}", call.host, call.path));
        writeln!(out, "{bad}not sent{bad:#}  {call}")?;
    }
    let (stays, said) = verdict(trace);
    let style = match (stays, &trace.lane) {
        (false, _) => bad,
        (true, Some(_)) => good,
        (true, None) => plain,
    };
    writeln!(out, "{style}{}{style:#}", one_line(&said))
}
