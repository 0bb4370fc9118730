//! Writes changes into the text of a document and leaves the rest of it as it is: comments, quotes, order, line ends.
//!
//! `yaml-edit` changes the text. Whether it came out right is not left to it: the new text is decoded as every other
//! is and has to be what the changes make of the decoded old one, and every line without a changed value has to be
//! there still.

use std::str::FromStr;

use json_patch::{Patch, PatchOperation};
use serde::Deserialize as _;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value as Json;
use yaml_edit::path::{AliasPolicy, PathError, YamlPath as _};
use yaml_edit::{Document, Mapping, ScalarStyle, ScalarValue, Sequence, YamlNode};

use super::{Entry, Node, Position, RawDocument, Scalar, Span, Value, documents};

/// Why a document is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A change is for a field that is not there, or not of its kind.
    #[error("there is no {0} to change")]
    NoField(String),
    /// The value comes from an anchor, which others use too.
    #[error(
        "the value comes by an alias or a merge key, and what its anchor holds may be used elsewhere too"
    )]
    Shared,
    /// The text cannot be changed so that nothing else in it changes.
    #[error("the text cannot be changed there without changing more than that")]
    Unsure,
}

/// The path of a field from the top of a document, as a JSON pointer takes it apart.
type Tokens = Vec<String>;

impl RawDocument<'_> {
    /// The text with the changes of a JSON Patch (RFC 6902) over the whole document made in it.
    pub fn edited(&self, patch: &Patch) -> Result<String, EditError> {
        let before = self.decode().map_err(|_| EditError::Unsure)?;
        let mut value = Json::deserialize(&before).map_err(|_| EditError::Unsure)?;
        let document = Document::from_str(self.text()).map_err(|_| EditError::Unsure)?;
        let mut editor = Editor {
            before: &before,
            text: self.text(),
            start: self.start().offset as usize,
            is_json: self.is_json(),
            document,
            changed: Vec::new(),
        };
        for operation in &patch.0 {
            editor.make(operation, &value)?;
            let one = Patch(vec![operation.clone()]);
            json_patch::patch(&mut value, &one)
                .map_err(|_| EditError::NoField(operation.path().to_string()))?;
        }
        let changed = editor.changed;
        let text = with_line_ends_of(self.text(), editor.document.to_string());
        let is_meant = match documents(&text).as_slice() {
            [after] => {
                let after = after.decode().ok();
                after.and_then(|after| Json::deserialize(&after).ok()) == Some(value)
            }
            _ => false,
        };
        if is_meant && keeps_lines(self.text(), &text, &changed) {
            Ok(text)
        } else {
            Err(EditError::Unsure)
        }
    }
}

/// A document while it is changed.
struct Editor<'n, 'a> {
    before: &'n Node<'a>,
    text: &'a str,
    /// Where the text starts in its file.
    start: usize,
    is_json: bool,
    document: Document,
    /// What was changed or taken away of the text as it was.
    changed: Vec<std::ops::Range<usize>>,
}

impl Editor<'_, '_> {
    /// Makes one change of a document that is now `value`.
    fn make(&mut self, operation: &PatchOperation, value: &Json) -> Result<(), EditError> {
        match operation {
            PatchOperation::Add(add) => self.add(&tokens(&add.path), &add.value, value),
            PatchOperation::Replace(replace) => {
                let at = tokens(&replace.path);
                self.touch(&at);
                self.set(&at, &replace.value, value)
            }
            PatchOperation::Remove(remove) => self.remove(&tokens(&remove.path), value),
            PatchOperation::Copy(copy) => {
                let item = self.written(&tokens(&copy.from), value)?;
                self.insert(&tokens(&copy.path), &item, value)
            }
            PatchOperation::Move(moved) => self.rename(&tokens(&moved.from), &tokens(&moved.path), value),
            PatchOperation::Test(_) => Ok(()),
        }
    }

    fn add(&mut self, at: &Tokens, new: &Json, value: &Json) -> Result<(), EditError> {
        if let (Json::Array(_), _) = parent(at, value)? {
            let item = self.text_of(new)?;
            return self.insert(at, &item, value);
        }
        self.touch(at);
        self.touch_around(at);
        self.set(at, new, value)
    }

