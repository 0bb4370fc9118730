//! The index: what a world of 100,000 pods weighs, and what it costs to put one watch event into it.
//!
//! The world has 100,000 pods in 20,000 `ReplicaSets`, 20,000 Services and 10,000 `VirtualServices` of 4 routes. An event
//! is what the watch does with one: the object is parsed from the text that the API server sends, and put into the world
//! by `Changes`, which also takes note of what has changed, for the audit. The two parts are measured apart; what
//! the audit makes of the changes is not in it. Events are of 1,000 services spread over the world, and each kind of
//! event is undone by another one, so that the world stays as it is. Events during which the kernel gave the processor to
//! something else are left out.
//!
//! Memory is what the kernel says of the process (`VmRSS`), before and after: first everything but pods, then the pods.

#![allow(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by a panic that says why, and counts to far less than 2^52"
)]

mod measure;
mod world;

use std::time::Instant;

use lanekeeper::audit::Changes;
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::world::{Settings, World};
use measure::{Line, Times, interruptions, is_quick, memory, micros, print};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use world::{Shape, parsed};

/// How many services have events.
const SERVICES: usize = 1_000;

/// After so many events the audit takes the changes out.
const EVENTS_A_PASS: usize = 100;

/// One kind of event.
struct Event {
    name: &'static str,
    happens: fn(&mut Value),
    /// Whether the object goes.
    is_deletion: bool,
}

fn main() {
    let pods = if is_quick() { 4_000 } else { 100_000 };
    let shape = Shape::of_cluster(pods);
    let before = memory("self", "VmRSS").unwrap_or_default();
    let mut world = World::new(Settings::default());
    for object in shape.objects().filter(|object| object["kind"] != "Pod") {
        world.apply(parsed(object));
    }
    let without = memory("self", "VmRSS").unwrap_or_default() - before;
    let others = world.len();
    for object in shape.objects().filter(|object| object["kind"] == "Pod") {
        world.apply(parsed(object));
    }
    let all = memory("self", "VmRSS").unwrap_or_default() - before;
    let bytes_a_pod = (all - without) * 1e6 / pods as f64;
    let rows = [
        vec![
            "all but pods".to_owned(),
            others.to_string(),
            format!("{without:.1}"),
        ],
        vec![
            "pods".to_owned(),
            pods.to_string(),
            format!("{:.1}", all - without),
        ],
        vec!["all".to_owned(), world.len().to_string(), format!("{all:.1}")],
    ];
    print("What a world weighs", &["", "objects", "MB"], &rows);
    Line {
        work: format!("memory of a world of {pods} pods, in process"),
        measured: format!("{bytes_a_pod:.0} bytes a pod, {all:.0} MB in all"),
        beside: String::new(),
        ratio: String::new(),
        reach: "≤ 1 kB a pod, ≤ 200 MB in all".to_owned(),
        is_reached: bytes_a_pod <= 1000.0 && all <= 200.0,
    }
    .hand_over();
    events(shape, world);
}

