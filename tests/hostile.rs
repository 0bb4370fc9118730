//! What an object can do that somebody has made to do harm: `docs/security.md` names these tests.
//!
//! Each is as large as the API server takes (1.5 MB), sent to a `serve` of its own. No time is measured: it has to
//! answer within minutes, on any machine, where work that grows as the square of an object would take hours.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use command::{Run, folder};
use serde_json::{Value, json};
use server::Server;

/// What is right before: one service in two lanes behind a gateway.
const WORLD: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: cars, labels: {lanekeeper.dev/enforcement: enforce}}
---
apiVersion: v1
kind: Service
metadata: {namespace: cars, name: portal}
spec: {selector: {app: portal}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: cars, name: blue}
spec: {selector: {matchLabels: {app: portal}}, template: {metadata: {labels: {app: portal, version: blue}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: cars, name: green}
spec: {selector: {matchLabels: {app: portal}}, template: {metadata: {labels: {app: portal, version: green}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: cars, name: portal}
spec: {host: portal, subsets: [{name: blue, labels: {version: blue}}, {name: green, labels: {version: green}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: cars, name: cars}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {namespace: cars, name: cars}
spec: {header: bu, entry: {header: buid, gateways: [cars]}, workloads: {matchLabels: {app: portal}}, lanes: [blue, green], defaultLane: blue}
";

/// What the API server takes of an object (etcd's `--max-request-bytes`).
const LARGEST: usize = 1_500_000;

/// How long an answer may take: no measure, but an end.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a server on the world makes of an object; it has to answer, and to go on.
#[track_caller]
fn submitted(object: &Value) -> Run {
    let text = object.to_string();
    assert!(text.len() <= LARGEST, "{} bytes", text.len());
    let folder = folder(&[("world.yaml", WORLD), ("hostile.json", &text)]);
    let server = Server::start(folder.path(), &["--manifests=world.yaml"]);
    let hostile = folder.path().join("hostile.json").display().to_string();
    let run = within(server.submission(&[&hostile]));
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert!(matches!(run.code, Some(0 | 1)), "{run:?}");
    assert!(server.metrics().contains("lanekeeper_panics_total 0"));
    run
}

/// Runs a command to its end, which has to come.
#[track_caller]
fn within(mut command: Command) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let file = |path| fs::File::create(path).expect("a file");
    command.stdout(file(&out)).stderr(file(&err)).stdin(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it runs") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no answer in {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    };
    let text = |path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
    Run {
        code: status.code(),
        stdout: text(&out),
        stderr: text(&err),
    }
}

fn virtual_service(hosts: &Value, http: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "cars", "name": "portal"},
        "spec": {"hosts": hosts, "gateways": ["cars", "mesh"], "http": http}
    })
}

fn to(lane: &str) -> Value {
    json!([{"destination": {"host": "portal", "subset": lane}}])
}

/// A match of a lane, and of a path.
fn lane(lane: &str, path: usize) -> Value {
    json!({"headers": {"bu": {"exact": lane}}, "uri": {"exact": format!("/{path}")}})
}

/// Routes of which one with these matches comes before those of so many lane matches.
fn before_lanes(patterns: &[Value], lanes: usize) -> Value {
    let lanes: Vec<Value> = (0..lanes).map(|at| lane("green", at)).collect();
    let http = json!([
        {"match": patterns, "route": to("blue")},
        {"match": lanes, "route": to("green")},
        {"route": to("blue")},
    ]);
    virtual_service(&json!(["portal"]), &http)
}

#[test]
fn many_patterns_before_many_routes_cost_each_pattern_once() {
    let patterns: Vec<Value> = (0..14_000)
        .map(|at| json!({"uri": {"regex": format!("/x{at}\\w{{9}}")}}))
        .collect();
    submitted(&before_lanes(&patterns, 12_000));
}

#[test]
fn patterns_that_grow_without_end_are_given_up() {
    let patterns: Vec<Value> = (0..8_000)
        .map(|at| json!({"headers": {"bu": {"regex": format!("(((\\w{{{}}}){{90}}){{90}}){{90}}|x", 10 + at % 900)}}}))
        .collect();
    submitted(&before_lanes(&patterns, 5_000));
}

#[test]
fn many_routes_are_not_compared_each_with_each() {
    let routes: Vec<Value> = (0..9_000)
        .map(|at| json!({"match": [lane("green", at)], "route": to("green")}))
        .chain([json!({"route": to("blue")})])
        .collect();
    submitted(&virtual_service(&json!(["portal"]), &json!(routes)));
}

#[test]
fn many_hosts_times_many_routes_end() {
    let hosts: Vec<String> = (0..20_000).map(|at| format!("h{at}.example")).collect();
    let routes: Vec<Value> = (0..4_000)
        .map(|at| json!({"match": [lane("green", at)], "route": to("green")}))
        .chain([json!({"route": to("blue")})])
        .collect();
    submitted(&virtual_service(&json!(hosts), &json!(routes)));
}

#[test]
fn many_headers_times_many_headers_times_many_hosts_end() {
    let headers = |others: &[(&str, String)]| {
        let same = (0..80).map(|at| (format!("a{at}"), json!({"exact": ""})));
        let others = others
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!({"exact": value})));
        json!({"headers": same.chain(others).collect::<serde_json::Map<_, _>>()})
    };
    let hosts: Vec<String> = (0..300).map(|at| format!("h{at}.example")).collect();
    let lanes: Vec<Value> = (0..400)
        .map(|at| headers(&[("bu", "green".to_owned()), ("z", at.to_string())]))
        .collect();
    let others: Vec<Value> = (0..400)
        .rev()
        .map(|at| headers(&[("z", at.to_string())]))
        .collect();
    let http = json!([{"match": lanes, "route": to("green")}, {"match": others, "route": to("blue")}]);
    submitted(&virtual_service(&json!(hosts), &http));
}

#[test]
fn many_destinations_subsets_and_labels_end() {
    let subset = |at: usize| json!({"name": format!("s{at}"), "labels": {"version": format!("gren{at}")}});
    let subsets: Vec<Value> = (0..20_000).map(subset).collect();
    submitted(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": "cars", "name": "portal"},
        "spec": {"host": "portal", "subsets": subsets}
    }));
    let destinations: Vec<Value> = (0..14_000)
        .map(|at| json!({"destination": {"host": "portal", "subset": format!("blu{at}")}, "weight": 0}))
        .collect();
    let http = json!([{"match": [lane("green", 0)], "route": destinations}, {"route": to("blue")}]);
    submitted(&virtual_service(&json!(["portal"]), &http));
    let labels: serde_json::Map<String, Value> = (0..40_000)
        .map(|at| (format!("label{at}"), json!("x")))
        .chain([
            ("app".to_owned(), json!("portal")),
            ("version".to_owned(), json!("blue")),
        ])
        .collect();
    submitted(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "cars", "name": "blue"},
        "spec": {"selector": {"matchLabels": {"app": "portal"}}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}]}}}
    }));
}