    /// Gives a field its value, key by key where that is a mapping that is not there yet.
    fn set(&self, at: &Tokens, new: &Json, value: &Json) -> Result<(), EditError> {
        match new {
            Json::Object(fields) if !fields.is_empty() && get(at, value).is_none_or(Json::is_null) => {
                fields.iter().try_for_each(|(key, new)| {
                    let mut at = at.clone();
                    at.push(key.clone());
                    self.set(&at, new, value)
                })
            }
            Json::Array(items) if get(at, value).is_none_or(Json::is_null) => {
                let path = path_of(at, value)?;
                items.iter().enumerate().try_for_each(|(index, item)| {
                    let scalar = self.scalar(item, None).ok_or(EditError::Unsure)?;
                    let path = format!("{path}[{index}]");
                    self.document.try_set_path(&path, scalar).map_err(refused)
                })
            }
            _ => {
                let scalar = self.scalar(new, self.style_of(at)).ok_or(EditError::Unsure)?;
                let path = path_of(at, value)?;
                self.document.try_set_path(&path, scalar).map_err(refused)
            }
        }
    }

    fn remove(&mut self, at: &Tokens, value: &Json) -> Result<(), EditError> {
        self.touch(at);
        let (Json::Array(items), last) = parent(at, value)? else {
            let path = path_of(at, value)?;
            let removed = self.document.try_remove_path(&path);
            return removed.map(|_| ()).map_err(refused);
        };
        let index = index_of(last).filter(|index| *index < items.len());
        let sequence = self.list(&at[..at.len() - 1], value)?;
        let removed = index.and_then(|index| sequence.remove(index));
        removed.map(|_| ()).ok_or_else(|| no_field(at))
    }

    /// Gives a key another name, or a value another place.
    fn rename(&mut self, from: &Tokens, to: &Tokens, value: &Json) -> Result<(), EditError> {
        let moved = get(from, value).cloned().ok_or_else(|| no_field(from))?;
        let (Some((old, above)), Some((new, to_above))) = (from.split_last(), to.split_last()) else {
            return Err(EditError::Unsure);
        };
        if above == to_above && matches!(get(above, value), Some(Json::Object(_))) {
            self.touch_key(from);
            let is_renamed = self.mapping(above, value)?.rename_key(old.as_str(), new.as_str());
            return if is_renamed {
                Ok(())
            } else {
                Err(EditError::Shared)
            };
        }
        self.remove(from, value)?;
        let mut rest = value.clone();
        take(&mut rest, from);
        self.add(to, &moved, &rest)
    }

    /// Puts an item into a list, before the one of this index or at the end.
    fn insert(&mut self, at: &Tokens, item: &str, value: &Json) -> Result<(), EditError> {
        let (Json::Array(items), last) = parent(at, value)? else {
            return Err(EditError::Unsure);
        };
        self.touch_around(at);
        let sequence = self.list(&at[..at.len() - 1], value)?;
        let item = Document::from_str(item).map_err(|_| EditError::Unsure)?;
        let index = if last == "-" {
            Some(items.len())
        } else {
            index_of(last)
        };
        match index.ok_or_else(|| no_field(at))? {
            end if end == items.len() => sequence.push(item),
            index => sequence.insert(index, item),
        }
        Ok(())
    }

    /// An item of the document as it was, on paper by itself: without comments, its keys in their order.
    fn written(&self, at: &Tokens, value: &Json) -> Result<String, EditError> {
        match node_at(self.before, at) {
            Some(node) => self.text_of(&Ordered(node)),
            None => self.text_of(get(at, value).ok_or_else(|| no_field(at))?),
        }
    }

    fn text_of(&self, value: &impl Serialize) -> Result<String, EditError> {
        if self.is_json {
            return serde_json::to_string(value).map_err(|_| EditError::Unsure);
        }
        serde_saphyr::to_string(value).map_err(|_| EditError::Unsure)
    }

    fn list(&self, at: &[String], value: &Json) -> Result<Sequence, EditError> {
        match self.container(at, value)? {
            YamlNode::Sequence(list) => Ok(list),
            _ => Err(EditError::Shared),
        }
    }

    fn mapping(&self, at: &[String], value: &Json) -> Result<Mapping, EditError> {
        if at.is_empty() {
            return self.document.as_mapping().ok_or(EditError::Unsure);
        }
        match self.container(at, value)? {
            YamlNode::Mapping(mapping) => Ok(mapping),
            _ => Err(EditError::Shared),
        }
    }

