//! Told when something changes in a directory, as when the kubelet swaps the symlink above a Secret's files.
//!
//! It only hastens what is looked for now and then all the same, so it may fail, and miss a directory that another one
//! takes the place of until it is armed again.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// How long it has to be quiet: one file is written after the other.
const QUIET: Duration = Duration::from_millis(100);

/// It is told all the same when it is never quiet.
const LONGEST: Duration = Duration::from_secs(1);

/// A directory is told from another of its name by these.
type Identity = Option<(u64, u64)>;

/// A watch on directories, without what is below them.
pub(super) struct DirectoryWatch {
    directories: Vec<PathBuf>,
    sender: UnboundedSender<()>,
    changes: UnboundedReceiver<()>,
    armed: Option<(RecommendedWatcher, Vec<Identity>)>,
    has_complained: bool,
}

impl DirectoryWatch {
    /// A watch that is not armed yet.
    pub(super) fn new(directories: Vec<PathBuf>) -> Self {
        let (sender, changes) = unbounded_channel();
        Self {
            directories,
            sender,
            changes,
            armed: None,
            has_complained: false,
        }
    }

    /// Watches the directories that are there now. A failure is told once.
    pub(super) fn arm(&mut self) {
        let identity = |directory: &PathBuf| {
            let meta = fs::metadata(directory).ok()?;
            Some((meta.dev(), meta.ino()))
        };
        let identities: Vec<Identity> = self.directories.iter().map(identity).collect();
        let is_armed = |(_, armed): &(_, Vec<Identity>)| *armed == identities;
        if self.directories.is_empty() || self.armed.as_ref().is_some_and(is_armed) {
            return;
        }
        self.armed = match self.watcher() {
            Ok(watcher) => Some((watcher, identities)),
            Err(error) => {
                if !self.has_complained {
                    self.has_complained = true;
                    tracing::warn!(
                        "cannot watch the certificate files: {error}; they are read every few seconds all the same"
                    );
                }
                None
            }
        };
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let sender = self.sender.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading is an event too.
            let is_change = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if is_change {
                // Nobody listens any more when the server ends.
                let _ = sender.send(());
            }
        })?;
        for directory in &self.directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    /// Waits for a change, and until it is quiet again.
    pub(super) async fn changed(&mut self) {
        self.changes.recv().await;
        let until_quiet =
            async { while matches!(timeout(QUIET, self.changes.recv()).await, Ok(Some(()))) {} };
        // It is never quiet where something writes all the time.
        let _ = timeout(LONGEST, until_quiet).await;
    }
}
