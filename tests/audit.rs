//! The audit of what runs: after whatever changes it knows what it would know if it judged everything.
//!
//! The worlds are real ones: those that are right, the fixtures of the rules, and the examples. Objects go and come back, and
//! their fields take the values that the same fields have elsewhere, so that what was apart meets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/worlds.rs"]
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use lanekeeper::audit::{Audit, Changes, PATIENCE};
use lanekeeper::files;
use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::verdict;
use lanekeeper::world::{Settings, World};
use parking_lot::RwLock;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn after_any_changes_the_audit_has_found_what_a_full_one_finds(
        start in any::<Index>(),
        steps in vec(vec(draft(), 1..3), 1..14),
    ) {
        let (file, objects) = start.get(&STARTS);
        let mut running = Running::start(objects);
        for drafts in &steps {
            let done: Vec<String> = drafts.iter().map(|draft| running.change(draft)).collect();
            running.judge();
            let (missed, too_much) = running.unlike_a_full_audit();
            prop_assert!(
                missed.is_empty() && too_much.is_empty(),
                "in {} after {done:#?} the audit lacks {missed:#?}\nand still has {too_much:#?}",
                file.display()
            );
        }
    }
}

/// Objects by what they are, as they are written.
type Objects = BTreeMap<ObjectRef, Value>;

/// Where it starts: each file or folder, with its objects and namespaces that have opted in.
static STARTS: LazyLock<Vec<(PathBuf, Objects)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = worlds::yaml_files(&worlds::folder());
    for entry in root.join("tests/rules").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(worlds::yaml_files(&path));
        }
    }
    paths.sort();
    // The larger worlds are worth more.
    let larger = [
        "examples/cars",
        "tests/worlds/a-live-namespace.yaml",
        "tests/worlds/delegates.yaml",
    ];
    paths.extend(larger.iter().cycle().take(30).map(|path| root.join(path)));
    paths
        .into_iter()
        .map(|path| (path.clone(), read(&path)))
        .collect()
});

fn read(path: &Path) -> Objects {
    let files = files::load(&[path.to_owned()], None);
    let written = files
        .objects
        .iter()
        .filter_map(|object| Some((object, files.json(object)?)));
    let mut objects: Objects = written
        .map(|(object, mut json)| {
            let reference = object.resource.reference();
            if !reference.namespace.is_empty() {
                json["metadata"]["namespace"] = reference.namespace.as_str().into();
            }
            (reference, json)
        })
        .collect();
    let namespaces: BTreeSet<String> = objects
        .keys()
        .map(|object| object.namespace.to_string())
        .collect();
    for name in namespaces.iter().filter(|name| !name.is_empty()) {
        let reference = ObjectRef::new(Kind::Namespace, "", name.as_str());
        let json = objects
            .entry(reference)
            .or_insert_with(|| json!({"metadata": {"name": name}}));
        json["metadata"]["labels"]["lanekeeper.dev/enforcement"] = "warn".into();
    }
    objects
}