#[test]
fn a_lane_is_never_written_into_a_route_as_a_command_of_envoy_or_another_header() {
    for lane in [
        "%REQ(authorization)%",
        "a\r\nx-admin: yes",
        "a%",
        "{x}",
        "green\u{0}",
    ] {
        let http = json!([
            {"match": [{"headers": {"buid": {"exact": lane}}}], "route": to(lane)},
            {"route": to("blue")},
        ]);
        let run = submitted(&virtual_service(&json!(["portal"]), &http));
        let said = run.stdout + &run.stderr;
        assert!(!said.contains("added"), "{lane:?} was written: {said}");
    }
}

#[test]
fn a_group_of_another_namespace_changes_nothing_here() {
    let evil = "
---
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {namespace: shop, name: evil}
spec: {header: bu, entry: {header: buid, gateways: [cars/cars]}, workloads: {}, lanes: [red], defaultLane: red,
  completeness: Strict, chain: [portal.cars, 'portal.cars.svc.cluster.local:80']}
";
    let right = json!([
        {"match": [{"headers": {"buid": {"exact": "green"}}}], "route": to("green")},
        {"match": [{"headers": {"bu": {"exact": "green"}}}], "route": to("green")},
        {"route": to("blue")},
    ]);
    let wrong = json!([{"route": to("red")}]);
    let judged = |world: &str, http: &Value| {
        let text = virtual_service(&json!(["portal"]), http).to_string();
        let folder = folder(&[("world.yaml", world), ("vs.json", &text)]);
        let server = Server::start(folder.path(), &["--manifests=world.yaml"]);
        let file = folder.path().join("vs.json").display().to_string();
        let run = within(server.submission(&[&file]));
        (run.code, run.stdout, run.stderr.replace(&file, "vs.json"))
    };
    for (http, code) in [(right, 0), (wrong, 1)] {
        let before = judged(WORLD, &http);
        assert_eq!(before.0, Some(code), "{before:?}");
        assert_eq!(judged(&format!("{WORLD}{evil}"), &http), before);
    }
}

