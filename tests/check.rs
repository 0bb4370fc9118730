//! `lanekeeper check` as a program: what it reads, what it prints, how it ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "support/command.rs"]
mod command;
#[path = "support/field_cases.rs"]
mod field_cases;

use command::{Run, await_line, folder, lines, run};
use field_cases::field_cases;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.arg("check").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Checks one file of this name, in its folder.
fn check_file(name: &str, bytes: &[u8], options: &[&str]) -> Run {
    let folder = folder(&[]);
    fs::write(folder.path().join(name), bytes).expect("the folder can be written");
    run(program().args(options).arg(name).current_dir(folder.path()))
}

fn check(text: &str, options: &[&str]) -> Run {
    check_file("a.yaml", text.as_bytes(), options)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/rules")
        .join(name)
}

fn cars() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cars")
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: cart}
spec:
  selector: {app: cart}
  ports:
  - {name: http, port: 80}
";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  template:
    metadata:
      labels: {app: cart, version: blue}
";

/// One finding at deny level.
const WRONG_PORT: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec:
  hosts: [cart]
  http:
  - route:
    - destination:
        host: cart
        port:
          number: 8080
";

/// One finding at warn level.
const AHEAD: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart
  subsets:
  - name: green
    labels: {version: green}
";

fn joined(documents: &[&str]) -> String {
    documents.join("---\n")
}

#[test]
fn clean_files_end_with_0() {
    let run = run(program().arg(cars())).ends_with(0);
    assert_eq!(run.stdout, "18 objects in 6 files: no findings\n");
    assert_eq!(run.stderr, "");
}

#[test]
fn findings_at_deny_level_end_with_1_and_say_where_and_how_to_mend_it() {
    let run = check(&joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]), &[]).ends_with(1);
    assert_eq!(
        run.stdout,
        "\
deny[LK105 unknown-port]: Service default/cart has no port 8080, only 80 (http): the requests are answered 503
  --> a.yaml:19:11
   |
 6 | /   ports:
 7 | |   - {name: http, port: 80}
   | |__________________________- Service default/cart: its ports
...
19 |             number: 8080
   |             ^^^^^^^^^^^^
   |
   = object: VirtualService default/cart, spec.http[0].route[0].destination.port.number
   = help: route to a port that it has, or add the port to it first

3 objects in 1 file: 1 deny, 0 warn
"
    );
}

#[test]
fn findings_at_warn_level_end_with_1_only_on_request() {
    let text = joined(&[SERVICE, DEPLOYMENT, AHEAD]);
    check(&text, &[]).ends_with(0).prints("0 deny, 1 warn");
    check(&text, &["--fail-on", "deny"]).ends_with(0);
    check(&text, &["--fail-on", "warn"])
        .ends_with(1)
        .prints("0 deny, 1 warn");
}

#[test]
fn only_the_selected_rules_are_judged_and_none_of_the_ignored() {
    let text = joined(&[SERVICE, DEPLOYMENT, AHEAD, WRONG_PORT]);
    check(&text, &["--select", "LK101"])
        .ends_with(0)
        .prints("0 deny, 1 warn");
    check(&text, &["--select", "unknown-port,lk101"])
        .ends_with(1)
        .prints("1 deny, 1 warn");
    check(&text, &["--ignore", "LK105"])
        .ends_with(0)
        .prints("0 deny, 1 warn");
    check(&text, &["--select", "LK105", "--ignore", "LK105"])
        .ends_with(0)
        .prints("no findings");
}

#[test]
fn the_start_of_a_code_names_all_rules_that_begin_so() {
    let text = joined(&[SERVICE, DEPLOYMENT, AHEAD, WRONG_PORT]);
    check(&text, &["--select", "LK1"])
        .ends_with(1)
        .prints("1 deny, 1 warn");
    check(&text, &["--ignore", "lk10"])
        .ends_with(0)
        .prints("no findings");
    check(&text, &["--select", "LK2,LK105"])
        .ends_with(1)
        .prints("1 deny, 0 warn");
}

