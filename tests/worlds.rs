//! False alarms: small whole worlds that are right, under `tests/worlds/`, as files and as objects that come one by
//! one in every order.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/lanes.rs"]
mod lanes;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/worlds.rs"]
mod worlds;

use std::thread;

use lanekeeper::rule::{Check, Level, RULES};
use lanekeeper::verdict::{Mode, Occasion, Standing, allow_of, verdict};
use lanekeeper::world::{Settings as MeshSettings, View};

use memory::{By, Memory};
use worlds::{GoodWorld, Order, name_of};

/// What `check` says of a world: the denials with their messages, and the warnings as a world's file lists them.
fn checked(good: &GoodWorld) -> (Vec<String>, Vec<String>) {
    let world = good.files.world(MeshSettings::default());
    let view = View::new(&world);
    let check = Check::new(&view, None);
    let (mut denied, mut warned) = (Vec::new(), Vec::new());
    for object in &good.files.objects {
        let reference = object.resource.reference();
        let resource = world.get(&reference).expect("the world has its objects");
        for finding in check.object(RULES, resource) {
            let occasion = Occasion::Files { partial: false };
            let allow = allow_of(&resource.meta().annotations);
            let standing = Standing {
                mode: None,
                allows: allow.into_iter().map(|(codes, _)| codes).collect(),
            };
            match verdict(&finding, &standing, &occasion, &good.settings) {
                Level::Off => {}
                Level::Warn => warned.push(format!("{} {reference} {}", finding.code, finding.path)),
                Level::Deny => denied.push(finding.to_string()),
            }
        }
    }
    warned.sort();
    (denied, warned)
}

