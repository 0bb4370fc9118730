//! The table of fields in `src/schema/fields.txt` is what the schemas of Istio, Kubernetes and Lanekeeper say.
//!
//! The schemas are those that `make control-plane` puts in place. `LANEKEEPER_WRITE=1` writes the table anew
//! (`make generate`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kube::CustomResourceExt as _;
use lanekeeper::resource::{Kind, LaneGroupObject};
use lanekeeper::yaml;
use serde::Deserialize as _;
use serde_json::Value;

/// Each line of the table by its name, in the order in which they were found.
#[derive(Default)]
struct Lines {
    lines: Vec<(String, String)>,
    /// Mappings that are alike are one.
    names: HashMap<String, String>,
}

impl Lines {
    fn add(&mut self, name: &str, words: &[String]) -> String {
        let text = words.join(" ");
        if let Some(known) = self.names.get(&text) {
            return known.clone();
        }
        let is_new = self.lines.iter().all(|(known, _)| known != name);
        assert!(is_new, "two mappings are named {name}");
        self.names.insert(text.clone(), name.to_owned());
        self.lines.push((name.to_owned(), text));
        name.to_owned()
    }
}

/// The built-in kinds, as the Go types decode them: what is required of them is not in their schemas.
struct BuiltIn<'s> {
    definitions: &'s Value,
    /// The definitions that are in the table.
    known: BTreeMap<String, String>,
}

impl BuiltIn<'_> {
    fn definition(&mut self, reference: &str, lines: &mut Lines) -> String {
        let short = reference.rsplit('.').next().expect("a name");
        match short {
            "Quantity" => return "numberOrString".to_owned(),
            "IntOrString" => return "intOrString".to_owned(),
            "FieldsV1" => return "any".to_owned(),
            _ => {}
        }
        if let Some(known) = self.known.get(reference) {
            return known.clone();
        }
        let definition = &self.definitions[reference];
        let Some(properties) = definition["properties"].as_object() else {
            return self.value(definition, lines);
        };
        let words = properties
            .iter()
            .map(|(name, field)| format!("{name}={}", self.value(field, lines)));
        let words: Vec<String> = words.collect();
        let name = lines.add(short, &words);
        self.known.insert(reference.to_owned(), name.clone());
        name
    }

    fn value(&mut self, schema: &Value, lines: &mut Lines) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let reference = reference.rsplit('/').next().expect("a name");
            return self.definition(reference, lines);
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), _) => "string".to_owned(),
            (Some("boolean"), _) => "bool".to_owned(),
            (Some("integer"), Some("int32")) => "int32".to_owned(),
            (Some("integer"), _) => "int".to_owned(),
            (Some("number"), _) => "number".to_owned(),
            (Some("array"), _) => format!("[]{}", self.value(&schema["items"], lines)),
            (Some("object"), _) if schema["additionalProperties"].is_object() => {
                format!("{{}}{}", self.value(&schema["additionalProperties"], lines))
            }
            other => panic!("the type {other:?} is not known: {schema}"),
        }
    }
}

/// A kind of a `CustomResourceDefinition`, as its structural schema is validated.
struct Custom<'s> {
    kind: &'s str,
    metadata: &'s str,
    has_status: bool,
}

impl Custom<'_> {
    fn root(&self, schema: &Value, lines: &mut Lines) {
        let mut words = vec!["apiVersion=string".to_owned(), "kind=string".to_owned()];
        words.push(format!("metadata={}", self.metadata));
        let fields = self.fields(self.kind, schema, lines).into_iter();
        words.extend(fields.filter(|word| !is_of_all(word)));
        lines.add(self.kind, &words);
    }

    fn fields(&self, path: &str, schema: &Value, lines: &mut Lines) -> Vec<String> {
        let properties = schema["properties"].as_object().expect("properties");
        let required = schema["required"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let field = |(name, field): (&String, &Value)| {
            let is_required = required.iter().any(|required| required == name.as_str());
            let value = if name == "status" && self.has_status && path == self.kind {
                // It is dropped before anything is validated.
                "any".to_owned()
            } else {
                let inner = if name == "spec" {
                    path.to_owned() + "Spec"
                } else {
                    format!("{path}.{name}")
                };
                self.value(&inner, field, lines)
            };
            let has_default = !field["default"].is_null();
            let mark = if is_required && !has_default { "!" } else { "" };
            format!("{name}{mark}={value}")
        };
        let mut words: Vec<String> = properties.iter().map(field).collect();
        let all_of = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        for schema in all_of.iter().chain([schema]) {
            words.extend(alternatives(schema));
        }
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            words.push("*".to_owned());
        }
        words
    }

    fn value(&self, path: &str, schema: &Value, lines: &mut Lines) -> String {
        if schema["x-kubernetes-int-or-string"] == true {
            return "intOrString".to_owned();
        }
        let has_fields = schema["properties"].is_object();
        if schema["x-kubernetes-preserve-unknown-fields"] == true && !has_fields {
            return "any".to_owned();
        }
        match schema["type"].as_str() {
            Some("string") => match schema["enum"].as_array() {
                Some(values) => {
                    let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                    assert!(
                        values.iter().all(|value| !value.contains([' ', '|', ')'])),
                        "{values:?}"
                    );
                    format!("({})", values.join("|"))
                }
                None => "string".to_owned(),
            },
            Some("boolean") => "bool".to_owned(),
            Some("integer") => match (&schema["minimum"], &schema["maximum"]) {
                (Value::Null, Value::Null) => "int".to_owned(),
                (least, most) => {
                    let bound = |bound: &Value, none: i64| {
                        bound
                            .as_f64()
                            .map_or(none.to_string(), |bound| format!("{bound}"))
                    };
                    format!("int:{}..{}", bound(least, i64::MIN), bound(most, i64::MAX))
                }
            },
            Some("number") => "number".to_owned(),
            Some("array") => format!("[]{}", self.value(path, &schema["items"], lines)),
            Some("object") if has_fields => {
                let words = self.fields(path, schema, lines);
                lines.add(path, &words)
            }
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("{{}}{}", self.value(path, &schema["additionalProperties"], lines))
            }
            other => panic!("the type {other:?} of {path} is not known: {schema}"),
        }
    }
}

