//! The chart, followed from `helm install` to `helm uninstall` as `docs/operations.md` and its own notes say, on a cluster whose
//! node runs the Deployment's pods and that has the examples in it.

use std::fs;

use serde_json::json;

use crate::control_plane::eventually;
use crate::node::NAMESPACE;
use crate::operations::{Visit, root, while_changes_go_on};
use crate::turn;

/// The commands that Helm prints after an installation, for a namespace.
fn noted(notes: &str, namespace: &str) -> Vec<String> {
    let lines = notes.lines().map(str::trim);
    let commands = lines.filter(|line| line.starts_with("kubectl "));
    commands.map(|line| line.replace("NAME", namespace)).collect()
}

#[test]
fn a_release_is_installed_upgraded_and_removed_and_nothing_is_in_its_way() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let visit = Visit::new(folder.path());
    let cluster = &visit.cluster;
    let page = visit.under("With Helm");
    let [install, restrict, upgrade, uninstall, forget @ ..] = page else {
        panic!("{page:?}")
    };
    let examples = root().join("examples/cars");
    let examples = examples.display();
    cluster
        .typed(&format!("kubectl apply -f {examples}"))
        .expect_success();

    let installed = cluster.typed(install).expect_success();
    let steps = noted(&installed.stdout, "cars");
    let (account, _running) = visit.joins("lanekeeper");
    cluster.typed(restrict).expect_success();
    for step in &steps {
        cluster.typed(step).expect_success();
    }
    let warned = eventually("a mistyped subset is warned of", || {
        let tried = cluster.tries_wrong().expect_success();
        tried.stderr.contains("LK103").then_some(tried)
    });
    assert!(warned.stderr.contains("Warning"), "{warned}");
    for namespace in ["cars", "cars-aswatson-dev"] {
        let label =
            format!("kubectl label namespace {namespace} lanekeeper.dev/enforcement=enforce --overwrite");
        cluster.typed(&label).expect_success();
    }
    cluster.until_refused();
    let group = json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup",
        "metadata": {"namespace": "cars", "name": "cars"},
        "spec": {"header": "bu", "workloads": {"matchLabels": {"app": "portal"}}, "lanes": ["wtchk", "wicph"],
            "defaultLane": "wtchk"}});
    cluster.apply(&group, &[]).expect_success();

    while_changes_go_on(cluster, || {
        cluster.typed(upgrade).expect_success();
        let rollout = cluster.typed(&steps[0]).expect_success();
        assert!(rollout.stdout.contains("successfully rolled out"), "{rollout}");
    });
    let images = format!(
        "kubectl get pods --namespace {NAMESPACE} --output jsonpath={{.items[*].spec.containers[*].image}}"
    );
    eventually("the pods are of the new version", || {
        let images = cluster.typed(&images).expect_success().stdout;
        (images == "lanekeeper:next lanekeeper:next").then_some(())
    });

    // What was refused is not refused any more, from this moment on; and the examples come and go.
    let removed = cluster.typed(uninstall).expect_success();
    assert!(
        removed.stdout.contains("lanegroups.lanekeeper.dev"),
        "it tells what it has kept: {removed}"
    );
    cluster.tries_wrong().expect_success();
    cluster
        .typed(&format!("kubectl delete -f {examples}/50-cars-api-portal.yaml"))
        .expect_success();
    cluster
        .typed(&format!("kubectl apply -f {examples}"))
        .expect_success();
    let left = cluster.typed(
        "kubectl get clusterroles,clusterrolebindings,crds,validatingwebhookconfigurations,\
         mutatingwebhookconfigurations --output name",
    );
    let left = left.expect_success().stdout;
    let left: Vec<&str> = left.lines().filter(|name| name.contains("lane")).collect();
    assert_eq!(
        left,
        ["customresourcedefinition.apiextensions.k8s.io/lanegroups.lanekeeper.dev"]
    );
    cluster
        .typed("kubectl get lanegroup cars --namespace cars")
        .expect_success();
    let own = format!(
        "kubectl get deployments,services,serviceaccounts,configmaps,secrets,roles,leases -n {NAMESPACE} -o name"
    );
    let own = cluster.typed(&own).expect_success().stdout;
    let mut own: Vec<&str> = own.lines().filter(|name| name.contains("lanekeeper")).collect();
    own.sort_unstable();
    assert_eq!(
        own,
        ["lease.coordination.k8s.io/lanekeeper", "secret/lanekeeper-ca"]
    );

    // Under another name the definition has to be taken over, which Helm does when it is told to.
    let other = install.replace("helm install lanekeeper ", "helm install guard ");
    let refused = cluster.typed(&other);
    assert!(refused.stderr.contains("invalid ownership metadata"), "{refused}");
    cluster
        .typed(&format!("{other} --take-ownership"))
        .expect_success();
    let token = cluster.token("guard-lanekeeper");
    fs::copy(cluster.plane.kubeconfig_for_token(&token), account).unwrap();
    cluster
        .typed(&steps[0].replace("deployment/lanekeeper", "deployment/guard-lanekeeper"))
        .expect_success();
    cluster.until_refused();
    cluster
        .typed(&uninstall.replace("uninstall lanekeeper ", "uninstall guard "))
        .expect_success();
    cluster.tries_wrong().expect_success();

    visit.follow(forget);
    eventually("its namespace is gone", || {
        let namespace = cluster.typed(&format!("kubectl get namespace {NAMESPACE}"));
        (!namespace.status.success()).then_some(())
    });
    let groups = cluster.typed("kubectl get lanegroups --all-namespaces");
    assert!(groups.stderr.contains("doesn't have a resource type"), "{groups}");
}
