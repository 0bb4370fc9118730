//! The files that the paths on a command line stand for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Exclude, Place, Problem};

/// The files that a path stands for, by name. A file that is named is read whatever it is called; in a
/// directory, hidden files and links to directories are passed over.
pub(super) fn find(path: &Path, exclude: &Exclude) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: io::Error| Problem {
        place: Place::whole(&path.display().to_string()),
        message: error.to_string(),
    };
    if exclude.covers(path) {
        return Ok(Vec::new());
    }
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)
        .map_err(failed)?
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    let mut entries: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_directory = fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_dir());
        if entry.file_name().is_some_and(is_hidden) {
            continue;
        }
        if is_directory {
            found.extend(find(&entry, exclude)?);
        } else if is_manifest(&entry) && !entry.is_dir() && !exclude.covers(&entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Whether [`find`] would find the file `inside` of the directory `path`, if it were there.
pub(super) fn would_find(path: &Path, inside: &Path, exclude: &Exclude) -> bool {
    !inside.iter().any(is_hidden) && is_manifest(inside) && !exclude.covers(&path.join(inside))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_manifest(file: &Path) -> bool {
    let extension = file.extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
}
