//! The manifests apply without drift, their rights suffice, and the certificates get in.

use std::path::{Path, PathBuf};
use std::process::Command;

use lanekeeper::admission::FreshReads as _;
use lanekeeper::world::Read;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::{Kind, ObjectRef, Watched, kubectl, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The folder of the manifests.
pub(crate) fn base() -> String {
    root().join("manifests/base").display().to_string()
}

/// A folder, which is gone with it, of a kustomization: the base with a component.
fn with_component(component: &str) -> tempfile::TempDir {
    // Kustomize takes relative paths only.
    let target = root().join("target");
    std::fs::create_dir_all(&target).unwrap();
    let folder = tempfile::tempdir_in(target).unwrap();
    let text = format!("resources: [../../manifests/base]\ncomponents: [../../manifests/{component}]\n");
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    folder
}

/// What kustomize makes of a folder.
fn rendered(plane: &ControlPlane, folder: &Path) -> Vec<Value> {
    let text = run(plane, &format!("kustomize {}", folder.display()));
    serde_saphyr::from_multiple(&text).unwrap()
}

/// An API server with Istio's definitions and namespace.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    run(&plane, "create namespace istio-system");
    plane
}

/// Removes what the API server adds to an object on its own account.
fn without_its_own(mut object: Value) -> Value {
    let kind = object["kind"].as_str().unwrap().to_owned();
    let remove = |at: &mut Value, fields: &[&str]| {
        let at = at.as_object_mut().unwrap();
        at.retain(|field, _| !fields.contains(&field.as_str()));
    };
    let metadata = &mut object["metadata"];
    remove(
        metadata,
        &[
            "creationTimestamp",
            "generation",
            "managedFields",
            "resourceVersion",
            "uid",
        ],
    );
    // What kubectl and the Deployment controller remember.
    remove(metadata, &["annotations"]);
    match kind.as_str() {
        "Service" => {
            remove(
                &mut object["spec"],
                &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
            );
        }
        "Namespace" => {
            remove(
                &mut object["metadata"]["labels"],
                &["kubernetes.io/metadata.name"],
            );
            remove(&mut object, &["spec"]);
        }
        "Deployment" => remove(
            &mut object["spec"]["template"]["metadata"],
            &["creationTimestamp"],
        ),
        _ => {}
    }
    remove(&mut object, &["status"]);
    object
}

