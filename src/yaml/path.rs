//! Field paths as Kubernetes writes them: `spec.http[0].route`, `metadata.labels[app.kubernetes.io/name]`.

use super::{Node, Span, Value};

/// Where a field path leads.
#[derive(Debug, Clone, Copy)]
pub struct Found<'n, 'a> {
    /// The value, or the deepest value on the way that exists.
    pub node: &'n Node<'a>,
    /// The key that it stands under; `None` for an item of a list and for the document itself.
    pub key: Option<Span>,
    /// Whether the whole path exists.
    pub is_exact: bool,
}

impl<'a> Node<'a> {
    /// Follows a field path from here; the empty path is the node itself.
    pub fn find(&self, path: &str) -> Found<'_, 'a> {
        let mut found = Found {
            node: self,
            key: None,
            is_exact: true,
        };
        for segment in segments(path) {
            let next = match found.node.value() {
                Value::Mapping(entries) => entries
                    .iter()
                    .find(|entry| entry.name() == segment)
                    .map(|entry| (&entry.value, Some(entry.key.span()))),
                Value::Sequence(items) => segment
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|item| (item, None)),
                Value::Scalar(..) => None,
            };
            match next {
                Some((node, key)) => (found.node, found.key) = (node, key),
                None => return Found { is_exact: false, ..found },
            }
        }
        found
    }
}

/// The keys and indexes of a path.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (segment, after) = if let Some(bracketed) = rest.strip_prefix('[') {
            bracketed.split_once(']').unwrap_or((bracketed, ""))
        } else {
            rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
        };
        let is_end = rest.is_empty();
        rest = after.strip_prefix('.').unwrap_or(after);
        (!is_end).then_some(segment)
    })
}

/// Puts an index in front of a path.
pub(super) fn under_index(index: usize, path: &str) -> String {
    join(format!("[{index}]"), path)
}

/// Puts a key in front of a path.
pub(super) fn under_key(key: &str, path: &str) -> String {
    if key.is_empty() || key.contains(['.', '/', '[', ']']) {
        join(format!("[{key}]"), path)
    } else {
        join(key.to_owned(), path)
    }
}

fn join(segment: String, path: &str) -> String {
    match path.chars().next() {
        None => segment,
        Some('[') => segment + path,
        Some(_) => segment + "." + path,
    }
}
