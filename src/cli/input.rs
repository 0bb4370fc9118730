//! The files that a command judges, and with what.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::configuration::Configuration;
use crate::config::Config;
use crate::files::{Exclude, Reader, Validation};

/// Arguments of every command that judges files.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Input {
    /// Files, directories, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Not these files and directories: names anywhere (test, *.tmpl.yaml) or paths (k8s/old, k8s/**/test)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// The files are a part of what will be there: what is only missing warns
    #[arg(long)]
    pub(super) partial: bool,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// What becomes of unknown and ill-typed fields, as with kubectl: a newer Istio than this program knows may have them
    #[arg(long, value_enum, default_value_t)]
    validate: Validation,
    /// Take no configuration file
    #[arg(long, conflicts_with = "config")]
    no_config: bool,
    #[command(flatten)]
    pub(super) configuration: Configuration,
}

impl Input {
    /// How the files are read, without what the configuration excludes.
    pub(super) fn reader(&self) -> anyhow::Result<Reader<'_>> {
        Ok(Reader {
            namespace: Some(&self.namespace),
            exclude: Exclude::new(self.exclude.iter().map(String::as_str)).context("--exclude")?,
            validation: self.validate,
            progress: None,
        })
    }

    /// What the configuration file says, if there is one, and how files are read: without what it excludes below its
    /// directory, too.
    pub(super) fn configured(&self, file: Option<&Path>) -> anyhow::Result<(Config, Reader<'_>)> {
        let mut reader = self.reader()?;
        let Some(file) = file else {
            return Ok((Config::default(), reader));
        };
        let config = Config::read(file)?;
        if let Some(root) = file.canonicalize().ok().as_deref().and_then(Path::parent) {
            reader.exclude = reader.exclude.and_below(root.to_owned(), config.exclude());
        }
        Ok((config, reader))
    }

    /// The configuration file that counts, if there is one.
    pub(super) fn configuration_file(&self) -> Option<PathBuf> {
        if self.no_config {
            None
        } else {
            self.configuration.found()
        }
    }
}
