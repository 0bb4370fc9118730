//! `examples/cars` is whole, and each file of `examples/cars-broken` comes out over it as its first line says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "rules/judge.rs"]
mod judge;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lanekeeper::resource::{Kind, Resource};
use lanekeeper::rewrite::{apply, edits};
use lanekeeper::rule::Level;
use lanekeeper::world::{Settings, View, World};

use judge::{Found, judge, load};

fn examples(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(folder)
}

/// A broken example: its file, what its first line says comes of it, and its codes.
struct Broken {
    path: PathBuf,
    outcome: String,
    codes: BTreeSet<String>,
}

impl Broken {
    fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// `# refused: LK101, LK103`.
fn broken() -> Vec<Broken> {
    let entries = fs::read_dir(examples("cars-broken")).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("a folder's entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("an example is text");
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let (outcome, codes) = first
            .strip_prefix("# ")
            .and_then(|first| first.split_once(": "))
            .unwrap_or_else(|| {
                panic!(
                    "{} starts with `{first}`, not with `# <outcome>: <codes>`",
                    path.display()
                )
            });
        assert!(
            lines.next().is_some_and(|line| line.starts_with("# ")),
            "{} does not say what happens",
            path.display()
        );
        let codes = codes.split(", ").map(ToOwned::to_owned).collect();
        Broken {
            outcome: outcome.to_owned(),
            codes,
            path,
        }
    };
    paths.into_iter().map(read).collect()
}

fn told(found: &[Found]) -> String {
    let lines: Vec<String> = found
        .iter()
        .map(|found| format!("{}: {} {}", found.place, found.level, found.finding))
        .collect();
    lines.join("\n")
}

#[test]
fn the_good_example_has_no_findings() {
    let (files, world) = load(&[examples("cars")]);
    assert_eq!(files.notes, [""; 0]);
    let found = judge(&files, &world);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn each_broken_example_has_the_findings_that_its_first_line_names() {
    let all = broken();
    for broken in &all {
        let name = broken.name();
        let (files, world) = load(&[examples("cars"), broken.path.clone()]);
        assert_eq!(
            files.notes.len(),
            1,
            "{name} replaces one object of cars: {:#?}",
            files.notes
        );
        let found = judge(&files, &world);
        let level = match broken.outcome.as_str() {
            "refused" | "rewritten" => Level::Deny,
            "warned" => Level::Warn,
            other => panic!("{name}: `{other}` is no outcome"),
        };
        let codes: BTreeSet<String> = found.iter().map(|found| found.finding.code.to_owned()).collect();
        assert_eq!(codes, broken.codes, "{name}:\n{}", told(&found));
        let worst = found.iter().map(|found| found.level).max();
        assert_eq!(worst, Some(level), "{name}:\n{}", told(&found));
        for found in &found {
            let Found { finding, .. } = found;
            assert!(
                !finding.message.is_empty() && !finding.help.is_empty(),
                "{name}: {finding}"
            );
        }
    }
    // An example breaks one object of cars, so that applying it again mends it; after a replacement, apply would keep
    // LK206's traffic policy, and the label or annotation of LK503. LK504 follows from a Telemetry and LK602 from pods, and cars has neither. For LK102, LK106, LK107, LK108 and LK408 there have to be two, and LK304 is about
    // what only a group that is written down promises, and cars has none.
    let not_shown = [
        "LK102", "LK106", "LK107", "LK108", "LK206", "LK304", "LK408", "LK503", "LK504", "LK602",
    ];
    let rules = lanekeeper::rule::RULES.iter().map(|rule| rule.code.to_owned());
    let rules = rules.filter(|code| !not_shown.contains(&code.as_str()));
    let shown: BTreeSet<String> = all.iter().flat_map(|broken| broken.codes.clone()).collect();
    assert_eq!(shown, rules.collect(), "every rule is shown");
}

#[test]
fn a_rewritten_example_is_whole_once_it_is_rewritten_and_stays_as_it_is() {
    let rewritten: Vec<Broken> = broken()
        .into_iter()
        .filter(|broken| broken.outcome == "rewritten")
        .collect();
    assert!(
        rewritten.len() >= 3,
        "only {} examples are rewritten",
        rewritten.len()
    );
    for broken in rewritten {
        let name = broken.name();
        let (files, world) = load(&[examples("cars"), broken.path.clone()]);
        let object = files.objects.last().expect("the files hold objects");
        let json = files.json(object).expect("the object is JSON");
        let made = edits_of(&world, &object.resource);
        assert!(!made.is_empty(), "{name} is not rewritten");
        let after = apply(&json, &made).expect("the object is a VirtualService");
        let mut patched = json.clone();
        json_patch::patch(&mut patched, &json_patch::diff(&json, &after)).expect("the patch applies");
        assert_eq!(patched, after, "{name}");

        // As the API server would store it.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rewritten.json");
        fs::write(&path, after.to_string()).expect("the folder can be written");
        let (files, world) = load(&[examples("cars"), path]);
        let found = judge(&files, &world);
        assert!(found.is_empty(), "{name} after {made:?}:\n{}", told(&found));
        let object = files.objects.last().expect("the files hold objects");
        assert_eq!(
            edits_of(&world, &object.resource),
            [],
            "{name} is rewritten twice"
        );
    }
}

fn edits_of(world: &World, object: &Resource) -> Vec<lanekeeper::rewrite::Edit> {
    match world.get(&object.reference()) {
        Some(Resource::VirtualService(vs)) => edits(&View::new(world), None, vs),
        other => panic!("{other:?} is no {}", Kind::VirtualService),
    }
}

/// What `kubectl apply -f examples/cars` sends first is there for what it sends next: judged object by object, in the
/// order of the files, nothing is even warned of.
#[test]
fn the_good_example_can_be_applied_one_object_after_the_other() {
    let (files, _) = load(&[examples("cars")]);
    let mut world = World::new(Settings::default());
    let mut before = World::new(Settings::default());
    for (at, object) in files.objects.iter().enumerate() {
        if let Some(last) = at.checked_sub(1).and_then(|last| files.objects.get(last)) {
            before.apply(last.resource.clone());
        }
        world.apply(object.resource.clone());
        let (view, as_it_was) = (View::new(&world), View::new(&before));
        let check = lanekeeper::rule::Check::new(&view, Some(&as_it_was));
        let references: Vec<_> = files
            .objects
            .iter()
            .map(|object| object.resource.reference())
            .collect();
        let found = check.objects(lanekeeper::rule::RULES, &references);
        assert!(
            found.is_empty(),
            "after {}: {found:#?}",
            object.resource.reference()
        );
    }
}