    fn container(&self, at: &[String], value: &Json) -> Result<YamlNode, EditError> {
        let path = path_of(at, value)?;
        let found = self.document.try_get_path_with(&path, AliasPolicy::Refuse);
        found.map_err(refused)
    }

    /// A scalar as it is to be written: with the quotes that the old one has, and with some where it needs them.
    fn scalar(&self, value: &Json, style: Option<ScalarStyle>) -> Option<ScalarValue> {
        let text = match value {
            Json::String(text) => text.as_str(),
            Json::Null | Json::Bool(_) | Json::Number(_) => {
                return Some(ScalarValue::parse(value.to_string()));
            }
            Json::Array(_) | Json::Object(_) => return None,
        };
        let is_plain = || {
            let read = documents(text);
            matches!(read.as_slice(), [one] if one.decode().is_ok_and(|node| node.as_str() == Some(text)))
        };
        Some(match style {
            _ if self.is_json => ScalarValue::double_quoted(text),
            Some(style) => ScalarValue::with_style(text, style),
            // yaml-edit quotes what needs it in its place; by YAML 1.1, more does.
            None if is_plain() => ScalarValue::string(text),
            None => ScalarValue::double_quoted(text),
        })
    }

    /// The quotes of a scalar in the document as it was.
    fn style_of(&self, at: &Tokens) -> Option<ScalarStyle> {
        match self.byte_at(node_at(self.before, at)?.span().start)? {
            b'"' => Some(ScalarStyle::DoubleQuoted),
            b'\'' => Some(ScalarStyle::SingleQuoted),
            _ => None,
        }
    }

    /// Notes where a new field is to stand: brackets get it on a line that is there, and so does a key without a value.
    fn touch_around(&mut self, at: &[String]) {
        let mut above = (0..at.len()).rev().map(|len| &at[..len]);
        let Some(found) = above.find_map(|above| node_at(self.before, above)) else {
            return;
        };
        let last = match found.value() {
            Value::Sequence(items) => items.last(),
            Value::Mapping(entries) => entries.last().map(|entry| &entry.value),
            Value::Scalar(..) => None,
        };
        let (span, last) = (found.span(), last.map(|last| last.span().end));
        let is_block = last.is_some() && !matches!(self.byte_at(span.start), Some(b'{' | b'['));
        if !is_block {
            let start = last.unwrap_or(span.start);
            self.touch_span(Span { start, ..span });
        }
    }

    fn byte_at(&self, position: Position) -> Option<u8> {
        let from = (position.offset as usize).checked_sub(self.start)?;
        self.text.as_bytes().get(from).copied()
    }

    /// Notes that a field of the document as it was is not to stay.
    fn touch(&mut self, at: &[String]) {
        if let Some(node) = node_at(self.before, at) {
            self.touch_key(at);
            self.touch_span(node.span());
        }
    }

    /// Notes that the key of a field is not to stay.
    fn touch_key(&mut self, at: &[String]) {
        let Some((last, above)) = at.split_last() else {
            return;
        };
        let entries = node_at(self.before, above).map(Node::entries).unwrap_or_default();
        let key = entries.iter().find(|entry| entry.name() == last);
        if let Some(span) = key.map(|entry| entry.key.span()) {
            self.touch_span(span);
        }
    }

    fn touch_span(&mut self, span: Span) {
        let place = |position: Position| (position.offset as usize).saturating_sub(self.start);
        self.changed.push(place(span.start)..place(span.end));
    }
}

/// What a node holds, its keys in the order of the file.
struct Ordered<'n, 'a>(&'n Node<'a>);

impl Serialize for Ordered<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.value() {
            Value::Sequence(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items
                    .iter()
                    .try_for_each(|item| list.serialize_element(&Self(item)))?;
                list.end()
            }
            Value::Mapping(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for Entry { key, value } in entries {
                    map.serialize_entry(key.as_str().unwrap_or_default(), &Self(value))?;
                }
                map.end()
            }
            Value::Scalar(scalar, text) => match scalar {
                Scalar::Null => serializer.serialize_unit(),
                Scalar::Bool(value) => serializer.serialize_bool(*value),
                Scalar::Int(value) => serializer.serialize_i64(*value),
                Scalar::Uint(value) => serializer.serialize_u64(*value),
                Scalar::Float(value) => serializer.serialize_f64(*value),
                Scalar::String => serializer.serialize_str(text),
            },
        }
    }
}

