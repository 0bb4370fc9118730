//! `docs/operations.md`, followed as it is written, from the first command to the last, on a cluster whose node runs the
//! Deployment's pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::balancer::Balancer;
use crate::control_plane::{ControlPlane, KubectlOutput, eventually};
use crate::node::{NAMESPACE, Node, decisions};
use crate::objects::{deployment, destination_rule, service, virtual_service};
use crate::site::egress;
use crate::turn;

fn root() -> PathBuf {
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

/// The cluster, and the checkout at whose top commands are typed.
struct Cluster {
    plane: ControlPlane,
    checkout: tempfile::TempDir,
    /// What the pods write.
    written: PathBuf,
}

impl Cluster {
    /// Types a command.
    fn typed(&self, line: &str) -> KubectlOutput {
        let output = Command::new("sh")
            .args([
                "-c",
                &line.replacen("lanekeeper decisions", "\"$LANEKEEPER\" decisions", 1),
            ])
            .env("KUBECONFIG", self.plane.kubeconfig_path())
            .env("LANEKEEPER", env!("CARGO_BIN_EXE_lanekeeper"))
            .env("HOME", self.checkout.path())
            .current_dir(self.checkout.path())
            .output()
            .unwrap();
        KubectlOutput {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn apply(&self, object: &Value, more: &[&str]) -> KubectlOutput {
        let arguments = [&["apply", "-f", "-"], more].concat();
        self.plane.kubectl_stdin(&arguments, &object.to_string())
    }

    /// A route that is right, tried.
    fn tries_right(&self) -> KubectlOutput {
        let right = virtual_service("cars", "portal", "portal", "wicph");
        self.apply(&right, &["--dry-run=server"])
    }

    /// A route to a subset that is mistyped, tried.
    fn tries_wrong(&self) -> KubectlOutput {
        let wrong = virtual_service("cars", "portal", "portal", "wtcph");
        self.apply(&wrong, &["--dry-run=server"])
    }

    /// Returns when a mistyped subset is refused: the API server has learnt of the webhooks and of the label.
    fn until_refused(&self) {
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
    let (socket, configuration) = (folder.path().join("balancer"), folder.path().join("egress.yaml"));
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
        written: folder.path().join("pods"),
    };
    fs::create_dir(&cluster.written).unwrap();
    for name in ["istio-system", "cars"] {
        cluster
            .apply(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                &[],
            )
            .expect_success();
    }
    for object in [
        service("cars", "portal"),
        deployment("cars", "portal", "wtchk"),
        deployment("cars", "portal", "wicph"),
        destination_rule("cars", "portal", &["wtchk", "wicph"]),
        // What is wrong before anybody looks.
        virtual_service("cars", "old", "portal", "wtcph"),
    ] {
        cluster.apply(&object, &[]).expect_success();
    }

    let commands = commands();
    let under = |heading: &str| -> Vec<&str> { commands[heading].iter().map(String::as_str).collect() };
    let follow = |lines: &[&str]| -> Vec<KubectlOutput> {
        lines
            .iter()
            .map(|line| cluster.typed(line).expect_success())
            .collect()
    };

    // Install: the first command makes the ServiceAccount that the node's pods sign in as.
    let install = under("Install");
    follow(&install[..1]);
    let token = cluster
        .typed(&format!(
            "kubectl create token lanekeeper --namespace {NAMESPACE} --duration 3h"
        ))
        .expect_success();
    let kubeconfig = cluster.plane.kubeconfig_for_token(token.stdout.trim());
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(cluster.plane.client(&cluster.plane.kubeconfig_path()));
    let node = Node::start(&runtime, client, &kubeconfig, &cluster.written);
    let _balancer = runtime.block_on(Balancer::before(node.endpoints(), &socket));
    follow(&install[1..]);

    // Opting in, step by step; what was wrong is reported, and no change for it is refused.
    let steps = under("Let namespaces opt in");
    follow(&steps[..1]);
    eventually("the old fault is an Event", || {
        let events = cluster.typed(steps[1]).expect_success().stdout;
        (events.contains("LK103") && events.contains("virtualservice/old")).then_some(())
    });
    let warned = eventually("a mistyped subset is warned of", || {
        let tried = cluster.tries_wrong().expect_success();
        tried.stderr.contains("LK103").then_some(tried)
    });
    assert!(warned.stderr.contains("Warning"), "{warned}");
    follow(&steps[2..3]);
    cluster.until_refused();
    cluster.tries_right().expect_success();
    follow(&steps[3..]);

    // Opting out, and all at once.
    let absent = under("When it is not there");
    follow(&absent[..1]);
    eventually("nothing is refused any more", || {
        cluster.tries_wrong().status.success().then_some(())
    });
    follow(&absent[1..]);
    follow(&install);
    follow(&steps[2..3]);
    cluster.until_refused();

    // Looking at it.
    let watching = follow(&under("Watch it")[..2]);
    assert!(watching[1].stdout.contains("LK103"), "{}", watching[1]);
    let check = cluster.typed("\"$LANEKEEPER\" check --cluster");
    assert!(check.stdout.contains("LK103"), "{check}");
    let looking = under("Who was refused, and why");
    assert!(
        looking[0].ends_with("lanekeeper decisions --denied -"),
        "{}",
        looking[0]
    );
    fs::write(
        cluster.checkout.path().join("decisions.jsonl"),
        decisions(&cluster.written),
    )
    .unwrap();
    let denied = cluster
        .typed("lanekeeper decisions --denied - < decisions.jsonl")
        .expect_success();
    assert!(
        denied.stdout.contains("portal") && denied.stdout.contains("LK103"),
        "{denied}"
    );
    follow(&looking[1..]);

    // Another authority, and a new version, while changes go on: none fails.
    let certificates = under("Certificates");
    let upgrade = under("Upgrade");
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (cluster, stop) = (&cluster, Arc::clone(&is_over));
        let trying = scope.spawn(move || {
            let mut tried = 0;
            while !stop.load(Ordering::SeqCst) {
                let right = cluster.tries_right();
                assert!(right.status.success(), "try {tried}: {right}");
                let wrong = cluster.tries_wrong();
                assert!(wrong.stderr.contains("LK103"), "try {tried}: {wrong}");
                tried += 1;
            }
            tried
        });
        follow(&certificates[..1]);
        let kustomization = cluster.checkout.path().join("manifests/base/kustomization.yaml");
        let text = fs::read_to_string(&kustomization).unwrap();
        fs::write(&kustomization, text.replace("newTag: ", "newTag: next-")).unwrap();
        let differs = cluster.typed(upgrade[0]);
        assert!(differs.stdout.contains("next-"), "{differs}");
        follow(&upgrade[1..]);
        // Old pods go on for a while.
        eventually("two pods are left", || {
            let pods = cluster.typed(&format!("kubectl get pods --namespace {NAMESPACE} --no-headers"));
            (pods.stdout.lines().count() == 2).then_some(())
        });
        is_over.store(true, Ordering::SeqCst);
        let tried = trying.join().unwrap();
        assert!(tried > 5, "{tried} tries");
    });

    // The key is known to others.
    follow(&certificates[1..]);
    follow(&install[1..2]);
    cluster.until_refused();

    // Removal: nothing is left, and nothing is in the way.
    follow(&under("Remove"));
    cluster.tries_wrong().expect_success();
    let left = cluster.typed("kubectl get clusterroles,clusterrolebindings,crds,validatingwebhookconfigurations,mutatingwebhookconfigurations --output name");
    assert!(!left.stdout.contains("lanekeeper"), "{left}");
    eventually("its namespace is gone", || {
        let namespace = cluster.typed(&format!("kubectl get namespace {NAMESPACE}"));
        (!namespace.status.success()).then_some(())
    });
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
