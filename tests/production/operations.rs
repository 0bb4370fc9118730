//! `docs/operations.md`, followed as it is written, from the first command to the last, on a cluster whose node runs the
//! Deployment's pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::balancer::Balancer;
use crate::control_plane::{ControlPlane, KubectlOutput, eventually};
use crate::node::{NAMESPACE, Node, decisions};
use crate::objects::{deployment, destination_rule, service, virtual_service};
use crate::site::egress;
use crate::{programs, turn};

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The commands of the page, by the heading above them.
fn commands() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(new) = line.strip_prefix("## ") {
            new.clone_into(&mut heading);
        }
        if let Some(command) = line.strip_prefix("$ ") {
            all.entry(heading.clone()).or_default().push(command.to_owned());
        }
    }
    all
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let new = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &new);
        } else {
            fs::copy(&path, &new).unwrap();
        }
    }
}

/// A command with this program in the place of the one that is installed.
fn own_program(line: &str) -> String {
    match line.strip_prefix("lanekeeper ") {
        Some(arguments) => format!("\"$LANEKEEPER\" {arguments}"),
        None => line.to_owned(),
    }
}

/// The cluster, and the checkout at whose top commands are typed.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    checkout: tempfile::TempDir,
    /// What the pods write.
    written: PathBuf,
}

impl Cluster {
    /// Types a command.
    pub(crate) fn typed(&self, line: &str) -> KubectlOutput {
        let output = Command::new("sh")
            .args(["-c", &own_program(line)])
            .env("KUBECONFIG", self.plane.kubeconfig_path())
            .env("LANEKEEPER", env!("CARGO_BIN_EXE_lanekeeper"))
            .env("HOME", self.checkout.path())
            .env("PATH", programs::path())
            .current_dir(self.checkout.path())
            .output()
            .unwrap();
        KubectlOutput {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies an object.
    pub(crate) fn apply(&self, object: &Value, more: &[&str]) -> KubectlOutput {
        let arguments = [&["apply", "-f", "-"], more].concat();
        self.plane.kubectl_stdin(&arguments, &object.to_string())
    }

    /// A token of an account of Lanekeeper's namespace.
    pub(crate) fn token(&self, account: &str) -> String {
        let token = format!("kubectl create token {account} --namespace {NAMESPACE} --duration 3h");
        let token = self.typed(&token).expect_success().stdout;
        token.trim().to_owned()
    }

    /// A route that is right, tried.
    fn tries_right(&self) -> KubectlOutput {
        let right = virtual_service("cars", "portal", "portal", "wicph");
        self.apply(&right, &["--dry-run=server"])
    }

    /// A route to a subset that is mistyped, tried.
    pub(crate) fn tries_wrong(&self) -> KubectlOutput {
        let wrong = virtual_service("cars", "portal", "portal", "wtcph");
        self.apply(&wrong, &["--dry-run=server"])
    }

    /// Returns when a mistyped subset is refused: the API server has learnt of the webhooks and of the label.
    pub(crate) fn until_refused(&self) {
        eventually("a mistyped subset is refused", || {
            let tried = self.tries_wrong();
            (!tried.status.success() && tried.stderr.contains("LK103")).then_some(())
        });
    }
}

#[test]
fn the_page_leads_from_install_to_removal() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let visit = Visit::new(folder.path());
    let _node = visit.installs();
    visit.opts_in();
    visit.opts_out_and_in_again();
    visit.looks_at_it();
    visit.upgrades_while_changes_go_on();
    visit.changes_a_key_that_others_know();
    visit.removes_it();
}

/// Does something that ends with a rollout, while changes are tried, each of which is judged.
pub(crate) fn while_changes_go_on(cluster: &Cluster, upgrade: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            let mut tried = 0;
            while !is_over.load(Ordering::SeqCst) {
                let right = cluster.tries_right();
                assert!(right.status.success(), "try {tried}: {right}");
                let wrong = cluster.tries_wrong();
                assert!(wrong.stderr.contains("LK103"), "try {tried}: {wrong}");
                tried += 1;
            }
            tried
        });
        upgrade();
        // Old pods go on for a while.
        eventually("two pods are left", || {
            let pods = cluster.typed(&format!("kubectl get pods --namespace {NAMESPACE} --no-headers"));
            (pods.stdout.lines().count() == 2).then_some(())
        });
        is_over.store(true, Ordering::SeqCst);
        let tried = trying.join().unwrap();
        assert!(tried > 5, "{tried} tries");
    });
}

