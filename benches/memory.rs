//! What a world takes of memory, by kind, and how long one watch event takes to be in it: 100,000 pods, 20,000 services,
//! 10,000 `VirtualServices` of 20 routes with their `DestinationRules`, and the Deployments and `ReplicaSets` in between.
//!
//! The objects are read from JSON like that of a watch, one at a time and one kind after the other, and the resident memory
//! is looked at before and after: what parsing leaves behind is in it. A hash table that doubles is counted for the kind
//! during which it does. An event is what the watch does with an object that is parsed: into the world, and what it
//! concerns into the changes that the audit has yet to judge.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic that says why")]

mod measure;
mod world;

use std::time::{Duration, Instant};

use lanekeeper::audit::Changes;
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::world::{Settings, World};
use measure::{Times, is_quick, memory, micros, print};
use serde_json::{Value, json};
use world::Shape;

/// In the order in which they are read.
const KINDS: [Kind; 10] = [
    Kind::Namespace,
    Kind::LaneGroup,
    Kind::WasmPlugin,
    Kind::Gateway,
    Kind::Service,
    Kind::DestinationRule,
    Kind::VirtualService,
    Kind::Deployment,
    Kind::ReplicaSet,
    Kind::Pod,
];

/// Six pods a service, of which one is left out.
const PODS: usize = 6;

fn main() {
    let services = if is_quick() { 2_000 } else { 20_000 };
    let shape = Shape {
        services,
        pods_in_lane: PODS / 2,
        routes: 20,
        has_links: true,
    };
    let mut world = World::new(Settings::default());
    // The parser's own memory is not the world's.
    drop(read(shape, Kind::Service).take(2_000).collect::<Vec<_>>());
    let start = resident();
    let mut rows = Vec::new();
    for kind in KINDS {
        let before = resident();
        for object in read(shape, kind) {
            world.apply(object);
        }
        let bytes = (resident() - before) * 1e6;
        let count = world.count(kind);
        if count > 0 {
            rows.push(row(&kind.to_string(), count, bytes));
        }
    }
    rows.push(row("all", world.len(), (resident() - start) * 1e6));
    print(
        "Memory of a world",
        &["kind", "objects", "MB", "bytes each"],
        &rows,
    );
    print(
        "One watch event",
        &["what", "samples", "p50 µs", "p99 µs"],
        &events(&mut world),
    );
}

fn row(what: &str, count: usize, bytes: f64) -> Vec<String> {
    #[allow(clippy::cast_precision_loss, reason = "there are far fewer objects than 2⁵²")]
    let each = bytes / count as f64;
    vec![
        what.to_owned(),
        count.to_string(),
        format!("{:.1}", bytes / 1e6),
        format!("{each:.0}"),
    ]
}

fn resident() -> f64 {
    memory("self", "VmRSS").unwrap_or_default()
}

/// The objects of one kind, as a watch reads them.
fn read(shape: Shape, kind: Kind) -> impl Iterator<Item = Resource> {
    let of_kind = shape
        .objects()
        .filter(move |object| object["kind"] == kind.name());
    let kept = of_kind.enumerate().filter(move |(at, _)| match kind {
        Kind::DestinationRule | Kind::VirtualService => at % 2 == 0,
        Kind::Pod => at % PODS != 0,
        _ => true,
    });
    kept.map(move |(_, object)| parsed(kind, &as_served(object)))
}

/// An object as the API server gives it.
fn as_served(mut object: Value) -> String {
    let meta = &mut object["metadata"];
    meta["uid"] = json!("0d1a3c55-8b1e-4c57-9b53-7d0e7c1f2a3b");
    meta["resourceVersion"] = json!("123456789");
    meta["creationTimestamp"] = json!("2026-11-01T08:15:30Z");
    meta["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
    if object["kind"] == "Pod" {
        let meta = &mut object["metadata"];
        let name = meta["name"].as_str().unwrap();
        meta["generateName"] = json!(name[..name.rfind('-').unwrap() + 1]);
        meta["annotations"] = json!({
            "kubectl.kubernetes.io/default-container": "app",
            "sidecar.istio.io/status": "{\"initContainers\":[\"istio-init\",\"istio-proxy\"],\"containers\":null,\"volumes\":[\"workload-socket\",\"credential-socket\",\"workload-certs\",\"istio-envoy\",\"istio-data\",\"istio-podinfo\",\"istio-token\",\"istiod-ca-cert\"],\"imagePullSecrets\":null,\"revision\":\"default\"}",
        });
        object["spec"]["initContainers"] = json!([{"name": "istio-proxy", "restartPolicy": "Always",
            "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}]}]);
    } else {
        object["metadata"]["generation"] = json!(3);
    }
    object.to_string()
}

fn parsed(kind: Kind, object: &str) -> Resource {
    Resource::parse(kind, &mut serde_json::Deserializer::from_str(object)).unwrap()
}

/// Changes to objects spread over the whole world.
fn events(world: &mut World) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: String, mut times: Times| {
        let percentiles = [50, 99].map(|percent| micros(times.percentile(percent)));
        rows.push(
            [what, times.len().to_string()]
                .into_iter()
                .chain(percentiles)
                .collect(),
        );
    };
    let pods = some(world, Kind::Pod);
    let unready = pods.iter().cloned().map(|mut object| {
        if let Resource::Pod(pod) = &mut object {
            pod.ready = Some(false);
        }
        object
    });
    row("a Pod becomes unready".to_owned(), come(world, unready.collect()));
    for kind in [
        Kind::Pod,
        Kind::ReplicaSet,
        Kind::Deployment,
        Kind::VirtualService,
    ] {
        let objects = some(world, kind);
        row(format!("a {kind} goes"), go(world, &objects));
        row(format!("a {kind} comes"), come(world, objects));
    }
    rows
}

/// Some objects of one kind.
fn some(world: &World, kind: Kind) -> Vec<Resource> {
    let samples = if is_quick() { 500 } else { 5_000 };
    let all = world.objects().filter(|object| object.kind() == kind);
    let spread = all.step_by((world.count(kind) / samples).max(1));
    spread.take(samples).cloned().collect()
}

fn come(world: &mut World, objects: Vec<Resource>) -> Times {
    let apply = |object| timed(|changes, now| changes.apply(world, object, now));
    objects.into_iter().map(apply).collect()
}

fn go(world: &mut World, objects: &[Resource]) -> Times {
    let remove = |object: &Resource| {
        let reference = object.reference();
        timed(|changes, now| changes.remove(world, &reference, now))
    };
    objects.iter().map(remove).collect()
}

fn timed(change: impl FnOnce(&mut Changes, Instant) -> bool) -> Duration {
    let mut changes = Changes::none();
    let started = Instant::now();
    assert!(change(&mut changes, started));
    started.elapsed()
}
