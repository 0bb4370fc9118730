//! The configuration is read again when its file has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::{Config, ConfigError};

/// How often the file is looked at. By content: a mounted `ConfigMap` changes by a link in its directory, which a watch
/// on the file would miss.
const EVERY: Duration = Duration::from_secs(2);

/// What the file held when it was last read.
pub(super) struct Content {
    file: PathBuf,
    /// `None` when it could not be read.
    bytes: Option<Vec<u8>>,
    /// What counts.
    pub(super) config: Config,
}

impl Content {
    /// Reads the file for the first time: then it has to be right.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let read = fs::read(file);
        Ok(Self {
            config: Config::of_read(file, read.as_deref())?,
            file: file.to_owned(),
            bytes: read.ok(),
        })
    }

    /// Reads the file again. `Some(Ok)`: it says something new; `Some(Err)`: what it says now cannot be used, and is
    /// not told again until it changes.
    fn refresh(&mut self) -> Option<Result<(), ConfigError>> {
        let read = fs::read(&self.file);
        if read.as_ref().ok() == self.bytes.as_ref() {
            return None;
        }
        let config = Config::of_read(&self.file, read.as_deref());
        self.bytes = read.ok();
        Some(config.map(|config| self.config = config))
    }
}

/// What can be told of the file.
pub(super) struct Metrics {
    errors: Counter,
    is_usable: Gauge,
}

impl Metrics {
    /// Of a file that can be used.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (errors, is_usable) = (Counter::default(), Gauge::default());
        is_usable.set(1);
        let registry = registry.sub_registry_with_prefix("lanekeeper");
        // The encoder ends the name of a counter with `_total`.
        registry.register(
            "config_errors",
            "Changes of the configuration file that cannot be used; what it said before stays in force",
            errors.clone(),
        );
        registry.register(
            "config_usable",
            "Whether the configuration file can be used as it is (1) or what it said before is in force (0)",
            is_usable.clone(),
        );
        Self { errors, is_usable }
    }
}

/// Looks at the file from time to time, for as long as the program runs, and hands over what it says when that is new.
pub(super) async fn follow(mut content: Content, metrics: Metrics, apply: impl Fn(&Config)) {
    loop {
        tokio::time::sleep(EVERY).await;
        let mesh = content.config.mesh();
        match content.refresh() {
            None => {}
            Some(Ok(())) => {
                metrics.is_usable.set(1);
                apply(&content.config);
                tracing::info!(file = %content.file.display(), "the configuration has changed and is in force");
                if content.config.mesh() != mesh {
                    tracing::warn!(
                        "the mesh's cluster domain and root namespace count from the next start on"
                    );
                }
            }
            Some(Err(error)) => {
                metrics.errors.inc();
                metrics.is_usable.set(0);
                tracing::error!(
                    "the configuration has changed and cannot be used, the one before stays: {error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_told_once_and_the_configuration_before_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lanekeeper.yaml");
        let domain = |content: &Content| content.config.mesh().cluster_domain.to_string();
        fs::write(&file, "mesh: {clusterDomain: a.local}").unwrap();
        let mut content = Content::read(&file).unwrap();
        assert!(content.refresh().is_none());

        fs::write(&file, "mesh: {clusterDomian: b.local}").unwrap();
        assert!(matches!(content.refresh(), Some(Err(ConfigError::Invalid(_)))));
        assert!(content.refresh().is_none());
        assert_eq!(domain(&content), "a.local");

        fs::remove_file(&file).unwrap();
        assert!(matches!(content.refresh(), Some(Err(ConfigError::Read { .. }))));
        assert!(content.refresh().is_none());
        assert_eq!(domain(&content), "a.local");

        fs::write(&file, "mesh: {clusterDomain: b.local}").unwrap();
        assert!(matches!(content.refresh(), Some(Ok(()))));
        assert_eq!(domain(&content), "b.local");
    }
}
