//! Writes what was made into a directory, all of it or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::NamedTempFile;

use crate::resource::ObjectRef;

/// How the first line of each file begins, by which it is known as one that was made.
const MARK: &str = "# Made by `lanekeeper generate` from ";

/// Writes a file for each object: beside their places first, so that nothing is changed if one of them cannot be
/// written. A file that is there and was not made is replaced only if that is forced. Gives the names of the files that
/// were made from the same groups once and are no more.
pub(super) fn write_files(
    folder: &Path,
    objects: &[(&ObjectRef, String)],
    groups: &str,
    is_forced: bool,
) -> anyhow::Result<Vec<String>> {
    for (reference, _) in objects {
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter))
        };
        ensure!(
            is_name(&reference.namespace) && is_name(&reference.name),
            "{reference}: a namespace and a name in Kubernetes have letters, digits, `-` and `.` only; nothing is written"
        );
    }
    let head = format!("{MARK}{groups}; change that, not this.\n");
    let texts: BTreeMap<PathBuf, String> = objects
        .iter()
        .map(|(reference, text)| (folder.join(file_name(reference)), format!("{head}{text}")))
        .collect();
    let cannot = || format!("{} cannot be written to", folder.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    let mut new = Vec::new();
    for (path, text) in &texts {
        let name = || format!("{} cannot be written", path.display());
        match fs::read_to_string(path) {
            Ok(known) if known == *text => continue,
            Ok(known) => ensure!(
                is_forced || known.starts_with(MARK),
                "{} was not made by `lanekeeper generate`; nothing is written: --force replaces it",
                path.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(name),
        }
        let mut file = NamedTempFile::new_in(folder).with_context(cannot)?;
        file.write_all(text.as_bytes()).with_context(name)?;
        readable(&file).with_context(name)?;
        file.as_file().sync_all().with_context(name)?;
        new.push((path, file));
    }
    for (path, file) in new {
        file.persist(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    stale(folder, &texts, &head).with_context(cannot)
}

/// `cars_virtualservice_portal.yaml`: no name in Kubernetes has an underscore.
fn file_name(reference: &ObjectRef) -> String {
    let kind = reference.kind.name().to_ascii_lowercase();
    format!("{}_{kind}_{}.yaml", reference.namespace, reference.name)
}

/// The files with the same first line that are none of these.
fn stale(folder: &Path, texts: &BTreeMap<PathBuf, String>, head: &str) -> std::io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|end| end == "yaml");
        if is_yaml
            && !texts.contains_key(&path)
            && fs::read_to_string(&path).is_ok_and(|text| text.starts_with(head))
        {
            stale.push(path.display().to_string());
        }
    }
    stale.sort();
    Ok(stale)
}

/// A temporary file is its owner's alone; what is made is for everyone.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> std::io::Result<()> {
    Ok(())
}
