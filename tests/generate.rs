//! `lanekeeper generate`: what it makes passes every check, and each request gets to its lane.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use lanekeeper::files::{Files, Reader};
use lanekeeper::generate::{EntryPoint, Generated, ORDER, Options, generate};
use lanekeeper::resource::{Labels, LaneGroup, ObjectRef, Resource};
use lanekeeper::routing::{Client, Ending, Outcome, Request, Way, simulate};
use lanekeeper::rule::{Check, Finding, RULES};
use lanekeeper::world::{Settings, View, World};
use lanekeeper::yaml;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use tempfile::TempDir;

use command::{Run, folder, run};

const GROUP: &str = "\
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {name: cars, namespace: cars-aswatson-dev}
spec:
  header: bu
  entry: {header: buid, gateways: [cars]}
  workloads: {matchLabels: {app.kubernetes.io/part-of: cars}}
  lanes: [wtchk, wicph]
  defaultLane: wtchk
";

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cars")
}

/// The lane group and the cars, without what is made from a group.
fn cars(group: &str) -> TempDir {
    let folder = folder(&[("group.yaml", group)]);
    let is_made = |document: &str| {
        ["DestinationRule", "VirtualService", "WasmPlugin"]
            .iter()
            .any(|kind| document.lines().any(|line| line == format!("kind: {kind}")))
    };
    for entry in fs::read_dir(examples()).expect("the examples are there") {
        let path = entry.expect("a folder's entry").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = fs::read_to_string(&path).expect("an example is text");
            let kept: Vec<&str> = text
                .split("\n---\n")
                .filter(|document| !is_made(document))
                .collect();
            fs::write(folder.path().join(name), kept.join("\n---\n")).expect("the folder can be written");
        }
    }
    folder
}

fn lanekeeper(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    run(command.args(arguments).current_dir(folder).stdin(Stdio::null()))
}

const ENTER: [&str; 4] = ["--entry-service", "cars-api-portal", "--entry-host", "*"];

fn made(folder: &Path) -> String {
    let arguments = [&["generate", "."][..], &ENTER].concat();
    lanekeeper(folder, &arguments).ends_with(0).stdout
}

#[test]
fn what_is_made_for_the_cars_is_as_before_and_passes_every_check() {
    let folder = cars(GROUP);
    let text = made(folder.path());
    assert_eq!(text, made(folder.path()), "it is another one the second time");
    fs::write(folder.path().join("made.yaml"), &text).expect("the folder can be written");
    lanekeeper(folder.path(), &["check", "--fail-on", "warn", "."])
        .ends_with(0)
        .prints("no findings");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("generate", text));
}

#[test]
fn a_difference_is_told_by_the_exit_code() {
    let folder = cars(GROUP);
    let first = lanekeeper(folder.path(), &["generate", "--diff", "."]).ends_with(1);
    assert!(
        first.stdout.contains("--- /dev/null\n+++ DestinationRule"),
        "{first:?}"
    );
    fs::write(folder.path().join("made.yaml"), made(folder.path())).expect("the folder can be written");
    let same = lanekeeper(folder.path(), &["generate", "--diff", "."]).ends_with(0);
    assert_eq!(same.stdout, "");
    // What the API server and people write beside the spec is no difference.
    let text = fs::read_to_string(folder.path().join("made.yaml")).expect("it was written");
    let kept = text.replacen(
        "metadata:\n",
        "metadata:\n  resourceVersion: '1'\n  labels: {team: cars}\n",
        1,
    );
    let kept = kept.replacen("---\n", "status: {}\n---\n", 1);
    fs::write(folder.path().join("made.yaml"), &kept).expect("the folder can be written");
    lanekeeper(folder.path(), &["generate", "--diff", "."]).ends_with(0);
    let slip = kept.replacen("exact: wicph", "exact: wtcph", 1);
    fs::write(folder.path().join("made.yaml"), slip).expect("the folder can be written");
    lanekeeper(folder.path(), &["generate", "--diff", "."])
        .ends_with(1)
        .prints("-          exact: wtcph\n+          exact: wicph\n");
}