#[test]
fn no_world_is_refused_and_each_has_the_warnings_that_it_lists() {
    let all = worlds::all();
    assert!(all.len() >= 100, "only {} worlds", all.len());
    let mut faults = Vec::new();
    for good in all {
        let (denied, warned) = checked(&good);
        let name = &good.name;
        if good.comment.len() < 20 {
            faults.push(format!("{name} does not start with what it shows"));
        }
        faults.extend(denied.iter().map(|denial| format!("{name} is refused: {denial}")));
        let unexpected = warned.iter().filter(|warning| !good.warnings.contains(warning));
        faults.extend(unexpected.map(|warning| format!("{name} is warned of: {warning}")));
        let absent = good.warnings.iter().filter(|warning| !warned.contains(warning));
        faults.extend(absent.map(|warning| format!("{name} is not warned of: {warning}")));
        if warned.len() != good.warnings.len() {
            faults.push(format!("{name} has {} warnings: {warned:#?}", warned.len()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Who applies a set, and how.
#[derive(Debug, Clone, Copy)]
struct Applier {
    manager: &'static str,
    order: Order,
    /// Whether it tries the whole set before it applies any of it.
    tries: bool,
    /// Whether it is known as one that applies sets: what may be on its way is let through.
    is_known: bool,
}

const fn applier(manager: &'static str, order: Order) -> Applier {
    Applier {
        manager,
        order,
        tries: false,
        is_known: true,
    }
}

const APPLIERS: [Applier; 4] = [
    applier("helm", Order::Helm),
    applier("argocd-controller", Order::ArgoCd),
    Applier {
        tries: true,
        ..applier("kustomize-controller", Order::Reversed)
    },
    Applier {
        is_known: false,
        ..applier(By::KUBECTL.manager, Order::Reversed)
    },
];

/// What is wrong with how a world comes by one applier, and goes again.
fn one_by_one(good: &GoodWorld, applier: Applier) -> Vec<String> {
    let Applier { manager, order, .. } = applier;
    let who = format!("{} in the order of {order:?} by {manager}", good.name);
    let objects = order.of(&good.objects);
    let by = By {
        manager,
        dry_run: false,
    };
    let mut memory = Memory::new(good.settings.clone());
    let mut faults = Vec::new();
    if applier.tries {
        for object in &objects {
            let tried = memory.apply(object, By { dry_run: true, ..by });
            let refusals = tried.refused.into_iter();
            faults.extend(refusals.map(|why| format!("{who}: {} fails its dry run: {why}", name_of(object))));
        }
    }
    // Only who applies by hand may be told to come again.
    let rounds = if applier.is_known { 1 } else { 2 };
    for round in 1..=rounds {
        for object in &objects {
            if let Some(why) = memory.apply(object, by).refused.filter(|_| round == rounds) {
                faults.push(format!(
                    "{who}: {} is refused in round {round}: {why}",
                    name_of(object)
                ));
            }
        }
    }
    if memory.len() != objects.len() {
        faults.push(format!("{who}: {} of {} are stored", memory.len(), objects.len()));
        return faults;
    }
    // Taking down is the same whoever put it up.
    let taken_down = objects
        .iter()
        .rev()
        .take(if applier.tries { objects.len() } else { 0 });
    for object in taken_down {
        if let Some(why) = memory.delete(object, Mode::Enforce, by).refused {
            faults.push(format!("{who}: {} cannot be deleted: {why}", name_of(object)));
        }
    }
    faults
}

#[test]
fn the_objects_of_a_world_come_in_any_order_and_go_again() {
    let all = worlds::all();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let faults = thread::scope(|scope| {
        let run = |share: &[GoodWorld]| {
            let mut faults = Vec::new();
            for good in share {
                for applier in APPLIERS {
                    faults.extend(one_by_one(good, applier));
                }
            }
            faults
        };
        let shares = all.chunks(all.len().div_ceil(threads));
        let workers: Vec<_> = shares.map(|share| scope.spawn(move || run(share))).collect();
        let faults = workers.into_iter().map(|worker| worker.join().expect("no panic"));
        faults.collect::<Vec<_>>().concat()
    });
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// The worlds that a lane is added to.
const GROWING: [&str; 3] = [
    "a-plugin-implies-the-group",
    "a-group-is-written-down",
    "the-lane-label-is-not-version",
];

#[test]
fn a_lane_is_added_step_by_step_and_taken_away_by_the_same_steps_back() {
    for name in GROWING {
        let good = worlds::named(name);
        let mut memory = Memory::new(good.settings.clone());
        let apply = |memory: &mut Memory, object: &_, step: &str| {
            let refused = memory.apply(object, By::KUBECTL).refused;
            assert!(
                refused.is_none(),
                "{name}, {step}: {} is refused: {refused:?}",
                name_of(object)
            );
        };
        for object in Order::Helm.of(&good.objects) {
            apply(&mut memory, &object, "before");
        }
        let steps = lanes::steps(&good.objects);
        assert!(steps.len() >= 4, "{name} has {steps:#?}");
        for step in &steps {
            for change in &step.changes {
                apply(&mut memory, &change.after, step.name);
            }
        }
        for step in steps.iter().rev() {
            for change in &step.changes {
                if let Some(before) = &change.before {
                    apply(&mut memory, before, step.name);
                    continue;
                }
                let refused = memory.delete(&change.after, Mode::Protect, By::KUBECTL).refused;
                assert!(
                    refused.is_none(),
                    "{name}: {} stays: {refused:?}",
                    name_of(&change.after)
                );
            }
        }
    }
}

#[test]
fn a_lane_is_added_and_taken_away_in_one_go() {
    for name in GROWING {
        let good = worlds::named(name);
        for (manager, rounds) in [("helm", 1), ("kustomize-controller", 1), (By::KUBECTL.manager, 2)] {
            let by = By {
                manager,
                dry_run: false,
            };
            let mut memory = Memory::new(good.settings.clone());
            let changes = lanes::steps(&good.objects)
                .into_iter()
                .flat_map(|step| step.changes);
            let (before, after): (Vec<_>, Vec<_>) =
                changes.map(|change| (change.before, change.after)).unzip();
            let before: Vec<_> = before.into_iter().flatten().collect();
            for set in [&good.objects, &after, &before] {
                let mut refused = Vec::new();
                for _ in 0..rounds {
                    let applied = Order::Helm.of(set).into_iter();
                    refused = applied
                        .filter_map(|object| memory.apply(&object, by).refused)
                        .collect();
                }
                assert!(refused.is_empty(), "{name} by {manager}: {refused:#?}");
            }
            // What is no longer in the set goes last.
            let gone = after.iter().filter(|object| {
                !before
                    .iter()
                    .any(|other| memory::reference(other) == memory::reference(object))
            });
            for object in gone {
                let refused = memory.delete(object, Mode::Protect, by).refused;
                assert!(
                    refused.is_none(),
                    "{name}: {} stays: {refused:?}",
                    name_of(object)
                );
            }
        }
    }
}