fn events(shape: Shape, world: World) {
    let (world, changes) = (RwLock::new(world), Mutex::new(Changes::none()));
    let nothing = |_: &mut Value| {};
    let not_ready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
    let not_ready_for =
        |pod: &mut Value| pod["status"]["conditions"][0]["lastProbeTime"] = json!("2026-11-01T00:00:00Z");
    let other_lane = |pod: &mut Value| pod["metadata"]["labels"]["version"] = json!("wicph");
    let event = |name, happens, is_deletion| Event {
        name,
        happens,
        is_deletion,
    };
    let of_pods = [
        event("a pod's status, nothing that counts", not_ready_for, false),
        event("a pod is not ready", not_ready, false),
        event("a pod is ready again", nothing, false),
        event("a pod has another label", other_lane, false),
        event("a pod has its label again", nothing, false),
        event("a pod goes", nothing, true),
        event("a pod comes", nothing, false),
    ];
    let of_others = [event("goes", nothing, true), event("comes", nothing, false)];
    let services = SERVICES.min(shape.services);
    let chosen = (0..services).map(|at| at * shape.services / services);
    let pods: Vec<Value> = chosen
        .filter_map(|service| shape.pods_of(service).next())
        .collect();
    let mut rows = Vec::new();
    let (mut dearest, mut worst) = (String::new(), Times::default());
    for (kind, events) in [
        (Kind::Pod, &of_pods[..]),
        (Kind::ReplicaSet, &of_others),
        (Kind::Deployment, &of_others),
        (Kind::Service, &of_others),
        (Kind::VirtualService, &of_others),
    ] {
        let objects = if kind == Kind::Pod {
            pods.clone()
        } else {
            some(shape, kind, services)
        };
        for event in events {
            let [mut parsing, mut applying] = happen(event, kind, &objects, &world, &changes);
            let name = if kind == Kind::Pod {
                event.name.to_owned()
            } else {
                format!("a {kind} {}", event.name)
            };
            rows.push(vec![
                name.clone(),
                micros(parsing.percentile(50)),
                micros(applying.percentile(50)),
                micros(applying.percentile(99)),
                applying.len().to_string(),
            ]);
            if applying.percentile(50) >= worst.percentile(50) {
                (dearest, worst) = (name, applying);
            }
        }
    }
    let head = ["event", "parsing p50 µs", "applying p50 µs", "p99 µs", "samples"];
    print(
        &format!("One watch event, {} objects", world.read().len()),
        &head,
        &rows,
    );
    let cell = |row: usize| format!("{} {}", rows[row][0], rows[row][2]);
    let largest = worst.percentile(50);
    Line {
        work: "applying one watch event to the index of that world".to_owned(),
        measured: format!(
            "median µs: {}; the dearest, {dearest}, {}, p99 {}",
            [1, 3, 5, 6].map(cell).join(", "),
            micros(largest),
            micros(worst.percentile(99))
        ),
        beside: String::new(),
        ratio: String::new(),
        reach: "≤ 20 µs median".to_owned(),
        is_reached: largest.as_secs_f64() <= 20e-6,
    }
    .hand_over();
}

/// Some objects of a kind, spread over the world.
fn some(shape: Shape, kind: Kind, count: usize) -> Vec<Value> {
    let of_kind: Vec<Value> = shape
        .objects()
        .filter(|object| object["kind"] == kind.name())
        .collect();
    let step = (of_kind.len() / count).max(1);
    of_kind.into_iter().step_by(step).collect()
}

/// Lets an event happen to each object; how long parsing and applying took.
fn happen(
    event: &Event,
    kind: Kind,
    objects: &[Value],
    world: &RwLock<World>,
    changes: &Mutex<Changes>,
) -> [Times; 2] {
    let [mut parsing, mut applying] = [Times::default(), Times::default()];
    let texts = objects.iter().map(|object| {
        let mut object = object.clone();
        (event.happens)(&mut object);
        object.to_string()
    });
    for (number, text) in texts.collect::<Vec<_>>().iter().enumerate() {
        let before = interruptions();
        let started = Instant::now();
        let object = Resource::parse(kind, &mut serde_json::Deserializer::from_str(text)).unwrap();
        let parsed = Instant::now();
        // As the watch does it.
        if event.is_deletion {
            let reference = object.reference();
            let mut world = world.write();
            changes.lock().remove(&mut world, &reference, Instant::now());
        } else {
            let mut world = world.write();
            changes.lock().apply(&mut world, object, Instant::now());
        }
        let applied = parsed.elapsed();
        if interruptions() == before {
            parsing.push(parsed - started);
            applying.push(applied);
        }
        if number % EVENTS_A_PASS == 0 {
            drop(changes.lock().take());
        }
    }
    [parsing, applying]
}
