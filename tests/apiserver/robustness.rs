//! A fault in one decision is the fault of that decision only.

use lanekeeper::resource::{Kind, Resource};
use lanekeeper::rule::{Check, Finding, Level, RULES, Rule};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::webhook::Webhook;
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
    super::control_plane::eventually("the label is seen", || {
        plane
            .kubectl_stdin(&["apply", "-f", "-"], &boom)
            .status
            .success()
            .then_some(())
    });
}
