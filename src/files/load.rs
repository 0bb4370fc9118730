//! Reading files, directories and standard input.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io, thread};

use serde::Deserialize as _;

use super::Place;
use crate::resource::{Kind, Meta, ObjectRef, Resource, default_namespace};
use crate::symbol::Symbol;
use crate::world::{Settings, World};
use crate::yaml;

/// What the files hold.
#[derive(Debug, Default)]
pub struct Files {
    sources: Vec<Source>,
    /// The objects that some rule reads, in the order of the files.
    pub objects: Vec<FileObject>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What is worth telling: an object that a later file replaces.
    pub notes: Vec<String>,
    /// How many objects are of a kind that no rule reads.
    pub skipped: usize,
}

/// One file's name and text.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

/// An object and where it stands.
#[derive(Debug, Clone)]
pub struct FileObject {
    /// The object.
    pub resource: Resource,
    /// Its `apiVersion` as written.
    pub api_version: String,
    origin: Origin,
}

/// The file, the document in it, and of a `List` the item, by their places.
#[derive(Debug, Clone, Copy)]
struct Origin {
    source: usize,
    document: usize,
    item: Option<usize>,
}

/// A file or document that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong and what helps.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Reads `paths` as one whole: as [`read`] does, and of the same object twice the later one counts, with a note.
pub fn load(paths: &[PathBuf], namespace: Option<&str>) -> Files {
    let mut files = read(paths, namespace);
    files.settle();
    files
}

/// Reads `paths`: files, directories (their `.yaml`, `.yml` and `.json` files, to the bottom), `-` for standard
/// input. Objects without a namespace are in `namespace`. Every object is kept, in the order of the files.
pub fn read(paths: &[PathBuf], namespace: Option<&str>) -> Files {
    let mut files = Files::default();
    let mut seen = BTreeSet::new();
    for path in paths {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
            files.add_source("-", read);
            continue;
        }
        let found = expand(path).unwrap_or_else(|problem| {
            files.problems.push(problem);
            Vec::new()
        });
        for file in found {
            if seen.insert(file.clone()) {
                files.add_source(&file.display().to_string(), fs::read(&file));
            }
        }
    }
    files.decode(&namespace.map_or_else(default_namespace, Symbol::new));
    files
}

/// The files that a path stands for, by name. A file that is named is read whatever it is called; in a
/// directory, hidden files and links to directories are passed over.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: io::Error| Problem {
        place: Place::whole(&path.display().to_string()),
        message: error.to_string(),
    };
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
        let is_hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_directory = fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_dir());
        let extension = entry.extension().and_then(OsStr::to_str);
        if is_hidden {
            continue;
        }
        if is_directory {
            found.extend(expand(&entry)?);
        } else if matches!(extension, Some("yaml" | "yml" | "json")) && !entry.is_dir() {
            found.push(entry);
        }
    }
    Ok(found)
}

impl Files {
    /// The world that the files describe.
    pub fn world(&self, settings: Settings) -> World {
        World::of(
            settings,
            self.objects.iter().map(|object| object.resource.clone()),
        )
    }

    /// How many files were read.
    pub fn count(&self) -> usize {
        self.sources.len()
    }

    /// Where the field `path` of an object stands, or, if it is not written, the nearest field above it.
    pub fn place(&self, object: &FileObject, path: &str) -> Place {
        let Some(source) = self.sources.get(object.origin.source) else {
            return Place::default();
        };
        let Some(node) = self.node(object.origin) else {
            return Place::whole(&source.name);
        };
        let found = node.find(path);
        let span = found.key.unwrap_or_else(|| found.node.span());
        let end = found.node.span().end;
        // The key of what is missing would point at its whole block.
        let end = if found.is_exact { end } else { span.end };
        Place {
            file: source.name.clone(),
            line: span.start.line,
            column: span.start.column,
            end_line: end.line,
            end_column: end.column,
        }
    }

    /// The object as JSON, as the API server would be sent it.
    pub fn json(&self, object: &FileObject) -> Option<serde_json::Value> {
        serde_json::Value::deserialize(&self.node(object.origin)?).ok()
    }

