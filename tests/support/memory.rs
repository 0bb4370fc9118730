//! A cluster in memory: what an engine allows is stored, as the API server would.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: each test uses its own part of it, and fails by a panic that says why"
)]

use std::sync::Arc;

use base64::Engine as _;
use futures::FutureExt as _;
use lanekeeper::admission::{Answer, Engine, Judge};
use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::verdict::{Mode, Settings};
use lanekeeper::world::{Settings as MeshSettings, World};
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::worlds::kind_of;

/// Objects, and the engine that is asked about each change of them.
pub struct Memory {
    engine: Engine,
    world: Arc<RwLock<World>>,
    stored: Vec<Value>,
}

/// Who changes something, and how.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Whether it is only tried.
    pub dry_run: bool,
}

impl By<'_> {
    /// `kubectl apply`.
    pub const KUBECTL: By<'static> = By {
        manager: "kubectl-client-side-apply",
        dry_run: false,
    };
}

/// What came of a change: what the user is told.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Why it was refused.
    pub refused: Option<String>,
    /// The warnings.
    pub warnings: Vec<String>,
}

impl Memory {
    /// A cluster with nothing in it.
    pub fn new(settings: Settings) -> Self {
        let world = Arc::new(RwLock::new(World::new(MeshSettings::default())));
        Self {
            engine: Engine::new(Arc::clone(&world), settings),
            world,
            stored: Vec::new(),
        }
    }

    /// Applies an object: patched, judged, and stored if it may be.
    pub fn apply(&mut self, object: &Value, by: By<'_>) -> Outcome {
        let old = self.stored.iter().position(|stored| is_same(stored, object));
        let before = old.map_or(Value::Null, |at| self.stored[at].clone());
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let mut object = object.clone();
        let kind = kind_of(&object);
        if kind == Kind::VirtualService {
            let body = review(operation, &object, &before, &object, by);
            let answer = at_once(Judge::mutate(&self.engine, Mode::Enforce, body, None));
            patch(&mut object, &response(&answer)["patch"]);
        }
        let outcome = if kind.is_admitted() {
            let body = review(operation, &object, &before, &object, by);
            outcome(&at_once(Judge::validate(&self.engine, Mode::Enforce, body, None)))
        } else {
            Outcome::default()
        };
        if outcome.refused.is_none() && !by.dry_run {
            self.store(&object, old);
        }
        outcome
    }

    /// Deletes an object, if it may be.
    pub fn delete(&mut self, object: &Value, mode: Mode, by: By<'_>) -> Outcome {
        let at = self.stored.iter().position(|stored| is_same(stored, object));
        let at = at.expect("what is deleted is there");
        let before = self.stored[at].clone();
        let body = review("DELETE", &before, &before, &Value::Null, by);
        let outcome = outcome(&at_once(Judge::validate(&self.engine, mode, body, None)));
        if outcome.refused.is_none() && !by.dry_run {
            self.stored.remove(at);
            self.world.write().remove(&reference(&before));
        }
        outcome
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    fn store(&mut self, object: &Value, old: Option<usize>) {
        let resource = Resource::parse(kind_of(object), object).expect("an object of its kind");
        self.world.write().apply(resource);
        match old {
            Some(at) => self.stored[at] = object.clone(),
            None => self.stored.push(object.clone()),
        }
    }
}

/// The answer of an engine that reads nothing afresh, and so never waits.
fn at_once(answer: impl Future<Output = Answer>) -> Answer {
    answer.now_or_never().expect("nothing to wait for")
}

fn is_same(a: &Value, b: &Value) -> bool {
    reference(a) == reference(b)
}

/// Which object it is.
pub fn reference(object: &Value) -> ObjectRef {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectRef::new(kind_of(object), text("namespace"), text("name"))
}

fn review(operation: &str, of: &Value, old: &Value, new: &Value, by: By<'_>) -> axum::body::Bytes {
    let api_version = of["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7f",
        "kind": {"group": group, "version": version, "kind": of["kind"]},
        "resource": {"group": group, "version": version, "resource": kind_of(of).plural()},
        "name": of["metadata"]["name"],
        "namespace": of["metadata"]["namespace"].as_str().unwrap_or_default(),
        "operation": operation,
        "userInfo": {"username": "dev", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
        "dryRun": by.dry_run,
        "options": {"fieldManager": by.manager},
    }});
    review.to_string().into()
}

/// Applies what `/mutate` answered, which is base64 of a JSON Patch, or nothing.
fn patch(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_str() else { return };
    let patch = base64::engine::general_purpose::STANDARD
        .decode(patch)
        .expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
    json_patch::patch(object, &patch).expect("a patch that fits");
}

fn response(answer: &Answer) -> Value {
    let mut body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer.status, 200, "{body:#}");
    body["response"].take()
}

fn outcome(answer: &Answer) -> Outcome {
    let response = response(answer);
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let refused = (response["allowed"] != true).then(|| {
        let message = response["status"]["message"].as_str();
        message.unwrap_or("no message").to_owned()
    });
    Outcome {
        refused,
        warnings: warnings
            .filter_map(|warning| warning.as_str().map(ToOwned::to_owned))
            .collect(),
    }
}
