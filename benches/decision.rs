//! One decision: a review of an UPDATE to a `VirtualService` with 20 routes, which is allowed, from the body of the
//! review to the body of the answer, in worlds of 1,000, 10,000 and 100,000 pods.
//!
//! First the change of a route's path: all rules run on the world after it, on the object and on what depends on it. Then that of a
//! timeout, which no rule reads: the object alone is judged. It is one thread, nothing else holds the lock, and the
//! reviews are of 64 services spread over the world. The worlds take turns, so that what else the machine does
//! meets them alike; decisions during which the kernel gave the processor to something else are left out, and
//! counted. The last two columns say how much longer it takes than in the smallest world: a decision that scans
//! nothing takes equally long in all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by a panic that says why"
)]

mod measure;
mod world;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use lanekeeper::admission::{Engine, Judge};
use lanekeeper::verdict::{Mode, Settings};
use measure::{Line, Times, interruptions, is_quick, memory, micros, print, ratio, times};
use parking_lot::RwLock;
use world::{Change, Shape};

const TURNS: usize = 20;
const REVIEWS: usize = 64;

struct Contender {
    pods: usize,
    objects: usize,
    build_seconds: f64,
    megabytes: f64,
    engine: Engine,
    reviews: Vec<Bytes>,
    times: Times,
    interrupted: usize,
}

fn main() {
    let (sizes, samples): (&[usize], usize) = if is_quick() {
        (&[1_000, 4_000], 2_000)
    } else {
        (&[1_000, 10_000, 100_000], 40_000)
    };
    let mut contenders: Vec<Contender> = sizes.iter().copied().map(Contender::new).collect();
    for change in [Change::Path, Change::Timeout] {
        compare(&mut contenders, change, samples);
    }
}

fn compare(contenders: &mut [Contender], change: Change, samples: usize) {
    for contender in &mut *contenders {
        contender.reviews = Shape::of_pods(contender.pods).reviews(REVIEWS, change);
        contender.decide(REVIEWS * 4);
        (contender.times, contender.interrupted) = (Times::default(), 0);
    }
    for _ in 0..TURNS {
        for contender in &mut *contenders {
            contender.decide(samples / TURNS);
        }
    }
    let what = match change {
        Change::Path => "the path of a route changes",
        Change::Timeout => "a timeout changes",
    };
    let mut percentiles = contenders
        .iter_mut()
        .map(|contender| (contender.times.percentile(50), contender.times.percentile(99)));
    let percentiles: Vec<_> = percentiles.by_ref().collect();
    let (least50, least99) = percentiles[0];
    let rows = contenders
        .iter()
        .zip(&percentiles)
        .map(|(contender, (p50, p99))| {
            vec![
                contender.pods.to_string(),
                contender.objects.to_string(),
                format!("{:.2}", contender.build_seconds),
                format!("{:.0}", contender.megabytes),
                contender.times.len().to_string(),
                contender.interrupted.to_string(),
                micros(*p50),
                micros(*p99),
                times(*p50, least50),
                times(*p99, least99),
            ]
        });
    let title = format!(
        "One decision, {what}, body of {} bytes",
        contenders[0].reviews[0].len()
    );
    let head = [
        "pods",
        "objects",
        "built in s",
        "MB",
        "samples",
        "left out",
        "p50 µs",
        "p99 µs",
        "p50 ×",
        "p99 ×",
    ];
    print(&title, &head, &rows.collect::<Vec<_>>());
    let (most50, most99) = percentiles[percentiles.len() - 1];
    let of = |p50, p99| format!("p50 {}, p99 {} µs", micros(p50), micros(p99));
    let longest = percentiles.iter().map(|(_, p99)| *p99).max().unwrap_or_default();
    let [of50, of99] = [ratio(most50, least50), ratio(most99, least99)];
    let list = contenders
        .iter()
        .map(|contender| contender.pods.to_string())
        .collect::<Vec<_>>()
        .join(" / ");
    let all = percentiles
        .iter()
        .map(|(p50, p99)| of(*p50, *p99))
        .collect::<Vec<_>>();
    Line {
        work: format!("one decision ({what}) in a world of {list} pods; the largest beside the smallest"),
        measured: all[1..].join("; "),
        beside: all[0].clone(),
        ratio: format!("p50 {of50:.2}, p99 {of99:.2}"),
        reach: "p99 ≤ 100 µs, ratio ≤ 1.2".to_owned(),
        is_reached: longest.as_secs_f64() <= 100e-6 && of50.max(of99) <= 1.2,
    }
    .hand_over();
}

impl Contender {
    fn new(pods: usize) -> Self {
        let shape = Shape::of_pods(pods);
        let before = memory("self", "VmRSS").unwrap_or_default();
        let started = Instant::now();
        let world = shape.world();
        let build_seconds = started.elapsed().as_secs_f64();
        let megabytes = memory("self", "VmRSS").unwrap_or_default() - before;
        let objects = world.len();
        Self {
            pods,
            objects,
            build_seconds,
            megabytes,
            engine: Engine::new(Arc::new(RwLock::new(world)), Settings::default()),
            reviews: Vec::new(),
            times: Times::default(),
            interrupted: 0,
        }
    }

    fn decide(&mut self, count: usize) {
        for review in self.reviews.iter().cycle().take(count) {
            let before = interruptions();
            let started = Instant::now();
            let answer = Judge::validate(&self.engine, Mode::Enforce, review.clone(), None).now_or_never();
            let time = started.elapsed();
            if interruptions() == before {
                self.times.push(time);
            } else {
                self.interrupted += 1;
            }
            let answer = answer.unwrap();
            let record = answer.record.unwrap();
            assert!(record.allowed && record.warned.is_empty(), "{record:?}");
        }
    }
}