#[test]
fn the_cars_as_they_are_keep_names_subsets_paths_and_module() {
    let folder = folder(&[("group.yaml", GROUP)]);
    let cars = examples();
    let cars = cars.to_str().expect("a path in UTF-8");
    let list = lanekeeper(folder.path(), &["generate", "-o", "json", "group.yaml", cars]).ends_with(0);
    let list = list.json();
    let items = list["items"].as_array().expect("a List");
    let named = |kind: &str, name: &str| {
        let is_one = |item: &&Value| item["kind"] == kind && item["metadata"]["name"] == name;
        let found = items.iter().find(is_one);
        found
            .unwrap_or_else(|| panic!("no {kind} {name} in {items:#?}"))
            .clone()
    };
    let rule = named("DestinationRule", "cars-api-portal");
    assert_eq!(rule["spec"]["subsets"][0]["name"], "cars-api-portal-wtchk");
    let gateway = named("VirtualService", "cars-api-portal");
    assert_eq!(gateway["spec"]["gateways"], json!(["cars-aswatson-dev/cars"]));
    assert_eq!(
        gateway["spec"]["http"][0]["route"][0]["destination"]["port"]["number"],
        8181
    );
    // The gateway's object has the service's name.
    let mesh = named("VirtualService", "cars-api-portal-mesh");
    assert_eq!(mesh["spec"]["gateways"], json!(["mesh"]));
    let plugin = named("WasmPlugin", "cars-traffic-lane");
    assert_eq!(
        plugin["spec"]["url"],
        "oci://registry.example.com/traffic-lane:1.0.0"
    );
    assert_eq!(items.len(), 8);
}

/// Routes and a rule that say more than lanes.
const MORE: &str = "\
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: adapter-rule, namespace: cars-aswatson-dev, annotations: {team: cars}}
spec:
  host: cars-rti-adapter
  exportTo: ['.']
  trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}
  subsets:
  - {name: wicph, labels: {version: wtchk}}
  - {name: all, labels: {app: cars-rti-adapter}}
  - {name: gone, labels: {version: none}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: adapter-routes, namespace: cars-aswatson-dev}
