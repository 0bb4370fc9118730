//! What a node does for a Deployment: it runs its pods as processes, with their own arguments, and tells what becomes of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::balancer::{Endpoint, page};
use crate::control_plane::{free_port, mortal};

/// The namespace of the pods.
pub(crate) const NAMESPACE: &str = "lanekeeper-system";

/// The node's name.
const NODE: &str = "one";

/// How many pods it has addresses for: two, a new one, and those that are about to end.
const PODS: usize = 6;

/// How often it looks at its pods.
const POLL: Duration = Duration::from_millis(200);

/// A node for the pods of one namespace, until it is dropped.
pub(crate) struct Node {
    endpoints: Vec<Endpoint>,
    stop: Arc<AtomicBool>,
    work: Option<JoinHandle<()>>,
}

/// A pod that runs here.
struct Running {
    process: Child,
    at: usize,
    is_ready: bool,
    is_told_to_end: bool,
}

struct Work {
    pods: Api<Pod>,
    kubeconfig: PathBuf,
    folder: PathBuf,
    endpoints: Vec<Endpoint>,
    running: BTreeMap<String, Running>,
}

impl Node {
    /// Joins the cluster. The pods' processes sign in with this kubeconfig, and write to this folder.
    pub(crate) fn start(runtime: &Runtime, client: Client, kubeconfig: &Path, folder: &Path) -> Self {
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let endpoints: Vec<Endpoint> = (0..PODS)
            .map(|_| Endpoint {
                webhook: address(),
                admin: address(),
            })
            .collect();
        let nodes: Api<ApiNode> = Api::all(client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": NODE}})).unwrap();
        runtime
            .block_on(nodes.create(&PostParams::default(), &node))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            pods: Api::namespaced(client, NAMESPACE),
            kubeconfig: kubeconfig.to_owned(),
            folder: folder.to_owned(),
            endpoints: endpoints.clone(),
            running: BTreeMap::new(),
        };
        let (handle, stopped) = (runtime.handle().clone(), Arc::clone(&stop));
        let work = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                handle.block_on(work.look());
                thread::sleep(POLL);
            }
            for (_, mut running) in std::mem::take(&mut work.running) {
                running.process.kill().ok();
                running.process.wait().ok();
            }
        });
        Self {
            endpoints,
            stop,
            work: Some(work),
        }
    }

    /// Where its pods are, if they run.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(work) = self.work.take() {
            work.join().ok();
        }
    }
}

impl Work {
    async fn look(&mut self) {
        // The API server may be away; the next look is soon.
        let Ok(pods) = self.pods.list(&ListParams::default()).await else {
            return;
        };
        for pod in pods {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                self.end(&name).await;
            } else if self.running.contains_key(&name) {
                self.tell(&name).await;
            } else {
                self.start(&pod).await;
            }
        }
    }

    /// Takes a pod on and runs its container.
    async fn start(&mut self, pod: &Pod) {
        let name = pod.name_any();
        let taken: Vec<usize> = self.running.values().map(|running| running.at).collect();
        let Some(at) = (0..PODS).find(|at| !taken.contains(at)) else {
            return;
        };
        let spec = pod.spec.as_ref().unwrap();
        if spec.node_name.is_none() {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
            let bound = self
                .pods
                .create_subresource::<_, serde_json::Value>(
                    "binding",
                    &name,
                    &PostParams::default(),
                    &binding,
                )
                .await;
            if bound.is_err() {
                return;
            }
        }
        let container = &spec.containers[0];
        let endpoint = self.endpoints[at];
        let log = |end: &str| File::create(self.folder.join(format!("{name}.{end}"))).unwrap();
        let mut command: Command = mortal(Path::new(env!("CARGO_BIN_EXE_lanekeeper")));
        let process = command
            .args(container.args.as_ref().unwrap())
            .arg(format!("--listen={}", endpoint.webhook))
            .arg(format!("--admin-listen={}", endpoint.admin))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .env("HOSTNAME", &name)
            .stdout(log("decisions"))
            .stderr(log("log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running {
            process,
            at,
            is_ready: false,
            is_told_to_end: false,
        };
        self.running.insert(name, running);
    }

    /// Tells whether a pod is ready, as its probe says, when that has changed.
    async fn tell(&mut self, name: &str) {
        let running = self.running.get_mut(name).unwrap();
        let page = page(self.endpoints[running.at].admin, "/readyz").await;
        let is_ready = page.starts_with("HTTP/1.1 200 ");
        if is_ready == running.is_ready {
            return;
        }
        let status = if is_ready { "True" } else { "False" };
        let patch = json!({"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": status, "lastTransitionTime": jiff::Timestamp::now()}]}});
        let patched = self
            .pods
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        if patched.is_ok() {
            running.is_ready = is_ready;
        }
    }

    /// Ends a pod in order.
    async fn end(&mut self, name: &str) {
        if let Some(running) = self.running.get_mut(name) {
            if !running.is_told_to_end {
                let pid = running.process.id().to_string();
                Command::new("kill").args(["-TERM", &pid]).status().unwrap();
                running.is_told_to_end = true;
            }
            match running.process.try_wait().unwrap() {
                None => return,
                Some(status) => assert!(status.success(), "{name} ended badly: {status}"),
            }
            self.running.remove(name);
        }
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        // Somebody else may have been faster.
        let _ = self.pods.delete(name, &at_once).await;
    }
}

/// What the pods have written to standard output, together.
pub(crate) fn decisions(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "decisions"));
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}
