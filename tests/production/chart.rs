//! The chart, followed from `helm install` to `helm uninstall` as `docs/operations.md` and its own notes say, on a cluster whose
//! node runs the Deployment's pods and that has the examples in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::balancer::Balancer;
use crate::control_plane::eventually;
use crate::node::{NAMESPACE, Node};
use crate::operations::{Visit, root, while_changes_go_on};
use crate::turn;

#[test]
fn a_release_is_installed_upgraded_and_removed_and_nothing_is_in_its_way() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let release = Release::new(folder.path());
    let (account, running) = release.is_installed();
    release.is_upgraded_while_changes_go_on();
    release.is_removed();
    release.has_another_name(&account);
    release.is_forgotten();
    drop(running);
    release.takes_over_what_was_applied();
}

/// A release's life, by the commands of the page.
struct Release {
    visit: Visit,
    install: String,
    restrict: String,
    upgrade: String,
    uninstall: String,
    forget: Vec<String>,
    /// The manifests of `examples/cars`.
    examples: PathBuf,
}

const ROLLOUT: &str =
    "kubectl rollout status deployment/lanekeeper --namespace lanekeeper-system --timeout 120s";

impl Release {
    fn new(folder: &Path) -> Self {
        let visit = Visit::new(folder);
        let page = visit.under("With Helm").to_vec();
        let [install, restrict, upgrade, uninstall, forget @ ..] = &page[..] else {
            panic!("{page:?}")
        };
        let release = Self {
            install: install.clone(),
            restrict: restrict.clone(),
            upgrade: upgrade.clone(),
            uninstall: uninstall.clone(),
            forget: forget.to_vec(),
            visit,
            examples: root().join("examples/cars"),
        };
        release.succeeds(&format!("kubectl apply -f {}", release.examples.display()));
        release
    }

    /// Types a command, which has to succeed, and gives what it printed.
    fn succeeds(&self, line: &str) -> String {
        self.visit.cluster.typed(line).expect_success().stdout
    }

    /// Types what the installation says comes next, and then what refuses.
    fn is_installed(&self) -> (PathBuf, (Node, Balancer)) {
        let notes = self.succeeds(&self.install);
        let steps: Vec<&str> = notes
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("kubectl "))
            .collect();
        let [rollout, warn] = steps[..] else {
            panic!("{notes}")
        };
        assert_eq!(rollout, ROLLOUT);
        let joined = self.visit.joins("lanekeeper");
        self.succeeds(&self.restrict);
        self.succeeds(rollout);
        self.succeeds(&warn.replace("NAME", "cars"));
        let cluster = &self.visit.cluster;
        let warned = eventually("a mistyped subset is warned of", || {
            let tried = cluster.tries_wrong().expect_success();
            tried.stderr.contains("LK103").then_some(tried)
        });
        assert!(warned.stderr.contains("Warning"), "{warned}");
        for namespace in ["cars", "cars-aswatson-dev"] {
            self.succeeds(&format!(
                "kubectl label namespace {namespace} lanekeeper.dev/enforcement=enforce --overwrite"
            ));
        }
        cluster.until_refused();
        let group = json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup",
            "metadata": {"namespace": "cars", "name": "cars"},
            "spec": {"header": "bu", "workloads": {"matchLabels": {"app": "portal"}}, "lanes": ["wtchk", "wicph"],
                "defaultLane": "wtchk"}});
        cluster.apply(&group, &[]).expect_success();
        joined
    }

    fn is_upgraded_while_changes_go_on(&self) {
        while_changes_go_on(&self.visit.cluster, || {
            self.succeeds(&self.upgrade);
            let rollout = self.succeeds(ROLLOUT);
            assert!(rollout.contains("successfully rolled out"), "{rollout}");
        });
        let images = self.succeeds(&format!(
            "kubectl get pods --namespace {NAMESPACE} --output jsonpath={{.items[*].spec.containers[*].image}}"
        ));
        assert_eq!(images, "lanekeeper:next lanekeeper:next");
    }

    /// What was refused is not refused any more, from this moment on; the examples come and go; lane groups stay.
    fn is_removed(&self) {
        let removed = self.succeeds(&self.uninstall);
        assert!(
            removed.contains("lanegroups.lanekeeper.dev"),
            "it tells what it has kept: {removed}"
        );
        self.visit.cluster.tries_wrong().expect_success();
        let examples = self.examples.display();
        self.succeeds(&format!("kubectl delete -f {examples}/50-cars-api-portal.yaml"));
        self.succeeds(&format!("kubectl apply -f {examples}"));
        let left = self.succeeds(
            "kubectl get clusterroles,clusterrolebindings,crds,validatingwebhookconfigurations,\
             mutatingwebhookconfigurations --output name",
        );
        let left: Vec<&str> = left.lines().filter(|name| name.contains("lane")).collect();
        assert_eq!(
            left,
            ["customresourcedefinition.apiextensions.k8s.io/lanegroups.lanekeeper.dev"]
        );
        self.succeeds("kubectl get lanegroup cars --namespace cars");
        let own = self.succeeds(&format!(
            "kubectl get deployments,services,serviceaccounts,configmaps,secrets,roles,leases -n {NAMESPACE} -o name"
        ));
        let mut own: Vec<&str> = own.lines().filter(|name| name.contains("lanekeeper")).collect();
        own.sort_unstable();
        assert_eq!(
            own,
            ["lease.coordination.k8s.io/lanekeeper", "secret/lanekeeper-ca"]
        );
    }

    /// Under another name the definition has to be taken over, which Helm does when it is told to.
    fn has_another_name(&self, account: &Path) {
        let cluster = &self.visit.cluster;
        let install = self
            .install
            .replace("helm install lanekeeper ", "helm install guard ");
        let refused = cluster.typed(&install);
        assert!(refused.stderr.contains("invalid ownership metadata"), "{refused}");
        // The account first, for the token that the pods sign in with.
        self.succeeds(&format!(
            "kubectl create serviceaccount guard-lanekeeper --namespace {NAMESPACE}"
        ));
        let token = cluster.token("guard-lanekeeper");
        fs::copy(cluster.plane.kubeconfig_for_token(&token), account).unwrap();
        self.succeeds(&format!("{install} --take-ownership"));
        self.succeeds(&ROLLOUT.replace("deployment/lanekeeper", "deployment/guard-lanekeeper"));
        cluster.until_refused();
        self.succeeds(
            &self
                .uninstall
                .replace("uninstall lanekeeper ", "uninstall guard "),
        );
        cluster.tries_wrong().expect_success();
    }

    fn is_forgotten(&self) {
        self.visit.follow(&self.forget);
        eventually("its namespace is gone", || {
            let namespace = self
                .visit
                .cluster
                .typed(&format!("kubectl get namespace {NAMESPACE}"));
            (!namespace.status.success()).then_some(())
        });
        let definitions = self.succeeds("kubectl get customresourcedefinitions --output name");
        assert!(!definitions.contains("lanekeeper"), "{definitions}");
    }

    /// From Kustomize to Helm.
    fn takes_over_what_was_applied(&self) {
        self.succeeds("kubectl apply -k manifests/base");
        self.succeeds(&format!("{} --take-ownership", self.install));
        self.succeeds(&self.uninstall);
        self.visit.cluster.tries_wrong().expect_success();
    }
}
