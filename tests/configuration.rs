//! `lanekeeper.yaml`: what `check` and `serve` make of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use command::{Run, await_line, folder, lines, run};
use server::Server;

/// A route to a port that the Service does not have: one finding, LK105.
const WRONG: &str = "apiVersion: v1
kind: Service
metadata: {name: cart}
spec:
  selector: {app: cart}
  ports: [{name: http, port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec: {template: {metadata: {labels: {app: cart}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec:
  hosts: [cart]
  http:
  - route: [{destination: {host: cart, port: {number: 8080}}}]
";

fn lanekeeper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn check(folder: &Path, options: &[&str]) -> Run {
    run(lanekeeper().arg("check").args(options).current_dir(folder))
}

#[test]
fn check_takes_the_nearest_file_and_the_one_that_is_named_counts_more() {
    let folder = folder(&[
        ("lanekeeper.yaml", "rules: {LK105: off}\n"),
        ("other.yml", "rules: {wrong-port: warn}\n"),
    ]);
    let at = folder.path();
    fs::create_dir_all(at.join("k8s/base")).expect("the folder can be written");
    fs::write(at.join("k8s/base/a.yaml"), WRONG).expect("the folder can be written");
    check(at, &["k8s"])
        .ends_with(0)
        .prints("no findings, 1 suppressed");
    check(&at.join("k8s/base"), &["."]).ends_with(0);
    check(at, &["--no-config", "k8s"]).ends_with(1);
    let run = check(at, &["--config", "other.yml", "k8s"]).ends_with(2);
    assert!(
        run.stderr
            .contains("other.yml:1:9: rules.wrong-port: no rule has the code or name `wrong-port`"),
        "{}",
        run.stderr
    );
    fs::write(at.join("other.yml"), "rules: {LK1: warn}\n").expect("the folder can be written");
    check(at, &["--config", "other.yml", "k8s"])
        .ends_with(0)
        .prints("0 deny, 1 warn");
    let run = check(at, &["--config", "none.yaml", "k8s"]).ends_with(2);
    assert!(run.stderr.contains("none.yaml: No such file"), "{}", run.stderr);
}

#[test]
fn levels_may_differ_by_namespace() {
    let folder = folder(&[
        ("a.yaml", WRONG),
        (
            "lanekeeper.yaml",
            "namespaces: [{names: ['dev-*'], rules: {LK105: off}}]\n",
        ),
    ]);
    check(folder.path(), &["-n", "dev-1", "a.yaml"]).ends_with(0);
    check(folder.path(), &["-n", "live", "a.yaml"]).ends_with(1);
}

#[test]
fn what_it_excludes_starts_where_it_is() {
    let folder = folder(&[("lanekeeper.yaml", "exclude: [k8s/old]\n")]);
    let at = folder.path();
    fs::create_dir_all(at.join("k8s/old")).expect("the folder can be written");
    fs::write(at.join("k8s/old/a.yaml"), WRONG).expect("the folder can be written");
    check(at, &["k8s"]).ends_with(0);
    check(&at.join("k8s"), &["."]).ends_with(0);
    check(at, &["--no-config", "k8s"]).ends_with(1);
}

#[test]
fn its_lane_groups_are_those_of_the_files() {
    let missing = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec:
  hosts: [cart]
  http:
  - match: [{headers: {bu: {exact: blue}}}]
    route: [{destination: {host: cart}, headers: {request: {set: {bu: blue}}}}]
  - match: [{headers: {bu: {exact: gren}}}]
    route: [{destination: {host: cart}}]
  - route: [{destination: {host: cart}}]
";
    let text = WRONG
        .split("---\napiVersion: networking")
        .next()
        .unwrap_or_default();
    let folder = folder(&[("a.yaml", &format!("{text}---\n{missing}"))]);
    let at = folder.path();
    check(at, &["a.yaml"]).ends_with(0);
    let group = "laneGroups:
- name: shop
  namespace: default
  spec: {header: bu, workloads: {}, lanes: [blue, green], defaultLane: blue}
";
    fs::write(at.join("lanekeeper.yaml"), group).expect("the folder can be written");
    let report = check(at, &["-o", "oneline", "a.yaml"]);
    assert!(
        report.stdout.contains("gren"),
        "{}{}",
        report.stdout,
        report.stderr
    );
}

#[test]
fn watching_follows_the_configuration_and_outlives_a_bad_one() {
    let folder = folder(&[("a.yaml", WRONG), ("lanekeeper.yaml", "rules: {LK105: off}\n")]);
    let config = folder.path().join("lanekeeper.yaml");
    let mut child = lanekeeper()
        .args(["check", "--watch", "-o", "oneline", "a.yaml"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = lines(child.stderr.take().expect("a pipe from it"));
    let printed = lines(child.stdout.take().expect("a pipe from it"));
    await_line(&said, "ctrl-c ends");
    fs::write(&config, "rule: {}\n").expect("the folder can be written");
    await_line(&said, "did you mean `rules`?");
    await_line(&said, "ctrl-c ends");
    fs::write(&config, "rules: {LK105: warn}\n").expect("the folder can be written");
    await_line(&printed, "warn[LK105]");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// What the server makes of a change of the route.
fn submit(server: &Server, folder: &Path) -> Run {
    server.submit(&[&folder.join("wrong.yaml").display().to_string()])
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in 30 s: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn serve_follows_the_file_without_a_restart_and_a_bad_one_is_counted_and_keeps_the_old() {
    let right = WRONG.replace("8080", "80");
    let folder = folder(&[
        ("a.yaml", &right),
        ("wrong.yaml", WRONG),
        ("lanekeeper.yaml", "rules: {LK105: warn}\n"),
    ]);
    let at = folder.path();
    let write = |text: &str| fs::write(at.join("lanekeeper.yaml"), text).expect("the folder can be written");
    let server = Server::start(at, &["--config=lanekeeper.yaml", "--manifests=a.yaml"]);
    submit(&server, at).ends_with(0);

    write("rules: {}\n");
    eventually("the rule refuses again", || submit(&server, at).code == Some(1));

    assert!(server.metrics().contains("lanekeeper_config_errors_total 0"));
    assert!(server.metrics().contains("lanekeeper_config_usable 1"));
    write("rules: {LK105: of}\n");
    eventually("the bad file is counted", || {
        server.metrics().contains("lanekeeper_config_errors_total 1")
    });
    assert!(server.metrics().contains("lanekeeper_config_usable 0"));
    submit(&server, at).ends_with(1);

    write("rules: {LK105: off}\n");
    eventually("the good file is in force", || {
        submit(&server, at).code == Some(0)
    });
    assert!(server.metrics().contains("lanekeeper_config_errors_total 1"));
    assert!(server.metrics().contains("lanekeeper_config_usable 1"));
}

#[test]
fn serve_logs_more_or_less_as_the_file_says_without_a_restart() {
    let folder = folder(&[("a.yaml", WRONG), ("lanekeeper.yaml", "")]);
    let at = folder.path();
    let write = |text: &str| fs::write(at.join("lanekeeper.yaml"), text).expect("the folder can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.env("LANEKEEPER_LOG", "info");
    let server = Server::start_by(command, at, &["--config=lanekeeper.yaml", "--manifests=a.yaml"]);
    // What the TLS library says of a connection is of level debug.
    let debugs = || {
        server.logged();
        server.submit(&[&at.join("a.yaml").display().to_string()]);
        // The log comes through a pipe and a thread.
        thread::sleep(Duration::from_millis(200));
        server
            .logged()
            .iter()
            .any(|line| line.contains("\"level\":\"DEBUG\""))
    };
    assert!(!debugs());
    write("log: debug\n");
    eventually("it says more", debugs);
    write("log: 'info,rustls=debug,hyper=off'\n");
    eventually("it follows parts", || {
        server.metrics();
        debugs() && !server.logged().iter().any(|line| line.contains("hyper"))
    });
    // One that cannot be used leaves it as it is.
    write("log: debgu\n");
    eventually("the mistake is told", || {
        server
            .logged()
            .iter()
            .any(|line| line.contains("`debgu` is no level"))
    });
    assert!(debugs());
    write("");
    eventually("it says what it said at the start", || !debugs());
}

#[test]
fn serve_does_not_start_with_a_bad_file() {
    let folder = folder(&[("a.yaml", WRONG), ("lanekeeper.yaml", "scaler: []\n")]);
    let mut command = lanekeeper();
    command
        .args(["serve", "--config", "lanekeeper.yaml", "--manifests", "a.yaml"])
        .current_dir(folder.path());
    let run = run(&mut command).ends_with(2);
    assert!(
        run.stderr
            .contains("lanekeeper.yaml:1:1: scaler: there is no such key; did you mean `scalers`?"),
        "{}",
        run.stderr
    );
}
