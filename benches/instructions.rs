//! Work to count instructions of, by `benches/instructions.py` under callgrind: the same work each time.
//!
//! The argument says what is done; without one nothing is. Only what [`measured_part`] calls is counted, so that
//! building the world is not.
//!
//! - `decision`: 256 decisions, each of a review of an allowed UPDATE of a `VirtualService` with 20 routes
//! - `event`: 1,000 pods go out of the index and come again
//! - `parse`: the objects of 100 services are parsed from JSON
//! - `review`: 1,280 reviews are taken apart
//! - `manifests DIRECTORY`: writes the manifests of 200 services, for `lanekeeper check`

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by a panic that says why"
)]

mod measure;
mod world;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use lanekeeper::admission::{Engine, Judge, read};
use lanekeeper::audit::Changes;
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::verdict::{Mode, Settings};
use parking_lot::RwLock;
use world::{Change, Shape, parsed};

fn main() {
    let shape = Shape::of_pods(1_000);
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    match arguments.next().as_deref() {
        None => {}
        Some("decision") => decision(shape),
        Some("event") => event(shape),
        Some("parse") => parse(shape),
        Some("review") => {
            let reviews = shape.reviews(64, Change::Path);
            measured_part(&mut || {
                for review in reviews.iter().cycle().take(1_280) {
                    black_box(read(review).unwrap());
                }
            });
        }
        Some("manifests") => {
            Shape::of_files(200).write(Path::new(&arguments.next().unwrap()));
        }
        Some(other) => panic!("no such work: {other}"),
    }
}

/// What is counted.
#[inline(never)]
fn measured_part(work: &mut dyn FnMut()) {
    work();
    // Else it would have ended before the work begins, by a jump.
    black_box(());
}

fn decision(shape: Shape) {
    let engine = Engine::new(Arc::new(RwLock::new(shape.world())), Settings::default());
    let reviews = shape.reviews(64, Change::Path);
    let decide = || {
        for review in &reviews {
            let answer = Judge::validate(&engine, Mode::Enforce, review.clone(), None).now_or_never();
            assert!(answer.unwrap().record.unwrap().allowed);
        }
    };
    decide();
    measured_part(&mut || (0..4).for_each(|_| decide()));
}

fn event(shape: Shape) {
    let mut world = shape.world();
    let pods: Vec<Resource> = world
        .objects()
        .filter(|object| object.kind() == Kind::Pod)
        .cloned()
        .collect();
    let mut changes = Changes::none();
    let now = Instant::now();
    measured_part(&mut || {
        for pod in &pods {
            changes.remove(&mut world, &pod.reference(), now);
            changes.apply(&mut world, pod.clone(), now);
        }
    });
}

fn parse(shape: Shape) {
    let objects: Vec<(Kind, String)> = Shape {
        services: 100,
        ..shape
    }
    .objects()
    .map(|object| (parsed(object.clone()).kind(), object.to_string()))
    .collect();
    measured_part(&mut || {
        for (kind, text) in &objects {
            black_box(Resource::parse(*kind, &mut serde_json::Deserializer::from_str(text)).unwrap());
        }
    });
}