spec:
  hosts: [cars-rti-adapter]
  http:
  - match: [{uri: {prefix: /slow}, headers: {bu: {exact: wicph}}}]
    timeout: 60s
    headers: {request: {set: {bu: wtchk, x-slow: '1'}}}
    route:
    - {destination: {host: cars-rti-adapter, port: {number: 1}, subset: wicph}, weight: 50}
    - {destination: {host: cars-rti-adapter}, weight: 50}
  - match: [{uri: {prefix: /sums}}]
    route: [{destination: {host: cars-aggregator, subset: wtchk}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: both, namespace: cars-aswatson-dev}
spec:
  hosts: [cars-aggregator, cars-api-portal]
  http: [{route: [{destination: {host: cars-aggregator, subset: wtchk}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: cars-aswatson-dev}
spec:
  http: [{route: [{destination: {host: cars-aggregator, subset: wtchk}}]}]
";

#[test]
fn what_says_more_than_lanes_stays_and_what_does_not_stay_is_told() {
    let folder = cars(GROUP);
    fs::write(folder.path().join("more.yaml"), MORE).expect("the folder can be written");
    let run = lanekeeper(folder.path(), &["generate", "-o", "json", "."]).ends_with(0);
    let list = run.json();
    let items = list["items"].as_array().expect("a List");
    let named = |name: &str| {
        let found = items.iter().find(|item| item["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {items:#?}"))
    };
    let rule = named("adapter-rule");
    assert_eq!(rule["apiVersion"], "networking.istio.io/v1beta1");
    assert_eq!(rule["metadata"]["annotations"], json!({"team": "cars"}));
    // A subset is never named for another lane than its own.
    let subsets = json!([{"name": "wtchk", "labels": {"version": "wtchk"}},
        {"name": "wicph", "labels": {"version": "wicph"}}, {"name": "all", "labels": {"app": "cars-rti-adapter"}}]);
    assert_eq!(
        rule["spec"],
        json!({"host": "cars-rti-adapter", "exportTo": ["."], "subsets": subsets,
            "trafficPolicy": {"loadBalancer": {"simple": "LEAST_REQUEST"}}})
    );
    let to = |subset: &str| json!([{"destination": {"host": "cars-rti-adapter", "subset": subset}}]);
    let slow = |name: &str, condition: &Value, subset: &str| {
        json!({"name": name, "match": [condition], "timeout": "60s", "route": to(subset),
            "headers": {"request": {"set": {"x-slow": "1"}}}})
    };
    let lane = |lane: &str| json!({"bu": {"exact": lane}});
    let slowly = |name: &str| json!({"uri": {"prefix": "/slow"}, "headers": lane(name)});
    let sums = json!([{"destination": {"host": "cars-aggregator", "subset": "wtchk"}}]);
    assert_eq!(
        named("adapter-routes")["spec"]["http"],
        json!([
            slow("wicph", &slowly("wicph"), "wicph"),
            slow("wtchk", &slowly("wtchk"), "wtchk"),
            slow("default", &json!({"uri": {"prefix": "/slow"}}), "wtchk"),
            {"match": [{"uri": {"prefix": "/sums"}}], "route": sums},
            {"name": "wtchk", "match": [{"headers": lane("wtchk")}], "route": to("wtchk")},
            {"name": "wicph", "match": [{"headers": lane("wicph")}], "route": to("wicph")},
            {"name": "default", "route": to("wtchk")},
        ])
    );
    for told in [
        "adapter-rule: subset `gone` chooses nothing and is left out",
        "adapter-routes: spec.http[0] shares its requests among several destinations",
        "both is for cars-aggregator.cars-aswatson-dev.svc.cluster.local too",
        "both is for cars-api-portal.cars-aswatson-dev.svc.cluster.local too",
        "part has routes to cars-aggregator.cars-aswatson-dev.svc.cluster.local for others that delegate to it",
    ] {
        assert!(run.stderr.contains(told), "no `{told}` in:\n{}", run.stderr);
    }
}

#[test]
fn what_is_tried_on_one_lane_is_for_no_other_and_no_route_is_hidden_or_lost() {
    let folder = cars(GROUP);
    let routes = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: aggregator, namespace: cars-aswatson-dev}
spec:
  hosts: [cars-aggregator]
  http:
  - match: [{headers: {bu: {exact: wicph}}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    mirror: {host: cars-rti-adapter}
    route: [{destination: {host: cars-aggregator, subset: wicph}}]
  - match: [{headers: {bu: {exact: wtchk}}}, {uri: {prefix: /both}}]
    timeout: 7s
    route: [{destination: {host: cars-aggregator, subset: wtchk}}]
  - match: [{uri: {prefix: /slow}}]
    timeout: 60s
    route: [{destination: {host: cars-aggregator, subset: wtchk}}]
";
    fs::write(folder.path().join("routes.yaml"), routes).expect("the folder can be written");
    let arguments = [&["generate", "-o", "json", "."][..], &ENTER].concat();
    let list = lanekeeper(folder.path(), &arguments).ends_with(0).json();
    let objects = list["items"].as_array().expect("a list");
    let made = objects
        .iter()
        .find(|object| object["kind"] == "VirtualService" && object["metadata"]["name"] == "aggregator");
    let http = made.expect("the routes")["spec"]["http"]
        .as_array()
        .expect("routes");
    let faulty: Vec<_> = http.iter().filter(|route| route["fault"].is_object()).collect();
    assert_eq!(faulty.len(), 1, "{http:#?}");
    assert_eq!(faulty[0]["match"][0]["headers"]["bu"]["exact"], "wicph");
    let mirrored = http.iter().filter(|route| route["mirror"].is_object());
    assert_eq!(mirrored.count(), 1);
    let at = |text: &str| http.iter().position(|route| route.to_string().contains(text));
    let open = http.iter().position(|route| route["match"].is_null());
    assert!(at("/slow") < open && open.is_some(), "{http:#?}");
    let both = at("/both").expect("the route for both");
    assert_eq!(http[both]["timeout"], "7s");
}

#[test]
fn a_strict_group_tells_what_lacks_and_a_fallback_group_has_the_default_lane_stand_in() {
    let folder = cars(GROUP);
    let file = folder.path().join("30-cars-aggregator.yaml");
    let text = fs::read_to_string(&file).expect("an example");
    let without: Vec<&str> = text
        .split("\n---\n")
        .filter(|document| !document.contains("name: cars-aggregator-wicph"))
        .collect();
    fs::write(&file, without.join("\n---\n")).expect("the folder can be written");
    let arguments = [&["generate", "."][..], &ENTER].concat();
    let run = lanekeeper(folder.path(), &arguments).ends_with(1);
    let told = "Service cars-aswatson-dev/cars-aggregator has no workload in lane `wicph`";
    assert!(run.stderr.contains(told), "{run:?}");
    assert!(run.stdout.contains("kind: WasmPlugin"));
    let partial = [&arguments[..], &["--partial"]].concat();
    let run = lanekeeper(folder.path(), &partial).ends_with(0);
    assert!(run.stderr.contains(told), "{run:?}");
    let fallback = format!("{GROUP}  completeness: Fallback\n");
    fs::write(folder.path().join("group.yaml"), fallback).expect("the folder can be written");
    let run = lanekeeper(folder.path(), &arguments).ends_with(0);
    assert!(!run.stderr.contains("has no workload"), "{run:?}");
}

#[test]
fn what_cannot_be_told_is_said() {
    let says = |files: &[(&str, &str)], arguments: &[&str], message: &str| {
        let folder = cars(GROUP);
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("the folder can be written");
        }
        let run = lanekeeper(folder.path(), &[&["generate", "."], arguments].concat()).ends_with(2);
        assert!(run.stderr.contains(message), "no `{message}` in {run:#?}");
        assert_eq!(run.stdout, "");
    };
    says(&[("group.yaml", "")], &[], "there is no LaneGroup");
    says(&[], &["--group", "cars/cars"], "there is cars-aswatson-dev/cars");
    says(&[("broken.yaml", "a: [")], &[], "cannot be read whole");
    says(
        &[],
        &["--entry-service", "portal", "--entry-host", "*"],
        "they are cars-aggregator, cars-api-portal, cars-rti-adapter",
    );
    says(
        &[],
        &["--entry-service", "cars-api-portal:1", "--entry-host", "*"],
        "no HTTP port 1",
    );
    let other = GROUP.replace("wtchk", "blue").replace("wicph", "green");
    says(&[("group.yaml", &other)], &[], "write spec.laneLabel");
    let no_member = GROUP.replace("part-of: cars", "part-of: planes");
    says(&[("group.yaml", &no_member)], &[], "no service of its namespace");
    let two = GROUP.replace("name: cars,", "name: planes,");
    says(&[("two.yaml", &two)], &ENTER, "--group says which");
}

#[test]
fn of_two_labels_that_tell_the_lanes_alike_neither_is_taken() {
    let folder = cars(GROUP);
    for name in [
        "30-cars-aggregator.yaml",
        "40-cars-rti-adapter.yaml",
        "50-cars-api-portal.yaml",
    ] {
        let file = folder.path().join(name);
        let mut text = fs::read_to_string(&file).expect("an example");
        for lane in ["wtchk", "wicph"] {
            let version = format!("        version: {lane}\n");
            text = text.replace(&version, &format!("{version}        track: {lane}\n"));
        }
        fs::write(&file, text).expect("the folder can be written");
    }
    let run = lanekeeper(folder.path(), &["generate", "."]).ends_with(2);
    assert!(
        run.stderr.contains("each of the labels `track`, `version`"),
        "{run:?}"
    );
    let written = format!("{GROUP}  laneLabel: track\n");
    fs::write(folder.path().join("group.yaml"), written).expect("the folder can be written");
    lanekeeper(folder.path(), &["generate", "."])
        .ends_with(0)
        .prints("labels:\n      track: wicph");
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let folder = cars(
        &GROUP
            .replace("  name: cars\n", "  name: ../cars\n")
            .replace("name: cars,", "name: ../cars,"),
    );
    let arguments = [&["generate", "--output-dir", "out", "."][..], &ENTER].concat();
    let run = lanekeeper(folder.path(), &arguments).ends_with(2);
    assert!(run.stderr.contains("nothing is written"), "{}", run.stderr);
    let written = fs::read_dir(folder.path().join("out")).map_or(0, Iterator::count);
    assert_eq!(written, 0);
}

#[test]
fn a_directory_gets_all_files_or_none_and_keeps_what_was_not_made() {
    let folder = cars(GROUP);
    let arguments = [&["generate", "--output-dir", "lanes", "."][..], &ENTER].concat();
    let write = |more: &[&str]| lanekeeper(folder.path(), &[&arguments[..], more].concat());
    write(&[]).ends_with(0);
    let lanes = folder.path().join("lanes");
    let names = || {
        let entries = fs::read_dir(&lanes).expect("the folder was made");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names().len(), 8);
    let vs = lanes.join("cars-aswatson-dev_virtualservice_cars-aggregator.yaml");
    let first = fs::read_to_string(&vs).expect("it was made");
    assert!(
        first.starts_with("# Made by `lanekeeper generate` from LaneGroup cars-aswatson-dev/cars;"),
        "{first}"
    );
    // What it reads now has what it made.
    write(&[]).ends_with(0);
    assert_eq!(fs::read_to_string(&vs).expect("it was made"), first);
    lanekeeper(folder.path(), &["check", "--fail-on", "warn", "."]).ends_with(0);
    // Somebody's own file stops everything, until it is forced.
    fs::write(&vs, first.split_once('\n').expect("lines").1).expect("it can be written");
    let rule = lanes.join("cars-aswatson-dev_destinationrule_cars-aggregator.yaml");
    fs::remove_file(&rule).expect("it can be removed");
    let refused = write(&[]).ends_with(2);
    assert!(refused.stderr.contains("--force replaces it"), "{refused:?}");
    assert!(!rule.exists());
    assert_eq!(names().len(), 7);
    write(&["--force"]).ends_with(0);
    assert_eq!(fs::read_to_string(&vs).expect("it was made"), first);
    // A service that is gone leaves its files.
    fs::remove_file(folder.path().join("30-cars-aggregator.yaml")).expect("it can be removed");
    let run = write(&[]).ends_with(0);
    assert!(
        run.stderr.contains("cars-aggregator.yaml is not made any more"),
        "{run:?}"
    );
}

/// A lane group with services and workloads, of which routes are made.
#[derive(Debug, Clone)]
struct Plan {
    lanes: Vec<&'static str>,
    default: usize,
    is_strict: bool,
    rejects: bool,
    has_label: bool,
    entry: Entry,
    services: Vec<Planned>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// The group has none.
    None,
    /// The gateway leads to the first service by what the command is told.
    Told,
    /// It leads there already, and lets callers choose any lane.
    Loose,
    /// It leads to the first service by a path, and to the last.
    Paths,
}

#[derive(Debug, Clone)]
struct Planned {
    /// Of `PORTS`, the places of those that it has.
    ports: Vec<usize>,
    /// The lanes, by their places, in which nothing runs.
    missing: Vec<usize>,
    /// Whether there are a rule and routes with slips already.
    has_old: bool,
}

const PORTS: [(&str, u32); 3] = [("http", HTTP), ("grpc", GRPC), ("tcp-admin", TCP)];
const HTTP: u32 = 8080;
const GRPC: u32 = 9090;
const TCP: u32 = 7070;

impl Planned {
    fn ports(&self) -> Vec<(&'static str, u32)> {
        self.ports.iter().map(|at| PORTS[*at]).collect()
    }

    fn has(&self, port: u32) -> bool {
        self.ports().iter().any(|(_, number)| *number == port)
    }
}

/// Some of these are other things than strings when they are written without quotes.
const LANES: [&str; 7] = ["wtchk", "wicph", "Blue_1", "123", "true", "1.0", "v1"];

fn plans() -> impl Strategy<Value = Plan> {
    let lanes = subsequence(LANES.to_vec(), 1..=4).prop_shuffle();
    let entry = select(vec![Entry::None, Entry::Told, Entry::Loose, Entry::Paths]);
    let ports = select(vec![vec![0], vec![1], vec![0, 1], vec![1, 0, 2], vec![2, 0]]);
    let planned = (ports, any::<bool>(), proptest::collection::vec(0..4_usize, 0..3));
    let services = proptest::collection::vec(planned, 1..4);
    (lanes, 0..4_usize, any::<[bool; 3]>(), entry, services).prop_map(
        |(lanes, default, [is_strict, rejects, has_label], entry, services)| {
            let default = default % lanes.len();
            let services = services.into_iter().map(|(ports, has_old, missing)| {
                let mut missing: Vec<usize> = missing.into_iter().filter(|at| *at < lanes.len()).collect();
                missing.sort_unstable();
                missing.dedup();
                // Something runs everywhere, and in a Fallback group the default lane.
                if !is_strict || missing.len() == lanes.len() {
                    missing.retain(|at| *at != default);
                }
                Planned {
                    ports,
                    missing,
                    has_old,
                }
            });
            Plan {
                services: services.collect(),
                lanes,
                default,
                is_strict,
                rejects,
                has_label,
                entry,
            }
        },
    )
}

impl Plan {
    fn name(at: usize) -> String {
        ["portal", "adapter", "catalogue"][at].to_owned()
    }

    fn default_lane(&self) -> &'static str {
        self.lanes[self.default]
    }

    fn group(&self) -> Value {
        let mut spec = json!({"header": "bu", "workloads": {"matchLabels": {"part-of": "shop"}},
            "lanes": self.lanes, "defaultLane": self.default_lane(),
            "withoutHeader": if self.rejects { "Reject" } else { "DefaultLane" },
            "completeness": if self.is_strict { "Strict" } else { "Fallback" }});
        if self.has_label {
            spec["laneLabel"] = json!("version");
        }
        if self.entry != Entry::None {
            spec["entry"] = json!({"header": "buid", "gateways": ["gw"]});
        }
        json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup", "metadata": metadata("shop"), "spec": spec})
    }

    fn objects(&self) -> Vec<Value> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}});
        let servers = json!([{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]);
        let gateway = istio(
            "Gateway",
            "gw",
            &json!({"selector": {"istio": "ingress"}, "servers": servers}),
        );
        let mut all = vec![namespace, gateway, self.group()];
        for (at, planned) in self.services.iter().enumerate() {
            let name = Self::name(at);
            let ports = planned.ports().into_iter();
            let ports: Vec<Value> = ports
                .map(|(name, number)| json!({"name": name, "port": number}))
                .collect();
            all.push(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(&name),
                "spec": {"selector": {"app": name}, "ports": ports}}),
            );
            for (of, lane) in self.lanes.iter().enumerate() {
                if !planned.missing.contains(&of) {
                    let labels = json!({"app": name, "part-of": "shop", "version": lane});
                    all.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                        "metadata": metadata(&format!("{name}-{of}")),
                        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                            "spec": {"containers": [{"name": "app", "image": "app"}]}}}}));
                }
            }
            if planned.has_old {
                all.extend(self.old(&name));
            }
        }
        let last = Self::name(self.services.len() - 1);
        let loose = json!({"request": {"set": {"Bu": "%REQ(buid)%"}, "add": {"x-from": "gateway"}}});
        let to = |host: &str| json!([{"destination": {"host": host}}]);
        let http = match self.entry {
            Entry::None | Entry::Told => return all,
            Entry::Loose => json!([{"headers": loose, "route": to("portal"), "timeout": "3s"}]),
            Entry::Paths => json!([
                {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new"}},
                {"match": [{"uri": {"prefix": "/first"}}], "rewrite": {"uri": "/"}, "route": to("portal")},
                {"match": [{"headers": {"buid": {"exact": "wtcph"}}}], "route": to(&last)},
                {"route": to(&last), "headers": loose}]),
        };
        all.push(istio(
            "VirtualService",
            "way-in",
            &json!({"hosts": ["shop.example"], "gateways": ["gw"], "http": http}),
        ));
        all
    }

    /// A rule and routes for a service as people leave them.
    fn old(&self, name: &str) -> [Value; 2] {
        let lane = self.lanes[0];
        let subsets = json!([{"name": "nothing", "labels": {"version": "none"}},
            {"name": "first", "labels": {"version": lane}, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}]);
        let rule = json!({"host": format!("{name}.shop.svc.cluster.local"), "subsets": subsets,
            "trafficPolicy": {"connectionPool": {"http": {"maxRetries": 3}}}});
        let to = |subset: &str, port: u32| json!([{"destination": {"host": name, "subset": subset, "port": {"number": port}}}]);
        let http = json!([
            {"match": [{"port": 8080, "headers": {"Bu": {"exact": lane}}}], "route": to("first", 9090), "name": "kept"},
            {"match": [{"headers": {"buid": {"exact": "x"}}}], "route": to("gone", 1)},
            {"match": [{"port": 8080}], "route": to("nothing", 8080)}]);
        [
            istio("DestinationRule", &format!("{name}-old"), &rule),
            istio(
                "VirtualService",
                &format!("{name}-old"),
                &json!({"hosts": [name], "http": http}),
            ),
        ]
    }

    /// The lane that answers at a service, of a request for this one (`None`: it names none); `None`: 404.
    fn answering(&self, service: usize, lane: Option<usize>) -> Option<usize> {
        let runs = |lane: &usize| !self.services[service].missing.contains(lane);
        let open = Some(self.default).filter(|default| !self.rejects && runs(default));
        match lane {
            Some(lane) if runs(&lane) => Some(lane),
            Some(_) if !self.is_strict => Some(self.default).filter(runs),
            Some(_) | None => open,
        }
    }
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "shop"})
}

