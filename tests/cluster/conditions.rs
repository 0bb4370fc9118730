//! While nothing listens, only what lanes can feel is held up.

use crate::control_plane::{ControlPlane, KubectlOutput, eventually};
use crate::manifests::base;
use crate::{kubectl, run, virtual_service};

/// A workload whose parts a test changes.
#[derive(Clone, Copy)]
struct Workload<'a> {
    kind: &'a str,
    annotations: &'a str,
    replicas: &'a str,
    template_labels: &'a str,
    template_annotations: &'a str,
    image: &'a str,
    port: &'a str,
    init: &'a str,
}

const DEPLOYMENT: Workload<'_> = Workload {
    kind: "Deployment",
    annotations: "",
    replicas: "replicas: 2",
    template_labels: "",
    template_annotations: "",
    image: "one",
    port: "",
    init: "",
};

impl Workload<'_> {
    fn manifest(&self) -> String {
        format!(
            "apiVersion: apps/v1
kind: {}
metadata: {{name: portal, annotations: {{{}}}}}
spec:
  {}
  selector: {{matchLabels: {{app: portal}}}}
  template:
    metadata: {{labels: {{app: portal{}}}, annotations: {{{}}}}}
    spec:
      initContainers: [{{name: init, image: init{}}}]
      containers: [{{name: portal, image: {}, ports: [{{containerPort: 8080{}}}]}}]
",
            self.kind,
            self.annotations,
            self.replicas,
            self.template_labels,
            self.template_annotations,
            self.init,
            self.image,
            self.port,
        )
    }
}

fn put(plane: &ControlPlane, verb: &str, namespace: &str, manifest: &str) -> KubectlOutput {
    plane.kubectl_stdin(&[verb, "--namespace", namespace, "-f", "-"], manifest)
}

fn apply(plane: &ControlPlane, namespace: &str, workload: Workload<'_>) -> KubectlOutput {
    put(plane, "apply", namespace, &workload.manifest())
}

/// The request has to have failed because this webhook was called, and did not answer.
#[track_caller]
fn assert_called(webhook: &str, output: KubectlOutput) {
    let output = output.expect_failure();
    assert!(
        output
            .stderr
            .contains(&format!("failed calling webhook {webhook:?}")),
        "{output}"
    );
}

/// An API server with the manifests, on which no Lanekeeper runs, and in each of these namespaces a workload of
/// each kind. All but `off` are labelled with the mode of their name.
fn plane(namespaces: &[&str]) -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    for namespace in namespaces.iter().chain(&["istio-system"]) {
        run(&plane, &format!("create namespace {namespace}"));
    }
    for namespace in namespaces {
        apply(&plane, namespace, DEPLOYMENT).expect_success();
        apply(
            &plane,
            namespace,
            Workload {
                kind: "StatefulSet",
                ..DEPLOYMENT
            },
        )
        .expect_success();
        let daemons = Workload {
            kind: "DaemonSet",
            replicas: "minReadySeconds: 0",
            ..DEPLOYMENT
        };
        apply(&plane, namespace, daemons).expect_success();
    }
    run(&plane, &format!("apply -k {}", base()));
    // Its address leads nowhere: without it a call fails at once.
    run(&plane, "delete service lanekeeper --namespace=lanekeeper-system");
    for mode in namespaces.iter().filter(|namespace| **namespace != "off") {
        label(&plane, mode, mode);
    }
    plane
}