/// Objects that may come besides, in a namespace of the world.
fn spares(namespace: &str, app: &str) -> Vec<(Kind, Value)> {
    let meta = |name: &str| json!({"namespace": namespace, "name": name});
    let root = |name: &str| json!({"namespace": "istio-system", "name": name});
    let owned = |name: &str, kind: &str, owner: &str| {
        json!({"namespace": namespace, "name": name, "labels": {"app": app, "version": "blue", "pod-template-hash": "5d9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "controller": true}]})
    };
    let ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    let blue = format!("{app}-blue");
    let plugin = json!({"pluginConfig": {"lane_header": "lane", "traffic_lane": "blue"}});
    let group = |completeness: &str| {
        json!({"header": "lane", "entry": {"header": "entry"}, "workloads": {"matchLabels": {"app": app}},
            "lanes": ["blue", "green"], "defaultLane": "blue", "laneLabel": "version", "completeness": completeness})
    };
    vec![
        (
            Kind::ConfigMap,
            json!({"metadata": root("istio"), "data": {"mesh": "rootNamespace: mesh\nenableTracing: false"}}),
        ),
        (
            Kind::ConfigMap,
            json!({"metadata": root("istio"), "data": {"mesh": "discoverySelectors: [{matchLabels: {seen: y}}]"}}),
        ),
        (
            Kind::Sidecar,
            json!({"metadata": meta("default"), "spec": {"egress": [{"hosts": ["./*"]}]}}),
        ),
        (
            Kind::Sidecar,
            json!({"metadata": root("default"), "spec": {"egress": [{"hosts": ["~/*"]}]}}),
        ),
        (Kind::EnvoyFilter, json!({"metadata": meta("any"), "spec": {}})),
        (
            Kind::Telemetry,
            json!({"metadata": root("default"), "spec": {"tracing": [{"disableSpanReporting": true}]}}),
        ),
        (
            Kind::Telemetry,
            json!({"metadata": meta("default"), "spec": {"tracing": [{"randomSamplingPercentage": 0}]}}),
        ),
        (
            Kind::WasmPlugin,
            json!({"metadata": root("lanes"), "spec": plugin}),
        ),
        (
            Kind::WasmPlugin,
            json!({"metadata": meta("lanes"), "spec": plugin}),
        ),
        (
            Kind::TrafficExtension,
            json!({"metadata": meta("lanes"), "spec": {"wasm": plugin}}),
        ),
        (
            Kind::LaneGroup,
            json!({"metadata": meta("written"), "spec": group("Strict")}),
        ),
        (
            Kind::LaneGroup,
            json!({"metadata": meta("written"), "spec": group("Fallback")}),
        ),
        (
            Kind::DestinationRule,
            json!({"metadata": root("all"), "spec": {"host": "*.local"}}),
        ),
        (
            Kind::DestinationRule,
            json!({"metadata": meta("all"), "spec": {"host": format!("*.{namespace}.svc.cluster.local")}}),
        ),
        (
            Kind::ReplicaSet,
            json!({"metadata": owned(&format!("{blue}-5d9"), "Deployment", &blue)}),
        ),
        (
            Kind::ReplicaSet,
            json!({"metadata": owned(&format!("{blue}-5d9"), "Deployment", app)}),
        ),
        (
            Kind::Pod,
            json!({"metadata": owned("pod-a", "ReplicaSet", &format!("{blue}-5d9")), "status": ready}),
        ),
        (
            Kind::Pod,
            json!({"metadata": owned(&format!("{blue}-5d9-x"), "ReplicaSet", &format!("{blue}-5d9"))}),
        ),
        (
            Kind::Pod,
            json!({"metadata": owned("pod-b", "StatefulSet", app), "status": ready}),
        ),
        (
            Kind::Pod,
            json!({"metadata": {"namespace": namespace, "name": "alone", "labels": {"app": app, "version": "green"}}}),
        ),
        (
            Kind::WorkloadEntry,
            json!({"metadata": meta("vm"), "spec": {"labels": {"app": app, "version": "green"}}}),
        ),
        (
            Kind::ServiceEntry,
            json!({"metadata": meta("outside"), "spec": {"hosts": [format!("{app}.example.com"), "*.local"],
            "ports": [{"name": "http", "number": 80, "protocol": "HTTP"}], "workloadSelector": {"labels": {"app": app}}}}),
        ),
        (
            Kind::Service,
            json!({"metadata": {"namespace": "elsewhere", "name": app},
            "spec": {"type": "ExternalName", "externalName": format!("{app}.{namespace}.svc.cluster.local")}}),
        ),
        (
            Kind::Namespace,
            json!({"metadata": {"name": namespace, "labels":
            {"lanekeeper.dev/enforcement": "enforce", "istio-injection": "enabled", "seen": "y"}}}),
        ),
        (
            Kind::Namespace,
            json!({"metadata": {"name": namespace, "labels":
            {"lanekeeper.dev/enforcement": "enforce", "istio-injection": "disabled"}}}),
        ),
    ]
}

/// A change that is yet to find its object.
#[derive(Debug, Clone)]
enum Draft {
    /// An object goes.
    Delete(Index),
    /// One that is gone comes back as it was first, or one is as it was again.
    Restore(Index),
    /// A field takes the value of such a field somewhere in the world; or goes.
    Set(Index, Index, Index),
    Unset(Index, Index),
    /// An object comes that the world did not have.
    Add(Index, Index),
}

fn draft() -> impl Strategy<Value = Draft> {
    let index = any::<Index>;
    prop_oneof![
        2 => index().prop_map(Draft::Delete),
        2 => index().prop_map(Draft::Restore),
        8 => (index(), index(), index()).prop_map(|(object, field, value)| Draft::Set(object, field, value)),
        2 => (index(), index()).prop_map(|(object, field)| Draft::Unset(object, field)),
        5 => (index(), index()).prop_map(|(spare, near)| Draft::Add(spare, near)),
    ]
}

/// A world that changes, and its audit.
struct Running {
    first: Objects,
    now: Objects,
    world: RwLock<World>,
    changes: Changes,
    audit: Audit,
    settings: Arc<verdict::Settings>,
    time: Instant,
}

impl Running {
    fn start(objects: &Objects) -> Self {
        let parsed = objects
            .iter()
            .filter_map(|(reference, json)| parse(reference.kind, json));
        let mut running = Self {
            first: objects.clone(),
            now: objects.clone(),
            world: RwLock::new(World::of(Settings::default(), parsed)),
            changes: Changes::default(),
            audit: Audit::default(),
            settings: Arc::default(),
            time: Instant::now(),
        };
        running.judge();
        running
    }

    fn judge(&mut self) {
        let changes = self.changes.take();
        self.time += PATIENCE;
        self.audit.pass(&self.world, &changes, &self.settings, self.time);
    }

    /// Makes a change, and says what it was.
    fn change(&mut self, draft: &Draft) -> String {
        let pick = |at: &Index, objects: &Objects| {
            let keys: Vec<ObjectRef> = objects.keys().cloned().collect();
            if keys.is_empty() {
                None
            } else {
                Some(at.get(&keys).clone())
            }
        };
        match draft {
            Draft::Delete(at) => {
                let Some(reference) = pick(at, &self.now) else {
                    return String::new();
                };
                self.now.remove(&reference);
                self.changes.remove(self.world.get_mut(), &reference, self.time);
                format!("{reference} goes")
            }
            Draft::Restore(at) => {
                let Some(reference) = pick(at, &self.first) else {
                    return String::new();
                };
                let json = self.first[&reference].clone();
                self.put(&reference, json);
                format!("{reference} is as it was first")
            }
            Draft::Set(at, field, value) => {
                let Some(reference) = pick(at, &self.now) else {
                    return String::new();
                };
                let mut json = self.now[&reference].clone();
                let fields = fields_of(&json);
                let (pointer, name) = field.get(&fields).clone();
                let values = self.values_of(&name);
                let value = value.get(&values).clone();
                let said = format!("{reference} {pointer} becomes {value}");
                if let Some(there) = json.pointer_mut(&pointer) {
                    *there = value;
                }
                self.put(&reference, json);
                said
            }
            Draft::Unset(at, field) => {
                let Some(reference) = pick(at, &self.now) else {
                    return String::new();
                };
                let mut json = self.now[&reference].clone();
                let (pointer, name) = field.get(&fields_of(&json)).clone();
                let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                match json.pointer_mut(parent) {
                    Some(Value::Object(fields)) => drop(fields.remove(&name)),
                    Some(Value::Array(items)) => drop(items.pop()),
                    _ => {}
                }
                self.put(&reference, json);
                format!("{reference} loses {pointer}")
            }
            Draft::Add(spare, near) => {
                let Some(near) = pick(near, &self.first) else {
                    return String::new();
                };
                let app = self.first[&near]["spec"]["selector"]["app"]
                    .as_str()
                    .unwrap_or(&near.name)
                    .to_owned();
                let namespace = if near.namespace.is_empty() {
                    &near.name
                } else {
                    &near.namespace
                };
                let (kind, json) = spare.get(&spares(namespace, &app)).clone();
                let reference = parse(kind, &json)
                    .expect("a spare object can be read")
                    .reference();
                let said = format!("{reference} comes as {json}");
                self.put(&reference, json);
                said
            }
        }
    }

    /// Puts an object into the world as a watch does.
    fn put(&mut self, reference: &ObjectRef, json: Value) {
        let parsed = parse(reference.kind, &json).filter(|object| object.reference() == *reference);
        if let Some(object) = parsed {
            self.changes.apply(self.world.get_mut(), object, self.time);
            self.now.insert(reference.clone(), json);
        } else {
            self.changes.remove(self.world.get_mut(), reference, self.time);
            self.now.remove(reference);
        }
    }

    /// The values that fields of this name have in the world, and some that none has.
    fn values_of(&self, name: &str) -> Vec<Value> {
        let all = self.now.values().chain(self.first.values());
        let mut values: Vec<Value> = Vec::new();
        for json in all {
            for (pointer, _) in fields_of(json).into_iter().filter(|(_, other)| other == name) {
                let value = json.pointer(&pointer).cloned().unwrap_or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        let near: Vec<Value> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|text| json!(format!("{text}s")))
            .collect();
        values.extend(near.into_iter().take(2));
        values.push(json!(0));
        values
    }

    /// What a full audit finds and this one has not, and the other way round.
    fn unlike_a_full_audit(&self) -> (Vec<String>, Vec<String>) {
        let mut full = Audit::default();
        full.pass(&self.world, &Changes::default(), &self.settings, self.time);
        let texts = |audit: &Audit| -> BTreeMap<String, usize> {
            let mut counts = BTreeMap::new();
            for found in audit.found() {
                *counts
                    .entry(format!("{} {:?}", found.level, found.finding))
                    .or_insert(0) += 1;
            }
            counts
        };
        let (own, full) = (texts(&self.audit), texts(&full));
        let less = |a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>| -> Vec<String> {
            a.iter()
                .filter(|(text, count)| b.get(*text) != Some(count))
                .map(|(text, _)| text.clone())
                .collect()
        };
        (less(&full, &own), less(&own, &full))
    }
}

fn parse(kind: Kind, json: &Value) -> Option<Resource> {
    Resource::parse(kind, json.clone()).ok()
}

/// Every field of an object with its pointer and name, also those that hold others; of a list's items, the list's name.
fn fields_of(json: &Value) -> Vec<(String, String)> {
    fn walk(value: &Value, pointer: &str, name: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    found.push((pointer.clone(), key.clone()));
                    walk(value, &pointer, key, found);
                }
            }
            Value::Array(items) => {
                for (at, value) in items.iter().enumerate() {
                    let pointer = format!("{pointer}/{at}");
                    found.push((pointer.clone(), name.to_owned()));
                    walk(value, &pointer, name, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(json, "", "", &mut found);
    found.retain(|(pointer, _)| {
        ![
            "/apiVersion",
            "/kind",
            "/metadata",
            "/metadata/name",
            "/metadata/namespace",
        ]
        .contains(&pointer.as_str())
    });
    found.push(("/spec".to_owned(), "spec".to_owned()));
    found
}
