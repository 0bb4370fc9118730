//! The status of lane groups: who writes it, when, and what it says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, eventually};
use crate::serving::{NAMESPACE, Serve, condition, example, group, lease, object, plane, until};
use crate::{apply, run};

const SERVICES: [&str; 3] = ["cars-aggregator", "cars-api-portal", "cars-rti-adapter"];

/// A pod of the Deployment `name`, as its `ReplicaSet` makes it, ready or not.
fn pod(plane: &ControlPlane, name: &str, lane: &str, is_ready: bool) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "name": format!("{name}-{lane}-5d9f-x"),
            "labels": {"app": name, "version": lane, "app.kubernetes.io/part-of": "cars", "pod-template-hash": "5d9f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{lane}-5d9f"),
                "uid": "1", "controller": true}]},
        "spec": {"containers": [{"name": "app", "image": "app"}]}});
    apply(plane, &pod.to_string());
    let ready = if is_ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    run(
        plane,
        &format!(
            "patch pod {name}-{lane}-5d9f-x -n {NAMESPACE} --subresource=status --type=merge -p {status}"
        ),
    );
}

#[test]
fn the_status_follows_what_runs_and_is_written_only_when_it_changes() {
    let plane = plane();
    for service in SERVICES {
        pod(&plane, service, "wtchk", true);
        pod(&plane, service, "wicph", service != "cars-aggregator");
    }
    let _serve = Serve::start(&plane, "one");
    let first = until(&plane, "Ready", "False", "PodsNotReady");
    let status = &first["status"];
    assert_eq!(
        (
            &status["lanes"],
            &status["readyLanes"],
            &status["services"],
            &status["workloads"]
        ),
        (&json!(2), &json!(1), &json!(3), &json!(6)),
        "{status:#}"
    );
    let message = condition(&first, "Ready")["message"].clone();
    assert_eq!(message, "Deployment cars-aggregator-wicph has no ready pod");

    pod(&plane, "cars-aggregator", "wicph", true);
    let second = until(&plane, "Ready", "True", "LanesReady");
    assert_eq!(second["status"]["readyLanes"], 2);
    let since = |object: &Value| condition(object, "RoutesComplete")["lastTransitionTime"].clone();
    assert!(
        since(&first).is_string() && since(&first) == since(&second),
        "what holds on keeps its time"
    );
    let shown = run(&plane, &format!("get lanegroups -n {NAMESPACE}"));
    let words = |line: usize| -> Vec<&str> { shown.lines().nth(line).unwrap().split_whitespace().collect() };
    assert_eq!(
        words(0),
        ["NAME", "HEADER", "LANES", "DEFAULT", "READY", "REASON", "AGE"]
    );
    assert_eq!(
        words(1)[..6],
        [
            "cars",
            "bu",
            "[\"wtchk\",\"wicph\"]",
            "wtchk",
            "True",
            "LanesReady"
        ]
    );

    // Nothing is written when something changes that makes no difference.
    run(
        &plane,
        &format!("annotate deployment cars-aggregator-wtchk -n {NAMESPACE} lanekeeper.dev/allow=LK999"),
    );
    run(&plane, "create namespace other");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(
        object(&plane)["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );

    // A route that breaks, and one that is mended.
    run(
        &plane,
        &format!(
            "apply -f {}",
            example("cars-broken/subset-name-typo.yaml").display()
        ),
    );
    let broken = until(&plane, "Ready", "False", "LaneNotReached");
    let message = condition(&broken, "RoutesComplete")["message"].to_string();
    assert!(message.contains("wicph") && message.contains("503"), "{message}");
    run(
        &plane,
        &format!("apply -f {}", example("cars/50-cars-api-portal.yaml").display()),
    );
    until(&plane, "Ready", "True", "LanesReady");

    // The filter, as LK501 sees it.
    let selector = r#"{"spec":{"selector":{"matchLabels":{"app":"cars-aggregator"}}}}"#;
    let patch = format!("patch wasmplugin cars-traffic-lane -n {NAMESPACE} --type=merge -p {selector}");
    run(&plane, &patch);
    until(&plane, "FilterInstalled", "False", "FilterMissing");

    // A new spec keeps the status until there is another one, which tells what it is about.
    apply(&plane, &group("B3"));
    let after = object(&plane);
    assert!(condition(&after, "Ready").is_object(), "{after:#}");
    eventually("the new generation is observed", || {
        let object = object(&plane);
        let generation = &object["metadata"]["generation"];
        (*generation == 2 && object["status"]["observedGeneration"] == *generation).then_some(())
    });
}

#[test]
fn one_replica_writes_and_when_it_is_killed_another_one_does() {
    let plane = plane();
    let one = Serve::start(&plane, "one");
    until(&plane, "WorkloadsReady", "False", "PodsNotReady");
    let two = Serve::start(&plane, "two");
    assert!(lease(&plane, "holderIdentity").starts_with("one_"));
    let first_renewal = lease(&plane, "renewTime");
    eventually("it is renewed", || {
        (lease(&plane, "renewTime") != first_renewal).then_some(())
    });
    assert!(
        lease(&plane, "holderIdentity").starts_with("one_"),
        "a living leader stays"
    );

    drop(one);
    for service in SERVICES {
        pod(&plane, service, "wtchk", true);
        pod(&plane, service, "wicph", true);
    }
    until(&plane, "WorkloadsReady", "True", "PodsReady");
    assert!(lease(&plane, "holderIdentity").starts_with("two_"));
    assert_eq!(lease(&plane, "leaseTransitions"), "1");

    // Who ends in order gives the lease back.
    two.stop();
    assert_eq!(lease(&plane, "holderIdentity"), "");
}
