//! What a running `serve` shows of itself: the JSON of its dashboard, and whom it answers.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use server::{Answer, Server, ask};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A server on the cars, with one of the broken files over them.
struct Cars {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Cars {
    fn with(broken: Option<&str>) -> Self {
        Self::serving(broken, &[])
    }

    fn serving(broken: Option<&str>, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut manifests = vec![examples().join("cars")];
        manifests.extend(broken.map(|name| examples().join("cars-broken").join(name)));
        let manifests = manifests.iter().map(|path| path.display().to_string());
        let all: Vec<String> = args
            .iter()
            .map(|&arg| arg.to_owned())
            .chain(["--manifests".to_owned()])
            .chain(manifests)
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Self {
            server: Server::start(folder.path(), &all),
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Answer {
        ask(self.server.dashboard(), &format!("GET {path}"), &[])
    }

    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(
            answer.head.contains("\r\ncontent-type: application/json"),
            "{}",
            answer.head
        );
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
    }
}

#[test]
fn the_groups_and_their_matrix_are_told() {
    let cars = Cars::with(Some("subset-label-typo.yaml"));
    let groups = cars.json("/api/v1/groups");
    let group = &groups["groups"][0];
    assert_eq!(
        (&group["header"], &group["entryHeader"]),
        (&"bu".into(), &"buid".into())
    );
    assert_eq!(group["lanes"], serde_json::json!(["wicph", "wtchk"]));
    assert_eq!(
        (&group["whole"], &group["broken"]),
        (&false.into(), &1.into()),
        "{groups:#}"
    );

    let matrix = cars.json("/api/v1/matrix");
    let rows = matrix["groups"][0]["rows"].as_array().expect("rows");
    let cells = rows
        .iter()
        .flat_map(|row| row["cells"].as_array().expect("cells"));
    let broken: Vec<&Value> = cells.filter(|cell| cell["whole"] == false).collect();
    let [broken] = broken.as_slice() else {
        panic!("{broken:#?}")
    };
    assert_eq!(
        (&broken["reached"], &broken["lane"]),
        (&"503".into(), &"wicph".into())
    );
    let steps = broken["steps"].as_array().expect("steps");
    let of = |part: &str| {
        steps
            .iter()
            .find(|step| step["part"] == part)
            .unwrap_or_else(|| panic!("{part}: {steps:#?}"))
    };
    assert!(
        of("request")["text"]
            .as_str()
            .expect("text")
            .contains("with buid: wicph")
    );
    assert_eq!(
        of("route")["object"],
        "VirtualService cars-aswatson-dev/cars-api-portal"
    );
    assert_eq!(
        of("service")["object"],
        "Service cars-aswatson-dev/cars-api-portal"
    );
    assert_eq!(
        of("subset")["object"],
        "DestinationRule cars-aswatson-dev/cars-api-portal"
    );
    assert!(
        of("subset")["path"]
            .as_str()
            .expect("a path")
            .starts_with("spec.subsets[")
    );
    assert!(
        of("proxy")["text"]
            .as_str()
            .expect("text")
            .contains("nothing carries it")
    );

    assert_eq!(
        cars.json("/api/v1/matrix?namespace=cars-aswatson-dev")["groups"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        cars.json("/api/v1/matrix?namespace=other")["groups"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn findings_are_told_and_filtered() {
    let cars = Cars::with(Some("subset-label-typo.yaml"));
    let all = cars.json("/api/v1/findings");
    let found = all["findings"].as_array().expect("findings");
    assert!(!found.is_empty());
    let finding = &found[0];
    assert_eq!(
        (&finding["code"], &finding["level"]),
        (&"LK101".into(), &"deny".into()),
        "{all:#}"
    );
    assert_eq!(finding["object"]["kind"], "DestinationRule");
    let count = |query: &str| {
        cars.json(&format!("/api/v1/findings?{query}"))["findings"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(
        count("rule=lk101&level=deny&namespace=cars-aswatson-dev"),
        Some(1)
    );
    assert_eq!(count("rule=subset-without-workload"), Some(1));
    assert_eq!(count("rule=LK501"), Some(0));
    assert_eq!(count("namespace=other"), Some(0));
    assert_eq!(count("rule=&namespace=&level="), Some(found.len()));
    let whole = Cars::with(None);
    assert_eq!(
        whole.json("/api/v1/findings")["findings"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_request_is_followed_and_what_cannot_be_is_told() {
    let cars = Cars::with(None);
    let trace = cars.json("/api/v1/trace?url=http://cars.example/&header=buid:%20wicph&via=cars-rti-adapter:20885,cars-aggregator");
    assert_eq!(
        (&trace["lane"], &trace["keepsLane"]),
        (&"wicph".into(), &true.into()),
        "{trace:#}"
    );
    assert_eq!(trace["hops"].as_array().map(Vec::len), Some(3));
    for (query, why) in [
        ("", "url: "),
        ("url=ftp://x", "`ftp://x` is no URL"),
        ("url=http://x/&header=a", "a header is written as"),
        (
            "url=http://x/&gateway=a/b",
            "there is no such Gateway; there are: cars-aswatson-dev/cars",
        ),
        ("url=http://x/&from=cars/app", "`app` is no label"),
        ("url=http://x/&via=a%20b", "`a b` is no call"),
    ] {
        let answer = cars.get(&format!("/api/v1/trace?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.body.contains(why), "{query}: {}", answer.body);
        let page = cars.get(&format!("/?{query}"));
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(page.body.contains("role=\"alert\""), !query.is_empty(), "{query}");
    }
}

#[test]
fn decisions_are_told_and_arrive() {
    let cars = Cars::with(None);
    let stream = TcpStream::connect(cars.server.dashboard()).expect("the dashboard");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    write!(
        &stream,
        "GET /api/v1/decisions/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .expect("a request");
    let mut live = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(live.any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")));

    let broken = examples().join("cars-broken/subset-name-typo.yaml");
    cars.server.submit(&[&broken.display().to_string()]).ends_with(1);
    let data = |line: String| line.strip_prefix("data:").map(|data| data.trim().to_owned());
    let mut arrived: Vec<Value> = Vec::new();
    while !arrived.iter().any(|decision| decision["allowed"] == false) {
        let line = live.by_ref().find_map(data).expect("the stream goes on");
        arrived.push(serde_json::from_str(&line).expect("JSON"));
    }
    let decisions = cars.json("/api/v1/decisions");
    let told = decisions["decisions"].as_array().expect("decisions");
    let denied = arrived.last().expect("one has arrived");
    assert!(told.contains(denied), "{decisions:#}");
    assert_eq!(denied["codes"], serde_json::json!(["LK103"]));
    // Who comes later gets the last ones first.
    let stream = TcpStream::connect(cars.server.dashboard()).expect("the dashboard");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    write!(&stream, "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut rows = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let row = rows.find_map(data).expect("a row");
    assert!(
        row.starts_with("<tr id=\"decision-") && row.ends_with("</tr>"),
        "{row}"
    );
}

#[test]
fn only_this_machine_is_answered_and_only_get() {
    let cars = Cars::with(None);
    let status = |request: &str, headers: &[&str]| ask(cars.server.dashboard(), request, headers).status;
    for host in ["Host: localhost:8081", "Host: 127.0.0.1", "Host: [::1]:8081"] {
        assert_eq!(status("GET /", &[host]), 200, "{host}");
    }
    for host in ["Host: evil.example", "Host: evil.example:8081", "Host: 10.0.0.1"] {
        for path in ["/", "/api/v1/decisions", "/live", "/nothing"] {
            let answer = ask(cars.server.dashboard(), &format!("GET {path}"), &[host]);
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(answer.body.contains("localhost"), "{}", answer.body);
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(
            status(&format!("{method} /"), &["Content-Length: 0"]),
            405,
            "{method}"
        );
    }
    assert_eq!(status("HEAD /", &[]), 200);
    let nothing = cars.get("/nothing");
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains("/api/v1/matrix"), "{}", nothing.body);
    for page in ["/", "/rules/LK101", "/api/v1/groups"] {
        let head = cars.get(page).head;
        for header in [
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{page}: no {header} in {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
    assert!(cars.get("/rules/LK101").body.contains("subset-without-workload"));
    assert_eq!(cars.get("/rules/%3Cb%3E").status, 404);
}

#[test]
fn it_can_be_elsewhere_or_left_out_and_a_port_that_is_taken_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("--dashboard-listen={}", taken.local_addr().expect("an address"));
    let cars = examples().join("cars").display().to_string();
    let serve = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--ca-file",
            ])
            .arg(folder.path().join("ca.crt"))
            .args(args)
            .args(["--manifests", &cars]);
        command
    };
    // One that is asked for has to be there.
    let run = command::run(&mut serve(&[&address])).ends_with(2);
    assert!(
        run.stderr.contains("--dashboard-listen 127.0.0.1:"),
        "{}",
        run.stderr
    );
    let both = command::run(&mut serve(&[&address, "--no-dashboard"])).ends_with(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}

#[test]
fn a_large_group_is_shown_a_part_at_a_time() {
    let mut world = "\
apiVersion: v1
kind: Namespace
metadata: {name: big, labels: {lanekeeper.dev/enforcement: enforce}}
---
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {namespace: big, name: big}
spec: {header: bu, workloads: {matchLabels: {part: big}}, lanes: [a, b], defaultLane: a}
"
    .to_owned();
    for at in 0..450 {
        let _ = write!(
            world,
            "---
apiVersion: v1
kind: Service
metadata: {{namespace: big, name: s{at:03}}}
spec: {{selector: {{app: s{at:03}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{namespace: big, name: s{at:03}-a}}
spec:
  selector: {{matchLabels: {{app: s{at:03}}}}}
  template: {{metadata: {{labels: {{app: s{at:03}, part: big, version: a}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}
"
        );
    }
    let folder = command::folder(&[("world.yaml", &world)]);
    let server = Server::start(folder.path(), &["--manifests=world.yaml"]);
    let rows = |path: &str| {
        let page = ask(server.dashboard(), &format!("GET {path}"), &[]);
        assert_eq!(page.status, 200);
        let shown: BTreeSet<String> = page
            .body
            .split("<th class=\"mono\" scope=\"row\">")
            .skip(1)
            .map(|row| row.split('<').next().unwrap_or_default().to_owned())
            .collect();
        (shown, page.body)
    };
    let (first, page) = rows("/");
    assert!(
        page.contains("Rows 1 to 200 of ") && page.contains("href=\"?from=200\""),
        "{}",
        first.len()
    );
    let (second, _) = rows("/?from=200");
    let (third, page) = rows("/?from=400");
    assert!(page.contains("href=\"?from=200\""));
    assert_eq!((first.len(), second.len()), (200, 200));
    let all: BTreeSet<&String> = first.iter().chain(&second).chain(&third).collect();
    assert_eq!(all.len(), 400 + third.len());
    let (none, _) = rows("/?from=9999999");
    assert!(none.is_empty());
    assert_eq!(rows("/?from=x").0.len(), 200);
    let matrix: Value =
        serde_json::from_str(&ask(server.dashboard(), "GET /api/v1/matrix", &[]).body).expect("JSON");
    assert_eq!(
        matrix["groups"][0]["rows"].as_array().map(Vec::len),
        Some(all.len())
    );
}

/// Every key that an answer has is named on the page about the API, and every path.
#[test]
fn the_page_about_the_api_names_all_that_there_is() {
    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    // The keys of what was patched are no part of it.
                    if name != "patch" {
                        keys(value, found);
                    }
                    found.insert(name.clone());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let cars = Cars::with(Some("subset-label-typo.yaml"));
    let broken = examples().join("cars-broken/rewrite-missing.yaml");
    cars.server.submit(&[&broken.display().to_string()]);
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).expect("the page");
    let paths = [
        "/api/v1/groups",
        "/api/v1/matrix",
        "/api/v1/findings",
        "/api/v1/decisions",
        "/api/v1/trace?url=http://cars.example/&header=buid:%20wicph&via=cars-rti-adapter:20885",
    ];
    let mut found = BTreeSet::new();
    for path in paths {
        keys(&cars.json(path), &mut found);
        let path = path.split('?').next().expect("a path");
        assert!(
            page.contains(&format!("`GET {path}")),
            "{path} is not on the page"
        );
    }
    assert!(found.len() > 40, "{found:?}");
    let missing: Vec<&String> = found
        .iter()
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}
