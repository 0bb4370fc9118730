//! `lanekeeper matrix` and `lanekeeper trace`: what they print of the examples, and how they end.
//!
//! What comes out is kept in `tests/snapshots/`. After a change that is meant, `INSTA_UPDATE=always cargo test --test
//! lanes` writes it anew; the difference is to be read.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

#[path = "support/command.rs"]
mod command;

use command::{Run, folder, run};

const ENTRY: [&str; 6] = [
    "--url",
    "http://cars.example/",
    "-H",
    "buid: wicph",
    "--via",
    "cars-rti-adapter:20885,cars-aggregator",
];

fn program(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    program.arg(command).env("NO_COLOR", "1").stdin(Stdio::null());
    program
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// What a command prints of the good example and a broken one, which replaces an object of it.
fn of_cars(command: &str, options: &[&str], broken: Option<&str>) -> Run {
    let broken = broken.map(|name| format!("cars-broken/{name}"));
    run(program(command)
        .args(options)
        .arg("cars")
        .args(broken)
        .current_dir(examples()))
}

/// The broken examples, by name.
fn broken() -> Vec<String> {
    let entries = fs::read_dir(examples().join("cars-broken")).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("a folder's entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|end| end == "yaml"));
    names.sort();
    names
}

#[test]
fn the_matrix_of_the_good_example_is_whole() {
    let run = of_cars("matrix", &["--strict"], None);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    insta::assert_snapshot!("matrix-cars", run.stdout);
    let json: Value = serde_json::from_str(&of_cars("matrix", &["-o", "json"], None).stdout).expect("JSON");
    assert_eq!(json["groups"][0]["whole"], true);
}

#[test]
fn the_matrix_of_each_broken_example_shows_what_is_broken() {
    let mut all = String::new();
    for name in broken() {
        let run = of_cars("matrix", &["--strict"], Some(&name));
        let _ = write!(
            all,
            "== {name}: exit {}\n{}\n",
            run.code.unwrap_or(-1),
            run.stdout
        );
    }
    insta::assert_snapshot!("matrix-broken", all);
}

#[test]
fn a_page_of_html_needs_nothing_else_and_escapes() {
    let page = of_cars("matrix", &["-o", "html"], Some("subset-dropped.yaml")).stdout;
    insta::assert_snapshot!("matrix-html", page);
    // Nothing is loaded: what a browser gets from elsewhere comes by one of these.
    for part in ["src=", "url(", "@import", "fetch(", "stylesheet"] {
        assert!(!page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<link").count(), 1);
    assert!(page.contains("<link rel=\"icon\" href=\"data:"));
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"));
    let hostile = "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: '<b>&', namespace: cars-aswatson-dev}
spec: {pluginConfig: {lane_header: x-lane, traffic_lane: a}}
";
    let folder = folder(&[("plugin.yaml", hostile)]);
    let files = examples().join("cars");
    let run = run(program("matrix")
        .args(["-o", "html"])
        .arg(files)
        .arg(folder.path().join("plugin.yaml")));
    assert!(!run.stdout.contains("<b>&:"), "{}", run.stdout);
}

#[test]
fn a_request_through_three_hops_is_followed() {
    let run = of_cars("trace", &ENTRY, None);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    insta::assert_snapshot!("trace-cars", run.stdout);
    let mut options = ENTRY.to_vec();
    options.extend(["-o", "json"]);
    insta::assert_snapshot!("trace-json", of_cars("trace", &options, None).stdout);
}

#[test]
fn where_a_request_leaves_its_lane_is_told() {
    let mut all = String::new();
    for name in [
        "subset-dropped.yaml",
        "lane-crossed.yaml",
        "rewrite-missing.yaml",
        "filter-missing.yaml",
        "grpc-to-http-port.yaml",
    ] {
        let run = of_cars("trace", &ENTRY, Some(name));
        assert_eq!(run.code, Some(1), "{name}:\n{}", run.stdout);
        let _ = write!(all, "== {name}\n{}\n", run.stdout);
    }
    insta::assert_snapshot!("trace-broken", all);
}

#[test]
fn a_request_may_begin_in_the_mesh() {
    let options = [
        "--from",
        "cars-aswatson-dev/app=cars-rti-adapter,version=wicph",
        "--url",
        "http://cars-aggregator:8080/",
        "-H",
        "bu: wtchk",
    ];
    let run = of_cars("trace", &options, None);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("Deployment cars-aswatson-dev/cars-aggregator-wtchk"),
        "{}",
        run.stdout
    );
    let options = [
        "--from",
        "cars-aswatson-dev",
        "--url",
        "http://cars-aggregator:9999/",
    ];
    let run = of_cars("trace", &options, None);
    assert!(
        run.stdout.contains("the service has no such port"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_cannot_be_followed_is_told_and_ends_with_2() {
    let cases: [(&[&str], &str); 7] = [
        (&["--url", "ftp://x"], "`ftp://x` is no URL of a request"),
        (
            &["--url", "x", "-H", "bu"],
            "a header is written as 'name: value'",
        ),
        (&["--url", "x", "-H", "b u: x"], "`b u` is no name of a header"),
        (
            &["--url", "x", "--gateway", "cars"],
            "did you mean cars-aswatson-dev/cars?",
        ),
        (
            &["--url", "x", "--gateway", "a/b"],
            "there is no such Gateway; there are: cars-aswatson-dev/cars",
        ),
        (&["--url", "x", "--from", "cars/app"], "`app` is no label"),
        (&["--url", "x", "--via", "a b"], "`a b` is no call"),
    ];
    for (options, told) in cases {
        let run = of_cars("trace", options, None);
        assert_eq!(run.code, Some(2), "{options:?}");
        assert!(run.stderr.contains(told), "{options:?}: {}", run.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_read_makes_both_end_with_2() {
    let folder = folder(&[("bad.yaml", "kind: a\n\tb: 1\n")]);
    for (command, options) in [("matrix", &[][..]), ("trace", &ENTRY[..])] {
        let run = run(program(command)
            .args(options)
            .arg(examples().join("cars"))
            .arg(folder.path()));
        assert_eq!(run.code, Some(2), "{command}");
        assert!(run.stderr.contains("bad.yaml:1:7"), "{command}: {}", run.stderr);
    }
}

/// A Strict and a Fallback group in which one service lacks a lane.
fn group(completeness: &str, without_header: &str) -> String {
    let service = |name: &str, lanes: &[&str]| {
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}\n---\n"
        );
        let subsets: Vec<String> = lanes
            .iter()
            .map(|lane| format!("{{name: {lane}, labels: {{version: {lane}}}}}"))
            .collect();
        let _ = write!(
            text,
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{host: {name}, subsets: [{}]}}\n---\n",
            subsets.join(", ")
        );
        let route = |lane: &str| {
            format!(
                "  - {{match: [{{headers: {{bu: {{exact: {lane}}}}}}}], route: [{{destination: {{host: {name}, subset: {lane}}}}}]}}\n"
            )
        };
        let default = match without_header {
            "Reject" => String::new(),
            _ => format!("  - route: [{{destination: {{host: {name}, subset: a}}}}]\n"),
        };
        let routes: String = lanes.iter().map(|lane| route(lane)).collect();
        let _ = write!(
            text,
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  hosts: [{name}]\n  http:\n{routes}{default}---\n"
        );
        for lane in lanes {
            let _ = write!(
                text,
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}-{lane}, namespace: shop}}\nspec:\n  \
                 selector: {{matchLabels: {{app: {name}, version: {lane}}}}}\n  template:\n    metadata: {{labels: {{app: {name}, version: {lane}, part: shop}}}}\n    \
                 spec: {{containers: [{{name: app, image: x}}]}}\n---\n"
            );
        }
        text
    };
    format!(
        "{}{}apiVersion: lanekeeper.dev/v1alpha1\nkind: LaneGroup\nmetadata: {{name: shop, namespace: shop}}\n\
         spec: {{header: bu, workloads: {{matchLabels: {{part: shop}}}}, laneLabel: version, lanes: [a, b], defaultLane: a, \
         completeness: {completeness}, withoutHeader: {without_header}}}\n",
        service("cart", &["a", "b"]),
        service("pay", &["a"]),
    )
}

#[test]
fn a_missing_lane_breaks_a_strict_group_and_no_other() {
    let of = |completeness: &str, without_header: &str| {
        let folder = folder(&[("shop.yaml", &group(completeness, without_header))]);
        run(program("matrix").arg(folder.path()))
    };
    let strict = of("Strict", "DefaultLane");
    assert_eq!(strict.code, Some(1), "{}{}", strict.stdout, strict.stderr);
    insta::assert_snapshot!("matrix-strict", strict.stdout);
    let fallback = of("Fallback", "DefaultLane");
    assert_eq!(fallback.code, Some(0), "{}{}", fallback.stdout, fallback.stderr);
    insta::assert_snapshot!("matrix-fallback", fallback.stdout);
    let reject = of("Fallback", "Reject");
    insta::assert_snapshot!("matrix-reject", reject.stdout);
}

#[test]
fn without_a_group_there_is_a_note() {
    let folder = folder(&[("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")]);
    let run = run(program("matrix").arg(folder.path()));
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(
        run.stderr.contains("no service takes part in a lane group"),
        "{}",
        run.stderr
    );
}

#[test]
fn what_the_group_says_of_calls_is_followed_where_nothing_else_is_said() {
    let group = "apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {namespace: cars-aswatson-dev, name: cars}
spec:
  header: bu
  entry: {header: buid, gateways: [cars]}
  workloads: {matchLabels: {app.kubernetes.io/part-of: cars}}
  lanes: [wtchk, wicph]
  defaultLane: wtchk
  chain: ['cars-rti-adapter:20885', cars-aggregator]
";
    let folder = folder(&[("group.yaml", group)]);
    let hops = |options: &[&str]| {
        let mut trace = program("trace");
        trace.args(options).args(["-o", "json", "cars"]);
        let run = run(trace.arg(folder.path()).current_dir(examples())).ends_with(0);
        run.json()["hops"].as_array().map(Vec::len)
    };
    assert_eq!(hops(&ENTRY[..4]), Some(3));
    assert_eq!(
        hops(&[&ENTRY[..4], &["--via", "cars-rti-adapter:20885"]].concat()),
        Some(2)
    );
    let of_other = [
        "--from",
        "other/app=a",
        "--url",
        "http://cars-aggregator.cars-aswatson-dev:8080/",
    ];
    assert_eq!(hops(&of_other), Some(1), "a sender of another namespace");
}

/// What a command prints of the cars with one object replaced.
fn of_cars_with(command: &str, options: &[&str], object: &str) -> Run {
    let folder = folder(&[("object.yaml", object)]);
    let mut program = program(command);
    let run = run(program
        .args(options)
        .arg(examples().join("cars"))
        .arg(folder.path()));
    Run {
        stderr: run
            .stderr
            .lines()
            .filter(|line| !line.contains("note:"))
            .collect(),
        ..run
    }
}

#[test]
fn a_sender_without_a_sidecar_knows_no_route() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: cars-aswatson-dev, labels: {istio-injection: disabled}}\n";
    let run = of_cars_with("trace", &ENTRY, namespace).ends_with(1);
    assert!(run.stdout.contains("the sender has no sidecar"), "{}", run.stdout);
    assert!(!run.stdout.contains("remembers"), "{}", run.stdout);
}

#[test]
fn a_redirect_to_https_is_no_fault() {
    let gateway = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cars, namespace: cars-aswatson-dev}
spec:
  selector: {istio: cars-ingress}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: cars}}
