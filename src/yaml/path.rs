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
                None => {
                    return Found {
                        is_exact: false,
                        ..found
                    };
                }
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

/// The path as a JSON pointer (RFC 6901).
pub fn pointer(path: &str) -> json_patch::jsonptr::PointerBuf {
    json_patch::jsonptr::PointerBuf::from_tokens(segments(path))
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

/// A map's key as the last part of a path: `.bu`, or `[x.y/z]` where the key has a dot or a slash.
pub fn field(key: &str) -> String {
    let segment = under_key(key, "");
    if segment.starts_with('[') {
        segment
    } else {
        format!(".{segment}")
    }
}

fn join(segment: String, path: &str) -> String {
    match path.chars().next() {
        None => segment,
        Some('[') => segment + path,
        Some(_) => segment + "." + path,
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents;
    use super::*;

    const TEXT: &str = "metadata:\n  labels:\n    app.kubernetes.io/name: x\n    \"1\": y\nspec:\n  http:\n  - match:\n    - {}\n";

    fn start(path: &str) -> (u32, u32, bool) {
        let documents = documents(TEXT);
        let node = documents[0].decode().unwrap();
        let found = node.find(path);
        let place = found.node.span().start;
        (place.line, place.column, found.is_exact)
    }

    #[test]
    fn a_path_leads_to_its_value() {
        assert_eq!(start("metadata.labels[app.kubernetes.io/name]"), (3, 29, true));
        assert_eq!(start("metadata.labels[1]"), (4, 10, true));
        assert_eq!(start("metadata.labels.1"), (4, 10, true));
        assert_eq!(start("spec.http[0].match[0]"), (8, 7, true));
        assert_eq!(start(""), (1, 1, true));
    }

    #[test]
    fn a_path_that_ends_early_leads_to_the_deepest_value_on_its_way() {
        assert_eq!(start("spec.http[0].route[0].weight"), (7, 5, false));
        assert_eq!(start("spec.http[7]"), (7, 3, false));
        assert_eq!(start("spec.http[0].match[0].headers[x]"), (8, 7, false));
        assert_eq!(start("status"), (1, 1, false));
        assert_eq!(start("metadata.labels[1].x"), (4, 10, false));
    }

    #[test]
    fn a_path_leads_to_the_key_too() {
        let documents = documents(TEXT);
        let node = documents[0].decode().unwrap();
        let key = node.find("spec.http").key.unwrap();
        assert_eq!((key.start.line, key.start.column), (6, 3));
        assert_eq!((key.end.line, key.end.column), (6, 7));
        assert!(node.find("spec.http[0]").key.is_none());
    }

    #[test]
    fn a_path_is_a_pointer_too() {
        let pointer = pointer("metadata.labels[app.kubernetes.io/name].a~b[1]");
        assert_eq!(
            pointer.as_str(),
            "/metadata/labels/app.kubernetes.io~1name/a~0b/1"
        );
    }

    #[test]
    fn keys_with_dots_or_slashes_stand_in_brackets() {
        let path = under_key(
            "metadata",
            &under_key("labels", &under_key("app.kubernetes.io/name", "")),
        );
        assert_eq!(path, "metadata.labels[app.kubernetes.io/name]");
        let path = under_key("http", &under_index(0, &under_key("route", &under_index(1, ""))));
        assert_eq!(path, "http[0].route[1]");
    }
}
