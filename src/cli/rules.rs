//! `lanekeeper rules`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::CLEAN;
use crate::rule::{self, RULES};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lanekeeper rules                       every rule in one line
  lanekeeper rules LK201                 what it does, why it matters, an example
  lanekeeper rules grpc-to-http-port     the same by its name")]
pub(super) struct Args {
    /// A rule to explain, by code or name
    rule: Option<String>,
    /// Write a page for each rule, and one that lists them, into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "rule")]
    markdown: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    if let Some(directory) = &args.markdown {
        write_pages(directory)?;
        return Ok(CLEAN);
    }
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

/// Writes the pages. A page of a rule that is no more is left for whoever looks at the difference.
fn write_pages(directory: &Path) -> anyhow::Result<()> {
    let write = |name: &str, page: &str| {
        let path = directory.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    write("README.md", &rule::index())?;
    for rule in RULES {
        write(&format!("{}.md", rule.code), &rule.page())?;
    }
    Ok(())
}
