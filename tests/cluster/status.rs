//! The status of lane groups: who writes it, when, and what it says.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, eventually};
use crate::{apply, run};

const NAMESPACE: &str = "cars-aswatson-dev";
const SERVICES: [&str; 3] = ["cars-aggregator", "cars-api-portal", "cars-rti-adapter"];

/// An API server with Lanekeeper's rights, the good examples, and a group of them.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base");
    plane.install_crds(&base.join("crd.yaml"));
    run(&plane, "create namespace istio-system");
    for file in ["namespace.yaml", "rbac.yaml"] {
        run(&plane, &format!("apply -f {}", base.join(file).display()));
    }
    run(&plane, &format!("apply -f {}", example("cars").display()));
    apply(&plane, &group("W3C"));
    plane
}

fn example(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

fn group(trace: &str) -> String {
    format!(
        "apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {{namespace: {NAMESPACE}, name: cars}}
spec:
  header: bu
  entry: {{header: buid, gateways: [cars]}}
  workloads: {{matchLabels: {{app.kubernetes.io/part-of: cars}}}}
  lanes: [wtchk, wicph]
  defaultLane: wtchk
  trace: {trace}
"
    )
}

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

/// `serve` as the `ServiceAccount` of the manifests; killed when dropped.
struct Serve(
    Child,
    #[allow(dead_code, reason = "it goes with the process")] tempfile::TempDir,
);

impl Serve {
    fn start(plane: &ControlPlane, host: &str) -> Self {
        let token = run(plane, "create token lanekeeper --namespace=lanekeeper-system");
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--shutdown-delay=0",
            ])
            .args(["--ca-file=ca.crt", "--audit-log=decisions.jsonl", "--kubeconfig"])
            .arg(plane.kubeconfig_for_token(token.trim()))
            .env("HOSTNAME", host)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, dir)
    }

    /// Ends it in order.
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn object(plane: &ControlPlane) -> Value {
    let object = run(plane, &format!("get lanegroup cars -n {NAMESPACE} -o json"));
    serde_json::from_str(&object).unwrap()
}

fn condition(object: &Value, about: &str) -> Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = conditions
        .into_iter()
        .find(|condition| condition["type"] == about);
    of.unwrap_or_default()
}

/// Waits until a condition has this status and reason, and gives the object.
#[track_caller]
fn until(plane: &ControlPlane, about: &str, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    let what = format!("{about} is {status}, {reason}");
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(&what, || {
            last = object(plane);
            let found = condition(&last, about);
            (found["status"] == status && found["reason"] == reason).then(|| last.clone())
        })
    }));
    found.unwrap_or_else(|_| panic!("not {what}, but {:#}", last["status"]))
}

fn lease(plane: &ControlPlane, field: &str) -> String {
    run(
        plane,
        &format!("get lease lanekeeper -n lanekeeper-system --output=jsonpath={{.spec.{field}}}"),
    )
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