/// An administrator's visit to the page.
pub(crate) struct Visit {
    pub(crate) cluster: Cluster,
    commands: BTreeMap<String, Vec<String>>,
    runtime: Runtime,
    /// The socket at which the API server asks for connections to Services.
    socket: PathBuf,
}

impl Visit {
    /// A cluster with lanes, one of which is broken before anybody looks.
    pub(crate) fn new(folder: &Path) -> Self {
        let (socket, configuration) = (folder.join("balancer"), folder.join("egress.yaml"));
        fs::write(&configuration, egress(&socket)).unwrap();
        let flag = format!("--egress-selector-config-file={}", configuration.display());
        let plane = ControlPlane::with_flags(vec![flag]);
        plane.install_istio_crds();
        plane.start_controller_manager();
        let checkout = tempfile::tempdir().unwrap();
        copy(&root().join("manifests"), &checkout.path().join("manifests"));
        let cluster = Cluster {
            plane,
            checkout,
            written: folder.join("pods"),
        };
        fs::create_dir(&cluster.written).unwrap();
        let namespace =
            |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        for object in [
            namespace("istio-system"),
            namespace("cars"),
            service("cars", "portal"),
            deployment("cars", "portal", "wtchk"),
            deployment("cars", "portal", "wicph"),
            destination_rule("cars", "portal", &["wtchk", "wicph"]),
            virtual_service("cars", "old", "portal", "wtcph"),
        ] {
            cluster.apply(&object, &[]).expect_success();
        }
        Self {
            cluster,
            commands: commands(),
            runtime: Runtime::new().unwrap(),
            socket,
        }
    }

    /// The commands under a heading.
    pub(crate) fn under(&self, heading: &str) -> &[String] {
        &self.commands[heading]
    }

    /// Types commands, which have to succeed.
    pub(crate) fn follow(&self, lines: &[String]) -> Vec<KubectlOutput> {
        let lines = lines.iter();
        lines
            .map(|line| self.cluster.typed(line).expect_success())
            .collect()
    }

    /// The first command makes the account that the node's pods sign in as.
    fn installs(&self) -> (Node, Balancer) {
        let install = self.under("Install");
        self.follow(&install[..1]);
        let (_, running) = self.joins("lanekeeper");
        self.follow(&install[1..]);
        running
    }

    /// A node joins the cluster, whose pods sign in as this account, by the kubeconfig that is given, too.
    pub(crate) fn joins(&self, account: &str) -> (PathBuf, (Node, Balancer)) {
        let plane = &self.cluster.plane;
        let kubeconfig = plane.kubeconfig_for_token(&self.cluster.token(account));
        let client = self.runtime.block_on(plane.client(&plane.kubeconfig_path()));
        let node = Node::start(&self.runtime, client, &kubeconfig, &self.cluster.written);
        let balancer = Balancer::before(node.endpoints(), &self.socket);
        let balancer = self.runtime.block_on(balancer);
        (kubeconfig, (node, balancer))
    }

