//! Files and directories that are not to be read.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns of paths, as in a `.gitignore`: one without a slash is of a name in any directory, one with a slash of
/// a path as it is printed; what covers a directory covers all that is in it.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    names: GlobSet,
    paths: GlobSet,
    /// Where the paths of some more patterns start.
    rooted: Option<(PathBuf, Box<Exclude>)>,
}

impl Exclude {
    /// Reads the patterns: `*` stands for any part of a name, `**` for any directories.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, globset::Error> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
            let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
            if pattern.contains('/') {
                paths.add(glob(pattern.strip_prefix('/').unwrap_or(pattern))?);
            } else {
                names.add(glob(pattern)?);
            }
        }
        Ok(Self {
            names: names.build()?,
            paths: paths.build()?,
            rooted: None,
        })
    }

    /// The patterns of `self`, and those of `more`, which are of paths below `root` however these are named.
    #[must_use]
    pub fn and_below(self, root: PathBuf, more: Self) -> Self {
        Self {
            rooted: Some((root, Box::new(more))),
            ..self
        }
    }

    /// Whether the path, or a directory that it is in, is excluded.
    pub fn covers(&self, path: &Path) -> bool {
        self.covers_below_root(path).unwrap_or(false) || self.covers_as_named(path)
    }

    fn covers_below_root(&self, path: &Path) -> Option<bool> {
        let (root, exclude) = self.rooted.as_ref()?;
        let whole = path.canonicalize().ok()?;
        Some(exclude.covers(whole.strip_prefix(root).ok()?))
    }

    fn covers_as_named(&self, path: &Path) -> bool {
        if self.names.is_empty() && self.paths.is_empty() {
            return false;
        }
        let path = path.strip_prefix(".").unwrap_or(path);
        let mut above = path.ancestors().filter(|part| !part.as_os_str().is_empty());
        above.any(|part| {
            let name = part.file_name();
            let part = part.strip_prefix("/").unwrap_or(part);
            self.paths.is_match(part) || name.is_some_and(|name| self.names.is_match(name))
        })
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(pattern: &str) -> Vec<&'static str> {
        let exclude = Exclude::new([pattern]).unwrap();
        let paths = [
            "k8s/base/a.yaml",
            "./k8s/over/b.yaml",
            "k8s/test/c.yaml",
            "/abs/test/d.yaml",
        ];
        let covered = paths.into_iter().filter(|path| exclude.covers(Path::new(path)));
        covered.collect()
    }

    #[test]
    fn a_pattern_without_a_slash_is_of_a_name_anywhere() {
        assert_eq!(covered("test"), ["k8s/test/c.yaml", "/abs/test/d.yaml"]);
        assert_eq!(covered("test/"), ["k8s/test/c.yaml", "/abs/test/d.yaml"]);
        assert_eq!(covered("b.*"), ["./k8s/over/b.yaml"]);
        assert_eq!(covered("[ac].yaml"), ["k8s/base/a.yaml", "k8s/test/c.yaml"]);
        assert_eq!(covered("{base,over}"), ["k8s/base/a.yaml", "./k8s/over/b.yaml"]);
    }

    #[test]
    fn a_pattern_with_a_slash_is_of_a_path_as_printed() {
        assert_eq!(covered("k8s/test"), ["k8s/test/c.yaml"]);
        assert_eq!(covered("k8s/*/b.yaml"), ["./k8s/over/b.yaml"]);
        assert_eq!(covered("./k8s/over"), ["./k8s/over/b.yaml"]);
        assert_eq!(covered("k8s/*.yaml"), [""; 0]);
        assert_eq!(covered("k8s/**/c.yaml"), ["k8s/test/c.yaml"]);
        assert_eq!(covered("**/test/**"), ["k8s/test/c.yaml", "/abs/test/d.yaml"]);
        assert_eq!(covered("/abs/test"), ["/abs/test/d.yaml"]);
    }

    #[test]
    fn patterns_below_a_root_are_of_the_paths_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("k8s/old")).unwrap();
        let more = Exclude::new(["k8s/old"]).unwrap();
        let exclude = Exclude::default().and_below(root.clone(), more);
        assert!(exclude.covers(&root.join("k8s/old")));
        assert!(exclude.covers(&root.join("k8s/../k8s/old")));
        assert!(!exclude.covers(&root.join("k8s")));
        assert!(!exclude.covers(Path::new("k8s/old")));
    }

    #[test]
    fn nothing_is_excluded_without_patterns() {
        assert!(!Exclude::default().covers(Path::new("a.yaml")));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        assert!(Exclude::new(["a[b"]).is_err());
    }
}
