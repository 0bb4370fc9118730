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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a change is told of, or nothing for a while.
    async fn is_told(watch: &mut DirectoryWatch, within: Duration) -> bool {
        timeout(within, watch.changed()).await.is_ok()
    }

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn changes_are_told_of_and_reading_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "old").unwrap();
        let mut watch = DirectoryWatch::new(vec![directory.path().to_owned()]);
        watch.arm();
        fs::read(&file).unwrap();
        watch.arm();
        assert!(!is_told(&mut watch, SHORT).await);

        fs::write(&file, "new").unwrap();
        assert!(is_told(&mut watch, LONG).await);
    }

    #[tokio::test]
    async fn a_directory_that_takes_the_place_of_another_is_watched_once_it_is_armed_again() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("tls");
        let mut watch = DirectoryWatch::new(vec![directory.clone()]);
        watch.arm();
        assert!(!is_told(&mut watch, SHORT).await, "it is not there yet");

        for name in ["a", "b"] {
            fs::create_dir(&directory).unwrap();
            watch.arm();
            fs::write(directory.join(name), "").unwrap();
            assert!(is_told(&mut watch, LONG).await, "{name}");
            fs::rename(&directory, above.path().join(name)).unwrap();
            while is_told(&mut watch, SHORT).await {}
        }
    }

    #[tokio::test]
    async fn where_it_is_never_quiet_it_is_told_of_all_the_same() {
        let mut watch = DirectoryWatch::new(Vec::new());
        let sender = watch.sender.clone();
        // A thread of its own: what is late here is not taken for quiet.
        let noise = std::thread::spawn(move || {
            while sender.send(()).is_ok() {
                std::thread::sleep(QUIET / 50);
            }
        });
        assert!(is_told(&mut watch, LONG).await);
        drop(watch);
        noise.join().unwrap();
    }
}
