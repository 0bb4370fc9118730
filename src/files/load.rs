//! Reading files, directories and standard input.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::Deserialize as _;

use super::decode::{Decoded, Document};
use super::find::{find, would_find};
use super::{Exclude, Place};
use crate::progress::Progress;
use crate::resource::{ObjectRef, Resource, default_namespace};
use crate::shares::in_shares;
use crate::symbol::Symbol;
use crate::world::{Settings, World};
use crate::yaml;

/// The name of standard input.
pub const STDIN: &str = "-";

/// What the files hold.
#[derive(Debug, Default)]
pub struct Files {
    sources: Vec<Source>,
    /// The objects that some rule reads, in the order of the files.
    pub objects: Vec<FileObject>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What the API server would refuse, though it can be read.
    pub refused: Vec<Problem>,
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
    pub(super) origin: Origin,
}

/// The file, the document in it, and of a `List` the item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) source: usize,
    pub(super) document: yaml::Extent,
    pub(super) item: Option<u32>,
}

impl Origin {
    /// What two objects of one document have in common.
    pub(super) fn document_key(self) -> (usize, yaml::Position) {
        (self.source, self.document.start())
    }

    /// The object in its decoded document.
    fn object<'n, 'a>(self, document: &'n yaml::Node<'a>) -> Option<&'n yaml::Node<'a>> {
        match self.item {
            Some(item) => document.get("items")?.items().get(item as usize),
            None => Some(document),
        }
    }
}

/// A file or document that cannot be read, or a field that the API server would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong and what helps.
    pub message: String,
}

impl Problem {
    /// The problem that an error of the decoder is.
    pub fn of(file: &str, error: &yaml::Error) -> Self {
        let path = if error.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", error.path)
        };
        Self {
            place: Place::point(file, error.line, error.column),
            message: format!("{path}{}", error.message),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// What becomes of fields that the API server would refuse; the names are kubectl's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Validation {
    /// They are errors.
    #[default]
    Strict,
    /// They are told; all else is judged as if they were not there.
    Warn,
    /// Nothing is said of them.
    Ignore,
}

/// How files are read.
#[derive(Debug, Default)]
pub struct Reader<'r> {
    /// The namespace of objects that name none; without it `default`.
    pub namespace: Option<&'r str>,
    /// What is not read.
    pub exclude: Exclude,
    /// What becomes of fields that the API server would refuse.
    pub validation: Validation,
    /// Where it is counted.
    pub progress: Option<&'r Progress>,
}

impl Reader<'_> {
    /// The files that it would read, as far as they can be found.
    pub fn files(&self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let found = paths.iter().map(|path| find(path, &self.exclude));
        found.flat_map(Result::unwrap_or_default).collect()
    }

    /// Whether it would read the file `inside` of the directory `path`, if it were there.
    pub fn would_read(&self, path: &Path, inside: &Path) -> bool {
        would_find(path, inside, &self.exclude)
    }

    /// Reads files that are in memory, each with its name, as one whole.
    pub fn load_texts(&self, texts: Vec<(String, Vec<u8>)>) -> Files {
        let mut files = Files::default();
        for (name, bytes) in texts {
            files.add_source(&name, Ok(bytes));
        }
        self.decode(&mut files);
        files.settle();
        files
    }

    /// Reads `paths` as one whole: as [`Reader::read`] does, and of the same object twice the later one counts, with
    /// a note.
    pub fn load(&self, paths: &[PathBuf]) -> Files {
        let mut files = self.read(paths);
        files.settle();
        files
    }

    /// Reads `paths`: files, directories (their `.yaml`, `.yml` and `.json` files, to the bottom), `-` for standard
    /// input. Every object is kept, in the order of the files.
    pub fn read(&self, paths: &[PathBuf]) -> Files {
        let mut files = Files::default();
        let mut seen = BTreeSet::new();
        for path in paths {
            if path == Path::new(STDIN) {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
                files.add_source(STDIN, read);
                continue;
            }
            let found = find(path, &self.exclude).unwrap_or_else(|problem| {
                files.problems.push(problem);
                Vec::new()
            });
            for file in found {
                if seen.insert(file.clone()) {
                    files.add_source(&file.display().to_string(), fs::read(&file));
                }
            }
        }
        self.decode(&mut files);
        files
    }

    fn decode(&self, files: &mut Files) {
        let namespace = self.namespace.map_or_else(default_namespace, Symbol::new);
        files.decode(&namespace, self.progress);
        match self.validation {
            Validation::Strict => {}
            Validation::Warn => {
                let refused = files.refused.drain(..);
                files.notes.extend(refused.map(|refused| refused.to_string()));
            }
            Validation::Ignore => files.refused.clear(),
        }
    }
}

/// Reads `paths` as [`Reader::load`] does, with nothing excluded.
pub fn load(paths: &[PathBuf], namespace: Option<&str>) -> Files {
    let reader = Reader {
        namespace,
        ..Reader::default()
    };
    reader.load(paths)
}

/// Reads `paths` as [`Reader::read`] does, with nothing excluded.
pub fn read(paths: &[PathBuf], namespace: Option<&str>) -> Files {
    let reader = Reader {
        namespace,
        ..Reader::default()
    };
    reader.read(paths)
}

