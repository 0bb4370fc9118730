//! Keys that the configuration does not have.

use serde_ignored::Path;
use serde_json::Value;

use crate::lane::meant;

/// The field as Kubernetes writes it.
pub(super) fn field(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field(parent)),
        Path::Map { parent, key } => match field(parent) {
            above if above.is_empty() => key.clone(),
            above => format!("{above}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field(parent)
        }
    }
}

/// What to say of the key at the end of `path`, which `schema` does not know.
pub(super) fn unknown(path: &str, schema: &Value) -> String {
    let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
    let known = properties(above, schema);
    match meant(key, known.iter().copied()) {
        Some(near) => format!("there is no such key; did you mean `{near}`?"),
        None => format!("there is no such key; the keys here are {}", known.join(", ")),
    }
}

/// The keys that `schema` knows at `path`.
fn properties<'s>(path: &str, schema: &'s Value) -> Vec<&'s str> {
    let mut at = schema;
    for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
        let next = if segment.ends_with(']') {
            at.get("items")
        } else {
            at.get("properties")
                .and_then(|properties| properties.get(segment))
        };
        let Some(next) = next else { return Vec::new() };
        at = resolved(next, schema);
    }
    let properties = at.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect()
}

/// What a reference stands for; an optional value's schema is a choice between it and null.
fn resolved<'s>(at: &'s Value, schema: &'s Value) -> &'s Value {
    let choices = at.get("anyOf").and_then(Value::as_array);
    let at = choices.and_then(|choices| choices.first()).unwrap_or(at);
    let reference = at.get("$ref").and_then(Value::as_str);
    reference
        .and_then(|reference| schema.pointer(reference.strip_prefix('#')?))
        .unwrap_or(at)
}