#[test]
fn what_is_excluded_is_not_read() {
    let folder = folder(&[
        ("a.yaml", &joined(&[SERVICE, WRONG_PORT])),
        ("b.tmpl.yaml", "a: {{ b }}\n"),
    ]);
    fs::create_dir_all(folder.path().join("old/test")).expect("the folder can be written");
    fs::write(folder.path().join("old/test/c.yaml"), "a:\n\tb\n").expect("the folder can be written");
    let of = |options: &[&str]| run(program().args(options).arg(".").current_dir(folder.path()));
    of(&[]).ends_with(2).prints("2 errors");
    of(&["--exclude", "*.tmpl.yaml"]).ends_with(2).prints("1 error");
    of(&["--exclude", "*.tmpl.yaml", "--exclude", "old"])
        .ends_with(1)
        .prints("2 objects in 1 file: 1 deny");
    of(&["--exclude", "{a,b}.*", "--exclude", "old/**/c.yaml"])
        .ends_with(0)
        .prints("0 objects in 0 files");
    let run = of(&["--exclude", "a[b"]).ends_with(2);
    assert!(
        run.stderr.contains("--exclude") && run.stderr.contains("a[b"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_rule_that_does_not_exist_ends_with_2() {
    for option in ["--select", "--ignore"] {
        let run = check(SERVICE, &[option, "LK999"]).ends_with(2);
        assert!(
            run.stderr.contains("`LK999`") && run.stderr.contains("lanekeeper rules"),
            "{}",
            run.stderr
        );
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn without_a_path_it_says_how_it_is_used() {
    let run = run(&mut program()).ends_with(2);
    assert!(run.stderr.contains("Usage:"), "{}", run.stderr);
}

#[test]
fn what_is_only_missing_warns_where_the_files_are_a_part() {
    let text = joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]);
    check(&text, &["--partial"]).ends_with(0).prints("0 deny, 1 warn");
    // A slip does not come right by what is not in the files.
    let slip = fixture("LK101/bad-label-value-typo.yaml");
    run(program().arg("--partial").arg(slip)).ends_with(1);
}

#[test]
fn an_allow_annotation_keeps_its_codes_quiet_and_is_counted() {
    let allowed = WRONG_PORT.replace(
        "{name: cart}",
        "{name: cart, annotations: {lanekeeper.dev/allow: LK105, lanekeeper.dev/allow-reason: soon}}",
    );
    check(&joined(&[SERVICE, &allowed, DEPLOYMENT]), &[])
        .ends_with(0)
        .prints("no findings, 1 suppressed");
}

#[test]
fn json_has_the_fields_of_its_schema_in_the_order_of_the_files() {
    let folder = folder(&[
        ("b.yaml", &joined(&[SERVICE, WRONG_PORT])),
        (
            "a.yaml",
            &joined(&[
                DEPLOYMENT,
                AHEAD,
                &WRONG_PORT
                    .replace("name: cart}", "name: other}")
                    .replace("hosts: [cart]", "hosts: [other]"),
                "kind: Job\n",
            ]),
        ),
    ]);
    // The report is sorted, whatever the order of the arguments.
    let run = run(program()
        .args(["-o", "json", "b.yaml", "a.yaml"])
        .current_dir(folder.path()))
    .ends_with(1);
    let report = run.json();
    assert_eq!(report["schema"], 1);
    assert_eq!(
        report["summary"],
        serde_json::json!({"files": 2, "objects": 5, "skipped": 1, "suppressed": 0, "known": 0, "deny": 2, "warn": 1})
    );
    assert_eq!(report["errors"], serde_json::json!([]));

    let findings = report["findings"].as_array().expect("a list of findings");
    let places: Vec<_> = findings
        .iter()
        .map(|found| {
            (
                found["file"].as_str(),
                found["line"].as_u64(),
                found["code"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (Some("a.yaml"), Some(16), Some("LK101")),
            (Some("a.yaml"), Some(28), Some("LK105")),
            (Some("b.yaml"), Some(19), Some("LK105")),
        ]
    );
    let first = findings[0].as_object().expect("an object");
    let mut keys: Vec<&str> = first.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "certainty",
            "code",
            "column",
            "endColumn",
            "endLine",
            "file",
            "help",
            "level",
            "line",
            "message",
            "object",
            "path",
            "related",
            "rule",
            "subject"
        ]
    );
    assert_eq!(first["level"], "warn");
    assert_eq!(first["certainty"], "missing");
    assert_eq!(first["rule"], "subset-without-workload");
    assert_eq!(first["path"], "spec.subsets[0].labels");
    assert_eq!(
        first["subject"],
        serde_json::json!({"host": "cart.default.svc.cluster.local", "subset": "green"})
    );
    assert_eq!(
        first["object"],
        serde_json::json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "namespace": "default", "name": "cart"})
    );
    assert_eq!(
        first["related"],
        serde_json::json!([{
            "message": "its selector",
            "path": "spec.selector",
            "object": {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "cart"},
            "file": "b.yaml",
            "line": 5,
            "column": 3,
            "endLine": 5,
            "endColumn": 24
        }])
    );
    assert_eq!(
        (&first["column"], &first["endLine"], &first["endColumn"]),
        (&5.into(), &16.into(), &29.into())
    );
}

#[test]
fn json_is_whole_where_a_file_cannot_be_read() {
    let run = check("a:\n\tb: 1\n", &["-o", "json"]).ends_with(2);
    let errors = &run.json()["errors"];
    assert!(
        errors[0]["message"]
            .as_str()
            .is_some_and(|error| error.contains("tab")),
        "{errors}"
    );
    assert_eq!(
        (&errors[0]["file"], &errors[0]["line"], &errors[0]["column"]),
        (&"a.yaml".into(), &2.into(), &2.into())
    );
}

/// That a file that cannot be read ends with 2 and is told with this place and text.
fn is_refused(name: &str, bytes: &[u8], place: &str, text: &str) {
    let run = check_file(name, bytes, &["-o", "oneline"]).ends_with(2);
    let line = &run.stdout;
    assert!(
        line.starts_with(&format!("{name}{place}: error: ")) && line.contains(text),
        "{line}"
    );
    let run = check_file(name, bytes, &[]).ends_with(2);
    run.prints(&format!("--> {name}{place}")).prints("1 error");
}

#[test]
fn bad_yaml_is_refused_with_its_place() {
    is_refused("a.yaml", b"a:\n\tb: 1\n", ":2:2", "tab");
    is_refused("a.yaml", b"kind: a\nname: \xff\n", ":2:7", "not UTF-8");
    is_refused("a.yaml", b"\xff\xfek\0", ":1:1", "UTF-16");
    is_refused(
        "a.yaml",
        b"apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  name: b\n",
        ":5:3",
        "`name` is already on line 4",
    );
    is_refused(
        "a.yaml",
        b"apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}\n",
        ":4:10",
        "Helm template",
    );
    is_refused(
        "a.yaml",
        b"apiVersion: v1\nkind: Service\nmetadata: {}\n",
        ":3:11",
        "the object has no name",
    );
}

#[test]
fn a_document_that_grows_by_its_aliases_is_refused() {
    let lines = (1..12).map(|at| {
        let aliases = vec![format!("*a{}", at - 1); 9].join(", ");
        format!("a{at}: &a{at} [{aliases}]\n")
    });
    let bomb = format!(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n{}",
        lines.collect::<String>()
    );
    let run = check(&bomb, &[]).ends_with(2);
    run.prints("aliases repeat too much");
}

#[test]
fn bad_json_is_refused_with_its_place() {
    let cut = br#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name""#;
    let run = check_file("a.json", cut, &[]).ends_with(2);
    run.prints("--> a.json:").prints("1 error");
}

#[test]
fn what_the_api_server_would_refuse_is_refused_with_its_field() {
    let types = b"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: cart\n";
    is_refused(
        "a.yaml",
        types,
        ":5:10",
        "spec.hosts: expected a list, found the string \"cart\"",
    );
    let label = DEPLOYMENT.replace("version: blue", "version: 1.0");
    is_refused(
        "a.yaml",
        label.as_bytes(),
        ":7:36",
        "spec.template.metadata.labels.version: expected a string, found the number 1.0",
    );
    let port = SERVICE.replace("port: 80", "port: \"80\"");
    is_refused(
        "a.yaml",
        port.as_bytes(),
        ":7:24",
        "spec.ports[0].port: expected an integer",
    );
}

#[test]
fn fields_that_the_api_server_refuses_are_told_with_their_place() {
    for document in field_cases("refused.yaml") {
        let expected = document.lines().next().expect("a first line");
        let (place, text) = expected
            .trim_start_matches("# ")
            .split_once(' ')
            .expect("a place and a text");
        let run = check(&document, &["-o", "oneline"]).ends_with(2);
        let errors: Vec<&str> = run
            .stdout
            .lines()
            .filter(|line| line.contains(": error: "))
            .collect();
        let [error] = errors.as_slice() else {
            panic!("not one error:\n{document}{}", run.stdout);
        };
        assert!(
            error.starts_with(&format!("a.yaml:{place}: error: {text}")),
            "not `{expected}` but:\n{error}\nof:\n{document}"
        );
    }
}

#[test]
fn fields_of_a_newer_istio_can_be_let_through() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {servers: [], novelty: 1}\n";
    let strict = check(gateway, &[]).ends_with(2);
    assert!(strict.stdout.contains("a.yaml:4:21"), "{}", strict.stdout);
    let warn = check(gateway, &["--validate", "warn"]).ends_with(0);
    assert!(
        warn.stderr
            .contains("note: a.yaml:4:21: spec.novelty: unknown field;"),
        "{}",
        warn.stderr
    );
    let ignore = check(gateway, &["--validate=ignore"]).ends_with(0);
    assert!(!ignore.stderr.contains("novelty") && !ignore.stdout.contains("novelty"));
}

