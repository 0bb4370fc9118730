//! `lanekeeper fix`: what it writes, what it leaves alone, how it ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/written.rs"]
mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use lanekeeper::files::{FileObject, Files, Reader};
use lanekeeper::resource::{ObjectRef, Resource};
use lanekeeper::rewrite::{apply, edits};
use lanekeeper::world::{Settings, View};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use command::{Run, folder, run};
use written::{Style, file, list};

/// Runs the program in a folder; it ends with one of the codes that its help tells.
fn run_in(folder: &Path, arguments: &[&str], stdin: &str) -> Run {
    let mut input = tempfile::tempfile().expect("a temporary file");
    input.write_all(stdin.as_bytes()).expect("it can be written");
    input.rewind().expect("it can be read from its start");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    let run = run(command.args(arguments).current_dir(folder).stdin(input));
    assert!(
        matches!(run.code, Some(0..=2)) && !run.stderr.contains("panicked"),
        "{run:#?}"
    );
    run
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).expect("the file is there")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The files of an examples folder, with their texts.
fn texts(name: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(examples().join(name)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("a folder's entry").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    yaml.map(|path| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("an example is text"))
    })
    .collect()
}

/// The cars, and one broken example in the file `broken.yaml`.
fn cars_with(broken: &str) -> TempDir {
    let folder = folder(&[("broken.yaml", broken)]);
    fs::create_dir(folder.path().join("cars")).expect("the folder can be written");
    for (name, text) in texts("cars") {
        fs::write(folder.path().join("cars").join(name), text).expect("the folder can be written");
    }
    folder
}

/// What is mended only with `--unsafe-fixes`.
const GUESSED: [&str; 10] = [
    "lane-and-subset-typo.yaml",
    "lane-typo.yaml",
    "no-default-route.yaml",
    "service-selector-typo.yaml",
    "subset-dropped.yaml",
    "subset-label-key.yaml",
    "subset-label-typo.yaml",
    "subset-name-typo.yaml",
    "workload-not-behind-service.yaml",
    "wrong-lane-header.yaml",
];

#[test]
fn each_broken_example_is_mended_as_far_as_it_can_be_and_passes_then() {
    let mut whole = String::new();
    for (name, text) in texts("cars-broken") {
        let is_rewritten = text.starts_with("# rewritten");
        for with_guesses in [false, true] {
            let folder = cars_with(&text);
            let run = |command: &str, options: &[&str]| {
                let mut arguments = vec![command];
                arguments.extend(options);
                arguments.extend(["cars", "broken.yaml"]);
                run_in(folder.path(), &arguments, "")
            };
            let options: &[&str] = if with_guesses { &["--unsafe-fixes"] } else { &[] };
            let is_mended = is_rewritten || (with_guesses && GUESSED.contains(&name.as_str()));
            let shown = run("fix", &[options, &["--diff"]].concat());
            assert_eq!(read(folder.path(), "broken.yaml"), text, "{name}");
            assert_eq!(shown.code, Some(i32::from(is_mended)), "{name}: {shown:#?}");
            let fixed = run("fix", options);
            let checked = run("check", &["-o", "oneline", "--fail-on", "warn"]);
            assert_eq!(
                checked.code,
                Some(i32::from(!is_mended)),
                "{name}: {fixed:#?} {checked:#?}"
            );
            let after = read(folder.path(), "broken.yaml");
            assert_eq!(after != text, is_mended, "{name}: {fixed:#?}");
            let again = run("fix", options);
            assert!(again.stdout.contains("0 fixed in 0 files"), "{name}: {again:#?}");
            assert_eq!(read(folder.path(), "broken.yaml"), after, "{name}");
            for (name, text) in texts("cars") {
                assert_eq!(read(&folder.path().join("cars"), &name), text);
            }
            if with_guesses && (is_mended || !fixed.stdout.starts_with("0 fixed")) {
                let _ = writeln!(whole, "==== {name}\n{}{}", shown.stdout, fixed.stdout);
            }
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("fix", whole));
}

#[test]
fn what_is_right_stays_as_it_is() {
    let folder = cars_with("");
    let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "cars"], "");
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(0), "0 fixed in 0 files, 0 left\n")
    );
    for (name, text) in texts("cars") {
        assert_eq!(read(&folder.path().join("cars"), &name), text);
    }
}

/// Small worlds: a cart with two lanes, a gateway, and one route to it by host.
fn shop() -> Shop {
    Shop {
        label: ("version", "green"),
        lane: "green",
        subset: "cart-green",
        has_subset: true,
        has_default: true,
        is_rewritten: true,
    }
}

