//! `lanekeeper completions`.

use std::io::{self, Write as _};

use clap_complete::{Shell, generate};

use super::CLEAN;

/// Arguments of `completions`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  lanekeeper completions bash > ~/.local/share/bash-completion/completions/lanekeeper
  lanekeeper completions zsh > \"${fpath[1]}/_lanekeeper\"
  lanekeeper completions fish > ~/.config/fish/completions/lanekeeper.fish")]
pub(super) struct Args {
    /// The shell that they are for
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<u8> {
    // Into memory first: the generator panics where its writer fails.
    let mut script = Vec::new();
    generate(args.shell, &mut command, "lanekeeper", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(CLEAN)
}
