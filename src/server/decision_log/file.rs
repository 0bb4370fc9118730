//! A log file that several processes may append to and that rotates by size.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::Sink;

/// How long a rotation that failed is not tried again; until then the file grows.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);

/// How long another process may hold the file's lock before this one writes without it.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);

/// What the path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The file that is held.
    Named,
    /// Another one, which is held now.
    Turned,
    /// Nothing, and nothing can be made there: the file that is held was moved away.
    Stray,
}

/// A file of lines.
///
/// Each line is one `write` to a file opened for appending, so lines of several processes do not mix. Who writes
/// or rotates holds the file's lock, so that what was cut short (by a kill or a full disk) is known and stays a
/// line of its own, and that nobody writes to a file which has just been moved. A process that stands still with
/// the lock, or a file system without locks, takes away only that.
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    file: File,
    rotation_failed: Option<Instant>,
}

impl LogFile {
    /// Opens `path` for appending, making it if it is not there.
    pub(super) fn open(path: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            max_bytes,
            keep,
            file: open(path)?,
            rotation_failed: None,
        })
    }

    /// Turns to the file that the path names now, if another process (or logrotate) has moved the old one.
    fn follow(&mut self) -> io::Result<Held> {
        let held = self.file.metadata()?;
        let moved = match fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) != (held.dev(), held.ino()),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !moved {
            return Ok(Held::Named);
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                Ok(Held::Turned)
            }
            // It still takes lines, and they are found where it was moved to.
            Err(_) if held.nlink() > 0 => Ok(Held::Stray),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of the file, or finds that there are none on its file system; whether no other process has it.
    fn lock(&self) -> bool {
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match self.file.try_lock() {
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                tried => return !matches!(tried, Err(fs::TryLockError::WouldBlock)),
            }
        }
    }

    /// Whether what is written next starts a line.
    fn at_line_start(&self, length: u64) -> io::Result<bool> {
        let mut last = [0];
        Ok(length == 0 || self.file.read_at(&mut last, length - 1)? == 1 && last == *b"\n")
    }

    /// Whether a file of this kind and size has no room for the line, and something can be done about it.
    fn is_due(&self, held: &Metadata, line: &[u8]) -> bool {
        let is_full = held.len() > 0 && held.len() + line.len() as u64 + 1 > self.max_bytes;
        let may_rotate = self
            .rotation_failed
            .is_none_or(|failed| failed.elapsed() >= ROTATE_AGAIN);
        held.is_file() && is_full && may_rotate
    }

    /// Moves `path` to `path.1`, `path.1` to `path.2` and so on, as far as there is one, and at most to the
    /// last one that is kept. A number that is missing, after a kill or a failure in the middle, is filled up first:
    /// nothing goes before its time.
    fn rotate(&self) -> io::Result<()> {
        let is_missing = |age: &u32| {
            let there = fs::symlink_metadata(self.aged(*age));
            there.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        let last = (1..=self.keep).find(is_missing).unwrap_or(self.keep);
        for age in (1..last).rev() {
            rename(&self.aged(age), &self.aged(age + 1))?;
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)
        } else {
            rename(&self.path, &self.aged(1))
        }
    }

    fn aged(&self, age: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{age}"));
        PathBuf::from(name)
    }

    /// Writes a line to the file that is held.
    fn write(&mut self, line: &[u8], held: &Metadata) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if !self.at_line_start(held.len())? {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let written = loop {
            match self.file.write(&bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        if written < bytes.len() {
            // What is still to come could stand after another process's line.
            return Err(io::Error::new(
                ErrorKind::WriteZero,
                "only a part of the record could be written",
            ));
        }
        Ok(())
    }

    /// Writes a line, unless the file is to be rotated or was just moved away: then it is to be tried again.
    fn try_append(&mut self, line: &[u8], is_alone: bool) -> io::Result<bool> {
        let path = self.follow()?;
        if path == Held::Turned {
            return Ok(false);
        }
        let held = self.file.metadata()?;
        if is_alone && path == Held::Named && self.is_due(&held, line) {
            self.rotation_failed = None;
            match self.rotate() {
                Ok(()) => return Ok(false),
                Err(error) => {
                    self.rotation_failed = Some(Instant::now());
                    let path = self.path.display();
                    tracing::error!(
                        "cannot rotate the decision log `{path}`: {error}; it grows until it can be"
                    );
                }
            }
        }
        self.write(line, &held).map(|()| true)
    }
}

impl Sink for LogFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        loop {
            let is_alone = self.lock();
            let written = self.try_append(line, is_alone);
            // Of a file that it has turned from, the lock is gone with it.
            let _ = self.file.unlock();
            if written? {
                return Ok(());
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Renames; nothing to rename is fine.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn half_a_line_of_a_killed_process_is_not_glued_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "{\"a\":1}\n{\"a\":").unwrap();

        let mut log = LogFile::open(&path, 1000, 5).unwrap();
        log.append(b"{\"a\":2}").unwrap();
        log.append(b"{\"a\":3}").unwrap();

        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"a\":1}\n{\"a\":\n{\"a\":2}\n{\"a\":3}\n"
        );
    }

    #[test]
    fn half_a_line_of_another_process_that_dies_later_is_not_glued_either() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 1000, 5).unwrap();
        log.append(b"one").unwrap();
        open(&path).unwrap().write_all(b"tw").unwrap();

        log.append(b"three").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    #[test]
    fn a_full_file_rotates_and_only_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 10, 2).unwrap();
        for line in [
            &b"first"[..],
            b"second",
            b"third",
            b"fourth",
            b"longer than the limit",
            b"last",
        ] {
            log.append(line).unwrap();
        }

        assert_eq!(names(directory.path()), ["log", "log.1", "log.2"]);
        let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(text("log"), "last\n");
        assert_eq!(text("log.1"), "longer than the limit\n");
        assert_eq!(text("log.2"), "fourth\n");
    }

    #[test]
    fn nothing_is_kept_when_nothing_is_to_be_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 5, 0).unwrap();
        log.append(b"first").unwrap();
        log.append(b"second").unwrap();

        assert_eq!(names(directory.path()), ["log"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
    }

    #[test]
    fn a_file_that_cannot_be_rotated_goes_on_growing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::create_dir(directory.path().join("log.1")).unwrap();
        let mut log = LogFile::open(&path, 5, 1).unwrap();
        log.append(b"first").unwrap();
        log.append(b"second").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn a_file_that_someone_else_moved_is_left_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 1000, 5).unwrap();
        log.append(b"first").unwrap();
        fs::rename(&path, directory.path().join("taken")).unwrap();

        log.append(b"second").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(
            fs::read_to_string(directory.path().join("taken")).unwrap(),
            "first\n"
        );
    }

    #[test]
    fn a_file_that_another_process_has_rotated_just_now_is_not_rotated_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut slow = LogFile::open(&path, 12, 5).unwrap();
        let mut quick = LogFile::open(&path, 12, 5).unwrap();
        quick.append(b"first").unwrap();
        quick.append(b"second").unwrap();
        assert_eq!(names(directory.path()), ["log", "log.1"]);

        // The file that it holds is full, and has been moved.
        slow.append(b"3rd").unwrap();

        assert_eq!(names(directory.path()), ["log", "log.1"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n3rd\n");
    }

    #[test]
    fn nothing_goes_before_its_time_when_a_rotation_has_failed_or_was_killed_in_the_middle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let at = |name: &str| directory.path().join(name);
        let mut log = LogFile::open(&path, 5, 4).unwrap();
        for line in [b"five5", b"four4", b"three", b"two22", b"one11"] {
            log.append(line).unwrap();
        }
        // Killed when the older ones had been moved, and the log had not.
        fs::remove_file(at("log.4")).unwrap();
        fs::rename(at("log.3"), at("log.4")).unwrap();
        fs::rename(at("log.2"), at("log.3")).unwrap();
        log.append(b"zero0").unwrap();
        let text = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            ["log", "log.1", "log.2", "log.3", "log.4"].map(text),
            ["zero0\n", "one11\n", "two22\n", "three\n", "four4\n"]
        );

        // What is in the way keeps all of them where they are, however often it is tried.
        fs::remove_file(at("log.4")).unwrap();
        fs::create_dir_all(at("log.4/in the way")).unwrap();
        for _ in 0..3 {
            log.rotation_failed = None;
            log.append(b"later").unwrap();
        }
        assert_eq!(
            ["log", "log.1", "log.2", "log.3"].map(text),
            ["zero0\nlater\nlater\nlater\n", "one11\n", "two22\n", "three\n"]
        );
    }

    #[test]
    fn a_directory_that_is_gone_after_a_rotation_costs_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        fs::create_dir(&there).unwrap();
        let mut log = LogFile::open(&there.join("log"), 5, 2).unwrap();
        log.append(b"first").unwrap();
        // As good as a directory that became read-only, and root is kept out too.
        fs::rename(&there, directory.path().join("moved")).unwrap();

        log.append(b"second").unwrap();
        log.append(b"third").unwrap();

        let text = fs::read_to_string(directory.path().join("moved/log")).unwrap();
        assert_eq!(text, "first\nsecond\nthird\n");
        fs::create_dir(&there).unwrap();
        log.append(b"fourth").unwrap();
        assert_eq!(fs::read_to_string(there.join("log")).unwrap(), "fourth\n");
    }

    #[test]
    fn half_a_line_that_another_process_writes_meanwhile_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 1000, 1).unwrap();
        let mut dying = open(&path).unwrap();
        dying.lock().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| log.append(b"whole").unwrap());
            // Without the lock it would have looked for half a line by now, or have written.
            thread::sleep(LOCK_PATIENCE / 4);
            dying.write_all(b"half").unwrap();
            drop(dying);
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "half\nwhole\n");
    }

    #[test]
    fn a_process_that_stands_still_with_the_lock_stops_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let still = open(&path).unwrap();
        still.lock().unwrap();
        let mut log = LogFile::open(&path, 5, 2).unwrap();

        log.append(b"first").unwrap();
        log.append(b"second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");

        still.unlock().unwrap();
        log.append(b"third").unwrap();
        assert_eq!(names(directory.path()), ["log", "log.1"]);
    }

    #[test]
    fn several_writers_on_one_file_lose_and_mix_no_line_while_it_rotates() {
        const WRITERS: usize = 4;
        const LINES: usize = 500;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");

        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let path = &path;
                scope.spawn(move || {
                    let mut log = LogFile::open(path, 2000, 10_000).unwrap();
                    for number in 0..LINES {
                        log.append(format!("{writer} {number} {}", "x".repeat(number % 90)).as_bytes())
                            .unwrap();
                    }
                });
            }
        });

        let files = names(directory.path());
        let mut lines = BTreeSet::new();
        for name in &files {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            for line in text.lines().filter(|line| !line.is_empty()) {
                let words: Vec<_> = line.split(' ').collect();
                let number: usize = words[1].parse().unwrap();
                assert_eq!(words[2], "x".repeat(number % 90), "{name}: {line}");
                assert!(
                    lines.insert((words[0].to_owned(), number)),
                    "{name}: {line} is there twice"
                );
            }
        }
        assert_eq!(lines.len(), WRITERS * LINES);
        assert!(files.len() > 10, "it has rotated: {files:?}");
    }
}