";
    let run = of_cars_with("matrix", &["--strict"], gateway).ends_with(0);
    let row = |port: &str| {
        let row = run
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("* at cars-aswatson-dev/cars:{port} ")));
        row.map(|row| {
            row.split_whitespace()
                .skip(3)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(
        row("80").as_deref(),
        Some(&["301", "301", "301"].map(str::to_owned)[..]),
        "{}",
        run.stdout
    );
    assert_eq!(
        row("443").as_deref(),
        Some(&["ok", "ok", "default"].map(str::to_owned)[..]),
        "{}",
        run.stdout
    );
}

#[test]
fn a_request_that_nobody_answers_ends_with_1() {
    let run = of_cars(
        "trace",
        &["--url", "http://cars.example/"],
        Some("no-default-route.yaml"),
    )
    .ends_with(1);
    assert!(
        run.stdout.contains("The request is not answered."),
        "{}",
        run.stdout
    );
}

#[test]
fn at_a_gateway_lanes_may_have_other_words_and_ports_for_grpc() {
    let routes = |condition: &str, port: u16, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cars-api-portal, namespace: cars-aswatson-dev}}
spec:
  hosts: ['*']
  gateways: [cars]
  http:
  - match: [{condition}]
    headers: {{request: {{set: {{bu: wicph}}}}}}
    route: [{{destination: {{host: {host}, port: {{number: {port}}}, subset: {host}-wicph}}}}]
  - headers: {{request: {{set: {{bu: wtchk}}}}}}
    route: [{{destination: {{host: {host}, port: {{number: {port}}}, subset: {host}-wtchk}}}}]