/// What may be wrong with it.
#[derive(Debug, Clone, Copy)]
struct Shop {
    /// The label of the green subset.
    label: (&'static str, &'static str),
    /// The lane that the green route of the mesh is for.
    lane: &'static str,
    /// The subset that it leads to.
    subset: &'static str,
    /// Whether the green subset is there.
    has_subset: bool,
    /// Whether the gateway has a route for requests without a lane.
    has_default: bool,
    /// Whether the gateway's routes set the lane header.
    is_rewritten: bool,
}

impl Shop {
    fn objects(self) -> Vec<Value> {
        let object = |api: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        let istio = |kind: &str, name: &str, spec: Value| object("networking.istio.io/v1", kind, name, spec);
        let workload = |lane: &str| {
            let labels = json!({"app": "cart", "version": lane, "part-of": "shop"});
            let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}});
            let selector = json!({"matchLabels": {"app": "cart", "release": lane}});
            object(
                "apps/v1",
                "Deployment",
                &format!("cart-{lane}"),
                json!({"selector": selector, "template": template}),
            )
        };
        let to = |subset: &str| json!([{"destination": {"host": "cart", "subset": subset}}]);
        let (key, value) = self.label;
        let mut subsets = vec![json!({"labels": {"version": "blue"}, "name": "cart-blue"})];
        if self.has_subset {
            subsets.push(json!({"labels": {key: value}, "name": "cart-green"}));
        }
        let enter = |lane: &str| {
            let mut route = json!({"match": [{"headers": {"x-lane": {"exact": lane}}}], "route": to(&format!("cart-{lane}"))});
            if self.is_rewritten {
                route["headers"] = json!({"request": {"set": {"lane": lane}}});
            }
            route
        };
        let mut entry = vec![enter("green"), enter("blue")];
        if self.has_default {
            let mut default = enter("blue");
            default["match"] = json!([{"uri": {"prefix": "/"}}]);
            entry.push(default);
        }
        vec![
            object(
                "lanekeeper.dev/v1alpha1",
                "LaneGroup",
                "shop",
                json!({
                "defaultLane": "blue", "entry": {"gateways": ["shop"], "header": "x-lane"}, "header": "lane",
                "laneLabel": "version", "lanes": ["blue", "green"], "workloads": {"matchLabels": {"part-of": "shop"}}}),
            ),
            object(
                "v1",
                "Service",
                "cart",
                json!({"ports": [{"name": "http", "port": 80}], "selector": {"app": "cart"}}),
            ),
            workload("blue"),
            workload("green"),
            istio(
                "DestinationRule",
                "cart",
                json!({"host": "cart", "subsets": subsets}),
            ),
            istio(
                "VirtualService",
                "cart",
                json!({"hosts": ["cart"], "http": [
                {"match": [{"headers": {"lane": {"exact": self.lane}}}], "route": to(self.subset)},
                {"route": to("cart-blue")}]}),
            ),
            istio(
                "Gateway",
                "shop",
                json!({"selector": {"istio": "ingress"}, "servers": [
                {"hosts": ["shop.example.com"], "port": {"name": "http", "number": 80, "protocol": "HTTP"}}]}),
            ),
            istio(
                "VirtualService",
                "entry",
                json!({"gateways": ["shop"], "hosts": ["shop.example.com"], "http": entry}),
            ),
        ]
    }

    /// The world as one file of blocks.
    fn text(self) -> String {
        let documents: Vec<(Style, Value)> =
            self.objects().into_iter().map(|object| (BLOCK, object)).collect();
        file(&documents, false, false)
    }
}

const BLOCK: Style = Style::Block {
    indents_lists: false,
    quote: None,
    has_comments: false,
};

#[test]
fn the_small_world_is_right() {
    let folder = folder(&[("a.yaml", &shop().text())]);
    let run = run_in(folder.path(), &["check", "--fail-on", "warn", "a.yaml"], "");
    assert_eq!(run.code, Some(0), "{run:#?}");
}