/// Whether kubectl finds nothing to change, by client-side and by server-side apply.
fn assert_no_difference(plane: &ControlPlane, folder: &str) {
    run(plane, &format!("diff -k {folder}"));
    run(
        plane,
        &format!("diff -k {folder} --server-side --field-manager=gitops"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_apply_without_drift() {
    let (plane, base) = (plane(), base());
    // A dry run of what is in a namespace needs the namespace.
    run(&plane, &format!("apply -f {base}/namespace.yaml"));
    run(&plane, &format!("apply -k {base} --dry-run=server"));
    let applied = kubectl(&plane, &format!("apply -k {base}")).expect_success();
    assert!(!applied.stderr.contains("Warning"), "{applied}");

    // kubectl prints "configured" even where its patch changes nothing: the versions tell.
    let versions = || {
        let version = "{.metadata.resourceVersion}{\"\\n\"}";
        run(
            &plane,
            &format!("get -k {base} --output=jsonpath={{range.items[*]}}{version}{{end}}"),
        )
    };
    let before = versions();
    run(&plane, &format!("apply -k {base}"));
    assert_eq!(versions(), before);
    run(
        &plane,
        &format!("apply -k {base} --server-side --field-manager=gitops --force-conflicts"),
    );
    assert_no_difference(&plane, &base);

    // Nothing is stored that is not written down.
    let written: Vec<Value> =
        serde_saphyr::from_multiple(&run(&plane, &format!("kustomize {base}"))).unwrap();
    assert_eq!(written.len(), before.lines().count());
    for object in written {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let namespace = text(&object["metadata"]["namespace"]);
        let stored = run(
            &plane,
            &format!("get {kind} {name} --namespace={namespace} --output=json"),
        );
        let stored = without_its_own(serde_json::from_str(&stored).unwrap());
        assert_eq!(stored, without_its_own(object), "{kind} {name}");
    }

    let folder = with_component("high-availability");
    let path = folder.path().display().to_string();
    run(
        &plane,
        &format!("apply -k {path} --server-side --field-manager=gitops --force-conflicts"),
    );
    let spread = run(
        &plane,
        "get deployment lanekeeper --namespace=lanekeeper-system \
         --output=jsonpath={.spec.replicas}{.spec.template.spec.topologySpreadConstraints[0].whenUnsatisfiable}",
    );
    assert_eq!(spread, "3DoNotSchedule");
    assert_no_difference(&plane, &path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_get_in_and_stay_in() {
    let plane = plane();
    let folder = with_component("certificate-files");
    let base = folder.path().display().to_string();
    run(&plane, &format!("apply -k {base}"));
    let dir = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = (
        dir.path().join("ca.crt"),
        dir.path().join("tls.crt"),
        dir.path().join("tls.key"),
    );
    let program = |name: &str, argument: &Path| {
        let mut command = Command::new(name);
        command
            .arg(argument)
            .env("KUBECONFIG", plane.kubeconfig_path())
            .env("HOME", dir.path());
        let output = command.current_dir(root()).output().unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    program("certs/make-dev.sh", dir.path());
    let verify = [
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "lanekeeper.lanekeeper-system.svc",
        "-CAfile",
    ];
    let verified = Command::new("openssl")
        .arg("verify")
        .args(verify)
        .arg(&ca)
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let secret = "create secret tls lanekeeper-tls --namespace=lanekeeper-system";
    run(
        &plane,
        &format!(
            "{secret} --cert={} --key={}",
            certificate.display(),
            key.display()
        ),
    );

    program("certs/set-ca-bundle.sh", &ca);
    for (kind, count) in [
        ("validatingwebhookconfiguration", 4),
        ("mutatingwebhookconfiguration", 3),
    ] {
        let bundles = || {
            let path = "{.webhooks[*].clientConfig.caBundle}";
            run(&plane, &format!("get {kind} lanekeeper --output=jsonpath={path}"))
        };
        let before = bundles();
        assert_eq!(before.split_whitespace().count(), count, "{before}");
        run(&plane, &format!("apply -k {base}"));
        assert_eq!(bundles(), before, "applying again leaves the bundle alone");
    }
    run(
        &plane,
        &format!("apply -k {base} --server-side --field-manager=gitops --force-conflicts"),
    );
    assert_no_difference(&plane, &base);
}

/// Installs cert-manager's definitions.
fn install_cert_manager_crds(plane: &ControlPlane) {
    for kind in ["certificates", "issuers"] {
        let file = root().join(format!(".cache/control-plane/cert-manager-{kind}.yaml"));
        assert!(
            file.is_file(),
            "{} is missing: run tests/control-plane/build.sh",
            file.display()
        );
        plane.install_crds(&file);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_components_change_the_base_in_what_they_are_about_and_apply_without_drift() {
    let plane = plane();
    install_cert_manager_crds(&plane);
    let base_objects = rendered(&plane, Path::new(&base()));
    run(&plane, &format!("apply -f {}/namespace.yaml", base()));
    for (component, adds) in [
        ("certificate-files", &[][..]),
        (
            "cert-manager",
            &[
                "Certificate lanekeeper",
                "Certificate lanekeeper-issuer",
                "Issuer lanekeeper",
                "Issuer lanekeeper-self-signed",
            ],
        ),
    ] {
        let folder = with_component(component);
        let path = folder.path().display().to_string();
        let objects = rendered(&plane, folder.path());
        let title = |object: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
        };
        let mut added: Vec<String> = objects.iter().map(title).collect();
        added.retain(|object| !base_objects.iter().any(|of_base| title(of_base) == *object));
        added.sort();
        assert_eq!(added, adds, "{component}");
        let mut changed: Vec<String> = base_objects
            .iter()
            .filter(|object| !objects.contains(object))
            .map(title)
            .collect();
        changed.sort();
        let deployment = objects
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["args"],
            serde_json::json!(["serve", "--tls-cert-dir=/etc/lanekeeper/tls"])
        );
        let configurations = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
        for kind in configurations {
            let configuration = objects.iter().find(|object| object["kind"] == kind).unwrap();
            let annotation = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            let certificate = (component == "cert-manager").then_some("lanekeeper-system/lanekeeper");
            assert_eq!(annotation.as_str(), certificate, "{component}: {kind}");
        }
        changed.retain(|object| !object.starts_with("Deployment"));
        let annotated: Vec<String> = configurations.map(|kind| format!("{kind} lanekeeper")).into();
        assert_eq!(
            changed,
            if component == "cert-manager" {
                annotated
            } else {
                Vec::new()
            }
        );

        run(&plane, &format!("apply -k {path} --dry-run=server"));
        let apply = format!("apply -k {path} --server-side --field-manager=gitops");
        let applied = kubectl(&plane, &apply).expect_success();
        assert!(!applied.stderr.contains("Warning"), "{applied}");
        assert_no_difference(&plane, &path);
    }
    // The definitions refuse what is not in them.
    let folder = with_component("cert-manager");
    let text = run(&plane, &format!("kustomize {}", folder.path().display()));
    let wrong = text.replace("secretName: lanekeeper-issuer", "secretNames: lanekeeper-issuer");
    let refused = plane
        .kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &wrong)
        .expect_failure();
    assert!(refused.stderr.contains("secretNames"), "{refused}");
}

#[test]
fn monitoring_is_added_to_the_base_and_is_what_the_prometheus_operator_takes() {
    let plane = plane();
    for kind in ["prometheusrules", "servicemonitors"] {
        let file = root().join(format!(".cache/control-plane/prometheus-operator-{kind}.yaml"));
        assert!(
            file.is_file(),
            "{} is missing: run tests/control-plane/build.sh",
            file.display()
        );
        plane.install_crds(&file);
    }
    let base_objects = rendered(&plane, Path::new(&base()));
    let folder = with_component("monitoring");
    let objects = rendered(&plane, folder.path());
    let (of_base, added): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| base_objects.contains(object));
    assert_eq!(of_base.len(), base_objects.len(), "the base stays as it is");
    let of_kind = |kind: &str| added.iter().find(|object| object["kind"] == kind).unwrap();
    assert_eq!(added.len(), 3);
    let dashboard = of_kind("ConfigMap");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let file = root().join("manifests/monitoring/dashboard.json");
    assert_eq!(
        dashboard["data"]["lanekeeper.json"].as_str(),
        Some(std::fs::read_to_string(file).unwrap().as_str())
    );
    of_kind("PrometheusRule");

    // The monitor finds the Service and its port, which is the one that serves metrics.
    let monitor = of_kind("ServiceMonitor");
    let service = base_objects
        .iter()
        .find(|object| object["kind"] == "Service")
        .unwrap();
    assert_eq!(monitor["metadata"]["namespace"], service["metadata"]["namespace"]);
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        service["metadata"]["labels"]
    );
    let port = &monitor["spec"]["endpoints"][0]["port"];
    let mut ports = service["spec"]["ports"].as_array().unwrap().iter();
    let port = ports.find(|of_service| of_service["name"] == *port).unwrap();
    assert_eq!(
        (&port["port"], &port["targetPort"]),
        (&8080.into(), &"admin".into())
    );

    let path = folder.path().display().to_string();
    run(&plane, &format!("apply -f {}/namespace.yaml", base()));
    run(&plane, &format!("apply -k {path} --dry-run=server"));
    let apply = format!("apply -k {path} --server-side --field-manager=gitops");
    let applied = kubectl(&plane, &apply).expect_success();
    assert!(!applied.stderr.contains("Warning"), "{applied}");
    assert_no_difference(&plane, &path);

    let text = run(&plane, &format!("kustomize {path}"));
    for (right, wrong) in [
        ("honorLabels", "honourLabels"),
        ("alert: LanekeeperDown", "alarm: LanekeeperDown"),
    ] {
        assert!(text.contains(right), "{text}");
        let refused = plane
            .kubectl_stdin(
                &["apply", "--dry-run=server", "-f", "-"],
                &text.replace(right, wrong),
            )
            .expect_failure();
        let (field, _) = wrong.split_once(':').unwrap_or((wrong, ""));
        assert!(refused.stderr.contains(field), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_suffice_and_are_no_more_than_needed() {
    let plane = plane();
    run(&plane, &format!("apply -k {}", base()));
    let token = run(&plane, "create token lanekeeper --namespace=lanekeeper-system");
    let kubeconfig = plane.kubeconfig_for_token(token.trim());
    let watched = Watched::start(&kubeconfig).await;
    watched.until("the definition is served", |w| {
        w.version(Kind::LaneGroup).is_some()
    });
    watched.synced().await;
    assert_eq!(watched.served_kinds(), Kind::ALL.iter().copied().collect());

    let fresh = watched.fresh(&kubeconfig).await;
    let root = |kind: Kind| if kind.is_namespaced() { "istio-system" } else { "" };
    let gets = Kind::ALL
        .iter()
        .map(|kind| Read::Object(ObjectRef::new(*kind, root(*kind), "absent")));
    fresh.read(gets.collect()).await.unwrap();
    let lists = Kind::ALL.iter().map(|kind| match kind {
        Kind::ConfigMap => Read::List(*kind, "istio-system".into()),
        _ => Read::List(*kind, "".into()),
    });
    fresh.read(lists.collect()).await.unwrap();

    for question in [
        "get secrets --namespace=lanekeeper-system",
        "list configmaps --namespace=default",
        "create pods --namespace=default",
        "update virtualservices.networking.istio.io --namespace=default",
        "patch validatingwebhookconfigurations",
        "patch lanegroups.lanekeeper.dev --namespace=default",
        "update lanegroups.lanekeeper.dev --subresource=status --namespace=default",
        "update leases.coordination.k8s.io/other --namespace=lanekeeper-system",
        "get leases.coordination.k8s.io/lanekeeper --namespace=default",
    ] {
        let question = format!("auth can-i {question}");
        let words: Vec<_> = question.split_whitespace().collect();
        let answer = plane.kubectl_as(&kubeconfig, &words, None);
        assert_eq!(answer.stdout.trim(), "no", "{question}");
    }
}
