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
use std::process::{Command, Stdio};
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
    let mut events = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(events.any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")));

    let broken = examples().join("cars-broken/subset-name-typo.yaml");
    cars.server.submit(&[&broken.display().to_string()]).ends_with(1);
    let data = |line: String| line.strip_prefix("data:").map(|data| data.trim().to_owned());
    let mut arrived: Vec<Value> = Vec::new();
    while !arrived.iter().any(|decision| decision["allowed"] == false) {
        let line = events.by_ref().find_map(data).expect("the stream goes on");
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
        assert!(
            !head.contains("unsafe-inline") && !head.contains("unsafe-eval"),
            "{head}"
        );
    }
    assert!(cars.get("/rules/LK101").body.contains("subset-without-workload"));
    assert_eq!(cars.get("/rules/%3Cb%3E").status, 404);
}

/// What `serve` with these arguments says on standard error, until it has said one of these; then it is ended.
fn said_until(args: &[&str], ends: &[&str]) -> (String, std::process::Child, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args([
            "serve",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--ca-file=ca.crt",
        ])
        .args(args)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = command::lines(child.stderr.take().expect("its log"));
    let mut said = String::new();
    while !ends.iter().any(|end| said.contains(end)) {
        let line = lines.recv_timeout(Duration::from_secs(30));
        let line = line.unwrap_or_else(|_| panic!("none of {ends:?} in {said}"));
        said.push_str(&line);
        said.push('\n');
    }
    // Who writes to a closed pipe is ended by it.
    std::thread::spawn(move || lines.iter().for_each(drop));
    (said, child, folder)
}

/// Where it serves, by what it says before that.
fn address<'s>(said: &'s str, before: &str) -> &'s str {
    let (_, address) = said.split_once(before).expect(before);
    let end = address.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')));
    &address[..end.unwrap_or(address.len())]
}

#[test]
fn it_can_be_elsewhere_or_left_out_and_a_usual_port_that_is_taken_ends_nothing() {
    let cars = examples().join("cars").display().to_string();
    // One that is asked for has to be there.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = format!("--dashboard-listen={}", taken.local_addr().expect("an address"));
    let serve = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command.args([
            "serve",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--ca-file=/dev/null",
        ]);
        command::run(command.args(args).args(["--manifests", &cars]))
    };
    let run = serve(&[&elsewhere]).ends_with(2);
    assert!(
        run.stderr.contains("--dashboard-listen 127.0.0.1:"),
        "{}",
        run.stderr
    );
    let both = serve(&[&elsewhere, "--no-dashboard"]).ends_with(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);

    // Somebody has the usual port, this test or another process.
    let _usual = TcpListener::bind("127.0.0.1:8081");
    let (said, mut child, _folder) = said_until(&["--manifests", &cars], &["no dashboard: 127.0.0.1:8081"]);
    assert_eq!(
        ask(address(&said, " pages on http://"), "GET /readyz", &[]).status,
        200
    );
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let (said, mut child, _folder) =
        said_until(&["--no-dashboard", "--manifests", &cars], &["made a certificate"]);
    assert_eq!(
        ask(address(&said, " pages on http://"), "GET /readyz", &[]).status,
        200
    );
    child.kill().expect("it runs");
    let status = child.wait().expect("it ends");
    assert!(!said.contains("dashboard") && !status.success(), "{said}");
}