/// Labels a namespace, and returns when the label is in force.
fn label(plane: &ControlPlane, namespace: &str, mode: &str) {
    run(
        plane,
        &format!("label --overwrite namespace {namespace} lanekeeper.dev/enforcement={mode}"),
    );
    if mode != "warn" {
        eventually("the label is in force", || {
            let probe = format!("create service clusterip probe --tcp=80 -n {namespace} --dry-run=server");
            (!kubectl(plane, &probe).status.success()).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_lane_can_feel_passes() {
    let plane = plane(&["enforce"]);
    for change in [
        Workload {
            image: "two",
            ..DEPLOYMENT
        },
        Workload {
            annotations: "example.com/note: a",
            ..DEPLOYMENT
        },
        Workload {
            template_annotations: "kubectl.kubernetes.io/restartedAt: now",
            ..DEPLOYMENT
        },
        Workload {
            replicas: "replicas: 3",
            ..DEPLOYMENT
        },
        Workload {
            init: ", ports: [{containerPort: 1}]",
            ..DEPLOYMENT
        },
        DEPLOYMENT,
    ] {
        apply(&plane, "enforce", change).expect_success();
    }
    for command in [
        "scale deployment portal --replicas=4",
        "scale statefulset portal --replicas=4",
        "set image daemonset/portal portal=two",
        "rollout restart statefulset/portal",
        r#"patch deployment portal --subresource=status --type=merge --patch={"status":{"replicas":1}}"#,
    ] {
        run(&plane, &format!("{command} --namespace=enforce"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lanes_can_feel_is_asked_about() {
    let plane = plane(&["enforce", "protect"]);
    for mode in ["enforce", "protect"] {
        let webhook = format!("{mode}.lanekeeper.dev");
        for change in [
            Workload {
                template_labels: ", version: wicph",
                ..DEPLOYMENT
            },
            Workload {
                annotations: "lanekeeper.dev/allow: LK101",
                ..DEPLOYMENT
            },
            Workload {
                annotations: "lanekeeper.dev/allow: ''",
                ..DEPLOYMENT
            },
            Workload {
                template_annotations: "sidecar.istio.io/inject: 'false'",
                ..DEPLOYMENT
            },
            Workload {
                replicas: "replicas: 0",
                ..DEPLOYMENT
            },
            Workload {
                port: ", name: http",
                ..DEPLOYMENT
            },
            Workload {
                init: ", restartPolicy: Always, ports: [{containerPort: 1}]",
                ..DEPLOYMENT
            },
        ] {
            assert_called(&webhook, apply(&plane, mode, change));
        }
        let relabel = r#"[{"op":"add","path":"/spec/template/metadata/labels/version","value":"wicph"}]"#;
        for command in [
            "scale deployment portal --replicas=0",
            "scale statefulset portal --replicas=0",
            "scale deployment portal --replicas=0 --dry-run=server",
            "create service clusterip portal --tcp=80",
            &format!("patch daemonset portal --type=json --patch={relabel}"),
        ] {
            assert_called(
                &webhook,
                kubectl(&plane, &format!("{command} --namespace={mode}")),
            );
        }
        let group = "apiVersion: lanekeeper.dev/v1alpha1\nkind: LaneGroup\nmetadata: {name: cars}\n\
            spec: {header: bu, workloads: {}, lanes: [wtchk, wicph], defaultLane: wtchk}\n";
        assert_called(&webhook, put(&plane, "create", mode, group));
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let route = virtual_service(version, "portal", "portal").replace("namespace: cars, ", "");
            assert_called(&webhook, put(&plane, "create", mode, &route));
            // One of a gateway may have to be completed first.
            let route = route.replace("spec: {", "spec: {gateways: [public], ");
            let rewriting = format!("{mode}.rewrite.lanekeeper.dev");
            assert_called(&rewriting, put(&plane, "create", mode, &route));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_things_down_is_held_up_only_where_they_are_protected() {
    let plane = plane(&["enforce", "protect"]);
    run(&plane, "delete deployment portal --namespace=enforce");
    run(&plane, "delete daemonset --all --namespace=enforce");
    let delete = "delete deployment portal --namespace=protect --wait=false";
    assert_called("protect.lanekeeper.dev", kubectl(&plane, delete));
    kubectl(&plane, "delete deployment --all --namespace=protect").expect_failure();

    // The garbage collector passes.
    let finalizers = |list: &str| {
        let patch = format!("--patch={{\"metadata\":{{\"finalizers\":{list}}}}}");
        run(
            &plane,
            &format!("patch deployment portal --namespace=protect --type=merge {patch}"),
        );
    };
    finalizers(r#"["example.com/hold"]"#);
    let collector = "system:serviceaccount:kube-system:generic-garbage-collector";
    let collector = plane.user(collector, &["system:masters"]);
    plane
        .kubectl_as(&collector, &delete.split(' ').collect::<Vec<_>>(), None)
        .expect_success();
    // Now it waits for its finalizer: to delete it again, and to take the finalizer away, changes no lane.
    run(&plane, delete);
    finalizers("null");
    eventually("it is gone", || {
        let get = kubectl(&plane, "get deployment portal --namespace=protect");
        (!get.status.success()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_is_refused_nobody_is_held_up() {
    let plane = plane(&["off", "warn"]);
    for namespace in ["off", "warn"] {
        let change = Workload {
            template_labels: ", version: wicph",
            replicas: "replicas: 0",
            ..DEPLOYMENT
        };
        apply(&plane, namespace, change).expect_success();
        let route = virtual_service("v1", "portal", "portal").replace("namespace: cars, ", "");
        put(&plane, "create", namespace, &route).expect_success();
        run(
            &plane,
            &format!("delete deployment portal --namespace={namespace}"),
        );
    }
    // Neither kube-system nor Lanekeeper's own namespace can opt in.
    for namespace in ["lanekeeper-system", "kube-system"] {
        run(
            &plane,
            &format!("label namespace {namespace} lanekeeper.dev/enforcement=protect"),
        );
        apply(&plane, namespace, DEPLOYMENT).expect_success();
    }
}

/// A condition that costs more than the API server allows fails, and the request with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conditions_can_bear_the_largest_of_workloads() {
    let plane = plane(&[]);
    run(&plane, "create namespace large");
    let large = |image: &str| {
        let annotation = |at| format!("example.com/note-{at:05}: n{at:025}");
        let annotations = (0..5000).map(annotation).collect::<Vec<_>>().join(", ");
        let manifest = Workload {
            annotations: &annotations,
            ..DEPLOYMENT
        }
        .manifest();
        let (start, _) = manifest.split_once("      containers:").unwrap();
        let port = |at| format!("{{containerPort: {}}}", 1000 + at);
        let ports = (0..100).map(port).collect::<Vec<_>>().join(", ");
        let container = |at| format!("{{name: c{at}, image: {image}, ports: [{ports}]}}");
        let containers = (0..100).map(container).collect::<Vec<_>>().join(", ");
        format!("{start}      containers: [{containers}]\n")
    };
    put(&plane, "create", "large", &large("one")).expect_success();
    label(&plane, "large", "enforce");
    put(&plane, "replace", "large", &large("two")).expect_success();
    assert_called(
        "enforce.lanekeeper.dev",
        kubectl(&plane, "scale deployment portal --replicas=0 -n large"),
    );
}
