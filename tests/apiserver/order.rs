//! Whole worlds, object by object: in the order of each applier and under its field manager, and lanes that come and go.
//!
//! What `tests/worlds.rs` does in memory with every order, here on the API server: its defaults, its namespaces, its
//! dry runs and server-side applies, and a watch that lags behind what was just stored.

use std::collections::BTreeSet;

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use lanekeeper::resource::Kind;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::control_plane::ControlPlane;
use super::lanes;
use super::webhook::Webhook;
use super::worlds::{self, GoodWorld, Order, kind_of, name_of};

/// Who applies a set of objects, and how.
#[derive(Debug, Clone, Copy)]
struct Applier {
    manager: &'static str,
    order: Order,
    way: Way,
    /// How often it applies the whole set.
    rounds: usize,
}

/// How an object gets to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Created, or patched with what is new.
    Merge,
    /// Applied by the server.
    Apply,
    /// The same, after the whole set has been tried.
    ApplyTried,
}

const HELM: Applier = Applier {
    manager: "helm",
    order: Order::Helm,
    way: Way::Merge,
    rounds: 1,
};

const ARGO_CD: Applier = Applier {
    manager: "argocd-controller",
    order: Order::ArgoCd,
    way: Way::Apply,
    rounds: 1,
};

const FLUX: Applier = Applier {
    manager: "kustomize-controller",
    order: Order::Helm,
    way: Way::ApplyTried,
    rounds: 1,
};

/// By hand, in the worst order; what is refused at first has to pass the second time.
const KUBECTL: Applier = Applier {
    manager: "kubectl-client-side-apply",
    order: Order::Reversed,
    way: Way::Merge,
    rounds: 2,
};

const APPLIERS: [Applier; 4] = [HELM, ARGO_CD, FLUX, KUBECTL];

/// The API server as an applier sees it.
struct Server {
    runtime: Runtime,
    client: Client,
}