fn tokens(pointer: &json_patch::jsonptr::Pointer) -> Tokens {
    pointer
        .tokens()
        .map(|token| token.decoded().into_owned())
        .collect()
}

fn no_field(at: &[String]) -> EditError {
    EditError::NoField(at.join("."))
}

#[allow(clippy::needless_pass_by_value, reason = "the form that `map_err` calls")]
fn refused(error: PathError) -> EditError {
    match error {
        // What the decoder finds and the text does not have comes by an anchor.
        PathError::AliasRefused { .. } | PathError::UndefinedAlias { .. } | PathError::NotFound { .. } => {
            EditError::Shared
        }
        _ => EditError::Unsure,
    }
}

fn index_of(token: &str) -> Option<usize> {
    token.parse().ok()
}

fn get<'v>(at: &[String], value: &'v Json) -> Option<&'v Json> {
    at.iter().try_fold(value, |value, token| match value {
        Json::Array(items) => items.get(index_of(token)?),
        Json::Object(fields) => fields.get(token),
        _ => None,
    })
}

/// The list or mapping that a field is in, and its place there.
fn parent<'v, 't>(at: &'t [String], value: &'v Json) -> Result<(&'v Json, &'t str), EditError> {
    let (last, above) = at.split_last().ok_or(EditError::Unsure)?;
    let parent = get(above, value).ok_or_else(|| no_field(above))?;
    Ok((parent, last))
}

fn take(value: &mut Json, at: &[String]) {
    let remove = PatchOperation::Remove(json_patch::RemoveOperation {
        path: json_patch::jsonptr::PointerBuf::from_tokens(at),
    });
    // What is not there need not be taken away.
    let _ = json_patch::patch(value, &[remove]);
}

fn node_at<'n, 'a>(root: &'n Node<'a>, at: &[String]) -> Option<&'n Node<'a>> {
    at.iter().try_fold(root, |node, token| match node.value() {
        Value::Sequence(items) => items.get(index_of(token)?),
        _ => node.get(token),
    })
}

