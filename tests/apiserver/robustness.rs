//! A fault in one decision is the fault of that decision only.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use lanekeeper::resource::{Kind, Resource};
use lanekeeper::rule::{Check, Finding, Level, RULES, Rule};
use serde_json::json;

use super::control_plane::{ControlPlane, eventually};
use super::webhook::{Webhook, page};
use super::{CARS, apply_examples};

/// A rule with a fault: it panics at objects called `boom`.
const FAULTY: Rule = Rule {
    code: "LK000",
    name: "faulty",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: "",
    check: panic_at_boom,
};

fn panic_at_boom<'w>(_: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    assert!(object.meta().name != "boom", "a fault in a rule");
    Vec::new()
}

#[test]
fn a_panic_in_a_rule_answers_that_request_by_the_failure_policy_and_no_other() {
    let plane = ControlPlane::start();
    let rules = RULES.iter().copied().chain([FAULTY]).collect();
    let webhook = Webhook::with_rules(&plane, rules);
    apply_examples(&plane, "cars").expect_success();

    let boom = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "boom", "namespace": CARS}, "spec": {"hosts": ["boom"]}})
    .to_string();
    let failed = plane.kubectl_stdin(&["apply", "-f", "-"], &boom).expect_failure();
    assert!(
        failed
            .stderr
            .contains("failed calling webhook \"enforce.lanekeeper.dev\""),
        "{failed}"
    );
    let panics = webhook
        .metrics()
        .lines()
        .any(|line| line.starts_with("lanekeeper_panics_total") && !line.ends_with(" 0"));
    assert!(panics, "{}", webhook.metrics());

    apply_examples(&plane, "cars").expect_success();
    let quiet = boom.replace("boom", "quiet");
    plane
        .kubectl_stdin(&["apply", "-f", "-"], &quiet)
        .expect_success();
    // Where Lanekeeper only warns, it is in nobody's way.
    plane
        .kubectl(&[
            "label",
            "--overwrite",
            "namespace",
            CARS,
            "lanekeeper.dev/enforcement=warn",
        ])
        .expect_success();
    eventually("the label is seen", || {
        plane
            .kubectl_stdin(&["apply", "-f", "-"], &boom)
            .status
            .success()
            .then_some(())
    });
}

#[test]
fn the_command_serves_a_cluster_by_kubeconfig_and_stops_when_told() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    let state = tempfile::TempDir::new().expect("a folder");
    let mut serving = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args([
            "serve",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--shutdown-delay=0",
            "--kubeconfig",
        ])
        .arg(plane.kubeconfig_path())
        .arg("--ca-file")
        .arg(state.path().join("ca.crt"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(serving.stderr.take().expect("its log")).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, address) = line.split_once("http://")?;
        Some(
            address
                .chars()
                .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':'))
                .collect::<String>(),
        )
    });
    let address = address.expect("it says where it serves");
    // Whoever writes to a closed pipe is ended by it.
    std::thread::spawn(move || lines.for_each(drop));

    eventually("it has read the cluster", || {
        page(&address, "/readyz").contains("200 OK").then_some(())
    });
    let objects = eventually("its metrics count the objects", || {
        let metrics = page(&address, "/metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("lanekeeper_index_objects{kind=\"Namespace\"} "))?
            .to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok()
    });
    assert!(objects >= 4, "the namespaces of every cluster: {objects}");
    let authority = fs::read_to_string(state.path().join("ca.crt")).expect("the authority");
    assert!(authority.contains("BEGIN CERTIFICATE"), "{authority}");

    let told = Command::new("kill")
        .args(["-TERM", &serving.id().to_string()])
        .status()
        .expect("kill");
    assert!(told.success());
    assert!(serving.wait().expect("it ends").success());
}
