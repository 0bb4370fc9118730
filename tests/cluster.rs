//! The cluster layer and the manifests, on a real API server.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[path = "support/control_plane.rs"]
mod control_plane;

#[path = "cluster/cuttable.rs"]
mod cuttable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use control_plane::{ControlPlane, eventually};
use cuttable::Cuttable;
use lanekeeper::admission::FreshReads as _;
use lanekeeper::cluster::{Connection, Fresh, Watches, connect, watch};
use lanekeeper::resource::{Kind, Labels, ObjectRef, Resource};
use lanekeeper::world::{Read, Settings, World};
use parking_lot::RwLock;
use serde_json::Value;

/// A world, and the watches that keep it.
struct Watched {
    world: Arc<RwLock<World>>,
    watches: Watches,
}

impl Watched {
    async fn start(kubeconfig: &Path) -> Self {
        let world = Arc::new(RwLock::new(World::new(Settings::default())));
        let watches = watch(client(kubeconfig).await, Arc::clone(&world));
        Self { world, watches }
    }

    async fn synced(&self) {
        let progress = self.watches.progress();
        let patience = Duration::from_secs(60);
        if tokio::time::timeout(patience, progress.until_synced())
            .await
            .is_err()
        {
            let pending: Vec<_> = progress.pending().iter().map(ToString::to_string).collect();
            panic!("not in step: {}", pending.join(", "));
        }
    }

    fn names(&self, kind: Kind) -> BTreeSet<String> {
        let world = self.world.read();
        let objects = world.objects().filter(|object| object.kind() == kind);
        objects.map(|object| object.reference().to_string()).collect()
    }

    fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.world
            .read()
            .get(&ObjectRef::new(kind, namespace, name))
            .is_some()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        eventually(what, || holds(self).then_some(()));
    }

    fn served(&self, kind: Kind) -> Option<&'static str> {
        let served = self.watches.progress().served();
        served
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, version)| *version)
    }
}

async fn client(kubeconfig: &Path) -> kube::Client {
    let connection = Connection {
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
    };
    connect(&connection).await.unwrap()
}

fn virtual_service(version: &str, name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/{version}
kind: VirtualService
metadata: {{namespace: cars, name: {name}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}
"
    )
}

