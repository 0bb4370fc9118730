//! What was wrong at a revision of git: its files are read from the repository, and nothing is checked out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, bail, ensure};

use crate::files::{Files, Reader};

/// The files that `paths` stood for at `revision`.
pub(super) fn files_at(revision: &str, paths: &[PathBuf], reader: &Reader<'_>) -> anyhow::Result<Files> {
    if paths.iter().any(|path| path == Path::new("-")) {
        bail!("standard input has no past; name files or directories with --since");
    }
    let mut texts = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        // What is not there is told when it is read.
        let Ok(whole) = path.canonicalize() else { continue };
        let directory = if whole.is_dir() {
            whole.as_path()
        } else {
            whole.parent().unwrap_or(Path::new("/"))
        };
        let repository = Repository::of(directory)?;
        let below = whole.strip_prefix(&repository.root).unwrap_or(&whole);
        let mut files = Vec::new();
        for (object, file) in repository.files(revision, below)? {
            let inside = file.strip_prefix(below).unwrap_or(&file);
            let is_named = inside.as_os_str().is_empty();
            let name = if is_named { path.clone() } else { path.join(inside) };
            let is_read = is_named || reader.would_read(path, inside);
            if is_read && seen.insert(repository.root.join(&file)) {
                files.push((object, name.display().to_string()));
            }
        }
        texts.extend(repository.contents(files)?);
    }
    Ok(reader.load_texts(texts))
}

/// A repository of git.
struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The one that a directory is in.
    fn of(directory: &Path) -> anyhow::Result<Self> {
        let root = output(git(directory).args(["rev-parse", "--show-toplevel"]))
            .with_context(|| format!("{} is in no git repository", directory.display()))?;
        let root = root.strip_suffix(b"\n").unwrap_or(&root);
        Ok(Self {
            root: OsStr::from_bytes(root).into(),
        })
    }

    /// The objects and paths of the files that were `below` at a revision, in the order of their paths.
    fn files(&self, revision: &str, below: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let tree = format!("{revision}^{{tree}}");
        let verify = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        let tree = output(git(&self.root).args(verify).arg(tree))
            .with_context(|| format!("--since: {} has no revision `{revision}`", self.root.display()))?;
        let tree = String::from_utf8_lossy(&tree);
        let mut list = git(&self.root);
        list.args(["ls-tree", "-r", "-z", tree.trim()]);
        if !below.as_os_str().is_empty() {
            list.arg("--").arg(below);
        }
        let listed = output(&mut list)?;
        let entries = listed.split(|byte| *byte == 0);
        // `100644 blob 0123…<tab>path`; links and submodules are passed over, as in directories.
        Ok(entries.filter_map(file_of).collect())
    }

    /// The contents of some objects, with the names that go with them.
    fn contents(&self, files: Vec<(String, String)>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut command = git(&self.root);
        let mut child = command
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run git")?;
        let mut requests = child.stdin.take().context("git takes no input")?;
        let objects: String = files.iter().flat_map(|(object, _)| [object, "\n"]).collect();
        // Both ways at once: git answers while it is still asked.
        let asked = thread::spawn(move || requests.write_all(objects.as_bytes()));
        let output = child.wait_with_output().context("git has failed")?;
        ensure!(
            output.status.success(),
            "git cat-file has failed: {}",
            output.status
        );
        asked.join().ok().context("git has failed")??;
        let mut rest = output.stdout.as_slice();
        let mut contents = Vec::with_capacity(files.len());
        for (object, name) in files {
            let (content, after) =
                next_content(rest).with_context(|| format!("git has no object {object}"))?;
            contents.push((name, content.to_vec()));
            rest = after;
        }
        Ok(contents)
    }
}

fn file_of(entry: &[u8]) -> Option<(String, PathBuf)> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = entry.split_at(tab);
    let mut head = std::str::from_utf8(head).ok()?.split(' ');
    let is_file = head.next()?.starts_with("100") && head.next()? == "blob";
    let path = PathBuf::from(OsStr::from_bytes(path.get(1..)?));
    is_file.then_some((head.next()?.to_owned(), path))
}

/// The first content of a batch, `0123… blob SIZE`, a line end, the bytes and a line end; and what follows it.
fn next_content(batch: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = batch.iter().position(|byte| *byte == b'\n')?;
    let (head, rest) = batch.split_at(end);
    let size = std::str::from_utf8(head).ok()?.rsplit(' ').next()?.parse().ok()?;
    let (content, after) = rest.get(1..)?.split_at_checked(size)?;
    Some((content, after.get(1..)?))
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).stdin(Stdio::null());
    command
}

/// What a command prints; an error if it fails, with what it said.
fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().context("cannot run git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git: {}", said.trim());
    Ok(output.stdout)
}