impl Files {
    /// The world that the files describe.
    pub fn world(&self, settings: Settings) -> World {
        let mut world = World::new(settings);
        self.lay_over(&mut world);
        world
    }

    /// Puts the objects of the files into a world, as if they were applied: what is there already stays as old as it is.
    pub fn lay_over(&self, world: &mut World) {
        for object in &self.objects {
            let mut object = object.resource.clone();
            if let Some(known) = world.get(&object.reference()) {
                let (known, meta) = (known.meta(), object.meta_mut());
                meta.created = meta.created.or(known.created);
                meta.deleting |= known.deleting;
            }
            world.apply(object);
        }
    }

    /// What could not be read, and then what the API server would refuse.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(&self.refused)
    }

    /// How many files were read.
    pub fn count(&self) -> usize {
        self.sources.len()
    }

    /// The text of a file that was read.
    pub fn text(&self, file: &str) -> Option<&str> {
        let source = self.sources.iter().find(|source| source.name == file)?;
        Some(&source.text)
    }

    /// The names of the files that were read, and their texts.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let sources = self.sources.iter();
        sources.map(|source| (source.name.as_str(), source.text.as_str()))
    }

    /// The name and the text of the file at this place among them.
    pub(super) fn source(&self, at: usize) -> Option<(&str, &str)> {
        let source = self.sources.get(at)?;
        Some((&source.name, &source.text))
    }

    /// The file that an object is in.
    pub fn file_of(&self, object: &FileObject) -> Option<&str> {
        self.source(object.origin.source).map(|(name, _)| name)
    }

    /// Where the field `path` of an object stands, or, if it is not written, the nearest field above it; with an
    /// empty path, where the object is named.
    pub fn place(&self, object: &FileObject, path: &str) -> Place {
        self.places(&[(object, path)]).pop().unwrap_or_default()
    }

    /// As [`Files::place`], of many fields, in their order: each document is read once.
    pub fn places(&self, fields: &[(&FileObject, &str)]) -> Vec<Place> {
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|at| fields[*at].0.origin.document_key());
        let mut places = vec![Place::default(); fields.len()];
        for of_document in
            order.chunk_by(|a, b| fields[*a].0.origin.document_key() == fields[*b].0.origin.document_key())
        {
            let origin = fields[of_document[0]].0.origin;
            let Some(source) = self.sources.get(origin.source) else {
                continue;
            };
            let document = origin.document.of(&source.text).decode().ok();
            for at in of_document {
                let (object, path) = fields[*at];
                let node = document
                    .as_ref()
                    .and_then(|document| object.origin.object(document));
                places[*at] = node.map_or_else(
                    || Place::whole(&source.name),
                    |node| Place::of(&source.name, node, path),
                );
            }
        }
        places
    }

    /// The object as JSON, as the API server would be sent it.
    pub fn json(&self, object: &FileObject) -> Option<serde_json::Value> {
        self.jsons(&[object]).pop().flatten()
    }

    /// As [`Files::json`], of many objects, in their order: neighbours in one document are read together.
    pub fn jsons(&self, objects: &[&FileObject]) -> Vec<Option<serde_json::Value>> {
        let by_document = objects.chunk_by(|a, b| a.origin.document_key() == b.origin.document_key());
        let of_document = |objects: &[&FileObject]| -> Vec<Option<serde_json::Value>> {
            let origin = objects[0].origin;
            let source = self.sources.get(origin.source);
            let document = source.and_then(|source| origin.document.of(&source.text).decode().ok());
            let json = |object: &&FileObject| {
                let node = object.origin.object(document.as_ref()?)?;
                serde_json::Value::deserialize(node).ok()
            };
            objects.iter().map(json).collect()
        };
        by_document.flat_map(of_document).collect()
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
                    .map_err(|error| Problem::of(name, &error))
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
    fn decode(&mut self, namespace: &Symbol, progress: Option<&Progress>) {
        let mut documents = Vec::new();
        for (source, file) in self.sources.iter().enumerate() {
            let of_file = yaml::documents(&file.text).into_iter();
            documents.extend(of_file.map(|raw| Document {
                source,
                file: &file.name,
                raw,
            }));
        }
        if let Some(progress) = progress {
            progress.begin("documents read", documents.len());
        }
        let decoded = in_shares(&documents, |share| Decoded::of(share, namespace, progress));
        for part in decoded {
            self.objects.extend(part.objects);
            self.problems.extend(part.problems);
            self.refused.extend(part.refused);
            self.skipped += part.skipped;
        }
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
        let mut both = Vec::new();
        for earlier in replaced.iter().filter_map(|at| self.objects.get(*at)) {
            let later = last.get(&earlier.resource.reference());
            let later = later.and_then(|later| self.objects.get(*later));
            both.extend([(earlier, "kind"), (later.unwrap_or(earlier), "kind")]);
        }
        let places = self.places(&both);
        for ((earlier, _), places) in both.iter().step_by(2).zip(places.chunks(2)) {
            let [earlier_place, later_place] = places else {
                continue;
            };
            self.notes.push(format!(
                "{} in {earlier_place} is replaced by the one in {later_place}",
                earlier.resource.reference()
            ));
        }
        let mut at = 0..;
        self.objects
            .retain(|_| at.next().is_some_and(|at| !replaced.contains(&at)));
    }
}