    /// Step by step; what was wrong is reported, and no change is refused for it.
    fn opts_in(&self) {
        let (cluster, steps) = (&self.cluster, self.under("Let namespaces opt in"));
        self.follow(&steps[..1]);
        eventually("the old fault is an Event", || {
            let events = cluster.typed(&steps[1]).expect_success().stdout;
            (events.contains("LK103") && events.contains("virtualservice/old")).then_some(())
        });
        let warned = eventually("a mistyped subset is warned of", || {
            let tried = cluster.tries_wrong().expect_success();
            tried.stderr.contains("LK103").then_some(tried)
        });
        assert!(warned.stderr.contains("Warning"), "{warned}");
        self.follow(&steps[2..3]);
        cluster.until_refused();
        cluster.tries_right().expect_success();
        self.follow(&steps[3..]);
    }

    fn opts_out_and_in_again(&self) {
        let absent = self.under("When it is not there");
        self.follow(&absent[..1]);
        eventually("nothing is refused any more", || {
            self.cluster.tries_wrong().status.success().then_some(())
        });
        self.follow(&absent[1..]);
        self.follow(self.under("Install"));
        self.follow(&self.under("Let namespaces opt in")[2..3]);
        self.cluster.until_refused();
    }

    fn looks_at_it(&self) {
        let cluster = &self.cluster;
        let (kubectl, own) = self.under("Watch it").split_at(2);
        let watching = self.follow(kubectl);
        assert!(watching[1].stdout.contains("LK103"), "{}", watching[1]);
        let check = cluster.typed(&own[0]);
        assert!(check.stdout.contains("LK103"), "{check}");

        // No kubelet gives the logs of pods: they come from where the node has them.
        let looking = self.under("Who was refused, and why");
        let (_, reading) = looking[0].split_once(" | ").unwrap();
        let file = cluster.checkout.path().join("decisions.jsonl");
        fs::write(file, decisions(&cluster.written)).unwrap();
        let denied = cluster
            .typed(&format!("{reading} < decisions.jsonl"))
            .expect_success();
        assert!(
            denied.stdout.contains("portal") && denied.stdout.contains("LK103"),
            "{denied}"
        );
        self.follow(&looking[1..]);
    }

    /// Another authority, and then a new version: no change fails.
    fn upgrades_while_changes_go_on(&self) {
        let cluster = &self.cluster;
        while_changes_go_on(cluster, || {
            self.follow(&self.under("Certificates")[..1]);
            let kustomization = cluster.checkout.path().join("manifests/base/kustomization.yaml");
            let text = fs::read_to_string(&kustomization).unwrap();
            fs::write(&kustomization, text.replace("newTag: ", "newTag: next-")).unwrap();
            let upgrade = self.under("Upgrade");
            let differs = cluster.typed(&upgrade[0]);
            assert!(differs.stdout.contains("next-"), "{differs}");
            self.follow(&upgrade[1..]);
        });
    }

    fn changes_a_key_that_others_know(&self) {
        self.follow(&self.under("Certificates")[1..]);
        self.follow(&self.under("Install")[1..2]);
        self.cluster.until_refused();
    }

    /// Nothing is left, and nothing is in the way.
    fn removes_it(&self) {
        let cluster = &self.cluster;
        self.follow(self.under("Remove"));
        cluster.tries_wrong().expect_success();
        let left = cluster.typed(
            "kubectl get clusterroles,clusterrolebindings,crds,validatingwebhookconfigurations,\
             mutatingwebhookconfigurations --output name",
        );
        assert!(!left.expect_success().stdout.contains("lanekeeper"));
        eventually("its namespace is gone", || {
            let namespace = cluster.typed(&format!("kubectl get namespace {NAMESPACE}"));
            (!namespace.status.success()).then_some(())
        });
    }
}

#[test]
fn each_heading_that_the_page_leads_to_is_there() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let slug = |heading: &str| heading.to_lowercase().replace([',', '?'], "").replace(' ', "-");
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(slug)
        .collect();
    let mut links = 0;
    for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        match link.strip_prefix('#') {
            Some(heading) => assert!(headings.contains(&heading.to_owned()), "{link}"),
            None => assert!(root().join("docs").join(link).exists(), "{link}"),
        }
        links += 1;
    }
    assert!(links > headings.len(), "{links}");
}