#[test]
fn standard_input_comes_out_mended_whatever_is_wrong_with_it() {
    let wrong = Shop {
        lane: "gren",
        ..shop()
    }
    .text();
    let here = tempfile::tempdir().expect("a temporary folder");
    let run = run_in(here.path(), &["fix", "--unsafe-fixes", "-"], &wrong);
    assert_eq!((run.code, run.stdout), (Some(0), shop().text()));
    assert!(run.stderr.contains("1 fixed in 1 file, 0 left"), "{}", run.stderr);
    let run = run_in(here.path(), &["fix", "-"], &wrong);
    assert_eq!((run.code, run.stdout), (Some(1), wrong.clone()));
    assert!(
        run.stderr
            .ends_with("0 fixed in 0 files, 1 left (1 of them for --unsafe-fixes)\n"),
        "{}",
        run.stderr
    );
    let run = run_in(here.path(), &["fix", "--unsafe-fixes", "--diff", "-"], &wrong);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.starts_with("--- -\n+++ -\n@@"), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("-          exact: gren\n+          exact: green\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_is_no_text_does_not_become_a_message_in_the_pipe() {
    let here = tempfile::tempdir().expect("a temporary folder");
    let run = run_in(here.path(), &["fix", "-"], "a: \u{feff}\u{0}\n");
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), "a: \u{feff}\u{0}\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    let mut input = tempfile::tempfile().expect("a temporary file");
    input.write_all(b"a: \xff\n").expect("it can be written");
    input.rewind().expect("it can be read from its start");
    let run = self::run(command.args(["fix", "-"]).stdin(input));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("UTF-8"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_done() {
    let wrong = Shop {
        lane: "gren",
        is_rewritten: false,
        ..shop()
    };
    let objects = wrong.objects();
    let (entry, others) = objects.split_last().expect("there are some");
    let of = |objects: &[Value]| {
        let documents: Vec<(Style, Value)> = objects.iter().map(|object| (BLOCK, object.clone())).collect();
        file(&documents, false, false)
    };
    let (entry, others) = (of(std::slice::from_ref(entry)), of(others));
    let folder = folder(&[
        ("entry.yaml", &entry),
        ("others.yaml", &others),
        ("not.yaml", "a: [\n"),
    ]);
    let path = folder.path().join("entry.yaml");
    let mut permissions = fs::metadata(&path).expect("it is there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).expect("it can be set");
    let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "."], "");
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(
        run.stderr
            .contains("entry.yaml is left as it is: it is read-only"),
        "{run:#?}"
    );
    assert!(run.stdout.contains("not.yaml:2:1: "), "{run:#?}");
    assert!(run.stdout.contains("1 fixed in 1 file, 0 left"), "{run:#?}");
    assert_eq!(read(folder.path(), "entry.yaml"), entry);
    assert_eq!(
        read(folder.path(), "others.yaml"),
        others.replace("gren\n", "green\n")
    );
    assert_eq!(read(folder.path(), "not.yaml"), "a: [\n");
    let missing = run_in(folder.path(), &["fix", "missing.yaml", "others.yaml"], "");
    assert_eq!(missing.code, Some(2), "{missing:#?}");
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_permissions_stay_as_they_are() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = folder(&[]);
    let real = folder.path().join("real.txt");
    fs::write(
        &real,
        Shop {
            lane: "gren",
            ..shop()
        }
        .text(),
    )
    .expect("the folder can be written");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("it can be set");
    symlink("real.txt", folder.path().join("a.yaml")).expect("a link can be made");
    let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "a.yaml"], "");
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(read(folder.path(), "real.txt"), shop().text());
    let link = fs::symlink_metadata(folder.path().join("a.yaml")).expect("it is there");
    assert!(link.is_symlink());
    let mode = fs::metadata(&real).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(names, 2, "nothing is left behind");
}

/// Runs `fix --unsafe-fixes` on one file; what it prints, and the text after.
fn mended(text: &str) -> (Run, String) {
    let folder = folder(&[("a.yaml", text)]);
    let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "a.yaml"], "");
    let after = read(folder.path(), "a.yaml");
    (run, after)
}

#[test]
fn what_would_bring_a_new_finding_is_not_done_and_told_with_what_to_write() {
    // The slip in the lane's name hides that the route leads to the other lane.
    let text = Shop {
        lane: "gren",
        subset: "cart-blue",
        ..shop()
    }
    .text();
    let (run, after) = mended(&text);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert_eq!(after, text);
    let told = "a.yaml: not fixed: VirtualService shop/cart (LK301 unknown-lane): it would bring a new finding: [LK303";
    assert!(run.stdout.contains(told), "{run:#?}");
    assert!(
        run.stdout
            .contains("\n    spec.http[0].match[0].headers.lane.exact: green\n"),
        "{run:#?}"
    );
}