#[test]
fn fields_that_the_api_server_takes_are_taken() {
    for document in field_cases("accepted.yaml") {
        let run = check(&document, &["-o", "oneline"]);
        assert!(!run.stdout.contains(": error: "), "{document}{}", run.stdout);
    }
}

#[test]
fn an_object_with_a_refused_field_is_judged_by_the_others() {
    let text = joined(&[
        SERVICE,
        &WRONG_PORT.replace("spec:\n", "spec:\n  host: [cart]\n"),
        DEPLOYMENT,
    ]);
    check(&text, &[])
        .ends_with(2)
        .prints("error: spec.host: unknown field; did you mean `hosts`?")
        .prints("[LK105 unknown-port]")
        .prints("1 deny, 0 warn, 1 error");
}

#[test]
fn a_document_that_cannot_be_read_does_not_hide_the_others() {
    let text = joined(&[SERVICE, "metadata:\n\tname: a\n", WRONG_PORT]);
    check(&text, &[])
        .ends_with(2)
        .prints("[LK105")
        .prints(" --> a.yaml:10:2\n")
        .prints("1 error");
}

#[test]
fn what_no_rule_reads_is_passed_over_and_counted() {
    check_file("a.json", b"[1, 2]", &[])
        .ends_with(0)
        .prints("0 objects in 1 file: no findings, 1 skipped");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n";
    check(&joined(&[SERVICE, job]), &[])
        .ends_with(0)
        .prints("1 object in 1 file: no findings, 1 skipped");
}