fn istio(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata(name), "spec": spec})
}

/// What the objects are when they are read from YAML, strictly.
fn files(objects: &[Value]) -> Files {
    let texts = objects.iter().enumerate();
    let texts = texts.map(|(at, object)| (format!("{at}.yaml"), yaml::write(object, ORDER).into_bytes()));
    let files = Reader::default().load_texts(texts.collect());
    let errors: Vec<String> = files.errors().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    files
}

fn make(objects: &[Value], plan: &Plan) -> Generated {
    let files = files(objects);
    let world = files.world(Settings::default());
    let groups: Vec<&LaneGroup> = files
        .objects
        .iter()
        .filter_map(|object| match &object.resource {
            Resource::LaneGroup(group) => Some(&**group),
            _ => None,
        })
        .collect();
    let written = |reference: &ObjectRef| {
        let mut known = files.objects.iter();
        files.json(known.find(|object| object.resource.reference() == *reference)?)
    };
    let entry = EntryPoint {
        service: "portal".to_owned(),
        port: None,
        hosts: vec!["shop.example".to_owned()],
    };
    let options = Options {
        plugin_url: None,
        entry: Some(entry).filter(|_| plan.entry == Entry::Told),
    };
    generate(&world, &written, &groups, &options).unwrap_or_else(|error| panic!("{error} in {plan:#?}"))
}