    fn node(&self, origin: Origin) -> Option<yaml::Node<'_>> {
        let source = self.sources.get(origin.source)?;
        let document = yaml::documents(&source.text)
            .get(origin.document)?
            .decode()
            .ok()?;
        match origin.item {
            Some(item) => document.get("items")?.items().get(item).cloned(),
            None => Some(document),
        }
    }

    fn add_source(&mut self, name: &str, bytes: io::Result<Vec<u8>>) {
        let text = bytes
            .map_err(|error| Problem {
                place: Place::whole(name),
                message: error.to_string(),
            })
            .and_then(|bytes| {
                yaml::read(&bytes)
                    .map(ToOwned::to_owned)
                    .map_err(|error| at(name, &error))
            });
        match text {
            Ok(text) => self.sources.push(Source {
                name: name.to_owned(),
                text,
            }),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Decodes all documents, over as many threads as the machine has.
    fn decode(&mut self, namespace: &Symbol) {
        let mut documents = Vec::new();
        for (source, file) in self.sources.iter().enumerate() {
            for (document, raw) in yaml::documents(&file.text).into_iter().enumerate() {
                documents.push((
                    Origin {
                        source,
                        document,
                        item: None,
                    },
                    file.name.as_str(),
                    raw,
                ));
            }
        }
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = documents.len().div_ceil(threads).max(1);
        let decoded: Vec<Decoded<'_>> = thread::scope(|scope| {
            let decode = |chunk| move || Decoded::of(chunk, namespace);
            let workers: Vec<_> = documents
                .chunks(share)
                .map(|chunk| scope.spawn(decode(chunk)))
                .collect();
            workers
                .into_iter()
                .filter_map(|worker| worker.join().ok())
                .collect()
        });
        let mut found = (Vec::new(), Vec::new(), 0);
        for part in decoded {
            found.0.extend(part.objects);
            found.1.extend(part.problems);
            found.2 += part.skipped;
        }
        self.objects.append(&mut found.0);
        self.problems.append(&mut found.1);
        self.skipped += found.2;
    }

    /// Of an object that is there twice, the later one counts.
    fn settle(&mut self) {
        let mut last: HashMap<ObjectRef, usize> = HashMap::new();
        let mut replaced = BTreeSet::new();
        for (at, object) in self.objects.iter().enumerate() {
            let reference = object.resource.reference();
            if let Some(earlier) = last.insert(reference, at) {
                replaced.insert(earlier);
            }
        }
        for at in replaced.iter().filter_map(|at| self.objects.get(*at)) {
            let reference = at.resource.reference();
            let later = last.get(&reference).and_then(|later| self.objects.get(*later));
            let later = later.map(|later| self.place(later, "kind")).unwrap_or_default();
            self.notes.push(format!(
                "{reference} in {} is replaced by the one in {later}",
                self.place(at, "kind")
            ));
        }
        let mut at = 0..;
        self.objects
            .retain(|_| at.next().is_some_and(|at| !replaced.contains(&at)));
    }
}

/// What one thread decoded.
struct Decoded<'n> {
    namespace: &'n Symbol,
    objects: Vec<FileObject>,
    problems: Vec<Problem>,
    skipped: usize,
}

impl<'n> Decoded<'n> {
    fn of(documents: &[(Origin, &str, yaml::RawDocument<'_>)], namespace: &'n Symbol) -> Self {
        let mut decoded = Self {
            namespace,
            objects: Vec::new(),
            problems: Vec::new(),
            skipped: 0,
        };
        for (origin, file, raw) in documents {
            match raw.decode() {
                Ok(node) => decoded.document(&node, *origin, file),
                Err(error) => decoded.problems.push(at(file, &error)),
            }
        }
        decoded
    }

    fn document(&mut self, node: &yaml::Node<'_>, origin: Origin, file: &str) {
        let kind = node.get("kind").and_then(yaml::Node::as_str).unwrap_or_default();
        // `kubectl get -o yaml` writes a List, the API a VirtualServiceList.
        match node.get("items").filter(|_| kind.ends_with("List")) {
            Some(items) => {
                for (item, node) in items.items().iter().enumerate() {
                    self.object(
                        node,
                        Origin {
                            item: Some(item),
                            ..origin
                        },
                        file,
                    );
                }
            }
            None => self.object(node, origin, file),
        }
    }

    fn object(&mut self, node: &yaml::Node<'_>, origin: Origin, file: &str) {
        let text = |key: &str| node.get(key).and_then(yaml::Node::as_str).unwrap_or_default();
        let api_version = text("apiVersion");
        let Some(kind) = Kind::of(api_version, text("kind")).filter(|kind| is_read(*kind, node)) else {
            self.skipped += 1;
            return;
        };
        let mut resource = match Resource::parse(kind, node) {
            Ok(resource) => resource,
            Err(error) => return self.problems.push(at(file, &error)),
        };
        let meta = resource.meta_mut();
        if !give_name(meta) {
            let place = node.get("metadata").unwrap_or(node).span().start;
            let message = "metadata.name: the object has no name".to_owned();
            return self.problems.push(Problem {
                place: Place::point(file, place.line, place.column),
                message,
            });
        }
        if !kind.is_namespaced() {
            meta.namespace = Symbol::default();
        } else if meta.namespace.is_empty() {
            meta.namespace = self.namespace.clone();
        }
        self.objects.push(FileObject {
            resource,
            api_version: api_version.to_owned(),
            origin,
        });
    }
}

/// Whether an object of `kind` is one that rules read: of the `ConfigMaps`, Istio's.
fn is_read(kind: Kind, node: &yaml::Node<'_>) -> bool {
    let name = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(yaml::Node::as_str);
    kind != Kind::ConfigMap || name.is_some_and(|name| name == "istio" || name.starts_with("istio-"))
}

/// Gives an object whose name the API server is to generate one to be known by. Whether it has one now.
fn give_name(meta: &mut Meta) -> bool {
    if meta.name.is_empty() && !meta.generate_name.is_empty() {
        meta.name = format!("{}…", meta.generate_name).into();
    }
    !meta.name.is_empty()
}

fn at(file: &str, error: &yaml::Error) -> Problem {
    let path = if error.path.is_empty() {
        String::new()
    } else {
        format!("{}: ", error.path)
    };
    Problem {
        place: Place::point(file, error.line, error.column),
        message: format!("{path}{}", error.message),
    }
}
