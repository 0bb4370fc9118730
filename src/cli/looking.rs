//! What a command looks at: files, a cluster, or files laid over a cluster.

use super::cluster::Cluster;
use super::complain;
use super::input::Input;
use super::progress::shown;
use crate::files::{Files, Reader};
use crate::progress::Progress;
use crate::world::World;

/// Arguments of every command that only looks.
#[derive(Debug, clap::Args)]
pub(super) struct Looking {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    cluster: Cluster,
}

/// What is looked at.
pub(super) struct Seen {
    /// The world.
    pub(super) world: World,
    /// The files, with the places of what is in them.
    pub(super) files: Files,
    /// Whether something could not be read.
    pub(super) has_problems: bool,
}

impl Looking {
    /// Reads it; what could not be read is told on standard error.
    pub(super) fn read(&self) -> anyhow::Result<Seen> {
        let file = self.input.configuration_file();
        let (config, reader) = self.input.configured(file.as_deref())?;
        let configuration = &self.input.configuration;
        let progress = Progress::default();
        let reader = Reader {
            progress: Some(&progress),
            ..reader
        };
        let (files, cluster) = shown(&progress, || {
            let cluster = self.cluster.load(configuration, &config, &progress)?;
            anyhow::Ok((reader.load(&self.input.paths), cluster))
        })?;
        let notes = cluster.iter().flat_map(|cluster| &cluster.notes);
        for note in notes.chain(&files.notes) {
            complain(&format!("note: {note}"));
        }
        for problem in files.errors() {
            complain(&problem.to_string());
        }
        let has_problems = files.errors().next().is_some();
        Ok(Seen {
            world: configuration.world_over(&config, &files, cluster.as_ref()),
            has_problems,
            files,
        })
    }
}
