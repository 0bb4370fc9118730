//! `lanekeeper matrix`.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;

use super::looking::Looking;
use super::{complain, exit_code};
use crate::matrix::{self, Detail};
use crate::report::{write_matrices_html, write_matrices_json, write_matrices_text};

/// Arguments of `matrix`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each cell is one simulated request of a lane: from a workload of the group to a port of a member
service, or from outside to a gateway.

  ok                its own lane answers
  default           the default lane answers
  default (filter)  the default lane answers, for the caller's lane filter names it
  404               no route takes it
  503               nothing carries it, or the proxy knows no such destination
  not ready         what carries it has no ready pod
  wrong lane        a workload of another lane answers, or of none
  mixed             which lane answers is chance
  wrong port        it gets to a port that speaks another protocol
  lane not told     its lane answers, and the lane header does not name it: what it calls goes elsewhere
  301, 418, …       the proxy answers by itself
  ok or 404         files do not tell which of two objects is the older one, and that decides
  -                 not asked: no header, or only a pattern, tells the lane there

Exit codes: 0 done, 1 a group that promises every lane for every service (completeness: Strict) is not
whole, 2 it cannot run or a file cannot be read or applied.

Examples:
  lanekeeper matrix k8s/                     a table for each lane group
  lanekeeper matrix --cluster                what runs
  lanekeeper matrix --cluster change.yaml    what would run with a change
  lanekeeper matrix --strict k8s/            every group has to be whole, also one that a plugin implies
  lanekeeper matrix -o html k8s/ > lanes.html
  lanekeeper matrix -o json k8s/ | jq '.groups[].whole'")]
pub(super) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Hold every group to it: each cell has to be as the group promises
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    looking: Looking,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs; its fields only grow in number
    Json,
    /// For a browser: one page that needs nothing else, in which each cell tells how it comes about
    Html,
}

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    let read = args.looking.read()?;
    let detail = match args.output {
        Output::Html => Detail::Steps,
        Output::Text | Output::Json => Detail::Cells,
    };
    let matrices = matrix::in_either_order(&read.world, detail);
    if matrices.is_empty() {
        complain(
            "note: no service takes part in a lane group, of a LaneGroup or of a plugin with a lane_header",
        );
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match args.output {
        Output::Text => write_matrices_text(&matrices, colour, &mut out),
        Output::Json => write_matrices_json(&matrices, &mut out),
        Output::Html => write_matrices_html(&matrices, &mut out),
    };
    written
        .and_then(|()| out.flush())
        .context("the matrix could not be written")?;
    let is_broken = matrices
        .iter()
        .any(|matrix| (args.strict || matrix.is_strict) && !matrix.is_whole());
    Ok(exit_code(read.has_problems, is_broken))
}