#[test]
fn a_folder_without_files_ends_with_0_and_says_so() {
    let folder = folder(&[("README.md", "text"), (".hidden.yaml", WRONG_PORT)]);
    let run = run(program().arg(folder.path()))
        .ends_with(0)
        .prints("0 objects in 0 files");
    assert!(
        run.stderr
            .contains("there is no .yaml, .yml or .json file to check"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_file_that_is_not_there_ends_with_2_and_does_not_hide_the_others() {
    let folder = folder(&[("a.yaml", &joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]))]);
    let run = run(program()
        .args(["missing.yaml", "a.yaml"])
        .current_dir(folder.path()))
    .ends_with(2);
    run.prints("error: No such file or directory (os error 2)\n--> missing.yaml\n")
        .prints("[LK105");
}

#[test]
fn standard_input_is_read_as_a_file_named_dash() {
    let mut child = program()
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe to it");
    stdin
        .write_all(joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]).as_bytes())
        .expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("--> -:19:11\n"), "{stdout}");
}

#[test]
fn the_items_of_a_list_are_objects_with_places_of_their_own() {
    let indented = |text: &str| {
        let lines = text.lines().enumerate();
        let lines = lines.map(|(at, line)| format!("{}{line}\n", if at == 0 { "- " } else { "  " }));
        lines.collect::<String>()
    };
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}{}",
        indented(SERVICE),
        indented(WRONG_PORT)
    );
    check(&list, &[])
        .ends_with(1)
        .prints("--> a.yaml:21:13\n")
        .prints("2 objects in 1 file");
    // As the API lists one kind.
    let list = list.replace(
        "apiVersion: v1\nkind: List",
        "apiVersion: networking.istio.io/v1\nkind: VirtualServiceList",
    );
    check(&list, &[]).ends_with(1).prints("--> a.yaml:21:13\n");
}

