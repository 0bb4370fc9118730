//! The audit of what runs, on worlds of 28,320 objects (4,000 services in two lanes) and of ten times as many: everything, and
//! what one change concerns.
//!
//! Its seconds are those of the clock, of which the audit rests one half. Beside them, how long the world's lock was held
//! at a time: so long waits who wants to change the world, and a decision behind them.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic that says why")]

mod measure;
mod world;

use std::sync::Arc;
use std::time::Instant;

use lanekeeper::audit::{Audit, Changes};
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::verdict::Settings;
use measure::{is_quick, memory, micros, print};
use parking_lot::RwLock;
use world::Shape;

fn main() {
    let sizes: &[usize] = if is_quick() { &[400] } else { &[4_000, 40_000] };
    let mut rows = Vec::new();
    for services in sizes {
        let world = RwLock::new(Shape::of_files(*services).world());
        let objects = world.read().len();
        let before = memory("self", "VmRSS").unwrap_or_default();
        let mut running = Running {
            objects,
            world,
            changes: Changes::default(),
            audit: Audit::default(),
            settings: Arc::default(),
        };
        rows.push(running.pass("everything"));
        let megabytes = memory("self", "VmRSS").unwrap_or_default() - before;
        running.changes.all(Instant::now());
        rows.push(running.pass("everything again"));
        for kind in [
            Kind::Pod,
            Kind::Deployment,
            Kind::Service,
            Kind::VirtualService,
            Kind::LaneGroup,
        ] {
            running.change(kind);
            rows.push(running.pass(&format!("a {kind} goes and comes")));
        }
        if let Some(first) = rows.iter_mut().rev().nth(6) {
            first[7] = format!("{megabytes:.0}");
        }
    }
    let head = [
        "what",
        "objects",
        "judged",
        "found",
        "ms",
        "slices",
        "longest µs",
        "MB",
    ];
    print("A pass of the audit", &head, &rows);
}

struct Running {
    objects: usize,
    world: RwLock<lanekeeper::world::World>,
    changes: Changes,
    audit: Audit,
    settings: Arc<Settings>,
}

impl Running {
    /// The first object of a kind goes, and comes as it was.
    fn change(&mut self, kind: Kind) {
        let world = self.world.get_mut();
        let of_kind = world.objects().filter(|object| object.kind() == kind);
        let object: Resource = of_kind.min_by_key(|object| object.reference()).unwrap().clone();
        let now = Instant::now();
        self.changes.remove(world, &object.reference(), now);
        self.changes.apply(world, object, now);
    }

    fn pass(&mut self, what: &str) -> Vec<String> {
        let changes = self.changes.take();
        let began = Instant::now();
        self.audit.pass(&self.world, &changes, &self.settings, began);
        let took = began.elapsed();
        let slices = self.audit.slices();
        vec![
            what.to_owned(),
            self.objects.to_string(),
            slices.objects.to_string(),
            self.audit.found().count().to_string(),
            format!("{:.2}", took.as_secs_f64() * 1e3),
            slices.count.to_string(),
            micros(slices.longest),
            String::new(),
        ]
    }
}
