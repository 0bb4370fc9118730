//! `lanekeeper rules`.

use std::io::{self, Write as _};

use super::CLEAN;
use crate::rule::{self, RULES};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A rule to explain, by code or name
    rule: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if let Some(name) = &args.rule {
        let rule = rule::find(name).ok_or_else(|| {
            anyhow::anyhow!("no rule has the code or name `{name}`; `lanekeeper rules` lists them")
        })?;
        write!(out, "{}", rule.page())?;
    } else {
        let widest = RULES.iter().map(|rule| rule.name.len()).max().unwrap_or(0);
        for rule in RULES {
            writeln!(
                out,
                "{}  {:widest$}  {:4}  {}",
                rule.code,
                rule.name,
                rule.level,
                rule.summary()
            )?;
        }
    }
    out.flush()?;
    Ok(CLEAN)
}
