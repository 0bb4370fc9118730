//! Workloads with real `ReplicaSets` and pods: the pods that still run must not hide what a change will do.

use serde_json::json;

use super::control_plane::{ControlPlane, eventually};
use super::webhook::Webhook;
use super::{CARS, apply_examples, get};

/// The portal's last carrier of lane wicph.
const LAST: &str = "deployment/cars-api-portal-wicph";

/// The example with its pods running and ready, as far as the API server can see.
fn cars_with_pods() -> (ControlPlane, Webhook) {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    plane.start_controller_manager();
    apply_examples(&plane, "cars").expect_success();
    let pods = eventually("a pod of each Deployment", || {
        let count = |kind: &str| {
            plane
                .kubectl(&["get", kind, "-n", CARS, "-o", "name"])
                .stdout
                .lines()
                .count()
        };
        let (deployments, pods) = (count("deployments"), count("pods"));
        (deployments > 0 && pods >= deployments)
            .then(|| plane.kubectl(&["get", "pods", "-n", CARS, "-o", "name"]).stdout)
    });
    let ready = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
    for pod in pods.lines() {
        plane
            .kubectl(&[
                "patch",
                pod,
                "-n",
                CARS,
                "--subresource=status",
                "--type=merge",
                "-p",
                &ready.to_string(),
            ])
            .expect_success();
    }
    (plane, webhook)
}

fn pods_of_last(plane: &ControlPlane) -> usize {
    let pods = plane.kubectl(&[
        "get",
        "pods",
        "-n",
        CARS,
        "-l",
        "app=cars-api-portal,version=wicph",
        "-o",
        "name",
    ]);
    pods.expect_success().stdout.lines().count()
}

#[test]
fn the_last_carrier_of_a_lane_cannot_go_while_its_pods_still_run() {
    let (plane, webhook) = cars_with_pods();

    let scaled = plane
        .kubectl(&["scale", "-n", CARS, LAST, "--replicas=0"])
        .expect_failure();
    assert!(scaled.stderr.contains("[LK101"), "{scaled}");
    assert_eq!(pods_of_last(&plane), 1, "the pod runs all the time");
    // A scaling that leaves a carrier is none of our business, and is not even asked about.
    plane
        .kubectl(&["scale", "-n", CARS, LAST, "--replicas=2"])
        .expect_success();
    let patched = plane
        .kubectl(&[
            "patch",
            "-n",
            CARS,
            LAST,
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":0}}"#,
        ])
        .expect_failure();
    assert!(patched.stderr.contains("[LK101"), "{patched}");

    let relabel = r#"{"spec":{"template":{"metadata":{"labels":{"version":"wtcph"}}}}}"#;
    let relabelled = plane
        .kubectl(&["patch", "-n", CARS, LAST, "--type=merge", "-p", relabel])
        .expect_failure();
    assert!(relabelled.stderr.contains("[LK101"), "{relabelled}");

    let subset = r#"[{"op": "remove", "path": "/spec/subsets/1"}]"#;
    let lost = plane
        .kubectl(&[
            "patch",
            "-n",
            CARS,
            "destinationrule/cars-api-portal",
            "--type=json",
            "-p",
            subset,
        ])
        .expect_failure();
    assert!(lost.stderr.contains("[LK103"), "{lost}");

    // In an enforcing namespace a deletion is told of what it breaks, and goes on.
    let deleted = plane.kubectl(&["delete", "-n", CARS, LAST]).expect_success();
    assert!(deleted.stderr.contains("[LK101]"), "{deleted}");
    let decision = webhook.last_decision("validate", "cars-api-portal-wicph");
    assert_eq!(decision["operation"], "DELETE");
    assert_eq!(decision["warned"][0], "LK101");
}

#[test]
fn a_protected_namespace_refuses_to_delete_the_last_carrier_and_still_goes_as_a_whole() {
    let (plane, webhook) = cars_with_pods();
    plane
        .kubectl(&[
            "label",
            "--overwrite",
            "namespace",
            CARS,
            "lanekeeper.dev/enforcement=protect",
        ])
        .expect_success();

    eventually("the API server sees the label", || {
        let slip = r#"[{"op": "replace", "path": "/spec/subsets/1/labels/version", "value": "wtcph"}]"#;
        let rule = "destinationrule/cars-api-portal";
        let refused = plane.kubectl(&[
            "patch",
            "-n",
            CARS,
            rule,
            "--type=json",
            "--dry-run=server",
            "-p",
            slip,
        ]);
        refused.stderr.contains("protect.lanekeeper.dev").then_some(())
    });
    let tried = plane.kubectl(&["delete", "--dry-run=server", "-n", CARS, LAST]);
    assert!(
        tried.status.success() && tried.stderr.contains("[LK101]"),
        "a dry run of what may be on its way:\n{tried}"
    );
    let refused = plane.kubectl(&["delete", "-n", CARS, LAST]).expect_failure();
    assert!(refused.stderr.contains("[LK101"), "{refused}");
    // Its pods stay, so its lane does.
    plane
        .kubectl(&["delete", "-n", CARS, LAST, "--cascade=orphan"])
        .expect_success();
    assert_eq!(
        webhook.last_decision("validate", "cars-api-portal-wicph")["allowed"],
        true
    );

    plane.kubectl(&["delete", "namespace", CARS]).expect_success();
    let left = plane.kubectl(&["get", "namespace", CARS]);
    assert!(!left.status.success(), "{left}");
}

#[test]
fn what_was_applied_together_is_deleted_together_in_any_order() {
    let (plane, _webhook) = cars_with_pods();
    let folder = super::webhook::root().join("examples/cars");
    plane
        .kubectl(&["delete", "-f", &folder.display().to_string()])
        .expect_success();
    let left = plane.kubectl(&["get", "namespace", CARS]);
    assert!(!left.status.success(), "{left}");
}

#[test]
fn deleting_a_collection_is_judged_object_by_object() {
    let (plane, webhook) = cars_with_pods();
    plane
        .kubectl(&["delete", "destinationrules", "--all", "-n", CARS])
        .expect_success();
    let path = format!("/apis/apps/v1/namespaces/{CARS}/deployments");
    plane.kubectl(&["delete", "--raw", &path]).expect_success();
    let named = webhook.decisions().into_iter().filter(|decision| {
        decision["operation"] == "DELETE" && decision["kind"] == "Deployment" && decision["name"] != ""
    });
    assert!(named.count() >= 6);
    assert!(get(&plane, "virtualservices", "cars-api-portal")["spec"].is_object());
}
