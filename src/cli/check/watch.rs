//! Checks again whenever a file has changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cli::{FAILED, complain, runtime};
use crate::files::Reader;

/// How long it has to be quiet before it is checked again: editors and generators write in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// It is checked all the same when it is never quiet.
const LONGEST: Duration = Duration::from_secs(2);

/// What is known of the files without reading them: when each was written, and its size.
type State = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Runs `check`, and again whenever one of the files or the configuration has changed, come or gone, until ctrl-c. The
/// exit code is that of the last run.
pub(super) fn watch(
    paths: &[PathBuf],
    configuration: Option<&Path>,
    reader: &Reader<'_>,
    mut check: impl FnMut() -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    if paths.iter().any(|path| path == Path::new("-")) {
        anyhow::bail!("standard input cannot be watched; name files or directories with --watch");
    }
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let paths: Vec<PathBuf> = paths
        .iter()
        .cloned()
        .chain(configuration.map(Path::to_owned))
        .collect();
    runtime()?.block_on(async {
        let stopped = tokio::spawn(tokio::signal::ctrl_c());
        tokio::pin!(stopped);
        loop {
            // Anew for each run: a directory may have been replaced by another of its name.
            let (_watcher, mut changes) = watcher(&paths)?;
            let before = state(&paths, reader);
            let code = check().unwrap_or_else(|error| {
                complain(&format!("{error:#}"));
                FAILED
            });
            complain(&format!("watching {}; ctrl-c ends", names.join(", ")));
            let after = loop {
                tokio::select! {
                    _ = &mut stopped => return Ok(code),
                    _ = changes.recv() => {}
                }
                settle(&mut changes).await;
                if stopped.is_finished() {
                    return Ok(code);
                }
                let after = state(&paths, reader);
                if after != before {
                    break after;
                }
            };
            complain(&format!("{}; checking again", difference(&before, &after)));
        }
    })
}

/// Waits until nothing has changed for a moment.
async fn settle(changes: &mut UnboundedReceiver<()>) {
    let latest = Instant::now() + LONGEST;
    let until_quiet = async { while matches!(timeout(QUIET, changes.recv()).await, Ok(Some(()))) {} };
    // It is never quiet where something writes all the time.
    let _ = timeout_at(latest, until_quiet).await;
}

/// A watcher of the paths and of the directories that they are in: files are replaced more often than written to.
fn watcher(paths: &[PathBuf]) -> anyhow::Result<(RecommendedWatcher, UnboundedReceiver<()>)> {
    let (sender, changes) = unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| !is_change(event.kind)) {
            return;
        }
        // Nobody listens any more when it ends.
        let _ = sender.send(());
    })
    .context("cannot watch files")?;
    for (directory, mode) in directories(paths) {
        watcher
            .watch(&directory, mode)
            .with_context(|| format!("cannot watch {}", directory.display()))?;
    }
    Ok((watcher, changes))
}

/// Whether an event tells of new content; reading a file is an event too.
fn is_change(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_))
    )
}

/// The directories to watch, each once: those that are named with all that is in them, and those that the paths are
/// in, or, where these do not exist, the nearest above.
fn directories(paths: &[PathBuf]) -> Vec<(PathBuf, RecursiveMode)> {
    let whole = |path: &PathBuf| {
        fs::canonicalize(if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        })
    };
    let mut named: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| whole(path).ok())
        .collect();
    named.sort();
    // What is in another one is watched with it.
    named.dedup_by(|inner, outer| inner.starts_with(&*outer));
    let mut around: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| {
            let mut above = path.ancestors().skip(1).map(Path::to_owned);
            let directory = above.find_map(|above| whole(&above).ok())?;
            let is_dots = path.file_name().is_none();
            if is_dots {
                whole(path).ok()?.parent().map(Path::to_owned)
            } else {
                Some(directory)
            }
        })
        .filter(|directory| !named.iter().any(|named| directory.starts_with(named)))
        .collect();
    around.sort();
    around.dedup();
    let named = named
        .into_iter()
        .map(|directory| (directory, RecursiveMode::Recursive));
    let around = around
        .into_iter()
        .map(|directory| (directory, RecursiveMode::NonRecursive));
    named.chain(around).collect()
}

fn state(paths: &[PathBuf], reader: &Reader<'_>) -> State {
    let files = reader.files(paths).into_iter();
    let known = |file: &PathBuf| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    files.map(|file| (file.clone(), known(&file))).collect()
}

/// What is new, in words.
fn difference(before: &State, after: &State) -> String {
    let of_after = after
        .iter()
        .filter(|(file, known)| before.get(*file) != Some(*known));
    let gone = before.keys().filter(|file| !after.contains_key(*file));
    let mut changed: Vec<&PathBuf> = of_after.map(|(file, _)| file).chain(gone).collect();
    changed.sort();
    match changed.as_slice() {
        [one] => format!("{} has changed", one.display()),
        several => format!("{} files have changed", several.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_is_watched_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("c.yaml"), "").unwrap();
        let of = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
            directories(&paths)
        };
        let (recursive, flat) = (RecursiveMode::Recursive, RecursiveMode::NonRecursive);
        assert_eq!(
            of(&["a", "a/b"]),
            [(root.join("a"), recursive), (root.clone(), flat)]
        );
        assert_eq!(of(&["c.yaml", "d.yaml"]), [(root.clone(), flat)]);
        assert_eq!(of(&["gone/e.yaml"]), [(root.clone(), flat)]);
        assert_eq!(
            of(&["a/b/.."]),
            [(root.join("a"), recursive), (root.clone(), flat)]
        );
    }

    #[test]
    fn a_path_without_a_directory_is_in_the_present_one() {
        let here = fs::canonicalize(".").unwrap();
        let none = Path::new("there-is-none.yaml").to_owned();
        assert_eq!(directories(&[none]), [(here, RecursiveMode::NonRecursive)]);
    }

    #[test]
    fn what_has_changed_is_named() {
        let state = |files: &[(&str, u64)]| -> State {
            let known = |size| Some((SystemTime::UNIX_EPOCH, size));
            files
                .iter()
                .map(|(file, size)| (PathBuf::from(file), known(*size)))
                .collect()
        };
        let before = state(&[("a", 1), ("b", 1)]);
        assert_eq!(
            difference(&before, &state(&[("a", 1), ("b", 2)])),
            "b has changed"
        );
        assert_eq!(difference(&before, &state(&[("a", 1)])), "b has changed");
        assert_eq!(
            difference(&before, &state(&[("b", 1), ("c", 1)])),
            "2 files have changed"
        );
    }
}