impl Server {
    fn of(plane: &ControlPlane) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(plane.client(&plane.kubeconfig_path()));
        Self { runtime, client }
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let kind = kind_of(object);
        let api_version = object["apiVersion"].as_str().expect("an apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.name().to_owned(),
            plural: kind.plural().to_owned(),
        };
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) if kind.is_namespaced() => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            _ => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Sends an object; `Err` says why it was refused.
    fn send(&self, object: &Value, manager: &str, way: Way, dry_run: bool) -> Result<(), String> {
        let api = self.api(object);
        let name = object["metadata"]["name"].as_str().expect("a name");
        self.runtime.block_on(async {
            let parameters = PatchParams {
                dry_run,
                force: way != Way::Merge,
                field_manager: Some(manager.to_owned()),
                ..PatchParams::default()
            };
            let sent = if way != Way::Merge {
                api.patch(name, &parameters, &Patch::Apply(object)).await
            } else if api
                .get_opt(name)
                .await
                .map_err(|error| error.to_string())?
                .is_some()
            {
                api.patch(name, &parameters, &Patch::Merge(object)).await
            } else {
                let parameters = PostParams {
                    dry_run,
                    field_manager: Some(manager.to_owned()),
                };
                let object = serde_json::from_value(object.clone()).expect("an object");
                api.create(&parameters, &object).await
            };
            sent.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    /// Deletes an object; `Err` says why it was refused.
    fn delete(&self, object: &Value) -> Result<(), String> {
        let api = self.api(object);
        let name = object["metadata"]["name"].as_str().expect("a name");
        let deleted = self.runtime.block_on(api.delete(name, &DeleteParams::default()));
        deleted.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Applies a set of objects; what is wrong with how it went.
    fn apply(&self, objects: &[Value], applier: Applier) -> Vec<String> {
        let Applier {
            manager,
            order,
            way,
            rounds,
        } = applier;
        let objects = order.of(objects);
        let mut faults = Vec::new();
        if way == Way::ApplyTried {
            // Namespaces are a stage of their own: nothing can be tried in one that is not there.
            let (namespaces, rest): (Vec<_>, Vec<_>) = objects
                .iter()
                .partition(|object| kind_of(object) == Kind::Namespace);
            for namespace in namespaces {
                faults.extend(self.send(namespace, manager, way, false).err());
            }
            for object in rest {
                let tried = self.send(object, manager, way, true);
                faults.extend(
                    tried
                        .err()
                        .map(|why| format!("{} fails its dry run: {why}", name_of(object))),
                );
            }
        }
        for round in 1..=rounds {
            for object in &objects {
                let sent = self.send(object, manager, way, false).err();
                let refused = sent.filter(|_| round == rounds);
                faults.extend(refused.map(|why| format!("{} is refused: {why}", name_of(object))));
            }
        }
        faults
    }
}

/// An object as a user would write it: without what only the API server says.
fn written(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object");
    fields.remove("status");
    let meta = fields["metadata"].as_object_mut().expect("metadata");
    for field in [
        "creationTimestamp",
        "managedFields",
        "generation",
        "resourceVersion",
        "uid",
    ] {
        meta.remove(field);
    }
    object
}

/// What of a world is stored on an API server, without the namespaces that there are.
fn objects_of(good: &GoodWorld) -> Vec<Value> {
    good.objects.iter().map(written).collect()
}

/// Waits until nothing of the namespaces is left in the webhook's world but themselves.
fn until_forgotten(webhook: &Webhook, objects: &[Value]) {
    let namespaces: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .collect();
    webhook.world_until("the world is gone", |world| {
        !world.objects().any(|object| {
            namespaces.contains(object.meta().namespace.as_str()) && object.kind() != Kind::ConfigMap
        })
    });
}

#[test]
fn the_objects_of_right_worlds_come_in_the_order_of_each_applier_and_go_again() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    let server = Server::of(&plane);
    let mut faults = Vec::new();
    for (at, good) in worlds::all().iter().enumerate() {
        // With several clusters the webhook is configured otherwise.
        if good.settings.multi_cluster {
            continue;
        }
        let objects = objects_of(good);
        // Each world by two appliers, and each applier beside each other.
        for applier in [APPLIERS[at % 4], APPLIERS[(at + 1 + at / 4 % 3) % 4]] {
            let who = format!("{} by {}", good.name, applier.manager);
            let of_run = server.apply(&objects, applier);
            faults.extend(of_run.iter().map(|fault| format!("{who}: {fault}")));
            let of_world = objects.iter().filter(|object| kind_of(object) != Kind::Namespace);
            for object in of_world.rev() {
                let deleted = server.delete(object);
                faults.extend(
                    deleted
                        .err()
                        .map(|why| format!("{who}: {} stays: {why}", name_of(object))),
                );
            }
            until_forgotten(&webhook, &objects);
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    let decisions = webhook.decisions().len();
    assert!(decisions > 2000, "the webhook was asked {decisions} times only");
}

#[test]
fn a_lane_comes_and_goes_step_by_step_and_in_one_go() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    let server = Server::of(&plane);
    for name in ["a-plugin-implies-the-group", "a-group-is-written-down"] {
        let good = worlds::named(name);
        let objects = objects_of(&good);
        let all_right =
            |faults: Vec<String>, what: &str| assert!(faults.is_empty(), "{name}, {what}: {faults:#?}");
        all_right(server.apply(&objects, HELM), "at first");
        let by_hand = Applier {
            rounds: 1,
            order: Order::Helm,
            ..KUBECTL
        };
        let steps = lanes::steps(&objects);
        for step in &steps {
            let after: Vec<Value> = step.changes.iter().map(|change| change.after.clone()).collect();
            all_right(server.apply(&after, by_hand), step.name);
        }
        for step in steps.iter().rev() {
            for change in &step.changes {
                let undone = match &change.before {
                    Some(before) => server.send(before, by_hand.manager, by_hand.way, false),
                    None => server.delete(&change.after),
                };
                all_right(undone.err().into_iter().collect(), step.name);
            }
        }

        let changes = steps.into_iter().flat_map(|step| step.changes);
        let (before, after): (Vec<_>, Vec<_>) = changes.map(|change| (change.before, change.after)).unzip();
        let kept: Vec<Value> = before.iter().flatten().cloned().collect();
        // In the worst order each round brings one link of the chain: workload, subset, route.
        let backwards = Applier { rounds: 3, ..KUBECTL };
        let twice = Applier { rounds: 2, ..by_hand };
        for applier in [HELM, FLUX, ARGO_CD, twice, backwards] {
            let who = applier.manager;
            all_right(server.apply(&after, applier), &format!("added by {who}"));
            all_right(server.apply(&kept, applier), &format!("taken away by {who}"));
            for gone in after.iter().zip(&before).filter(|(_, before)| before.is_none()) {
                all_right(server.delete(gone.0).err().into_iter().collect(), who);
            }
        }
        for object in objects.iter().filter(|object| kind_of(object) != Kind::Namespace) {
            server.delete(object).expect("what is there can go");
        }
        until_forgotten(&webhook, &objects);
    }
}
