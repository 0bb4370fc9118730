//! The worlds under `tests/worlds/`: each is right, and none of them may be refused.
//!
//! A file is one world. Its first lines are a comment that says what it shows. Lines like
//! `# warn: LK101 DestinationRule shop/cart spec.subsets[1].labels` list the warnings that are right in it, and
//! `# mesh: multi-cluster` says that other clusters may have what is missing here.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: each test uses its own part of it, and fails by a panic that says why"
)]

use std::fs;
use std::path::{Path, PathBuf};

use lanekeeper::files::{self, Files};
use lanekeeper::resource::Kind;
use lanekeeper::verdict::Settings;
use serde_json::Value;

/// A world that is right.
pub struct GoodWorld {
    /// The file's name without its ending.
    pub name: String,
    /// What the file says it shows.
    pub comment: String,
    /// The objects that rules read, each with its place.
    pub files: Files,
    /// The same as the API server would be sent them, whole, in the order of the file.
    pub objects: Vec<Value>,
    /// The warnings that are right: `LK101 DestinationRule shop/cart spec.subsets[1].labels`, sorted.
    pub warnings: Vec<String>,
    /// How the mesh is configured.
    pub settings: Settings,
}

/// The folder of the worlds.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worlds")
}

/// The YAML files of a folder, by name.
pub fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder's entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    paths.sort();
    paths
}

/// Every world, by name.
pub fn all() -> Vec<GoodWorld> {
    yaml_files(&folder())
        .iter()
        .map(|path| GoodWorld::read(path))
        .collect()
}

/// The world of this name.
pub fn named(name: &str) -> GoodWorld {
    GoodWorld::read(&folder().join(format!("{name}.yaml")))
}

impl GoodWorld {
    /// Reads a world; every document of it has to be one that can be read.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a world is text");
        let files = files::load(&[path.to_owned()], None);
        let problems: Vec<String> = files.problems.iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        assert!(files.notes.is_empty(), "{:#?}", files.notes);
        let head: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix('#'))
            .map(str::trim)
            .collect();
        let all_after = |key: &str| -> Vec<String> {
            let lines = head.iter().filter_map(|line| line.strip_prefix(key));
            lines.map(|line| line.trim().to_owned()).collect()
        };
        let is_said = |line: &&&str| !line.starts_with("warn:") && !line.starts_with("mesh:");
        let comment: Vec<&str> = head.iter().filter(is_said).copied().collect();
        let mut warnings = all_after("warn:");
        warnings.sort();
        let mesh = all_after("mesh:");
        assert!(
            mesh.iter().all(|setting| setting == "multi-cluster"),
            "{} says `# mesh: {mesh:?}`, which is no setting",
            path.display()
        );
        let objects = files.objects.iter().map(|object| {
            let mut json = files.json(object).expect("what was parsed is JSON");
            let meta = object.resource.meta();
            if !meta.namespace.is_empty() {
                json["metadata"]["namespace"] = meta.namespace.as_str().into();
            }
            json
        });
        Self {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            comment: comment.join(" "),
            objects: objects.collect(),
            files,
            warnings,
            settings: Settings {
                multi_cluster: !mesh.is_empty(),
                ..Settings::default()
            },
        }
    }
}

/// The kind of an object that the API server would be sent.
pub fn kind_of(object: &Value) -> Kind {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    Kind::of(text("apiVersion"), text("kind"))
        .unwrap_or_else(|| panic!("{} is of no kind that rules read", text("kind")))
}

/// `VirtualService shop/cart`.
pub fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&meta["namespace"]),
        text(&meta["name"])
    )
}

/// An order in which somebody applies a set of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As Helm installs: by kind, those that it does not know last and by their kind's name.
    Helm,
    /// As Argo CD syncs a wave: by kind, custom resources last and all by their own names.
    ArgoCd,
    /// As nobody should: what others rest on comes last.
    Reversed,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 3] = [Self::Helm, Self::ArgoCd, Self::Reversed];

    /// The objects in this order; namespaces come first in each, for nothing can be in one that is not there.
    pub fn of(self, objects: &[Value]) -> Vec<Value> {
        /// The kinds of ours that Helm and Argo CD know, in the order that both have for them.
        const KNOWN: [Kind; 8] = [
            Kind::Namespace,
            Kind::ConfigMap,
            Kind::Service,
            Kind::DaemonSet,
            Kind::Pod,
            Kind::ReplicaSet,
            Kind::Deployment,
            Kind::StatefulSet,
        ];
        let place = |object: &Value| {
            let kind = kind_of(object);
            let known = KNOWN.iter().position(|known| *known == kind);
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let within = match (self, known) {
                (Self::ArgoCd, _) => name,
                (_, None) => kind.name(),
                (_, Some(_)) => "",
            };
            (known.unwrap_or(KNOWN.len()), within.to_owned())
        };
        let mut sorted = objects.to_vec();
        sorted.sort_by_cached_key(place);
        if self == Self::Reversed {
            sorted.reverse();
            sorted.sort_by_key(|object| kind_of(object) != Kind::Namespace);
        }
        sorted
    }
}