fn hosts(watched: &Watched, name: &str) -> Vec<String> {
    let world = watched.world.read();
    match world.get(&ObjectRef::new(Kind::VirtualService, "cars", name)) {
        Some(Resource::VirtualService(vs)) => vs.hosts.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

const CORE: [Kind; 8] = [
    Kind::ConfigMap,
    Kind::DaemonSet,
    Kind::Deployment,
    Kind::Namespace,
    Kind::Pod,
    Kind::ReplicaSet,
    Kind::Service,
    Kind::StatefulSet,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_and_objects_come_change_and_go() {
    let plane = ControlPlane::start();
    let apply = |manifest: &str| {
        plane
            .kubectl_stdin(&["apply", "-f", "-"], manifest)
            .expect_success()
    };
    let watched = Watched::start(&plane.kubeconfig_path()).await;
    watched.synced().await;

    // Without Istio.
    let served: Vec<Kind> = watched
        .watches
        .progress()
        .served()
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    assert_eq!(served, CORE);
    assert!(watched.has(Kind::Namespace, "", "default"));
    assert!(watched.has(Kind::Service, "default", "kubernetes"));

    // Of the ConfigMaps, only the mesh configuration.
    plane
        .kubectl(&["create", "namespace", "istio-system"])
        .expect_success();
    plane.kubectl(&["create", "namespace", "cars"]).expect_success();
    for (namespace, name, key) in [
        ("istio-system", "istio-ca-root-cert", "root-cert.pem"),
        ("istio-system", "kiali", "mesh"),
        ("cars", "istio", "mesh"),
        ("istio-system", "istio", "mesh"),
        ("istio-system", "istio-canary", "mesh"),
    ] {
        let literal = format!("--from-literal={key}=rootNamespace: istio-system");
        plane
            .kubectl(&["create", "configmap", "--namespace", namespace, name, &literal])
            .expect_success();
    }
    watched.until("the last ConfigMap", |w| {
        w.has(Kind::ConfigMap, "istio-system", "istio-canary")
    });
    assert_eq!(
        watched.names(Kind::ConfigMap),
        [
            "ConfigMap istio-system/istio",
            "ConfigMap istio-system/istio-canary"
        ]
        .map(str::to_owned)
        .into()
    );

    // Definitions that are installed later.
    plane.install_istio_crds();
    watched.until("VirtualService is served", |w| {
        w.served(Kind::VirtualService).is_some()
    });
    watched.synced().await;
    assert_eq!(watched.served(Kind::VirtualService), Some("v1"));
    assert_eq!(watched.served(Kind::EnvoyFilter), Some("v1alpha3"));
    assert_eq!(watched.served(Kind::LaneGroup), None);

    // Objects, in any version.
    apply(&virtual_service("v1beta1", "portal", "portal"));
    apply(&virtual_service("v1alpha3", "api", "api"));
    watched.until("both are there", |w| w.names(Kind::VirtualService).len() == 2);
    apply(&virtual_service("v1", "portal", "other"));
    watched.until("the update is there", |w| hosts(w, "portal") == ["other"]);
    plane
        .kubectl(&["delete", "virtualservice", "--namespace=cars", "api"])
        .expect_success();
    watched.until("the deletion is there", |w| {
        !w.has(Kind::VirtualService, "cars", "api")
    });

    // A malformed object: the schema no longer forbids it.
    let free = r#"[{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;
    let crd = "customresourcedefinition/virtualservices.networking.istio.io";
    plane
        .kubectl(&["patch", crd, "--type=json", "--patch", free])
        .expect_success();
    let first = plane
        .kubectl(&["get", crd, "--output=jsonpath={.spec.versions[0].name}"])
        .expect_success()
        .stdout;
    let broken = format!(
        "apiVersion: networking.istio.io/{first}\nkind: VirtualService\n\
         metadata: {{namespace: cars, name: broken}}\nspec: {{hosts: 5}}\n"
    );
    eventually("the schema is gone", || {
        plane
            .kubectl_stdin(&["create", "-f", "-"], &broken)
            .status
            .success()
            .then_some(())
    });
    apply(&virtual_service("v1", "after", "after"));
    watched.until("the watch goes on", |w| {
        w.has(Kind::VirtualService, "cars", "after")
    });
    assert!(!watched.has(Kind::VirtualService, "cars", "broken"));
    // It was in order, and is not any more.
    let break_it = r#"{"spec": {"hosts": 5}}"#;
    plane
        .kubectl(&[
            "patch",
            &format!("virtualservices.{first}.networking.istio.io"),
            "--namespace=cars",
            "after",
            "--type=merge",
            "--patch",
            break_it,
        ])
        .expect_success();
    watched.until("nothing is known of it", |w| {
        !w.has(Kind::VirtualService, "cars", "after")
    });
    // A list that holds it.
    let again = Watched::start(&plane.kubeconfig_path()).await;
    again.synced().await;
    assert_eq!(
        again.names(Kind::VirtualService),
        ["VirtualService cars/portal".to_owned()].into()
    );

    // The version that is watched goes, another stays.
    let versions = plane
        .kubectl(&["get", crd, "--output=jsonpath={.spec.versions[*].name}"])
        .expect_success();
    let at = versions
        .stdout
        .split_whitespace()
        .position(|name| name == "v1")
        .unwrap();
    let unserved = format!(r#"[{{"op": "replace", "path": "/spec/versions/{at}/served", "value": false}}]"#);
    plane
        .kubectl(&["patch", crd, "--type=json", "--patch", &unserved])
        .expect_success();
    watched.until("another version is watched", |w| {
        w.served(Kind::VirtualService) == Some("v1beta1")
    });
    apply(&virtual_service("v1beta1", "later", "later"));
    watched.until("what comes in it is there", |w| {
        w.has(Kind::VirtualService, "cars", "later")
    });
    assert!(watched.has(Kind::VirtualService, "cars", "portal"));

    // A definition that is removed.
    plane.kubectl(&["delete", crd]).expect_success();
    watched.until("the kind is not served", |w| {
        w.served(Kind::VirtualService).is_none()
    });
    assert!(watched.names(Kind::VirtualService).is_empty());
    watched.synced().await;
    assert!(watched.has(Kind::ConfigMap, "istio-system", "istio"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_made_up_for_and_fresh_reads_do_not_wait_for_it() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    plane.kubectl(&["create", "namespace", "cars"]).expect_success();
    let apply = |manifest: &str| {
        plane
            .kubectl_stdin(&["apply", "-f", "-"], manifest)
            .expect_success()
    };
    for name in ["kept", "doomed"] {
        apply(&virtual_service("v1", name, name));
    }
    let line = Cuttable::to(&plane).await;
    let watched = Watched::start(line.kubeconfig()).await;
    watched.synced().await;
    assert_eq!(watched.names(Kind::VirtualService).len(), 2);

    line.cut();
    apply(&virtual_service("v1", "new", "new"));
    apply(&virtual_service("v1", "kept", "changed"));
    plane
        .kubectl(&["delete", "virtualservice", "--namespace=cars", "doomed"])
        .expect_success();
    plane
        .kubectl(&[
            "create",
            "deployment",
            "--namespace=cars",
            "portal",
            "--image=portal",
        ])
        .expect_success();
    let pod = |name: &str, app: &str| {
        apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: cars, name: {name}, labels: {{app: {app}}}}}\n\
             spec: {{containers: [{{name: a, image: a}}]}}\n"
        ))
    };
    pod("mine", "portal");
    pod("other", "api");

    // Fresh reads, on another line, see what the watch did not.
    let fresh = Fresh::new(
        client(&plane.kubeconfig_path()).await,
        Arc::clone(watched.watches.progress()),
        Settings::default(),
    );
    let list = |kind| Read::List(kind, "cars".into());
    let portal = Labels::new([("app".into(), "portal".into())]);
    let reads = vec![
        Read::Object(ObjectRef::new(Kind::VirtualService, "cars", "new")),
        list(Kind::VirtualService),
        Read::Object(ObjectRef::new(Kind::Deployment, "cars", "portal")),
        Read::Object(ObjectRef::new(Kind::Deployment, "cars", "absent")),
        Read::Object(ObjectRef::new(Kind::Namespace, "", "cars")),
        Read::Pods("cars".into(), portal.clone()),
        Read::Pods("cars".into(), Labels::new([("app".into(), "not a label".into())])),
        Read::List(Kind::Service, "".into()),
        list(Kind::LaneGroup),
        list(Kind::ConfigMap),
        Read::List(Kind::ConfigMap, "istio-system".into()),
    ];
    let (world, answered) = fresh.read(reads.clone()).await.unwrap();
    let names: BTreeSet<_> = world
        .objects()
        .map(|object| object.reference().to_string())
        .collect();
    let expected = [
        "Deployment cars/portal",
        "Namespace cars",
        "Pod cars/mine",
        "Service default/kubernetes",
        "VirtualService cars/kept",
        "VirtualService cars/new",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    assert_eq!(answered, reads[1..]);
    assert!(
        !watched.has(Kind::VirtualService, "cars", "new"),
        "the watch does not know yet"
    );
    assert!(
        watched.has(Kind::VirtualService, "cars", "doomed"),
        "the watch does not know yet"
    );

    // What cannot be read is an error, not an absence.
    let nobody = Fresh::new(
        client(&plane.user(control_plane::DEV, &[])).await,
        Arc::clone(watched.watches.progress()),
        Settings::default(),
    );
    let error = nobody
        .read(vec![list(Kind::VirtualService)])
        .await
        .err()
        .expect("forbidden");
    let error = format!("{error:#}");
    assert!(
        error.starts_with("every VirtualService of namespace cars cannot be read afresh: "),
        "{error}"
    );
    assert!(error.contains("forbidden"), "{error}");

    watched.until("the loss is noticed", |w| w.watches.progress().restarts() > 0);
    assert!(
        watched.watches.progress().pending().is_empty(),
        "an interruption does not make the world incomplete"
    );
    line.mend();
    watched.until("all is made up for", |w| {
        hosts(w, "kept") == ["changed"]
            && hosts(w, "new") == ["new"]
            && !w.has(Kind::VirtualService, "cars", "doomed")
            && w.has(Kind::Deployment, "cars", "portal")
    });

    // A world that was full before the list: what is gone goes.
    let world = Arc::clone(&watched.world);
    drop(watched);
    plane
        .kubectl(&["delete", "virtualservice", "--namespace=cars", "new"])
        .expect_success();
    assert!(
        world
            .read()
            .get(&ObjectRef::new(Kind::VirtualService, "cars", "new"))
            .is_some()
    );
    let watches = watch(client(&plane.kubeconfig_path()).await, Arc::clone(&world));
    watches.progress().until_synced().await;
    assert!(
        world
            .read()
            .get(&ObjectRef::new(Kind::VirtualService, "cars", "new"))
            .is_none()
    );
    assert!(
        world
            .read()
            .get(&ObjectRef::new(Kind::VirtualService, "cars", "kept"))
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_is_named_and_asked_again() {
    let plane = ControlPlane::start();
    let watched = Watched::start(&plane.user(control_plane::DEV, &[])).await;
    eventually("the refusal is told", || {
        let pending = watched.watches.progress().pending();
        pending
            .iter()
            .any(|pending| pending.kind == Kind::Pod && pending.to_string().contains("forbidden"))
            .then_some(())
    });
    let bind = [
        "create",
        "clusterrolebinding",
        "dev",
        "--clusterrole=cluster-admin",
        "--user=dev",
    ];
    plane.kubectl(&bind).expect_success();
    watched.synced().await;
    assert!(watched.has(Kind::Namespace, "", "default"));
}

fn manifests() -> String {
    format!("{}/manifests/base", env!("CARGO_MANIFEST_DIR"))
}

/// What the API server adds to an object on its own account.
fn without_its_own(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in [
        "creationTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "uid",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    for (annotation, at) in [
        ("kubectl.kubernetes.io/last-applied-configuration", "annotations"),
        ("deployment.kubernetes.io/revision", "annotations"),
        ("kubernetes.io/metadata.name", "labels"),
    ] {
        if let Some(Value::Object(fields)) = metadata.get_mut(at) {
            fields.remove(annotation);
        }
    }
    if metadata
        .get("annotations")
        .is_some_and(|annotations| annotations == &serde_json::json!({}))
    {
        metadata.remove("annotations");
    }
    let kind = object["kind"].as_str().unwrap().to_owned();
    let object_map = object.as_object_mut().unwrap();
    object_map.remove("status");
    match kind.as_str() {
        // Given by the cluster.
        "Service" => {
            let spec = object["spec"].as_object_mut().unwrap();
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(field);
            }
        }
        "Namespace" => drop(object_map.remove("spec")),
        "Deployment" => {
            let template = &mut object["spec"]["template"]["metadata"];
            template.as_object_mut().unwrap().remove("creationTimestamp");
        }
        _ => {}
    }
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_apply_without_drift_and_their_rights_suffice() {
    let plane = ControlPlane::start();
    let (path, kubectl) = (manifests(), |args: &[&str]| plane.kubectl(args));
    plane.install_istio_crds();
    kubectl(&["create", "namespace", "istio-system"]).expect_success();
    // A dry run of what is in a namespace needs the namespace.
    kubectl(&["apply", "-f", &format!("{path}/namespace.yaml")]).expect_success();
    kubectl(&["apply", "-k", &path, "--dry-run=server"]).expect_success();
    let applied = kubectl(&["apply", "-k", &path]).expect_success();
    assert!(!applied.stderr.contains("Warning"), "{applied}");
    // kubectl prints "configured" for what its patch left as it was: the versions tell.
    let versions = || {
        let columns = "--output=jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
        kubectl(&["get", "-k", &path, columns]).expect_success().stdout
    };
    let before = versions();
    kubectl(&["apply", "-k", &path]).expect_success();
    assert_eq!(versions(), before);
    kubectl(&["diff", "-k", &path]).expect_success();

    // Not only no difference that kubectl would send: nothing is stored that is not written down.
    let rendered = kubectl(&["kustomize", &path]).expect_success().stdout;
    let written: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    assert_eq!(written.len(), before.lines().count());
    for object in written {
        let (kind, name) = (
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap(),
        );
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let stored =
            kubectl(&["get", kind, name, "--namespace", namespace, "--output=json"]).expect_success();
        let stored = without_its_own(serde_json::from_str(&stored.stdout).unwrap());
        assert_eq!(stored, without_its_own(object.clone()), "{kind} {name}");
    }

    // Server-side apply, as GitOps tools do it, finds no conflict and no change either.
    kubectl(&[
        "apply",
        "-k",
        &path,
        "--server-side",
        "--field-manager=gitops",
        "--force-conflicts",
    ])
    .expect_success();
    kubectl(&["diff", "-k", &path, "--server-side", "--field-manager=gitops"]).expect_success();

    // The certificates, as the README says.
    let dir = tempfile::tempdir().unwrap();
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let run = |program: &str, args: &[&Path]| {
        let output = Command::new(certs.join(program))
            .args(args)
            .env("KUBECONFIG", plane.kubeconfig_path())
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run("make-dev.sh", &[dir.path()]);
    run("set-ca-bundle.sh", &[&dir.path().join("ca.crt")]);
    let bundle = "--output=jsonpath={.webhooks[*].clientConfig.caBundle}";
    for (kind, count) in [
        ("validatingwebhookconfiguration", 4),
        ("mutatingwebhookconfiguration", 3),
    ] {
        let bundles = || {
            kubectl(&["get", kind, "lanekeeper", bundle])
                .expect_success()
                .stdout
        };
        let before = bundles();
        assert_eq!(before.split_whitespace().count(), count, "{before}");
        kubectl(&["apply", "-k", &path]).expect_success();
        assert_eq!(bundles(), before, "applying again leaves the bundle alone");
    }
    kubectl(&["diff", "-k", &path]).expect_success();
    kubectl(&["diff", "-k", &path, "--server-side", "--field-manager=gitops"]).expect_success();

    // The rights of the ServiceAccount suffice, and are no more than needed.
    let token = kubectl(&["create", "token", "--namespace=lanekeeper-system", "lanekeeper"]).expect_success();
    let kubeconfig = plane.kubeconfig_for_token(token.stdout.trim());
    let watched = Watched::start(&kubeconfig).await;
    watched.synced().await;
    let served: BTreeSet<Kind> = watched
        .watches
        .progress()
        .served()
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    assert_eq!(
        served,
        Kind::ALL.iter().copied().collect(),
        "{:?}",
        watched.watches.progress().restarts()
    );
    let fresh = Fresh::new(
        client(&kubeconfig).await,
        Arc::clone(watched.watches.progress()),
        Settings::default(),
    );
    let everything = Kind::ALL.iter().map(|kind| match kind {
        Kind::ConfigMap => Read::List(*kind, "istio-system".into()),
        _ => Read::List(*kind, "".into()),
    });
    fresh.read(everything.collect()).await.unwrap();
    let gets = Kind::ALL.iter().map(|kind| {
        let namespace = if kind.is_namespaced() { "istio-system" } else { "" };
        Read::Object(ObjectRef::new(*kind, namespace, "absent"))
    });
    fresh.read(gets.collect()).await.unwrap();
    for question in [
        ["get", "secrets", "--namespace=lanekeeper-system"],
        ["list", "configmaps", "--namespace=cars"],
        ["create", "pods", "--namespace=cars"],
        [
            "update",
            "virtualservices.networking.istio.io",
            "--namespace=cars",
        ],
        ["patch", "validatingwebhookconfigurations", "--namespace=cars"],
    ] {
        let answer = plane.kubectl_as(&kubeconfig, &[&["auth", "can-i"], &question[..]].concat(), None);
        assert_eq!(answer.stdout.trim(), "no", "{question:?}");
    }
}

/// A Deployment whose parts a test changes.
fn deployment(parts: &BTreeMap<&str, &str>) -> String {
    let part = |name: &str| parts.get(name).copied().unwrap_or_default();
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: portal, annotations: {{{}}}}}
spec:
  replicas: {}
  selector: {{matchLabels: {{app: portal}}}}
  template:
    metadata: {{labels: {{app: portal{}}}, annotations: {{{}}}}}
    spec:
      initContainers: [{{name: init, image: i{}}}]
      containers: [{{name: portal, image: {}, ports: [{{containerPort: 8080{}}}]}}]
",
        part("annotations"),
        parts.get("replicas").unwrap_or(&"2"),
        part("labels"),
        part("template annotations"),
        part("init"),
        parts.get("image").unwrap_or(&"one"),
        part("port"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_listens_only_what_lanes_can_feel_is_held_up() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    plane
        .kubectl(&["create", "namespace", "istio-system"])
        .expect_success();
    for namespace in ["off", "warn", "enforce", "protect"] {
        plane
            .kubectl(&["create", "namespace", namespace])
            .expect_success();
        let manifest = deployment(&BTreeMap::new());
        plane
            .kubectl_stdin(&["apply", "--namespace", namespace, "-f", "-"], &manifest)
            .expect_success();
        for (kind, replicas) in [
            ("StatefulSet", "replicas: 2"),
            ("DaemonSet", "minReadySeconds: 0"),
        ] {
            let other = manifest.replace("kind: Deployment", &format!("kind: {kind}"));
            let other = other.replace("replicas: 2", replicas);
            plane
                .kubectl_stdin(&["apply", "--namespace", namespace, "-f", "-"], &other)
                .expect_success();
        }
    }
    plane.kubectl(&["apply", "-k", &manifests()]).expect_success();
    for mode in ["warn", "enforce", "protect"] {
        plane
            .kubectl(&[
                "label",
                "namespace",
                mode,
                &format!("lanekeeper.dev/enforcement={mode}"),
            ])
            .expect_success();
    }
    // A webhook configuration takes a moment to be in force.
    eventually("the webhooks are in force", || {
        let create = [
            "create",
            "service",
            "clusterip",
            "probe",
            "--tcp=80",
            "--namespace=protect",
            "--dry-run=server",
        ];
        (!plane.kubectl(&create).status.success()).then_some(())
    });
    let apply = |namespace: &str, parts: &[(&str, &str)]| {
        let manifest = deployment(&parts.iter().copied().collect());
        plane.kubectl_stdin(&["apply", "--namespace", namespace, "-f", "-"], &manifest)
    };
    let called = |output: control_plane::KubectlOutput, webhook: &str| {
        let output = output.expect_failure();
        assert!(
            output
                .stderr
                .contains(&format!("failed calling webhook {webhook:?}")),
            "{output}"
        );
    };

    for mode in ["enforce", "protect"] {
        let webhook = format!("{mode}.lanekeeper.dev");
        // What no lane can feel.
        apply(mode, &[("image", "two")]).expect_success();
        apply(mode, &[("image", "two"), ("annotations", "example.com/note: a")]).expect_success();
        apply(
            mode,
            &[("template annotations", "kubectl.kubernetes.io/restartedAt: now")],
        )
        .expect_success();
        apply(mode, &[("replicas", "3")]).expect_success();
        apply(mode, &[]).expect_success();
        apply(mode, &[("init", ", command: [a]")]).expect_success();
        let namespace = format!("--namespace={mode}");
        let scale = |kind: &str, to: &str| {
            plane.kubectl(&["scale", kind, "portal", &namespace, &format!("--replicas={to}")])
        };
        scale("deployment", "4").expect_success();
        scale("statefulset", "4").expect_success();
        plane
            .kubectl(&["set", "image", "daemonset/portal", "portal=two", &namespace])
            .expect_success();
        plane
            .kubectl(&["rollout", "restart", "statefulset/portal", &namespace])
            .expect_success();
        plane
            .kubectl(&[
                "patch",
                "deployment",
                "portal",
                &namespace,
                "--subresource=status",
                "--type=merge",
                "--patch={\"status\": {\"replicas\": 1}}",
            ])
            .expect_success();
        // What lanes can feel.
        called(apply(mode, &[("labels", ", version: wicph")]), &webhook);
        called(
            apply(mode, &[("annotations", "lanekeeper.dev/allow: LK101")]),
            &webhook,
        );
        called(
            apply(mode, &[("annotations", "lanekeeper.dev/allow: \"\"")]),
            &webhook,
        );
        called(apply(mode, &[("replicas", "0")]), &webhook);
        called(apply(mode, &[("port", ", name: http")]), &webhook);
        called(
            apply(
                mode,
                &[("init", ", restartPolicy: Always, ports: [{containerPort: 1}]")],
            ),
            &webhook,
        );
        called(scale("deployment", "0"), &webhook);
        called(scale("statefulset", "0"), &webhook);
        let label = r#"[{"op": "add", "path": "/spec/template/metadata/labels/version", "value": "wicph"}]"#;
        called(
            plane.kubectl(&[
                "patch",
                "daemonset",
                "portal",
                &namespace,
                "--type=json",
                "--patch",
                label,
            ]),
            &webhook,
        );
        let portal = virtual_service("v1", "portal", "portal").replace("namespace: cars, ", "");
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let portal = portal.replace("istio.io/v1", &format!("istio.io/{version}"));
            called(
                plane.kubectl_stdin(&["create", &namespace, "-f", "-"], &portal),
                &format!("{mode}.rewrite.lanekeeper.dev"),
            );
        }
        let group = "apiVersion: lanekeeper.dev/v1alpha1\nkind: LaneGroup\nmetadata: {name: cars}\n\
            spec: {header: bu, workloads: {matchLabels: {a: b}}, lanes: [wtchk, wicph], defaultLane: wtchk}\n";
        called(
            plane.kubectl_stdin(&["create", &namespace, "-f", "-"], group),
            &webhook,
        );
        // Not in the way of dry runs, either: they are asked about like the rest, and fail like the rest.
        called(
            plane.kubectl(&[
                "scale",
                "deployment",
                "portal",
                &namespace,
                "--replicas=0",
                "--dry-run=server",
            ]),
            &webhook,
        );
    }

    // The conditions are within their budget on the largest of Deployments, too: beyond it they would fail.
    let large = |image: &str| {
        let annotations: Vec<_> = (0..5000)
            .map(|at| format!("example.com/note-{at:05}: n{at:025}"))
            .collect();
        let ports: Vec<_> = (0..100)
            .map(|at| format!("{{containerPort: {}}}", 1000 + at))
            .collect();
        let container = |at| format!("{{name: c{at}, image: {image}, ports: [{}]}}", ports.join(", "));
        let containers: Vec<_> = (0..100).map(container).collect();
        let manifest = deployment(&[("annotations", annotations.join(", ").as_str())].into());
        let manifest = manifest
            .replace("name: portal,", "name: large,")
            .replace("portal}", "large}");
        let (start, _) = manifest.split_once("      containers:").unwrap();
        format!("{start}      containers: [{}]\n", containers.join(", "))
    };
    let put = |namespace: &str, verb: &str, image: &str| {
        plane.kubectl_stdin(&[verb, "--namespace", namespace, "-f", "-"], &large(image))
    };
    put("warn", "create", "one").expect_success();
    let enforce = "lanekeeper.dev/enforcement=enforce";
    plane
        .kubectl(&["label", "--overwrite", "namespace", "warn", enforce])
        .expect_success();
    eventually("the label is in force", || {
        (!put("warn", "create", "x").stderr.contains("exists")).then_some(())
    });
    put("warn", "replace", "two").expect_success();
    let warn = "lanekeeper.dev/enforcement=warn";
    plane
        .kubectl(&["label", "--overwrite", "namespace", "warn", warn])
        .expect_success();

    // Taking things down.
    let delete = |namespace: &str| {
        plane.kubectl(&[
            "delete",
            "deployment",
            "portal",
            "--namespace",
            namespace,
            "--wait=false",
        ])
    };
    delete("enforce").expect_success();
    called(delete("protect"), "protect.lanekeeper.dev");
    plane
        .kubectl(&["delete", "deployment", "--all", "--namespace=protect"])
        .expect_failure();
    let finalizers = |list: &str| {
        let patch = format!("--patch={{\"metadata\": {{\"finalizers\": {list}}}}}");
        let patch = [
            "patch",
            "deployment",
            "portal",
            "--namespace=protect",
            "--type=merge",
            &patch,
        ];
        plane.kubectl(&patch).expect_success();
    };
    finalizers("[\"example.com/hold\"]");
    let collector = plane.user(
        "system:serviceaccount:kube-system:generic-garbage-collector",
        &["system:masters"],
    );
    let as_collector = [
        "delete",
        "deployment",
        "portal",
        "--namespace=protect",
        "--wait=false",
    ];
    plane.kubectl_as(&collector, &as_collector, None).expect_success();
    // Now it waits for its finalizer: to delete it again, and to take the finalizer away, is no change to a lane.
    delete("protect").expect_success();
    finalizers("null");
    eventually("it is gone", || {
        let get = ["get", "deployment", "portal", "--namespace=protect"];
        (!plane.kubectl(&get).status.success()).then_some(())
    });

    // Where nobody is refused, nobody is held up.
    for namespace in ["off", "warn"] {
        apply(namespace, &[("labels", ", version: wicph"), ("replicas", "0")]).expect_success();
        let portal = virtual_service("v1", "portal", "portal").replace("namespace: cars, ", "");
        plane
            .kubectl_stdin(&["create", "--namespace", namespace, "-f", "-"], &portal)
            .expect_success();
        delete(namespace).expect_success();
    }
    // Lanekeeper's own namespace and kube-system cannot opt in.
    for namespace in ["lanekeeper-system", "kube-system"] {
        plane
            .kubectl(&[
                "label",
                "namespace",
                namespace,
                "lanekeeper.dev/enforcement=protect",
            ])
            .expect_success();
        plane
            .kubectl_stdin(
                &["apply", "--namespace", namespace, "-f", "-"],
                &deployment(&[].into()),
            )
            .expect_success();
    }
}
