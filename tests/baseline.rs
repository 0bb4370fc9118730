//! `check --baseline` and `check --since`: only what is new fails.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use command::{Run, folder, run};

/// A route to a port that the Service does not have: one finding at deny level.
fn route(name: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http:
  - route: [{{destination: {{host: cart, port: {{number: {port}}}}}}}]
"
    )
}

const SERVICE: &str = "apiVersion: v1
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
";

fn check(folder: &Path, options: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command
        .arg("check")
        .args(options)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    run(command.current_dir(folder))
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
        .args(arguments)
        .current_dir(folder)
        // Nothing of whoever runs the tests.
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().expect("git is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_the_baseline_has_does_not_fail_wherever_it_has_moved_and_what_is_new_does() {
    let folder = folder(&[("cart.yaml", SERVICE), ("a.yaml", &route("cart", 8080))]);
    let at = folder.path();
    check(at, &["."]).ends_with(1);
    let written = check(at, &["--write-baseline", "lanes.json", "."]).ends_with(0);
    assert!(
        written.stderr.contains("wrote 1 finding to lanes.json"),
        "{}",
        written.stderr
    );
    check(at, &["--baseline", "lanes.json", "."])
        .ends_with(0)
        .prints("no new findings, 1 known");

    let moved = format!("# a comment\n\n{}", route("cart", 8080));
    fs::write(at.join("b.yaml"), moved).expect("the folder can be written");
    fs::remove_file(at.join("a.yaml")).expect("the file is there");
    check(at, &["--baseline", "lanes.json", "."]).ends_with(0);

    fs::write(at.join("a.yaml"), route("other", 8080)).expect("the folder can be written");
    let both = check(at, &["--baseline", "lanes.json", "-o", "json", "."]).ends_with(1);
    let report = both.json();
    assert_eq!(report["summary"]["known"], 1);
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["findings"][0]["object"]["name"], "other");
}

#[test]
fn the_same_mistake_twice_is_new_where_the_baseline_has_it_once() {
    let folder = folder(&[("cart.yaml", SERVICE), ("a.yaml", &route("cart", 8080))]);
    let at = folder.path();
    check(at, &["--write-baseline", "lanes.json", "."]).ends_with(0);
    let twice = route("cart", 8080).replace("  http:\n", "  http:\n  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: cart, port: {number: 8080}}}]\n");
    fs::write(at.join("a.yaml"), twice).expect("the folder can be written");
    check(at, &["--baseline", "lanes.json", "."])
        .ends_with(1)
        .prints("1 deny, 0 warn, 1 known");
}

#[test]
fn what_is_mended_is_told_so_that_the_baseline_can_forget_it() {
    let folder = folder(&[("cart.yaml", SERVICE), ("a.yaml", &route("cart", 8080))]);
    let at = folder.path();
    check(at, &["--write-baseline", "lanes.json", "."]).ends_with(0);
    fs::write(at.join("a.yaml"), route("cart", 80)).expect("the folder can be written");
    let clean = check(at, &["--baseline", "lanes.json", "."]).ends_with(0);
    assert!(
        clean
            .stderr
            .contains("1 of the findings in lanes.json are gone; --write-baseline lanes.json forgets them"),
        "{}",
        clean.stderr
    );
}

#[test]
fn a_baseline_that_is_none_ends_with_2() {
    let folder = folder(&[("cart.yaml", SERVICE), ("bad.json", "[]")]);
    for (file, text) in [
        (
            "none.json",
            "--baseline none.json: --write-baseline makes one: No such file",
        ),
        ("bad.json", "--baseline bad.json: it is no baseline"),
    ] {
        let run = check(folder.path(), &["--baseline", file, "cart.yaml"]).ends_with(2);
        assert!(run.stderr.contains(text), "{}", run.stderr);
    }
    let run = check(
        folder.path(),
        &["--write-baseline", "no/such/folder.json", "cart.yaml"],
    )
    .ends_with(2);
    assert!(
        run.stderr.contains("cannot write no/such/folder.json"),
        "{}",
        run.stderr
    );
}

#[test]
fn since_a_revision_only_what_was_not_wrong_there_fails() {
    let folder = folder(&[]);
    let at = folder.path();
    fs::create_dir_all(at.join("k8s/.hidden")).expect("the folder can be written");
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("the folder can be written");
    write("k8s/cart.yaml", SERVICE);
    write("k8s/a.yaml", &route("cart", 8080));
    // Neither of these is read now, so they must not count then either.
    write("k8s/.hidden/b.yaml", &route("other", 8080));
    write("k8s/b.txt", &route("other", 8080));
    git(at, &["init", "-q", "-b", "main"]);
    git(at, &["add", "."]);
    git(at, &["commit", "-q", "-m", "first"]);

    write("k8s/车 b.yaml", &route("cart", 8080));
    fs::remove_file(at.join("k8s/a.yaml")).expect("the file is there");
    check(at, &["--since", "HEAD", "k8s"])
        .ends_with(0)
        .prints("no new findings, 1 known");
    // From another directory, and by a whole path.
    check(&at.join("k8s"), &["--since", "main", "."]).ends_with(0);
    let whole = at.join("k8s").display().to_string();
    check(Path::new("/"), &["--since", "main", &whole]).ends_with(0);

    write("k8s/c.yaml", &route("other", 8080));
    check(at, &["--since", "HEAD", "k8s"])
        .ends_with(1)
        .prints("1 deny, 0 warn, 1 known");
    git(at, &["add", "."]);
    git(at, &["commit", "-q", "-m", "second"]);
    check(at, &["--since", "HEAD", "k8s"]).ends_with(0);
    check(at, &["--since", "HEAD~1", "k8s"]).ends_with(1);
    // A file that is named.
    check(at, &["--since", "HEAD", "k8s/cart.yaml", "k8s/c.yaml"]).ends_with(0);
    check(at, &["--since", "HEAD", "--exclude", "c.yaml", "k8s"]).ends_with(0);
}

#[test]
fn since_what_is_no_revision_ends_with_2() {
    let folder = folder(&[("cart.yaml", SERVICE)]);
    let at = folder.path();
    let says = |options: &[&str], text: &str| {
        let run = check(at, options).ends_with(2);
        assert!(run.stderr.contains(text), "{}", run.stderr);
    };
    says(&["--since", "HEAD", "."], "is in no git repository");
    git(at, &["init", "-q"]);
    says(&["--since", "HEAD", "."], "has no revision `HEAD`");
    says(&["--since=--output=x", "."], "has no revision `--output=x`");
    says(&["--since", "HEAD", "-"], "standard input has no past");
}