#[test]
fn what_is_nested_without_end_is_answered() {
    use lanekeeper::admission::{Engine, Judge};
    use lanekeeper::verdict::{Mode, Settings};
    use lanekeeper::world::{self, World};

    let nests = [
        "[".repeat(200_000),
        "{\"a\":".repeat(100_000),
        "[".repeat(200_000) + &"]".repeat(200_000),
    ];
    let world = World::new(world::Settings::default());
    let engine = Engine::new(
        std::sync::Arc::new(parking_lot::RwLock::new(world)),
        Settings::default(),
    );
    for nest in &nests {
        for spec in [
            nest.clone(),
            format!("{{\"hosts\":{nest}}}"),
            format!("{{\"pluginConfig\":{nest}}}"),
            format!("{{\"http\":[{{\"match\":{nest}}}]}}"),
        ] {
            for (group, resource) in [
                ("networking.istio.io", "virtualservices"),
                ("extensions.istio.io", "wasmplugins"),
                ("networking.istio.io", "envoyfilters"),
            ] {
                let body = format!(
                    r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE",
                    "resource":{{"group":"{group}","version":"v1","resource":"{resource}"}},"namespace":"cars","name":"a",
                    "object":{{"metadata":{{"name":"a","namespace":"cars"}},"spec":{spec}}}}}}}"#
                );
                let body = axum::body::Bytes::from(body);
                // A stack as large as that of a thread of the server: if it overflows the process ends.
                let answers = thread::scope(|scope| {
                    let asking = || {
                        let runtime = tokio::runtime::Builder::new_current_thread().build();
                        runtime.expect("a runtime").block_on(async {
                            let validated = Judge::validate(&engine, Mode::Enforce, body.clone(), None).await;
                            let mutated = Judge::mutate(&engine, Mode::Enforce, body.clone(), None).await;
                            [validated.status, mutated.status]
                        })
                    };
                    let thread = thread::Builder::new().stack_size(2 << 20);
                    let thread = thread.spawn_scoped(scope, asking).expect("a thread");
                    thread.join().expect("no panic")
                });
                assert!(
                    answers.iter().all(|status| matches!(status, 200 | 400)),
                    "{answers:?}"
                );
            }
        }
    }
}

#[test]
fn a_judgement_that_takes_long_holds_up_nothing_else_that_its_thread_serves() {
    use std::sync::{Arc, mpsc};

    use lanekeeper::admission::{Engine, Judge};
    use lanekeeper::verdict::{Mode, Settings};
    use lanekeeper::world::{self, World};

    let world = Arc::new(parking_lot::RwLock::new(World::new(world::Settings::default())));
    let engine = Arc::new(Engine::new(Arc::clone(&world), Settings::default()));
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "CREATE", "namespace": "cars", "name": "portal",
            "resource": {"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"},
            "object": virtual_service(&json!(["portal"]), &json!([{"route": to("blue")}]))}
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build();
    let runtime = runtime.expect("a runtime");
    let (asked, is_asked) = mpsc::channel();
    let (served, is_served) = mpsc::channel();
    // Who judges waits for the world, as long as it is written.
    let written = world.write();
    for validates in [true, false] {
        let (engine, asked) = (Arc::clone(&engine), asked.clone());
        let body = axum::body::Bytes::from(body.to_string());
        runtime.spawn(async move {
            asked.send(()).expect("somebody listens");
            let answer = if validates {
                Judge::validate(&*engine, Mode::Enforce, body, None).await
            } else {
                Judge::mutate(&*engine, Mode::Enforce, body, None).await
            };
            assert_eq!(answer.status, 200);
        });
        is_asked.recv_timeout(PATIENCE).expect("it is asked");
        let served = served.clone();
        runtime.spawn(async move { served.send(()) });
        let is_served = is_served.recv_timeout(Duration::from_secs(20));
        assert!(is_served.is_ok(), "nothing is served beside it: {validates}");
    }
    drop(written);
}

#[test]
fn nothing_is_unsafe_but_the_bindings_of_the_filter() {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_made = path.ends_with("target") || path.ends_with("corpus");
            if path.is_dir() && !is_made {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz", "wasm"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 200, "{} files", files.len());
    let word = concat!("un", "safe");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        let with = code.filter(|line| {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')));
            words.any(|of_line| of_line == word)
        });
        let with: Vec<String> = with.map(|line| line.trim().to_owned()).collect();
        if !with.is_empty() {
            let file = file.strip_prefix(root).expect("below it").display().to_string();
            found.insert(file, with);
        }
    }
    let exports = found.remove("wasm/filter/src/lib.rs").unwrap_or_default();
    // What Envoy calls has a name of its own, and nothing else.
    assert!(
        exports
            .iter()
            .all(|line| *line == format!("#[{word}(no_mangle)]")),
        "{exports:#?}"
    );
    assert!(found.remove("wasm/filter/src/host.rs").is_some());
    assert_eq!(found, BTreeMap::new());
    for manifest in ["Cargo.toml", "wasm/core/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).expect("a manifest");
        assert!(text.contains(&format!("{word}_code = \"forbid\"")), "{manifest}");
    }
}

#[test]
fn each_test_that_the_page_on_security_names_is_there() {
    fn sources(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("corpus") {
                sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "wasm"] {
        sources(&root.join(folder), &mut code);
    }
    let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let is_name = |name: &&str| {
        name.matches('_').count() > 2
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<&str> = page.split('`').filter(is_name).collect();
    assert!(named.len() > 25, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
    }
    let targets = fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("the targets");
    let (_, listed) = page
        .rsplit_once("five targets: ")
        .expect("the targets on the page");
    let listed: Vec<&str> = listed
        .split('`')
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    assert_eq!(
        listed.iter().filter(|name| !name.is_empty()).count(),
        5,
        "{listed:?}"
    );
    for name in listed.into_iter().filter(|name| !name.is_empty()) {
        assert!(
            targets.contains(&format!("name = \"{name}\"")),
            "there is no fuzz target {name}"
        );
    }
}
