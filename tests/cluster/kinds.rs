//! Kinds come, change version and go; objects are followed, and what cannot be read is left out.

use crate::control_plane::{ControlPlane, eventually};
use crate::{Kind, Watched, apply, kubectl, run, texts, virtual_service};

const CRD: &str = "customresourcedefinition/virtualservices.networking.istio.io";

/// The position of a version in the definition of `VirtualService`.
fn position(plane: &ControlPlane, version: &str) -> usize {
    let versions = run(
        plane,
        &format!("get {CRD} --output=jsonpath={{.spec.versions[*].name}}"),
    );
    versions
        .split_whitespace()
        .position(|name| name == version)
        .unwrap()
}

/// Replaces a part of the definition of a version of `VirtualService`.
fn redefine(plane: &ControlPlane, version: &str, path: &str, value: &str) {
    let path = format!("/spec/versions/{}/{path}", position(plane, version));
    let replacement = format!(r#"[{{"op": "replace", "path": "{path}", "value": {value}}}]"#);
    plane
        .kubectl(&["patch", CRD, "--type=json", "--patch", &replacement])
        .expect_success();
}

/// Makes the `VirtualService` `broken`, which no schema forbids any more and no parser reads.
pub(crate) fn create_broken(plane: &ControlPlane) {
    let free = r#"{"type": "object", "x-kubernetes-preserve-unknown-fields": true}"#;
    redefine(plane, "v1", "schema/openAPIV3Schema", free);
    let broken = virtual_service("v1", "broken", "broken").replace("hosts: [broken]", "hosts: 5");
    eventually("the schema is gone", || {
        plane
            .kubectl_stdin(&["create", "-f", "-"], &broken)
            .status
            .success()
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_istio_the_kinds_of_kubernetes_are_in_step() {
    let plane = ControlPlane::start();
    let watched = Watched::start(&plane.kubeconfig_path()).await;
    watched.synced().await;
    let kubernetes = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| matches!(kind.group(), "" | "apps"));
    assert_eq!(watched.served_kinds(), kubernetes.collect());
    assert!(watched.has(Kind::Namespace, "", "default"));
    assert!(watched.has(Kind::Service, "default", "kubernetes"));

    // Of the ConfigMaps, only the mesh configuration.
    run(&plane, "create namespace istio-system");
    run(&plane, "create namespace cars");
    for (namespace, name, key) in [
        ("istio-system", "istio-ca-root-cert", "root-cert.pem"),
        ("istio-system", "kiali", "mesh"),
        ("cars", "istio", "mesh"),
        ("istio-system", "istio", "mesh"),
        ("istio-system", "istio-canary", "mesh"),
    ] {
        run(
            &plane,
            &format!("create configmap {name} --namespace={namespace} --from-literal={key}="),
        );
    }
    watched.until("the last is there", |w| {
        w.has(Kind::ConfigMap, "istio-system", "istio-canary")
    });
    assert_eq!(
        watched.names(Kind::ConfigMap),
        texts([
            "ConfigMap istio-system/istio",
            "ConfigMap istio-system/istio-canary"
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_and_objects_come_change_and_go() {
    let plane = ControlPlane::start();
    run(&plane, "create namespace cars");
    let watched = Watched::start(&plane.kubeconfig_path()).await;
    watched.synced().await;
    assert_eq!(watched.version(Kind::VirtualService), None);

    // Definitions that are installed later.
    plane.install_istio_crds();
    watched.until("it is served", |w| w.version(Kind::VirtualService).is_some());
    watched.synced().await;
    assert_eq!(watched.version(Kind::VirtualService), Some("v1"));
    assert_eq!(watched.version(Kind::EnvoyFilter), Some("v1alpha3"));
    assert_eq!(watched.version(Kind::LaneGroup), None);

    // Objects, in any version.
    apply(&plane, &virtual_service("v1beta1", "portal", "portal"));
    apply(&plane, &virtual_service("v1alpha3", "api", "api"));
    watched.until("both are there", |w| w.has_vs("portal") && w.has_vs("api"));
    apply(&plane, &virtual_service("v1", "portal", "other"));
    watched.until("the update is there", |w| w.hosts("portal") == ["other"]);
    run(&plane, "delete virtualservice api --namespace=cars");
    watched.until("the deletion is there", |w| !w.has_vs("api"));

    // The version that is watched goes, another stays.
    redefine(&plane, "v1", "served", "false");
    watched.until("another is watched", |w| {
        w.version(Kind::VirtualService) == Some("v1beta1")
    });
    assert!(watched.has_vs("portal"), "what was known stays meanwhile");
    apply(&plane, &virtual_service("v1beta1", "later", "later"));
    watched.until("what comes in it is there", |w| w.has_vs("later"));

    // A definition that is removed.
    run(&plane, &format!("delete {CRD}"));
    watched.until("it is not served", |w| w.version(Kind::VirtualService).is_none());
    assert!(watched.names(Kind::VirtualService).is_empty());
    watched.synced().await;
    assert!(
        watched.has(Kind::Namespace, "", "cars"),
        "nothing else went with it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_cannot_be_read_is_left_out() {
    let plane = ControlPlane::start();
    run(&plane, "create namespace cars");
    plane.install_istio_crds();
    let watched = Watched::start(&plane.kubeconfig_path()).await;
    watched.synced().await;
    apply(&plane, &virtual_service("v1", "good", "good"));
    apply(&plane, &virtual_service("v1", "spoilt", "spoilt"));
    watched.until("both are there", |w| w.has_vs("good") && w.has_vs("spoilt"));

    create_broken(&plane);
    let spoil = r#"--patch={"spec":{"hosts":5}}"#;
    let spoil = format!("patch virtualservices.v1.networking.istio.io spoilt -n cars --type=merge {spoil}");
    run(&plane, &spoil);
    watched.until("nothing is known of what it was", |w| !w.has_vs("spoilt"));

    // The watch goes on, and so does one that begins with a list which holds them.
    apply(&plane, &virtual_service("v1", "after", "after"));
    watched.until("the watch goes on", |w| w.has_vs("after"));
    let again = Watched::start(&plane.kubeconfig_path()).await;
    again.synced().await;
    for watched in [watched, again] {
        let known = ["VirtualService cars/after", "VirtualService cars/good"];
        assert_eq!(watched.names(Kind::VirtualService), texts(known));
    }
    kubectl(&plane, "delete virtualservice --all --namespace=cars").expect_success();
}