/// The objects with what was made in the places of those that were there.
fn with(objects: &[Value], made: &Generated) -> Vec<Value> {
    let key = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&object["kind"]), text(&object["metadata"]["name"]))
    };
    let all = objects.iter().chain(made.objects.values());
    let all: BTreeMap<_, &Value> = all.map(|object| (key(object), object)).collect();
    all.into_values().cloned().collect()
}

fn findings(world: &World) -> Vec<Finding> {
    let view = View::new(world);
    let check = Check::new(&view, None);
    let references: Vec<ObjectRef> = world.objects().map(Resource::reference).collect();
    check.objects(RULES, &references)
}

fn request(host: &str, port: u32, path: &str, is_grpc: bool) -> Request {
    let (mut request, _) = Request::get(&format!("http://{host}:{port}{path}")).expect("a URL");
    if is_grpc {
        request.method = "POST".into();
        request.http2 = true;
        request = request.with("content-type", "application/grpc");
    }
    request
}

/// Which lane answers, and the request as it gets there; `None`: 404.
fn answer(view: &View<'_>, client: &Client, request: &Request, port: u32) -> Option<(String, Request)> {
    let simulation = simulate(view, client, request, port);
    let forwarded = match &simulation.outcome {
        Outcome::Forwarded(forwarded) => forwarded,
        outcome if outcome.status() == Some(404) => return None,
        outcome => panic!("{request}: {outcome:#?}"),
    };
    let [branch] = forwarded.branches.as_slice() else {
        panic!("{request}: {forwarded:#?}");
    };
    assert!(!branch.is_other_protocol(), "{request}: {branch:#?}");
    let Ending::Reaches(carriers) = &branch.ending else {
        panic!("{request}: {branch:#?}");
    };
    let mut lanes: Vec<&str> = carriers
        .iter()
        .filter_map(|carrier| carrier.labels.get("version").map(AsRef::as_ref))
        .collect();
    lanes.dedup();
    let [lane] = lanes.as_slice() else {
        panic!("{request} reaches {lanes:?}");
    };
    Some(((*lane).to_owned(), branch.request.clone()))
}

