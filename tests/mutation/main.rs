//! How much the rules see: every world that is right is broken in one field at a time, in each way that the rules
//! speak of, and `docs/coverage.md` tells what they make of it.
//!
//! `LANEKEEPER_WRITE=1` writes the page anew (`make generate`), `LANEKEEPER_SLIPPED=<mutation>` (or `all`) prints where
//! that mutation slipped through.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic that says why"
)]

#[path = "../support/worlds.rs"]
mod worlds;

mod mutants;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, thread};

use lanekeeper::resource::{ObjectRef, Resource};
use lanekeeper::rule::{Check, Finding, Identity, Level, RULES, affected};
use lanekeeper::verdict::{Occasion, Standing, verdict};
use lanekeeper::world::{Layer, Scope, Settings as MeshSettings, View, World};

use mutants::{Mutant, mutants};
use worlds::{GoodWorld, yaml_files};

/// What came of one mutant.
struct Trial {
    /// The mutation.
    mutation: &'static str,
    /// The world, and what is broken in it.
    place: String,
    /// The findings that the right world does not have, each with its level.
    found: Vec<(&'static str, Level)>,
    /// What of it would refuse the change, if only admission looked at the object.
    overlooked: Vec<String>,
}

impl Trial {
    /// The heaviest of what was found.
    fn level(&self) -> Level {
        let levels = self.found.iter().map(|(_, level)| *level);
        levels.max().unwrap_or(Level::Off)
    }
}

/// All mutants of all worlds, tried once for all tests.
static TRIALS: LazyLock<Vec<Trial>> = LazyLock::new(|| {
    let worlds = right_worlds();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    // Every thread gets some of each folder, for their worlds differ in size.
    let share = |thread: usize| {
        let worlds = worlds.iter().enumerate();
        let mine = worlds.filter(move |(at, _)| at % threads == thread);
        let trials = mine.map(|(at, world)| (at, tried(world)));
        trials.collect::<Vec<_>>()
    };
    let mut trials: Vec<(usize, Vec<Trial>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || share(thread)))
            .collect();
        let trials = workers.into_iter().map(|worker| worker.join().expect("no panic"));
        trials.flatten().collect()
    });
    trials.sort_by_key(|(at, _)| *at);
    trials.into_iter().flat_map(|(_, trials)| trials).collect()
});

/// The worlds of `tests/worlds` and the good ones of each rule's fixtures.
fn right_worlds() -> Vec<GoodWorld> {
    let mut all = worlds::all();
    for rule in RULES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/rules")
            .join(rule.code);
        // That each rule has its fixtures is for `tests/fixtures.rs` to say.
        let files = folder.is_dir().then(|| yaml_files(&folder));
        for path in files.into_iter().flatten() {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("good") {
                all.push(GoodWorld {
                    name: format!("{}/{name}", rule.code),
                    ..GoodWorld::read(&path)
                });
            }
        }
    }
    all
}

/// The findings of a world: how many of each identity, and the heaviest level of each.
type Findings = BTreeMap<Identity, (usize, Level)>;

fn tried(good: &GoodWorld) -> Vec<Trial> {
    let is_whole = !good.name.contains('/');
    let base = good.files.world(MeshSettings::default());
    let all: BTreeSet<ObjectRef> = base.objects().map(Resource::reference).collect();
    let level = |finding: &Finding| {
        let occasion = Occasion::Files { partial: false };
        verdict(finding, &Standing::default(), &occasion, &good.settings)
    };
    let mut known = Findings::new();
    for finding in Check::new(&View::new(&base), None).objects(RULES, &all) {
        let entry = known.entry(finding.identity()).or_insert((0, Level::Off));
        *entry = (entry.0 + 1, entry.1.max(level(&finding)));
    }
    let try_one = |mutant: Mutant| {
        let changed = World::of(MeshSettings::default(), mutant.resource);
        let before = View::new(&base);
        let after = before.with(Layer {
            world: &changed,
            scope: Scope::Object(mutant.reference.clone()),
        });
        let mut looked_at = BTreeSet::new();
        for view in [&before, &after] {
            let object = view.get(&mutant.reference);
            looked_at.extend(object.into_iter().flat_map(|object| affected(view, object)));
        }
        // What admission would not look at is looked at in one part of the worlds, for it costs as much again.
        let mut judged = looked_at.clone();
        if is_whole {
            judged.extend(all.iter().cloned());
        }
        let mut left = known.clone();
        let (mut found, mut overlooked) = (Vec::new(), Vec::new());
        for finding in Check::new(&after, Some(&before)).objects(RULES, &judged) {
            let now = level(&finding);
            let is_known = left.get_mut(&finding.identity()).is_some_and(|(count, level)| {
                let is_known = *count > 0 && *level >= now;
                *count = count.saturating_sub(1);
                is_known
            });
            if is_known || now == Level::Off {
                continue;
            }
            found.push((finding.code, now));
            if now == Level::Deny && !looked_at.contains(&finding.object) {
                overlooked.push(format!("{} {}", finding.code, finding.object));
            }
        }
        Trial {
            mutation: mutant.mutation,
            place: format!("{}: {}", good.name, mutant.place),
            found,
            overlooked,
        }
    };
    mutants(&good.objects).into_iter().map(try_one).collect()
}

#[test]
fn the_page_says_what_is_caught_and_why_the_rest_is_not() {
    if let Some(mutation) = env::var_os("LANEKEEPER_SLIPPED") {
        let slipped = TRIALS.iter().filter(|trial| trial.found.is_empty());
        for trial in slipped.filter(|trial| mutation == "all" || mutation == trial.mutation) {
            eprintln!("{} in {}", trial.mutation, trial.place);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coverage.md");
    let page = page::page(&TRIALS, right_worlds().len());
    if env::var_os("LANEKEEPER_WRITE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/coverage.md is out of date: make generate");
    let faults = page::faults(&TRIALS);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_change_breaks_elsewhere_is_among_the_objects_that_admission_looks_at() {
    let overlooked = TRIALS.iter().flat_map(|trial| {
        let place = format!("{} ({})", trial.place, trial.mutation);
        trial
            .overlooked
            .iter()
            .map(move |what| format!("{place}: {what}"))
    });
    let overlooked: Vec<String> = overlooked.collect();
    assert!(
        overlooked.is_empty(),
        "{} are overlooked:\n{}",
        overlooked.len(),
        overlooked.join("\n")
    );
}