"
        )
    };
    let group = "---
apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {name: cars, namespace: cars-aswatson-dev}
spec: {header: bu, entry: {header: buid}, workloads: {matchLabels: {app.kubernetes.io/part-of: cars}}, lanes: [wtchk, wicph], defaultLane: wtchk}
";
    let row = |condition: &str, port: u16, host: &str| {
        let run = of_cars_with(
            "matrix",
            &[],
            &format!("{}{group}", routes(condition, port, host)),
        );
        let row = run
            .stdout
            .lines()
            .find(|line| line.starts_with("* at "))
            .map(str::to_owned);
        let row = row.unwrap_or_else(|| panic!("no way in:\n{}{}", run.stdout, run.stderr));
        row.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        row("{headers: {buid: {exact: '8001'}}}", 8181, "cars-api-portal"),
        "ok ok default"
    );
    assert_eq!(
        row("{headers: {buid: {prefix: '8'}}}", 8181, "cars-api-portal"),
        "ok ok default"
    );
    assert_eq!(
        row("{headers: {buid: {regex: '8.*'}}}", 8181, "cars-api-portal"),
        "ok - default"
    );
    assert_eq!(
        row("{headers: {buid: {exact: wicp}}}", 8181, "cars-api-portal"),
        "ok wrong lane: wtchk default"
    );
    assert_eq!(
        row("{headers: {buid: {exact: wicph}}}", 20885, "cars-rti-adapter"),
        "ok ok default"
    );
}