/// That each request of a caller in the mesh gets to its lane, on every port.
fn assert_whole_in_mesh(view: &View<'_>, plan: &Plan) {
    let pairs = [("part-of", "shop"), ("app", "client")];
    let labels = Labels::new(pairs.map(|(key, value)| (key.into(), value.into())));
    let client = Client::in_mesh("shop".into(), labels);
    for (at, planned) in plan.services.iter().enumerate() {
        let host = Plan::name(at);
        let ports = planned.ports().into_iter().map(|(_, port)| port);
        for port in ports.filter(|port| *port != TCP) {
            let lanes = (0..plan.lanes.len()).map(Some).chain([None]);
            for lane in lanes {
                let mut request = request(&host, port, "/", port == GRPC);
                if let Some(lane) = lane {
                    request = request.with("bu", plan.lanes[lane]);
                }
                let answer = answer(view, &client, &request, port).map(|(lane, _)| lane);
                let expected = plan.answering(at, lane).map(|lane| plan.lanes[lane].to_owned());
                assert_eq!(answer, expected, "{request} with {lane:?} in {plan:#?}");
            }
        }
        if planned.has(TCP) {
            let outcome = simulate(view, &client, &request(&host, TCP, "/", false), TCP).outcome;
            let is_passed_on = matches!(&outcome, Outcome::Forwarded(on) if matches!(on.way, Way::Tcp));
            assert!(is_passed_on, "{outcome:#?}");
        }
    }
}

