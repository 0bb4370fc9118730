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

/// A file of lines.
///
/// Each line is one `write` to a file opened for appending, so lines of several processes do not mix. What
/// was cut short (by a kill or a full disk) stays a line of its own: the next line starts on a fresh one. Who
/// rotates holds the file's lock, and the others notice that the path names another file.
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
    fn follow(&mut self) -> io::Result<Metadata> {
        let held = self.file.metadata()?;
        let moved = match fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) != (held.dev(), held.ino()),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !moved {
            return Ok(held);
        }
        self.file = open(&self.path)?;
        self.file.metadata()
    }

    /// Whether what is written next starts a line.
    fn at_line_start(&self) -> io::Result<bool> {
        let mut length = self.file.metadata()?.len();
        loop {
            if length == 0 {
                return Ok(true);
            }
            let mut last = [0];
            if self.file.read_at(&mut last, length - 1)? == 1 && last == *b"\n" {
                return Ok(true);
            }
            // Half a line, unless another process is writing it just now.
            thread::sleep(Duration::from_millis(1));
            let now = self.file.metadata()?.len();
            if now == length {
                return Ok(false);
            }
            length = now;
        }
    }

    /// Moves `path` to `path.1`, `path.1` to `path.2` and so on, and opens a new file.
    fn rotate(&mut self) -> io::Result<()> {
        // Another process that holds the lock is rotating: its new file is found at the next line. A file
        // system without locks has no other process on it that would look at them.
        if matches!(self.file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Ok(());
        }
        let held = self.file.metadata()?.ino();
        if self.follow()?.ino() != held {
            return Ok(());
        }
        for age in (1..self.keep).rev() {
            rename(&self.aged(age), &self.aged(age + 1))?;
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            rename(&self.path, &self.aged(1))?;
        }
        self.file = open(&self.path)?;
        Ok(())
    }

    fn aged(&self, age: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{age}"));
        PathBuf::from(name)
    }
}

impl Sink for LogFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let held = self.follow()?;
        let size = (line.len() + 1) as u64;
        let full = held.len() > 0 && held.len() + size > self.max_bytes;
        let may_rotate = self
            .rotation_failed
            .is_none_or(|failed| failed.elapsed() >= ROTATE_AGAIN);
        if held.is_file() && full && may_rotate {
            self.rotation_failed = None;
            if let Err(error) = self.rotate() {
                self.rotation_failed = Some(Instant::now());
                let path = self.path.display();
                tracing::error!("cannot rotate the decision log `{path}`: {error}; it grows until it can be");
            }
        }

        let mut bytes = Vec::with_capacity(line.len() + 2);
        if !self.at_line_start()? {
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
            // Writing the rest could put it after another process's line.
            return Err(io::Error::new(
                ErrorKind::WriteZero,
                "only a part of the record could be written",
            ));
        }
        Ok(())
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
        let mut slow = LogFile::open(&path, 5, 5).unwrap();
        let mut quick = LogFile::open(&path, 5, 5).unwrap();
        quick.append(b"first").unwrap();
        quick.append(b"second").unwrap();

        // It found the file full before the other moved it away.
        slow.rotate().unwrap();

        assert_eq!(names(directory.path()), ["log", "log.1"]);
        slow.append(b"third").unwrap();
        assert_eq!(names(directory.path()), ["log", "log.1", "log.2"]);
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
