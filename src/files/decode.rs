//! The objects of documents.

use super::load::{FileObject, Origin};
use super::{Place, Problem};
use crate::progress::Progress;
use crate::resource::{Kind, Meta, Resource};
use crate::schema::{self, Fault};
use crate::symbol::Symbol;
use crate::yaml;

/// How many documents are decoded before it is counted.
const STEPS: usize = 64;

/// A document of a file, and where it stands.
pub(super) struct Document<'t> {
    pub(super) source: usize,
    pub(super) file: &'t str,
    pub(super) raw: yaml::RawDocument<'t>,
}

/// What one thread decoded.
#[derive(Default)]
pub(super) struct Decoded {
    namespace: Symbol,
    pub(super) objects: Vec<FileObject>,
    pub(super) problems: Vec<Problem>,
    pub(super) refused: Vec<Problem>,
    pub(super) skipped: usize,
}

impl Decoded {
    pub(super) fn of(documents: &[Document<'_>], namespace: &Symbol, progress: Option<&Progress>) -> Self {
        let mut decoded = Self {
            namespace: namespace.clone(),
            ..Self::default()
        };
        for some in documents.chunks(STEPS) {
            for document in some {
                match document.raw.decode() {
                    Ok(node) => decoded.document(&node, document),
                    Err(error) => decoded.problems.push(Problem::of(document.file, &error)),
                }
            }
            if let Some(progress) = progress {
                progress.add(some.len());
            }
        }
        decoded
    }

    fn document(&mut self, node: &yaml::Node<'_>, document: &Document<'_>) {
        let origin = Origin {
            source: document.source,
            document: document.raw.extent(),
            item: None,
        };
        let kind = node.get("kind").and_then(yaml::Node::as_str).unwrap_or_default();
        // `kubectl get -o yaml` writes a List, the API a VirtualServiceList.
        match node.get("items").filter(|_| kind.ends_with("List")) {
            Some(items) => {
                for (item, node) in items.items().iter().enumerate() {
                    let item = u32::try_from(item).ok();
                    self.object(node, Origin { item, ..origin }, document.file);
                }
            }
            None => self.object(node, origin, document.file),
        }
    }

    fn object(&mut self, node: &yaml::Node<'_>, origin: Origin, file: &str) {
        let text = |key: &str| node.get(key).and_then(yaml::Node::as_str).unwrap_or_default();
        let api_version = text("apiVersion");
        let Some(kind) = Kind::of(api_version, text("kind")) else {
            return self.unknown(node, file);
        };
        if !is_read(kind, node) {
            self.skipped += 1;
            return;
        }
        let mut faults = schema::faults(kind, node);
        let read = Resource::parse(kind, node)
            .map_err(|error| {
                // The schema says the same of the same field, in better words.
                let same = faults.iter().position(|fault| fault.path == error.path);
                same.map_or_else(
                    || Problem::of(file, &error),
                    |same| refused(file, faults.remove(same)),
                )
            })
            .and_then(|resource| self.named(resource, node, file));
        self.refused
            .extend(faults.into_iter().map(|fault| refused(file, fault)));
        match read {
            Ok(resource) => self.objects.push(FileObject {
                resource,
                api_version: api_version.to_owned(),
                origin,
            }),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// An object of a kind that no rule reads, or that is meant to be another.
    fn unknown(&mut self, node: &yaml::Node<'_>, file: &str) {
        match schema::unserved(node) {
            Some(fault) => self.refused.push(refused(file, fault)),
            None => self.skipped += 1,
        }
    }

    /// The object with the name and the namespace that it gets in a cluster.
    fn named(&self, mut resource: Resource, node: &yaml::Node<'_>, file: &str) -> Result<Resource, Problem> {
        let kind = resource.kind();
        let meta = resource.meta_mut();
        if !give_name(meta) {
            let place = node.get("metadata").unwrap_or(node).span().start;
            return Err(Problem {
                place: Place::point(file, place.line, place.column),
                message: "metadata.name: the object has no name".to_owned(),
            });
        }
        if !kind.is_namespaced() {
            meta.namespace = Symbol::default();
        } else if meta.namespace.is_empty() {
            meta.namespace = self.namespace.clone();
        }
        Ok(resource)
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

/// The problem that a fault is.
fn refused(file: &str, Fault { span, path, message }: Fault) -> Problem {
    Problem {
        place: Place::over(file, span),
        message: format!("{path}: {message}"),
    }
}
