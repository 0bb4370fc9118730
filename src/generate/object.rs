//! Objects as they are made: what is there already keeps its name, its labels and what the lanes say nothing of.

use serde_json::{Map, Value, json};

use super::Generated;
use crate::resource::{Kind, ObjectRef};

/// The order in which the fields of these objects are written; others come after them, by name.
pub const ORDER: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "name",
    "namespace",
    "selector",
    "host",
    "hosts",
    "gateways",
    "trafficPolicy",
    "subsets",
    "match",
    "headers",
    "rewrite",
    "destination",
    "port",
    "subset",
    "lane_header",
    "traffic_lane",
    "lanes",
];

/// The annotation in which kubectl keeps what was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object with this spec, in the place of `known`.
pub(super) fn object(reference: &ObjectRef, known: Option<&Value>, spec: Map<String, Value>) -> Value {
    let api_version = known.and_then(|known| known["apiVersion"].as_str());
    let api_version = api_version.map_or_else(|| reference.kind.api_version(), ToOwned::to_owned);
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(reference.name));
    metadata.insert("namespace".to_owned(), json!(reference.namespace));
    for field in ["labels", "annotations"] {
        let mut kept = known.map_or(Value::Null, |known| known["metadata"][field].clone());
        if let Some(kept) = kept.as_object_mut() {
            kept.remove(LAST_APPLIED);
        }
        if kept.as_object().is_some_and(|kept| !kept.is_empty()) {
            metadata.insert(field.to_owned(), kept);
        }
    }
    let mut object = json!({"apiVersion": api_version, "kind": reference.kind.name()});
    object["metadata"] = Value::Object(metadata);
    object["spec"] = Value::Object(spec);
    object
}

/// What of an object that is there can be compared with what is made: not what the API server keeps in it.
pub fn comparable(reference: &ObjectRef, known: &Value) -> Value {
    object(reference, Some(known), spec_of(Some(known)))
}

/// The spec of what is there.
pub(super) fn spec_of(known: Option<&Value>) -> Map<String, Value> {
    let spec = known.and_then(|known| known["spec"].as_object());
    spec.cloned().unwrap_or_default()
}

/// A name for a new object: the first that neither is there nor was made.
pub(super) fn free_name(
    kind: Kind,
    namespace: &str,
    wanted: &[String],
    is_there: impl Fn(&ObjectRef) -> bool,
    made: &Generated,
) -> ObjectRef {
    let last = wanted.last().cloned().unwrap_or_default();
    let more = (2..).map(|number| format!("{last}-{number}"));
    let mut names = wanted.iter().cloned().chain(more);
    loop {
        let name = names.next().unwrap_or_default();
        let reference = ObjectRef::new(kind, namespace, &name);
        if !is_there(&reference) && !made.objects.contains_key(&reference) {
            return reference;
        }
    }
}