/// The path as yaml-edit reads it: what has a meaning in it, and a key of digits, stands behind a backslash.
fn path_of(at: &[String], value: &Json) -> Result<String, EditError> {
    let mut path = String::new();
    let mut value = Some(value);
    for token in at {
        if let Some(Json::Array(items)) = value {
            let index = index_of(token).filter(|index| *index < items.len());
            let index = index.ok_or_else(|| no_field(at))?;
            path.extend(["[", &index.to_string(), "]"]);
            value = items.get(index);
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        for (position, char) in token.chars().enumerate() {
            if matches!(char, '.' | '[' | ']' | '\\') || (position == 0 && char.is_ascii_digit()) {
                path.push('\\');
            }
            path.push(char);
        }
        value = value.and_then(|value| value.get(token));
    }
    Ok(path)
}

/// The text with the line ends of another, where that has but one kind.
fn with_line_ends_of(old: &str, new: String) -> String {
    let lines = old.matches('\n').count();
    if lines > 0 && old.matches("\r\n").count() == lines {
        new.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        new
    }
}

/// Whether all lines of the old text are in the new one still, in their order, but for those that have something of
/// what was changed.
fn keeps_lines(old: &str, new: &str, changed: &[std::ops::Range<usize>]) -> bool {
    let mut new = new.lines();
    let mut from = 0;
    old.split_inclusive('\n').all(|line| {
        let end = from + line.len();
        let is_changed = changed.iter().any(|range| range.start < end && from <= range.end);
        from = end;
        let line = line.trim_end_matches(['\n', '\r']);
        is_changed || new.any(|other| other == line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The text of a document with the operations of a JSON Patch made in it.
    fn edited(text: &str, operations: Json) -> Result<String, EditError> {
        let patch: Patch = serde_json::from_value(operations).unwrap();
        documents(text)[0].edited(&patch)
    }

    fn replace(text: &str, path: &str, value: impl Into<Json>) -> Result<String, EditError> {
        edited(
            text,
            json!([{"op": "replace", "path": path, "value": value.into()}]),
        )
    }

    fn set_bu(path: &str) -> Json {
        json!([{"op": "add", "path": path, "value": {"request": {"set": {"bu": "wicph"}}}}])
    }

    #[test]
    fn a_value_changes_and_its_quotes_and_comments_stay() {
        let text = "# 车\na:   x # one\nb: \"x\"   # two\nc: 'x'\nd: {e: x, f: [x, y]} # é\n";
        assert_eq!(
            replace(text, "/a", "new").unwrap(),
            text.replace("a:   x", "a:   new")
        );
        assert_eq!(
            replace(text, "/b", "y").unwrap(),
            text.replace("b: \"x\"", "b: \"y\"")
        );
        assert_eq!(
            replace(text, "/c", "y").unwrap(),
            text.replace("c: 'x'", "c: 'y'")
        );
        assert_eq!(
            replace(text, "/d/f/1", "z").unwrap(),
            text.replace("[x, y]", "[x, z]")
        );
        assert_eq!(
            replace(text, "/a", 8080).unwrap(),
            text.replace("a:   x", "a:   8080")
        );
    }

    #[test]
    fn a_string_that_kubectl_would_read_otherwise_gets_quotes() {
        for value in [
            "yes", "1.0", "0777", "1_000", "~", "", "12:30:45", "a: b", "#a", "%REQ(a)%", "a b",
        ] {
            let text = replace("a: x # one\n", "/a", value).unwrap();
            assert!(
                text.starts_with("a: ") && text.ends_with(" # one\n"),
                "{value}: {text}"
            );
        }
    }

    #[test]
    fn a_mapping_that_is_not_there_is_written_as_its_neighbours_are() {
        let block = "http:\n- route: [] # one\n\n# two\n- route: []\n";
        assert_eq!(
            edited(block, set_bu("/http/0/headers")).unwrap(),
            "http:\n- route: [] # one\n  headers:\n    request:\n      set:\n        bu: wicph\n\n# two\n- route: []\n"
        );
        let flow = "http: [{route: []}, {route: []}] # one\n";
        assert_eq!(
            edited(flow, set_bu("/http/1/headers")).unwrap(),
            "http: [{route: []}, {route: [], headers: {request: {set: {bu: wicph}}}}] # one\n"
        );
        let null = "http:\n- headers: # one\n  route: []\n";
        let written = edited(null, set_bu("/http/0/headers"));
        assert!(
            written.as_ref().is_ok_and(|text| text.contains("# one")) || written == Err(EditError::Unsure),
            "{written:?}"
        );
    }

    #[test]
    fn json_stays_json() {
        let text = "{\n\t\"http\": [\n\t\t{\"route\": [], \"weight\": 1}\n\t]\n}";
        let changed = edited(text, set_bu("/http/0/headers")).unwrap();
        assert_eq!(
            changed,
            text.replace(
                "1}",
                "1, \"headers\": {\"request\": {\"set\": {\"bu\": \"wicph\"}}}}"
            )
        );
        assert!(serde_json::from_str::<Json>(&changed).is_ok());
        let copied = edited(
            text,
            json!([{"op": "copy", "from": "/http/0", "path": "/http/-"}]),
        );
        assert!(serde_json::from_str::<Json>(&copied.unwrap()).is_ok());
        let named = replace("{\"a\": \"x\", \"b\": [\"y\"]}", "/a", "z\"\n").unwrap();
        assert_eq!(named, "{\"a\": \"z\\\"\\n\", \"b\": [\"y\"]}");
    }

    #[test]
    fn line_ends_stay_as_they_are() {
        let text = "http:\r\n- route: [] # one\r\n- route: []\r\n";
        let changed = edited(text, set_bu("/http/0/headers")).unwrap();
        assert_eq!(
            changed,
            "http:\r\n- route: [] # one\r\n  headers:\r\n    request:\r\n      set:\r\n        bu: wicph\r\n- route: []\r\n"
        );
        assert_eq!(replace("a: 1\nb: x", "/b", "new").unwrap(), "a: 1\nb: new");
    }

    #[test]
    fn an_item_is_copied_without_its_comments_and_with_its_order() {
        let text = "subsets:\n# first\n- name: a-x # this one\n  labels: {version: x, app: a}\n# end\n";
        let operations = json!([
            {"op": "copy", "from": "/subsets/0", "path": "/subsets/-"},
            {"op": "add", "path": "/subsets/1/name", "value": "a-y"},
            {"op": "add", "path": "/subsets/1/labels/version", "value": "new"},
            {"op": "remove", "path": "/subsets/1/labels/app"},
        ]);
        assert_eq!(
            edited(text, operations).unwrap(),
            "subsets:\n# first\n- name: a-x # this one\n  labels: {version: x, app: a}\n- name: a-y\n  labels:\n    version: new\n# end\n"
        );
        let nothing = json!([
            {"op": "add", "path": "/subsets/-", "value": {"name": "a"}},
            {"op": "add", "path": "/subsets/0/labels", "value": {"version": "a"}},
        ]);
        let written = edited("subsets: [] # none\n", nothing).unwrap();
        assert!(written.ends_with(" # none\n"), "{written}");
    }

    #[test]
    fn a_key_gets_another_name() {
        let text = "labels:\n  verison: x # one\n  \"a.b/c\": y\n";
        let rename = |from: &str, to: &str| {
            edited(
                text,
                json!([{"op": "move", "from": format!("/labels/{from}"), "path": format!("/labels/{to}")}]),
            )
        };
        assert_eq!(
            rename("verison", "version").unwrap(),
            text.replace("verison", "version")
        );
        let dotted = rename("a.b~1c", "a.b~1d").unwrap();
        assert!(
            dotted.contains("a.b/d") && dotted.contains("verison: x # one"),
            "{dotted}"
        );
    }

    #[test]
    fn a_field_goes_and_a_list_loses_an_item() {
        let text = "a: 1\nremove: [bu, buid] # one\nlist:\n- x\n- y # two\n";
        let remove = |path: &str| edited(text, json!([{"op": "remove", "path": path}])).unwrap();
        assert_eq!(remove("/remove/1"), text.replace("[bu, buid]", "[bu]"));
        assert_eq!(remove("/list/0"), text.replace("- x\n", ""));
        assert_eq!(remove("/a"), text.replace("a: 1\n", ""));
    }

    #[test]
    fn what_an_anchor_shares_is_left_as_it_is() {
        let text = "base: &base {version: x}\nown: *base\nmerged:\n  <<: *base\nlist: [&one x, *one]\n";
        for path in ["/own/version", "/base/version", "/list/0"] {
            assert!(replace(text, path, "y").is_err(), "{path}");
        }
        let replaced = replace(text, "/list/1", "new").unwrap();
        assert_eq!(replaced, text.replace("*one]", "new]"));
    }

    #[test]
    fn what_is_not_there_is_not_made() {
        assert!(matches!(
            replace("a: 1\n", "/b/c", "x"),
            Err(EditError::NoField(_))
        ));
        assert!(matches!(
            replace("a: [1]\n", "/a/7", "x"),
            Err(EditError::NoField(_))
        ));
    }

    #[test]
    fn a_line_that_is_lost_is_noticed() {
        let old = "a: 1 # one\n# two\nb: 2\n";
        let value = std::slice::from_ref(&(0..4));
        assert!(keeps_lines(old, "a: 3 # one\n# two\nb: 2\n", value));
        assert!(!keeps_lines(old, "a: 3 # one\nb: 2\n", value));
        assert!(!keeps_lines(old, "a: 3 # one\n# two\nb: 2\n", &[]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn any_document_is_changed_rightly_or_left_as_it_is(
            text in "(a|b): ([-a:\\[\\]{},&*!|>'\"#~\n 1é.<]|\n  ){0,30}",
            path in "/(a|b)(/(0|1|a|-))?",
            value in "(x|yes|1| #|'|\\{)",
        ) {
            let operations = json!([{"op": "add", "path": path, "value": value}]);
            for document in documents(&text) {
                let Ok(before) = document.decode() else { continue };
                let mut meant = Json::deserialize(&before).unwrap();
                let patch: Patch = serde_json::from_value(operations.clone()).unwrap();
                let is_sound = json_patch::patch(&mut meant, &patch).is_ok();
                if let Ok(after) = document.edited(&patch) {
                    prop_assert!(is_sound);
                    let after = documents(&after)[0].decode().map(|node| Json::deserialize(&node).unwrap());
                    prop_assert_eq!(after, Ok(meant));
                }
            }
        }
    }
}
