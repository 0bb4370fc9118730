//! The configuration as a command sees it: the file, and the flags that count more.

use std::env;
use std::path::{Path, PathBuf};

use crate::cluster::Loaded;
use crate::config::{self, Config};
use crate::files::Files;
use crate::verdict::Settings;
use crate::world::{Settings as MeshSettings, World};

/// Arguments of every command that judges.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Configuration {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster's domain: services are NAME.NAMESPACE.svc.DOMAIN [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// Istio's root namespace [default: istio-system, or what the mesh configuration there names]
    #[arg(long, value_name = "NAMESPACE")]
    root_namespace: Option<String>,
    /// Other clusters may have what is missing here: such findings warn at most
    #[arg(long)]
    multi_cluster: bool,
}

impl Configuration {
    /// The file that `--config` names.
    pub(super) fn named(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The file that counts for files here: the one that is named, or else the nearest `lanekeeper.yaml`.
    pub(super) fn found(&self) -> Option<PathBuf> {
        let named = self.config.clone();
        named.or_else(|| config::find(&env::current_dir().ok()?))
    }

    /// What the configuration and the flags together say of levels and of who is who.
    pub(super) fn settings(&self, config: &Config) -> Settings {
        let settings = config.settings();
        Settings {
            multi_cluster: self.multi_cluster || settings.multi_cluster,
            ..settings
        }
    }

    /// What both say of the mesh.
    pub(super) fn mesh(&self, config: &Config) -> MeshSettings {
        let mut mesh = config.mesh();
        if let Some(domain) = &self.cluster_domain {
            mesh.cluster_domain = domain.as_str().into();
        }
        if let Some(root) = &self.root_namespace {
            mesh.root_namespace = root.as_str().into();
            mesh.is_root_given = true;
        }
        mesh
    }

    /// The world of the files, with what the configuration has of it.
    pub(super) fn world(&self, config: &Config, files: &Files) -> World {
        self.world_over(config, files, None)
    }

    /// The world of the cluster, if there is one, with the files laid over it and what the configuration has of it.
    pub(super) fn world_over(&self, config: &Config, files: &Files, cluster: Option<&Loaded>) -> World {
        let mesh = self.mesh(config);
        let mut world = cluster.map_or_else(|| World::new(mesh.clone()), |loaded| loaded.world(mesh.clone()));
        files.lay_over(&mut world);
        config.complete(&mut world);
        world
    }
}
