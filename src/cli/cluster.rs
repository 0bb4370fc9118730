//! The cluster that a command looks at, and how it is reached.

use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;

use super::configuration::Configuration;
use super::runtime;
use crate::cluster::{Connection, Loaded, load};
use crate::config::Config;
use crate::progress::Progress;

/// How the API server is reached.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Access {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, then the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Access {
    /// Where the API server is, and who asks.
    pub(super) fn connection(&self) -> Connection {
        Connection {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}

/// Arguments of every command that looks at files, at a cluster, or at a cluster with files laid over it. They come
/// after those of [`super::input::Input`], whose paths need not be there with a cluster.
#[derive(Debug, Clone, clap::Args)]
#[command(
    mut_arg("paths", |paths| paths.required(false).required_unless_present("cluster")),
    mut_arg("kubeconfig", |file| file.requires("cluster")),
    mut_arg("context", |name| name.requires("cluster"))
)]
pub(super) struct Cluster {
    /// Look at what the cluster has, with the files laid over it, if there are any
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    access: Access,
}

impl Cluster {
    /// What the cluster has; `None` without one. Its notes are for the caller to tell.
    pub(super) fn load(
        &self,
        configuration: &Configuration,
        config: &Config,
        progress: &Progress,
    ) -> anyhow::Result<Option<Loaded>> {
        if !self.cluster {
            return Ok(None);
        }
        let (connection, mesh) = (self.access.connection(), configuration.mesh(config));
        // On a thread of its own: who asks may be within a runtime, and nothing may wait there.
        let loading = || runtime()?.block_on(load(&connection, &mesh, progress));
        let loaded = thread::scope(|scope| scope.spawn(loading).join());
        loaded
            .ok()
            .context("reading the cluster has broken off")?
            .map(Some)
    }
}