#[test]
fn lines_may_end_with_a_carriage_return() {
    let text = joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]).replace('\n', "\r\n");
    check(&text, &[]).ends_with(1).prints("--> a.yaml:19:11\n");
}

#[test]
fn carets_stand_under_what_is_wrong_beside_wide_letters_and_tabs() {
    let text = joined(&[SERVICE, WRONG_PORT, DEPLOYMENT])
        .replace("        host: cart", "        host: cart # 购物车");
    let text = text.replace(
        "        port:\n          number: 8080",
        "        port: {number: 8080} # 端口",
    );
    check(&text, &[])
        .ends_with(1)
        .prints("\n18 |           port: {number: 8080} # 端口\n   |                  ^^^^^^^^^^^^\n");
    let text = text.replace("port: {number", "'port':\t{ \"车\": 1, number");
    check(&text, &[])
        .ends_with(2)
        .prints("\n18 |           'port':    { \"车\": 1, number: 8080} # 端口\n   |                                 ^^^^^^^^^^^^\n");
}

#[test]
fn a_field_of_many_lines_is_marked_on_its_first() {
    let ports = "  - {name: http, port: 1}\n".repeat(8);
    let service = SERVICE.replace(
        "  ports:\n  - {name: http, port: 80}\n",
        &format!("  ports: # of it\n{ports}"),
    );
    check(&joined(&[&service, WRONG_PORT, DEPLOYMENT]), &[])
        .ends_with(1)
        .prints("\n 6 |   ports: # of it\n   |   ------ Service default/cart: its ports\n...\n");
}

#[test]
fn of_a_long_line_only_a_part_is_drawn() {
    let object = |kind: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "{kind}", "metadata": {{"name": "cart", "annotations": {{"x": "{}"}}}}, "spec": {spec}}}"#,
            "車".repeat(500)
        )
    };
    let service = object(
        "v1\", \"kind\": \"Service",
        r#"{"ports": [{"name": "http", "port": 80}]}"#,
    );
    let routes = r#"{"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart", "port": {"number": 8080}}}]}]}"#;
    let routes = object("networking.istio.io/v1\", \"kind\": \"VirtualService", routes);
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{service}, {routes}]}}"#);
    let run = check_file("a.json", list.as_bytes(), &[]).ends_with(1);
    let widest = run.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest < Some(160), "{}", run.stdout);
    assert!(run.stdout.contains("\"number\": 8080"), "{}", run.stdout);
    assert!(run.stdout.contains("\"port\": 80}"), "{}", run.stdout);
}

#[test]
fn what_an_anchor_holds_is_marked_where_it_is_written() {
    let text = joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]).replace(
        "  http:\n",
        "  http:\n  - match: [{uri: {exact: /a}}]\n    route: &to [{destination: {host: cart, port: &port {number: 8081}}}]\n  - match: [{uri: {exact: /b}}]\n    route: *to\n",
    );
    let text = text.replace("        port:\n          number: 8080\n", "        port: *port\n");
    let run = check(&text, &["-o", "oneline"]).ends_with(1);
    let places: Vec<&str> = run
        .stdout
        .lines()
        .filter_map(|line| line.split(": deny").next())
        .collect();
    assert_eq!(places, ["a.yaml:16:57"; 3]);
}

#[test]
fn columns_count_characters_and_json_has_places_too() {
    let json = r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "cart", "annotations": {"é": "車"}},
 "spec": {"hosts": ["cart"], "http": [{"name": "車", "route": [{"destination": {"host": "cart", "port": {"number": 8080}}}]}]}}"#;
    let folder = folder(&[("a.json", json), ("b.yaml", SERVICE)]);
    let run = run(program().args(["-o", "json", "."]).current_dir(folder.path())).ends_with(1);
    let found = &run.json()["findings"][0];
    let line = json.lines().nth(1).unwrap_or_default();
    let column = line
        .split("\"number\"")
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    assert_eq!((&found["line"], &found["column"]), (&2.into(), &column.into()));
}