#[test]
fn before_everything_is_read_nothing_is_said_of_lanes() {
    // An API server that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let folder = command::folder(&[(
        "kubeconfig",
        &format!(
            "{{apiVersion: v1, kind: Config, clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}], \
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}], users: [{{name: a, user: {{}}}}], current-context: a}}"
        ),
    )]);
    let kubeconfig = folder.path().join("kubeconfig").display().to_string();
    let args = ["--dashboard-listen=127.0.0.1:0", "--kubeconfig", &kubeconfig];
    let served = "\"the dashboard is served\",\"url\":\"http://";
    let (said, mut child, _folder) = said_until(&args, &[served]);
    let dashboard = address(&said, served);
    let page = ask(dashboard, "GET /", &[]);
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("Not everything is read yet: ") && page.body.contains("VirtualService"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("No service takes part"), "{}", page.body);
    for path in ["groups", "matrix", "trace?url=http://a/", "findings"] {
        let answer = ask(dashboard, &format!("GET /api/v1/{path}"), &[]);
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(answer.body.contains("read"), "{path}: {}", answer.body);
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn what_no_answer_was_given_for_is_no_decision_and_long_ones_are_left_out() {
    let cars = Cars::serving(None, &["--audit-log=/dev/full", "--audit-log-required"]);
    let broken = examples()
        .join("cars-broken/subset-name-typo.yaml")
        .display()
        .to_string();
    cars.server.submit(&[&broken]).ends_with(2);
    assert_eq!(cars.json("/api/v1/decisions")["decisions"], serde_json::json!([]));
    drop(cars);

    let cars = Cars::serving(None, &["--audit-log=/dev/full"]);
    cars.server.submit(&[&broken]).ends_with(1);
    let shown = cars.json("/api/v1/decisions")["decisions"]
        .as_array()
        .map(Vec::len);
    assert!(shown > Some(0));
}

#[test]
fn pages_from_elsewhere_are_refused_and_links_from_there_are_not() {
    let cars = Cars::with(None);
    let of = |path: &str, site: &str, mode: &str| {
        let headers = [
            format!("Sec-Fetch-Site: {site}"),
            format!("Sec-Fetch-Mode: {mode}"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        ask(cars.server.dashboard(), &format!("GET {path}"), &headers).status
    };
    for path in ["/", "/live", "/api/v1/groups", "/api/v1/decisions/live"] {
        assert_eq!(of(path, "cross-site", "no-cors"), 403, "{path}");
    }
    assert_eq!(of("/", "same-site", "cors"), 403);
    assert_eq!(of("/", "cross-site", "navigate"), 200);
    assert_eq!(of("/api/v1/groups", "same-origin", "cors"), 200);
}

/// A group of so many services, each in both of its lanes.
fn large(namespace: &str, services: usize) -> String {
    let mut world = format!(
        "---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{lanekeeper.dev/enforcement: enforce}}}}
---
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {{namespace: {namespace}, name: {namespace}}}
spec: {{header: bu, workloads: {{matchLabels: {{part: big}}}}, lanes: [a, b], defaultLane: a}}
"
    );
    for at in 0..services {
        let _ = write!(
            world,
            "---
apiVersion: v1
kind: Service
metadata: {{namespace: {namespace}, name: s{at:03}}}
spec: {{selector: {{app: s{at:03}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{namespace: {namespace}, name: s{at:03}}}
spec: {{host: s{at:03}, subsets: [{{name: a, labels: {{version: a}}}}, {{name: b, labels: {{version: b}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{namespace: {namespace}, name: s{at:03}}}
spec:
  hosts: [s{at:03}]
  http:
  - match: [{{headers: {{bu: {{exact: b}}}}}}]
    route: [{{destination: {{host: s{at:03}, subset: b}}}}]
  - route: [{{destination: {{host: s{at:03}, subset: a}}}}]
"
        );
        for lane in ["a", "b"] {
            let _ = write!(
                world,
                "---
apiVersion: apps/v1
kind: Deployment
metadata: {{namespace: {namespace}, name: s{at:03}-{lane}}}
spec:
  selector: {{matchLabels: {{app: s{at:03}}}}}
  template: {{metadata: {{labels: {{app: s{at:03}, part: big, version: {lane}}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}
"
            );
        }
    }
    world
}

#[test]
fn large_groups_are_shown_a_part_at_a_time_and_the_broken_rows_first() {
    // Of the last service nothing runs in any lane.
    let broken = "---
apiVersion: v1
kind: Service
metadata: {namespace: big, name: z}
spec: {selector: {app: z}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: big, name: z}
spec: {host: z, subsets: [{name: b, labels: {version: b}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {namespace: big, name: z}
spec:
  hosts: [z]
  http:
  - match: [{headers: {bu: {exact: b}}}]
    route: [{destination: {host: z, subset: b}}]
  - route: [{destination: {host: z}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: big, name: z-a}
spec:
  selector: {matchLabels: {app: z}}
  template: {metadata: {labels: {app: z, part: big, version: a}}, spec: {containers: [{name: a, image: a}]}}
";
    let world = large("big", 230) + &large("small", 3) + broken;
    let folder = command::folder(&[("world.yaml", &world)]);
    let server = Server::start(folder.path(), &["--manifests=world.yaml"]);
    let rows = |path: &str| {
        let page = ask(server.dashboard(), &format!("GET {path}"), &[]);
        assert_eq!(page.status, 200, "{path}");
        let shown = page.body.split("<th class=\"mono\" scope=\"row\">").skip(1);
        let shown: Vec<String> = shown
            .map(|row| row.split('<').next().unwrap_or_default().to_owned())
            .collect();
        (shown, page.body)
    };
    let (first, page) = rows("/");
    assert_eq!(first[0], "z:80 (http)", "what is broken comes first");
    let all = page.split("Rows 1 to 200 of ").nth(1).expect("a part is shown");
    let all: usize = all
        .split(',')
        .next()
        .and_then(|all| all.parse().ok())
        .expect("a number");
    assert!(
        page.contains("href=\"?group=0&amp;row=200#group-0\""),
        "{first:?}"
    );
    let of_small = first.len() - 200;
    assert!(of_small > 0, "the small group is there, too");
    let mut seen: BTreeSet<String> = first[..200].iter().cloned().collect();
    for row in (200..all).step_by(200) {
        let (part, page) = rows(&format!("/?rule=LK101&group=0&row={row}"));
        seen.extend(part[..part.len() - of_small].iter().cloned());
        assert!(page.contains(&format!(
            "href=\"?rule=LK101&amp;group=0&amp;row={}#group-0\"",
            row - 200
        )));
    }
    assert_eq!(seen.len(), all);
    // What is no row shows the nearest ones.
    for row in ["9999999", "18446744073709551615", "x", "-1"] {
        let (shown, page) = rows(&format!("/?group=0&row={row}"));
        assert!(shown.len() > of_small && page.contains("Rows "), "{row}");
    }
    assert_eq!(rows("/?group=7&row=200").0, first);
    let matrix: Value =
        serde_json::from_str(&ask(server.dashboard(), "GET /api/v1/matrix?namespace=big", &[]).body)
            .expect("JSON");
    assert_eq!(matrix["groups"][0]["rows"].as_array().map(Vec::len), Some(all));
}

#[test]
fn an_object_tells_what_is_wrong_with_it_and_what_meets_it() {
    let cars = Cars::with(Some("subset-label-typo.yaml"));
    let page = cars.get("/objects/DestinationRule/cars-aswatson-dev/cars-api-portal");
    assert_eq!(page.status, 200);
    for part in [
        "LK101",
        "* at cars-aswatson-dev/cars:80, lane wicph: 503",
        "lane wtchk: ok",
    ] {
        assert!(page.body.contains(part), "no {part} in {}", page.body);
    }
    assert!(!page.body.contains("cars-aggregator:8080"), "{}", page.body);
    // A fault of one subset is none of another one's.
    let whole = cars.get("/").body;
    let of = |id: &str| {
        let (_, section) = whole.split_once(&format!("id=\"why-{id}\"")).expect(id);
        section.split("</section>").next().unwrap_or_default().to_owned()
    };
    assert!(of("0-0-0").contains("LK101"), "{}", of("0-0-0"));
    assert!(
        of("0-0-1").contains("lane wtchk: ok") && !of("0-0-1").contains("LK101"),
        "{}",
        of("0-0-1")
    );
    // Where the findings are filtered, the link leads to where they are not.
    let filtered = cars.get("/?rule=LK303").body;
    assert!(
        filtered.contains("href=\"./?rule=LK101&amp;namespace=cars-aswatson-dev#findings\""),
        "{filtered}"
    );
    assert!(
        filtered.contains("<option value=\"LK303\" selected>LK303</option>"),
        "{filtered}"
    );
    for wrong in [
        "/objects/Thing/a/b",
        "/objects/Service/a",
        "/objects/Service/%ff/b",
    ] {
        assert_eq!(cars.get(wrong).status, 404, "{wrong}");
    }
    assert_eq!(cars.get("/objects/Service/no/such").status, 200);
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
    let sections: Vec<&str> = page.split("\n### ").collect();
    for path in [
        "/api/v1/groups",
        "/api/v1/matrix",
        "/api/v1/findings",
        "/api/v1/decisions",
        "/api/v1/trace?url=http://cars.example/&header=buid:%20wicph&via=cars-rti-adapter:20885",
    ] {
        let mut found = BTreeSet::new();
        keys(&cars.json(path), &mut found);
        let path = path.split('?').next().expect("a path");
        let section = sections.iter().find(|section| {
            let rest = section.strip_prefix(&format!("`GET {path}"));
            rest.is_some_and(|rest| rest.starts_with(['`', '?']))
        });
        let section = section.unwrap_or_else(|| panic!("{path} is not on the page"));
        let common = ["schema".to_owned()];
        let missing: Vec<&String> = found
            .iter()
            .filter(|key| !common.contains(key) && !section.contains(&format!("`{key}`")))
            .collect();
        assert!(
            missing.is_empty() && found.len() > 5,
            "{path}: not on the page: {missing:?}"
        );
    }
}