#[test]
fn where_files_do_not_tell_which_object_is_older_both_outcomes_are_shown() {
    let second = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: zcars-aggregator, namespace: cars-aswatson-dev}
spec:
  hosts: [cars-aggregator]
  http:
  - route: [{destination: {host: cars-aggregator, subset: cars-aggregator-wtchk}}]
";
    let run = of_cars_with("matrix", &["--strict"], second).ends_with(1);
    let row = run
        .stdout
        .lines()
        .find(|line| line.starts_with("cars-aggregator:8080"));
    assert!(
        row.is_some_and(|row| row.contains("ok or wrong lane: wtchk")),
        "{}",
        run.stdout
    );
}

#[test]
fn a_lane_that_a_workload_carries_stays_one_when_its_only_subset_is_mistyped() {
    let shop = group("Fallback", "DefaultLane");
    let before = shop
        .split("apiVersion: lanekeeper.dev")
        .next()
        .expect("what is before the group");
    let implied = before.replace(
        "{name: b, labels: {version: b}}",
        "{name: b, labels: {version: bb}}",
    );
    let plugin = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: lanes, namespace: shop}
spec: {url: 'oci://x/y', pluginConfig: {lane_header: bu, traffic_lane: a}}
";
    let folder = folder(&[("shop.yaml", &format!("{implied}{plugin}"))]);
    let run = run(program("matrix").arg("--strict").arg(folder.path())).ends_with(1);
    let row = run
        .stdout
        .lines()
        .find(|line| line.starts_with("cart:80"))
        .expect("a row");
    let cells: Vec<&str> = row.split_whitespace().skip(2).collect();
    assert_eq!(cells, ["ok", "503", "default"], "{}", run.stdout);
}

#[test]
fn what_the_api_server_would_refuse_ends_with_2() {
    let object =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {selectors: {a: b}}\n";
    let run = of_cars_with("matrix", &[], object).ends_with(2);
    assert!(run.stderr.contains("selectors"), "{}", run.stderr);
}

/// The request of a cell, asked as a trace is, is the same request of the same client: in every world that there is.
#[test]
fn the_request_of_each_cell_can_be_followed() {
    use lanekeeper::files;
    use lanekeeper::matrix::{self, Detail};
    use lanekeeper::routing::Request;
    use lanekeeper::trace::{Question, gateways};
    use lanekeeper::world::{Settings, View};

    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    let sorted = |mut request: Request| {
        request.headers.sort();
        request
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut worlds = Vec::new();
    for folder in ["worlds", "rules"] {
        collect(&root.join(folder), &mut worlds);
    }
    worlds.sort();
    let (mut followed, mut unwritten) = (0, Vec::new());
    for file in worlds {
        let world = files::load(std::slice::from_ref(&file), Some("default")).world(Settings::default());
        let (view, known) = (View::new(&world), gateways(&world));
        let matrices = matrix::all(&view, Detail::Steps);
        let rows = matrices.iter().flat_map(|matrix| &matrix.rows);
        for (row, cell) in rows.flat_map(|row| row.cells.iter().map(move |cell| (row, cell))) {
            let Some(asked) = &cell.asked else { continue };
            let Some(question) = Question::of(&asked.client, &asked.request, asked.port) else {
                unwritten.push(format!("{}: {row}", file.display()));
                continue;
            };
            if question
                .gateway
                .as_ref()
                .is_some_and(|gateway| !known.contains(gateway))
            {
                continue;
            }
            let start = question.start(&view, &world);
            let start =
                start.unwrap_or_else(|error| panic!("{}: {row}: {error}: {question:?}", file.display()));
            assert_eq!(
                (start.client, sorted(start.request), start.port),
                (asked.client.clone(), sorted(asked.request.clone()), asked.port),
                "{}: {row}: {question:?}",
                file.display()
            );
            followed += 1;
        }
    }
    assert!(followed > 1_000, "{followed}");
    assert!(unwritten.len() < followed / 100, "{unwritten:#?}");
}