#[test]
fn of_an_object_that_is_there_twice_the_later_argument_counts_with_a_note() {
    let good = WRONG_PORT.replace("8080", "80");
    let folder = folder(&[
        ("base.yaml", &joined(&[SERVICE, &good])),
        ("a-change.yaml", WRONG_PORT),
    ]);
    let of = |paths: [&str; 2]| run(program().args(paths).current_dir(folder.path()));
    let run = of(["base.yaml", "a-change.yaml"])
        .ends_with(1)
        .prints("--> a-change.yaml:11:11\n");
    assert_eq!(
        run.stderr,
        "lanekeeper: note: VirtualService default/cart in base.yaml:10:1 is replaced by the one in a-change.yaml:2:1\n"
    );
    of(["a-change.yaml", "base.yaml"]).ends_with(0);
}

#[test]
fn objects_without_a_namespace_are_in_the_one_given() {
    let there = WRONG_PORT.replace("{name: cart}", "{name: cart, namespace: shop}");
    let text = joined(&[SERVICE, &there]);
    check(&text, &[]).ends_with(0);
    check(&text, &["-n", "shop"])
        .ends_with(1)
        .prints("VirtualService shop/cart");
}

#[test]
fn nothing_from_a_file_moves_the_cursor() {
    let text = WRONG_PORT.replace("number: 8080", "number: 8080\n        subset: \"\\e[2Jx\"");
    let run = check(&joined(&[SERVICE, &text]), &[]).ends_with(1);
    assert!(!run.stdout.contains('\u{1b}'), "{:?}", run.stdout);
    assert!(run.stdout.contains("\u{fffd}[2Jx"), "{}", run.stdout);
}

#[test]
fn colour_is_for_those_who_ask() {
    let text = joined(&[SERVICE, WRONG_PORT, DEPLOYMENT]);
    assert!(!check(&text, &[]).ends_with(1).stdout.contains('\u{1b}'));
    assert!(
        check(&text, &["--color", "always"])
            .ends_with(1)
            .stdout
            .contains("\u{1b}[1m\u{1b}[91mdeny[LK105 unknown-port]")
    );
    assert!(
        !check(&text, &["--color", "never"])
            .ends_with(1)
            .stdout
            .contains('\u{1b}')
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_cannot_be_written_ends_with_2() {
    for output in ["text", "json", "sarif", "junit"] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("the device is there");
        let run = run_into(program().args(["-o", output]).arg(cars()), full.into());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert_eq!(
            run.stderr,
            "lanekeeper: the report could not be written: No space left on device (os error 28)\n"
        );
    }
}

/// Runs with standard output into something else.
fn run_into(command: &mut Command, stdout: Stdio) -> Run {
    let child = command
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = child.wait_with_output().expect("it ends");
    Run {
        code: output.status.code(),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn whoever_has_read_enough_is_not_told_of_an_error() {
    let mut child = program()
        .arg(fixture("LK101"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("panicked") && !stderr.contains("written"),
        "{stderr}"
    );
}

#[test]
#[cfg(unix)]
fn watching_checks_again_after_a_change_and_ends_with_the_last_code() {
    let wrong = joined(&[SERVICE, WRONG_PORT]);
    let folder = folder(&[("a.yaml", &wrong)]);
    let mut child = program()
        .args(["--watch", "-o", "oneline", "."])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = lines(child.stderr.take().expect("a pipe from it"));
    let printed = lines(child.stdout.take().expect("a pipe from it"));
    await_line(&said, "watching .; ctrl-c ends");
    await_line(&printed, "a.yaml:19:11: deny[LK105]");

    // As editors do it.
    let new = folder.path().join("a.yaml.new");
    fs::write(&new, wrong.replace("8080", "80")).expect("the folder can be written");
    fs::rename(&new, folder.path().join("a.yaml")).expect("the file can be replaced");
    await_line(&said, "a.yaml has changed; checking again");
    await_line(&said, "watching .; ctrl-c ends");

    fs::create_dir_all(folder.path().join("b/c")).expect("the folder can be written");
    let other = WRONG_PORT.replace("{name: cart}", "{name: other}");
    fs::write(folder.path().join("b/c/d.yaml"), other).expect("the folder can be written");
    await_line(&said, "b/c/d.yaml has changed; checking again");
    await_line(&said, "watching .; ctrl-c ends");
    await_line(&printed, "b/c/d.yaml:11:11: deny[LK105]");

    let stopped = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stopped.expect("`kill` is there").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn standard_input_cannot_be_watched() {
    let run = run(program().args(["--watch", "-"])).ends_with(2);
    assert!(run.stderr.contains("cannot be watched"), "{}", run.stderr);
}