#[test]
fn what_comes_by_an_alias_is_left_as_it_is_and_what_to_write_is_printed() {
    let right = shop().text();
    let rule = right.find("kind: DestinationRule").expect("there is one");
    let (before, rule) = right.split_at(rule);
    let rule = rule
        .replacen(
            "  name: cart\n",
            "  name: cart\n  annotations: &labels {version: gren}\n",
            1,
        )
        .replacen("labels:\n      version: green\n", "labels: *labels\n", 1);
    let text = format!("{before}{rule}");
    assert_ne!(text, right);
    let (run, after) = mended(&text);
    assert_eq!((run.code, &after), (Some(1), &text), "{run:#?}");
    assert!(run.stdout.contains("by an alias or a merge key"), "{run:#?}");
    assert!(
        run.stdout
            .contains("\n    spec.subsets[1].labels.version: green\n"),
        "{run:#?}"
    );
}

#[test]
fn the_configuration_counts_as_it_does_for_check() {
    let text = Shop {
        lane: "gren",
        ..shop()
    }
    .text();
    let left = |config: &str| {
        let folder = folder(&[("a.yaml", &text), ("lanekeeper.yaml", config)]);
        let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "a.yaml"], "");
        (run.stdout, read(folder.path(), "a.yaml") == text)
    };
    let (told, is_left) = left("rules: {LK301: off}\n");
    assert!(is_left && told == "0 fixed in 0 files, 0 left\n", "{told}");
    let (told, is_left) = left("rules: {LK301: warn}\n");
    assert!(
        !is_left && told.ends_with("1 fixed in 1 file, 0 left\n"),
        "{told}"
    );
}

#[test]
fn a_label_that_the_workloads_own_selector_has_is_left_to_people() {
    let right = shop().text();
    let text = right
        .replace("      release: green\n", "      version: gren\n")
        .replace(
            "        part-of: shop\n        version: green\n",
            "        part-of: shop\n        version: gren\n",
        );
    assert_ne!(text, right);
    let (run, after) = mended(&text);
    assert_eq!((run.code, &after), (Some(1), &text), "{run:#?}");
    assert!(run.stdout.contains("no cluster lets it be changed"), "{run:#?}");
    let without = text.replace("\n      version: gren\n", "\n      release: green\n");
    let (run, after) = mended(&without);
    assert_eq!((run.code, after), (Some(0), right), "{run:#?}");
}

#[test]
fn who_does_not_want_rewriting_is_left_alone_and_what_argo_cd_tracks_is_rewritten_in_its_file() {
    let text = Shop {
        is_rewritten: false,
        ..shop()
    }
    .text();
    let with = |annotation: &str| {
        let annotated = format!("metadata:\n  annotations:\n    {annotation}\n  name: entry\n");
        text.replace("metadata:\n  name: entry\n", &annotated)
    };
    let opted_out = with("lanekeeper.dev/rewrite: \"false\"");
    let (run, after) = mended(&opted_out);
    assert_eq!((run.code, after), (Some(1), opted_out), "{run:#?}");
    let (run, _) = mended(&with("argocd.argoproj.io/tracking-id: shop"));
    assert_eq!(run.code, Some(0), "{run:#?}");
}

fn styles() -> impl Strategy<Value = Style> {
    let block = (
        any::<bool>(),
        prop_oneof![Just(None), Just(Some('"')), Just(Some('\''))],
        any::<bool>(),
    );
    prop_oneof![
        4 => block.prop_map(|(indents_lists, quote, has_comments)| Style::Block { indents_lists, quote, has_comments }),
        1 => Just(Style::Flow),
        1 => Just(Style::Json),
        1 => Just(Style::Tabs),
    ]
}

/// How a world is written: as a `List` or as documents, each in its style, in up to two files.
#[derive(Debug, Clone)]
struct Paper {
    styles: Vec<Style>,
    is_list: bool,
    has_mark: bool,
    has_returns: bool,
    split: usize,
}

impl Paper {
    fn files(&self, objects: &[Value]) -> Vec<(String, String)> {
        let (first, second) = objects.split_at(self.split.min(objects.len()));
        let parts = [("a.yaml", first), ("b.yaml", second)].into_iter();
        let parts = parts.filter(|(_, objects)| !objects.is_empty());
        parts
            .map(|(name, objects)| {
                let styles = self.styles.iter().copied().cycle();
                let documents: Vec<(Style, Value)> = if self.is_list {
                    vec![(self.styles[0], list(objects))]
                } else {
                    styles.zip(objects.iter().cloned()).collect()
                };
                (name.to_owned(), file(&documents, self.has_mark, self.has_returns))
            })
            .collect()
    }
}

