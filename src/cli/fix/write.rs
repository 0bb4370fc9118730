//! Puts a new text in the place of a file's old one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tempfile::NamedTempFile;

/// Gives a file its new text, all of it or nothing: whoever reads it meanwhile reads the old one. It keeps its
/// permissions and, as far as may be, its owner; of a link, the file behind it is meant.
pub(super) fn replace(name: &str, old: &str, new: &str) -> anyhow::Result<()> {
    let path = fs::canonicalize(name)?;
    let meta = fs::metadata(&path)?;
    ensure!(meta.is_file(), "it is no regular file");
    // A new file could take the place of one that must not be written to.
    ensure!(!meta.permissions().readonly(), "it is read-only");
    OpenOptions::new().write(true).open(&path)?;
    if fs::read(&path)? != old.as_bytes() {
        bail!("it has changed meanwhile");
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = NamedTempFile::new_in(folder)
        .with_context(|| format!("no file can be made beside it, in {}", folder.display()))?;
    file.write_all(new.as_bytes())?;
    keep_owner(&path, file.path(), &meta);
    file.as_file().set_permissions(meta.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(unix)]
fn keep_owner(_: &Path, new: &Path, meta: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    // Only root may give a file away; the text matters more than whose it is.
    let _ = chown(new, Some(meta.uid()), Some(meta.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &Path, _: &fs::Metadata) {}
