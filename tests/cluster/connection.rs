//! Connections that are lost, refused, or past the watch's cache.

use std::sync::Arc;
use std::time::Duration;

use lanekeeper::admission::FreshReads as _;
use lanekeeper::resource::Labels;
use lanekeeper::world::Read;

use crate::control_plane::{ControlPlane, DEV, eventually};
use crate::cuttable::Cuttable;
use crate::{Kind, ObjectRef, Watched, apply, run, texts, virtual_service};

/// An API server with the `VirtualServices` `kept` and `doomed`.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    run(&plane, "create namespace cars");
    for name in ["kept", "doomed"] {
        apply(&plane, &virtual_service("v1", name, name));
    }
    plane
}

/// Changes what a watch of [`plane`] knows: one comes, one changes, one goes.
fn change(plane: &ControlPlane) {
    apply(plane, &virtual_service("v1", "new", "new"));
    apply(plane, &virtual_service("v1", "kept", "changed"));
    run(plane, "delete virtualservice doomed --namespace=cars");
}

fn knows_the_change(watched: &Watched) -> bool {
    watched.has_vs("new") && watched.hosts("kept") == ["changed"] && !watched.has_vs("doomed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_made_up_for() {
    let plane = plane();
    let line = Cuttable::to(&plane, &plane.kubeconfig_path(), Duration::ZERO).await;
    let watched = Watched::start(line.kubeconfig()).await;
    watched.synced().await;

    line.cut();
    change(&plane);
    watched.until("the loss is noticed", |w| {
        Kind::ALL
            .iter()
            .any(|kind| w.watches.progress().restarts(*kind) > 0)
    });
    assert!(
        watched.watches.progress().pending().is_empty(),
        "what was complete stays so"
    );
    assert!(watched.has_vs("doomed") && !watched.has_vs("new"));
    line.mend();
    watched.until("all is made up for", knows_the_change);

    // A list that starts afresh, on a world that was full before.
    let world = Arc::clone(&watched.world);
    drop(watched);
    run(&plane, "delete virtualservice new --namespace=cars");
    let watched = Watched::onto(world, line.kubeconfig()).await;
    assert!(watched.has_vs("new"));
    watched.synced().await;
    assert!(!watched.has_vs("new") && watched.has_vs("kept"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_reads_see_what_the_watch_does_not_know_yet() {
    let plane = plane();
    let line = Cuttable::to(&plane, &plane.kubeconfig_path(), Duration::ZERO).await;
    let watched = Watched::start(line.kubeconfig()).await;
    watched.synced().await;
    line.cut();
    change(&plane);
    run(&plane, "create deployment portal --image=portal --namespace=cars");
    for app in ["portal", "api"] {
        let metadata = format!("{{namespace: cars, name: {app}, labels: {{app: {app}}}}}");
        let spec = "{containers: [{name: a, image: a}]}";
        apply(
            &plane,
            &format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {spec}\n"),
        );
    }

    let fresh = watched.fresh(&plane.kubeconfig_path()).await;
    let list = |kind, namespace: &str| Read::List(kind, namespace.into());
    let object = |kind, namespace, name| Read::Object(ObjectRef::new(kind, namespace, name));
    let pods = |app: &str| Read::Pods("cars".into(), Labels::new([("app".into(), app.into())]));
    let reads = vec![
        object(Kind::VirtualService, "cars", "new"),
        list(Kind::VirtualService, "cars"),
        object(Kind::Deployment, "cars", "portal"),
        object(Kind::Deployment, "cars", "absent"),
        object(Kind::Namespace, "", "cars"),
        pods("portal"),
        pods("no pod can have this"),
        list(Kind::Service, ""),
        list(Kind::LaneGroup, "cars"),
        list(Kind::ConfigMap, "cars"),
        list(Kind::ConfigMap, "istio-system"),
    ];
    let (world, answered) = fresh.read(reads.clone()).await.unwrap();
    let names = world.objects().map(|object| object.reference().to_string());
    assert_eq!(
        names.collect::<std::collections::BTreeSet<_>>(),
        texts([
            "Deployment cars/portal",
            "Namespace cars",
            "Pod cars/portal",
            "Service default/kubernetes",
            "VirtualService cars/kept",
            "VirtualService cars/new",
        ])
    );
    assert_eq!(answered, reads[1..], "the list answers for the object");
    assert!(watched.has_vs("doomed") && !watched.has_vs("new"));

    // What cannot be read is an error, not an absence.
    let nobody = watched.fresh(&plane.user(DEV, &[])).await;
    let error = nobody
        .read(vec![list(Kind::VirtualService, "cars")])
        .await
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.starts_with("every VirtualService of namespace cars cannot be read afresh: "),
        "{error}"
    );
    assert!(error.contains("forbidden"), "{error}");
    let cut = watched.fresh(line.kubeconfig()).await;
    let services = || vec![list(Kind::Service, "cars")];
    assert!(cut.read(services()).await.is_err());
    // One that fails in passing is tried again.
    let (read, ()) = tokio::join!(cut.read(services()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        line.mend();
    });
    read.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_is_told_of_and_asked_again() {
    let plane = ControlPlane::start();
    let watched = Watched::start(&plane.user(DEV, &[])).await;
    eventually("the refusal is told", || {
        let pending = watched.watches.progress().pending();
        let pods = pending.iter().find(|pending| pending.kind == Kind::Pod)?;
        pods.to_string().contains("forbidden").then_some(())
    });
    run(
        &plane,
        "create clusterrolebinding dev --clusterrole=cluster-admin --user=dev",
    );
    watched.synced().await;
    assert!(watched.has(Kind::Namespace, "", "default"));
}