/// That each request from outside gets to its lane with the lane header, and with none of its own.
fn assert_whole_at_gateway(view: &View<'_>, plan: &Plan) {
    let last = plan.services.len() - 1;
    let ways = match plan.entry {
        Entry::None => return,
        Entry::Told | Entry::Loose => vec![("/", 0)],
        Entry::Paths => vec![("/first/a", 0), ("/", last)],
    };
    let client = Client::at_gateway(view, &"gw".into(), &"shop".into());
    for (path, service) in ways {
        let spoofs = plan.lanes.iter().copied().chain(["evil"]).map(Some).chain([None]);
        for spoof in spoofs {
            let lanes = (0..plan.lanes.len()).map(Some).chain([None]);
            let named = lanes.map(|lane| (lane, lane.map(|lane| plan.lanes[lane])));
            for (lane, name) in named.chain([(None, Some("")), (None, Some("other"))]) {
                let mut request = request("shop.example", 80, path, !plan.services[service].has(HTTP));
                for (header, value) in [("bu", spoof), ("buid", name)] {
                    if let Some(value) = value {
                        request = request.with(header, value);
                    }
                }
                let answer = answer(view, &client, &request, 80);
                let answering = plan.answering(service, lane);
                let expected = answering.map(|answering| plan.lanes[answering]);
                let told = |answer: &(String, Request)| answer.1.header("bu");
                assert_eq!(
                    answer.as_ref().map(|(lane, _)| lane.as_str()),
                    expected,
                    "{path} {name:?} {spoof:?} in {plan:#?}"
                );
                // Behind a service for which the default lane stands in, others may have the lane.
                let carried = lane.filter(|_| !plan.is_strict).or(answering);
                let carried = answering.and(carried).map(|lane| plan.lanes[lane].to_owned());
                assert_eq!(
                    answer.as_ref().and_then(told),
                    carried,
                    "{path} {name:?} {spoof:?} in {plan:#?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(160) })]

    #[test]
    fn whatever_the_group_each_request_gets_to_its_lane_and_every_check_passes(plan in plans()) {
        let objects = plan.objects();
        let made = make(&objects, &plan);
        let all = with(&objects, &made);
        let world = files(&all).world(Settings::default());
        let lacks = plan.is_strict && plan.services.iter().any(|planned| !planned.missing.is_empty());
        prop_assert_eq!(made.notes.iter().any(|note| note.is_lacking), lacks, "{:#?}", &made.notes);
        // The filter would put requests that name no lane into the default one.
        let plugin = made.objects.values().find(|object| object["kind"] == "WasmPlugin");
        let given = plugin.map(|plugin| plugin["spec"]["pluginConfig"]["traffic_lane"].clone());
        let default = (!plan.rejects).then(|| plan.default_lane());
        prop_assert_eq!(given, Some(json!(default)));
        let mut found = findings(&world);
        // What a Strict group promises and nothing runs in cannot be made: a lane, and the default one at the gateway.
        let lacks_default = plan.services.iter().any(|planned| planned.missing.contains(&plan.default));
        found.retain(|finding| {
            !(lacks && finding.code == "LK304" || lacks_default && finding.code == "LK306")
        });
        prop_assert!(found.is_empty(), "{:#?} in {:#?}", found, &all);
        let view = View::new(&world);
        assert_whole_in_mesh(&view, &plan);
        assert_whole_at_gateway(&view, &plan);
        let again = make(&all, &plan);
        prop_assert_eq!(&again.objects, &made.objects, "it is another one the second time");
    }
}