fn papers() -> impl Strategy<Value = Paper> {
    let styles = prop::collection::vec(styles(), 1..5);
    (styles, any::<bool>(), any::<bool>(), any::<bool>(), 0..9_usize).prop_map(
        |(styles, is_list, has_mark, has_returns, split)| Paper {
            styles,
            is_list,
            has_mark,
            has_returns,
            split,
        },
    )
}

/// Runs `fix --unsafe-fixes` on files; what they hold after.
fn mend(files: &[(String, String)]) -> Result<Vec<String>, TestCaseError> {
    let pairs: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let folder = folder(&pairs);
    let run = run_in(folder.path(), &["fix", "--unsafe-fixes", "."], "");
    prop_assert!(
        run.code == Some(0) && run.stdout.ends_with(", 0 left\n"),
        "{:#?}\n{:#?}",
        run,
        files
    );
    Ok(files.iter().map(|(name, _)| read(folder.path(), name)).collect())
}

/// The files of these texts.
fn loaded(texts: &[String]) -> Files {
    let named = texts.iter().enumerate();
    let named = named.map(|(at, text)| (format!("{at}.yaml"), text.clone().into_bytes()));
    Reader::default().load_texts(named.collect())
}

/// All objects of these files, as JSON.
fn decoded(files: &Files) -> Vec<(ObjectRef, Value)> {
    let json = |object: &FileObject| files.json(object).expect("it is JSON");
    files
        .objects
        .iter()
        .map(|object| (object.resource.reference(), json(object)))
        .collect()
}

/// The objects with their gateway routes rewritten as the webhook would.
fn rewritten(texts: &[String]) -> Vec<(ObjectRef, Value)> {
    let files = loaded(texts);
    let mut objects = decoded(&files);
    let world = files.world(Settings::default());
    for (reference, json) in &mut objects {
        if let Some(Resource::VirtualService(vs)) = world.get(reference) {
            *json = apply(json, &edits(&View::new(&world), None, vs)).expect("it is one");
        }
    }
    objects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slips_are_mended_and_every_other_byte_stays(
        paper in papers(),
        label in prop::sample::select(vec![("version", "green"), ("version", "gren"), ("verison", "green")]),
        lane in prop::sample::select(vec!["green", "gren", "greeen"]),
        subset in prop::sample::select(vec!["cart-green", "cart-gren"]),
    ) {
        let wrong = Shop { label, lane, subset, ..shop() };
        let texts: Vec<String> = paper.files(&shop().objects()).into_iter().map(|(_, text)| text).collect();
        prop_assert_eq!(mend(&paper.files(&wrong.objects()))?, texts);
    }

    #[test]
    fn what_is_added_is_what_is_meant_and_every_line_stays(
        paper in papers(),
        has_subset in any::<bool>(),
        has_default in any::<bool>(),
        is_rewritten in any::<bool>(),
    ) {
        let wrong = Shop { has_subset, has_default, is_rewritten, ..shop() };
        let files = paper.files(&wrong.objects());
        let texts: Vec<String> = files.iter().map(|(_, text)| text.clone()).collect();
        let after = mend(&files)?;
        // The webhook would rewrite the routes to a lane once its subset is there.
        let meant = Shop { has_subset: true, ..wrong };
        let meant: Vec<String> = paper.files(&meant.objects()).into_iter().map(|(_, text)| text).collect();
        let (meant, after_that) = (rewritten(&meant), decoded(&loaded(&after)));
        prop_assert_eq!(meant.len(), after_that.len());
        for (mut old, mut new) in meant.into_iter().zip(after_that) {
            if !has_default && &*new.0.name == "entry" {
                let added = new.1["spec"]["http"].as_array_mut().and_then(Vec::pop).expect("a route");
                prop_assert_eq!(&added["match"], &Value::Null);
                prop_assert_eq!(&added["route"][0]["destination"]["subset"], "cart-blue");
                // What the webhook makes of the others depends on nothing behind them.
                old.1["spec"]["http"].as_array_mut().expect("a list").truncate(2);
            }
            prop_assert_eq!(old, new);
        }
        if paper.styles.iter().all(|style| matches!(style, Style::Block { .. })) {
            for (old, new) in texts.iter().zip(&after) {
                let mut lines = new.split_inclusive('\n');
                for line in old.split_inclusive('\n') {
                    prop_assert!(lines.any(|other| other == line), "{:?} is gone from:\n{}", line, new);
                }
            }
        }
    }
}
