//! `lanekeeper check --cluster`.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt as _;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use lanekeeper::cluster::{Connection, load};
use lanekeeper::progress::Progress;
use lanekeeper::world::Settings;
use serde_json::json;

use crate::command::{self, Run, folder};
use crate::control_plane::{ControlPlane, DEV};
use crate::kinds::create_broken;
use crate::{Kind, run};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// An API server with the good examples.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    run(&plane, "create namespace istio-system");
    run(&plane, &format!("apply -f {}", example("cars").display()));
    plane
}

/// `lanekeeper check --cluster` as the user of a kubeconfig, with more words.
fn check(kubeconfig: &Path, words: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command.args(["check", "--no-config", "--cluster", "--kubeconfig"]);
    command::run(command.arg(kubeconfig).args(words))
}

#[test]
fn what_runs_is_judged_with_the_files_laid_over_it() {
    let plane = plane();
    let admin = plane.kubeconfig_path();
    check(&admin, &[])
        .ends_with(0)
        .prints("objects of the cluster: no findings");

    // A file alone would miss all that it refers to.
    let broken = example("cars-broken/subset-name-typo.yaml");
    let broken = broken.to_str().unwrap();
    let json = check(&admin, &[broken, "-o", "json"]).ends_with(1).json();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{json:#}");
    assert_eq!(
        (&findings[0]["code"], &findings[0]["file"]),
        (&json!("LK103"), &json!(broken))
    );
    assert_eq!(findings[0]["related"][0]["file"], json!(null), "{json:#}");

    // The same fault in the cluster has no place, and a file over it mends it.
    run(&plane, &format!("apply -f {broken}"));
    let json = check(&admin, &["-o", "json"]).ends_with(1).json();
    let finding = &json["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["file"]),
        (&json!("LK103"), &json!(null))
    );
    assert_eq!(finding["object"]["apiVersion"], "networking.istio.io/v1");
    assert_eq!(json["summary"]["files"], 0);
    let good = example("cars/50-cars-api-portal.yaml");
    let good = check(&admin, &[good.to_str().unwrap()]).ends_with(0);
    assert!(good.stdout.contains("in 1 file over "), "{good:?}");
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_judged() {
    let plane = plane();
    let dev = plane.user(DEV, &[]);
    let refused = check(&dev, &[]).ends_with(2);
    assert!(
        refused.stderr.contains("nothing of the cluster at https://"),
        "{refused:?}"
    );
    let rights = "create clusterrole reader --verb=list --resource";
    let istio = ["virtualservices", "destinationrules", "gateways", "wasmplugins"];
    let group = |kind: &&str| match *kind {
        "wasmplugins" => "wasmplugins.extensions.istio.io".to_owned(),
        kind => format!("{kind}.networking.istio.io"),
    };
    let istio: Vec<String> = istio.iter().map(group).collect();
    run(
        &plane,
        &format!("{rights}=services,namespaces,{}", istio.join(",")),
    );
    run(
        &plane,
        "create clusterrolebinding reader --clusterrole=reader --user=dev",
    );
    let checked = check(&dev, &["--fail-on", "deny"]).ends_with(0);
    for note in [
        "note: no Pod is read: the right to list pods in all namespaces is missing",
        "note: no Deployment is read: the right to list deployments.apps in all namespaces is missing",
        "note: no ConfigMap is read: the right to list configmaps in namespace istio-system is missing",
        "note: what is only missing warns, for it may be among what is not read",
    ] {
        assert!(
            checked.stderr.contains(note),
            "no `{note}` in:\n{}",
            checked.stderr
        );
    }
    assert!(
        !checked.stderr.contains("no VirtualService"),
        "{}",
        checked.stderr
    );
    // No workload is known, and none is said to be wrong for that.
    checked.prints(" of the cluster: 0 deny, ");
}

#[test]
fn an_api_server_that_is_not_there_is_one_clear_error() {
    let kubeconfig = "
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: t}}]
";
    let dir = folder(&[("kubeconfig", kubeconfig)]);
    let failed = check(&dir.path().join("kubeconfig"), &[]).ends_with(2);
    let start = "lanekeeper: the API server at https://127.0.0.1:1 cannot be asked: ";
    assert!(failed.stderr.starts_with(start), "{failed:?}");
    assert!(failed.stderr.contains("refused"), "{failed:?}");
    assert_eq!(failed.stderr.lines().count(), 1, "{failed:?}");
}

#[test]
fn who_is_not_known_to_the_api_server_is_told_so() {
    let plane = ControlPlane::start();
    let failed = check(&plane.kubeconfig_for_token("nobody's"), &[]).ends_with(2);
    assert!(failed.stderr.contains("it does not know who asks"), "{failed:?}");
    assert_eq!(failed.stderr.lines().count(), 1, "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_read_and_what_cannot_be_is_left_out_with_a_note() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    run(&plane, "create namespace cars");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "networking.istio.io",
        "v1",
        "ServiceEntry",
    ));
    let client = plane.client(&plane.kubeconfig_path()).await;
    let api: Api<DynamicObject> = Api::namespaced_with(client, "cars", &resource);
    let create = |number: usize| {
        let entry = json!({"metadata": {"name": format!("entry-{number}")}, "spec": {"hosts": [format!("h{number}.x")]}});
        let (api, entry) = (api.clone(), serde_json::from_value(entry).unwrap());
        let entry: DynamicObject = DynamicObject {
            types: Some(kube::api::TypeMeta {
                api_version: "networking.istio.io/v1".to_owned(),
                kind: "ServiceEntry".to_owned(),
            }),
            ..entry
        };
        async move { api.create(&PostParams::default(), &entry).await }
    };
    let created: Vec<_> = futures::stream::iter(1..=1_100)
        .map(create)
        .buffer_unordered(16)
        .collect()
        .await;
    assert!(
        created.iter().all(Result::is_ok),
        "{:?}",
        created.iter().find(|one| one.is_err())
    );
    create_broken(&plane);

    let connection = Connection {
        kubeconfig: Some(plane.kubeconfig_path()),
        context: None,
    };
    let settings = Settings::default();
    let loaded = load(&connection, &settings, &Progress::default()).await.unwrap();
    let of = |kind: Kind| {
        loaded
            .objects
            .iter()
            .filter(|object| object.kind() == kind)
            .count()
    };
    assert_eq!((of(Kind::ServiceEntry), of(Kind::VirtualService)), (1_100, 0));
    assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    assert!(
        loaded.notes[0].starts_with("VirtualService cars/broken cannot be read and is left out: spec.hosts"),
        "{:?}",
        loaded.notes
    );
    assert!(loaded.is_whole);
}