/// Whether a field is one that every object has.
fn is_of_all(word: &str) -> bool {
    ["apiVersion", "kind", "metadata"].contains(&word.split(['=', '!']).next().unwrap_or_default())
}

/// `a|b` of a `oneOf` that says: none of these, or one.
fn alternatives(schema: &Value) -> Option<String> {
    let choices = schema["oneOf"].as_array()?;
    let required = |choice: &Value| choice["required"][0].as_str().map(ToOwned::to_owned);
    let names: Vec<String> = choices.iter().filter_map(required).collect();
    let none_of = choices
        .iter()
        .find_map(|choice| choice["not"]["anyOf"].as_array());
    let none_of: Option<Vec<String>> = none_of.map(|choices| choices.iter().filter_map(required).collect());
    assert!(
        none_of.as_ref() == Some(&names) && choices.len() == names.len() + 1,
        "this `oneOf` is not known: {schema}"
    );
    (names.len() > 1).then(|| names.join("|"))
}

/// A file that `make control-plane` puts in place.
fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".cache/control-plane")
        .join(name);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run make control-plane", path.display()))
}

/// The version of a module that the control plane is built from.
fn version(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/go.mod");
    let text = fs::read_to_string(path).expect("go.mod");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(" v"));
    line.expect("the module").to_owned()
}

/// The `CustomResourceDefinition`s by kind.
fn definitions() -> BTreeMap<String, Value> {
    let text = source("istio-crds.yaml");
    let read = |document: &yaml::RawDocument<'_>| {
        let node = document.decode().expect("YAML");
        Value::deserialize(&node).expect("JSON")
    };
    let own = serde_json::to_value(LaneGroupObject::crd()).expect("JSON");
    let all = yaml::documents(&text)
        .iter()
        .map(read)
        .chain([own])
        .collect::<Vec<_>>();
    let named = |definition: Value| {
        let kind = definition["spec"]["names"]["kind"]
            .as_str()
            .expect("a kind")
            .to_owned();
        (kind, definition)
    };
    all.into_iter().map(named).collect()
}

fn table() -> String {
    let swagger: Value = serde_json::from_str(&source("kubernetes-swagger.json")).expect("JSON");
    let mut built_in = BuiltIn {
        definitions: &swagger["definitions"],
        known: BTreeMap::new(),
    };
    let mut lines = Lines::default();
    let metadata = built_in.definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", &mut lines);
    let custom = definitions();
    for kind in Kind::ALL {
        let Some(definition) = custom
            .get(kind.name())
            .filter(|crd| crd["spec"]["group"] == kind.group())
        else {
            let group = if kind.group().is_empty() {
                "core"
            } else {
                kind.group()
            };
            let name = format!("io.k8s.api.{group}.v1.{kind}");
            assert_eq!(built_in.definition(&name, &mut lines), kind.name());
            continue;
        };
        let versions = definition["spec"]["versions"].as_array().expect("versions");
        let mut served: Vec<&str> = versions
            .iter()
            .filter_map(|version| version["name"].as_str())
            .collect();
        let mut known = kind.versions().to_vec();
        served.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, served, "the versions of {kind}");
        // The table has one schema a kind: none of its versions may differ.
        for version in versions {
            let custom = Custom {
                kind: kind.name(),
                metadata: &metadata,
                has_status: version["subresources"]["status"].is_object(),
            };
            let before = lines.lines.len();
            custom.root(&version["schema"]["openAPIV3Schema"], &mut lines);
            let is_first = version == &versions[0];
            assert!(
                is_first || before == lines.lines.len(),
                "the versions of {kind} differ"
            );
        }
    }
    let mut table = format!(
        "Istio {}, Kubernetes {}\n",
        version("istio.io/api"),
        version("k8s.io/kubernetes")
    );
    lines.lines.sort();
    for (name, words) in lines.lines {
        writeln!(table, "{name} {words}").expect("text");
    }
    table
}

#[test]
fn the_table_of_fields_says_what_the_schemas_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema/fields.txt");
    let table = table();
    if env::var_os("LANEKEEPER_WRITE").is_some() {
        fs::write(&path, &table).expect("the table can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table,
        "src/schema/fields.txt is out of date: make generate"
    );
}
