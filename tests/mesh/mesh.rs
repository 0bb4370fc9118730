//! A real Istio mesh in one process's namespaces: a control plane with Lanekeeper's webhook, istiod, and Envoys.
//!
//! ```no_run
//! let mut mesh = Mesh::start(4);
//! mesh.apply(&objects);                 // Deployments, Services, VirtualServices: through the webhook, to every proxy
//! mesh.run_pods(&next);                 // every pod that is not running yet
//! let answer = mesh.ask_at_gateway(&Call::get("http://cars.example/").header("buid", "wicph"));
//! let answer = mesh.ask_from_pod("cars-api-portal-wicph", &Call::get("http://cars-aggregator:8080/"));
//! ```
//!
//! When [`Mesh::apply`] and [`Mesh::remove`] return, every proxy has what was applied and nothing of what was before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::{Answer, Call, Client, Hosts};
use crate::control_plane::{Component, ControlPlane, KubectlOutput, eventually};
use crate::istiod;
use crate::pods::{Pod, Setting};
use crate::webhook::{Webhook, root};

/// The Gateway that the pods of the gateway serve.
const GATEWAY: &str = "cars-aswatson-dev/cars";

/// The mesh, running until it is dropped.
pub struct Mesh {
    pods: Vec<Pod>,
    istiod: Component,
    /// Lanekeeper, which the API server asks.
    pub webhook: Webhook,
    /// The API server.
    pub plane: ControlPlane,
    /// Where requests of the tests themselves run.
    pub runtime: Runtime,
    client: Client,
    workers: u8,
    marks: AtomicUsize,
    dir: TempDir,
}

impl Mesh {
    /// Starts a mesh without pods, whose Envoys will have this number of worker threads.
    ///
    /// # Panics
    ///
    /// When a component does not come up; the message holds the end of its log.
    pub fn start(workers: u8) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let plane = ControlPlane::start();
        let webhook = Webhook::start(&plane);
        plane.start_controller_manager();
        let world = root().join("tests/mesh/world.yaml");
        plane
            .kubectl(&["apply", "-f", &world.display().to_string()])
            .expect_success();
        let istiod = istiod::start(&plane, dir.path());
        Self {
            pods: Vec::new(),
            istiod,
            webhook,
            plane,
            runtime: Runtime::new().expect("a runtime"),
            client: Client::new(Hosts {
                known: Arc::default(),
                otherwise: IpAddr::from([0, 0, 0, 0]),
            }),
            workers,
            marks: AtomicUsize::new(0),
            dir,
        }
    }

    /// Runs every pod of the API server that is not running yet; applications whose label `app` is in `next` send that
    /// request for each that they get. Returns when every proxy reaches every pod.
    pub fn run_pods(&mut self, next: &BTreeMap<String, Call>) {
        let all = eventually("every Deployment has its pods", || {
            let wanted: u64 = self
                .list("deployments")
                .iter()
                .filter_map(|deployment| deployment["spec"]["replicas"].as_u64())
                .sum();
            let pods = self.list("pods");
            (pods.len() as u64 == wanted).then_some(pods)
        });
        let services = self.list("services");
        for pod in all {
            if self
                .pods
                .iter()
                .any(|running| pod["metadata"]["name"] == *running.name)
            {
                continue;
            }
            let number = u8::try_from(self.pods.len()).expect("fewer pods than that");
            let setting = Setting {
                plane: &self.plane,
                dir: self.dir.path(),
                workers: self.workers,
                next,
                services: &services,
            };
            let running = Pod::run(&pod, number, &setting);
            self.pods.push(running);
        }
        let gateway = self
            .pods
            .iter()
            .find(|pod| pod.is_gateway)
            .expect("the gateway's pod");
        self.client = Client::new(Hosts {
            known: Arc::default(),
            otherwise: gateway.address(),
        });
        self.settle();
        for service in services
            .iter()
            .filter(|service| service["spec"]["selector"].is_object())
        {
            self.reach(service);
        }
    }

    /// `kubectl apply` of objects, which must succeed; returns when every proxy has them.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) -> KubectlOutput {
        let applied = self.kubectl("apply", objects).expect_success();
        self.settle();
        applied
    }

    /// `kubectl delete` of objects, of which some may be gone; returns when every proxy is without them.
    #[track_caller]
    pub fn remove(&self, objects: &[Value]) {
        self.kubectl("delete", objects);
        self.settle();
    }

    /// Sends a request from outside to the gateway, whatever host it names.
    #[track_caller]
    pub fn ask_at_gateway(&self, call: &Call) -> Answer {
        let answer = self.send_to_gateway(call);
        answer.unwrap_or_else(|error| panic!("the gateway gives no answer: {error}\n{}", self.logs()))
    }

    /// Lets the application of a Deployment's pod send a request, with these headers alone.
    #[track_caller]
    pub fn ask_from_pod(&self, workload: &str, call: &Call) -> Answer {
        let pod = self.pod(workload);
        let answer = self.send_from_pod(workload, call);
        answer.unwrap_or_else(|error| panic!("{} gets no answer: {error}\n{}", pod.name, pod.logs()))
    }

    /// As [`Self::ask_at_gateway`], where there may be no answer.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn send_to_gateway(&self, call: &Call) -> Result<Answer, String> {
        self.runtime.block_on(self.client.send(call))
    }

    /// As [`Self::ask_from_pod`], where there may be no answer.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn send_from_pod(&self, workload: &str, call: &Call) -> Result<Answer, String> {
        let orders = self.pod(workload).orders();
        self.runtime.block_on(self.client.order(orders, call))
    }

    /// A client whose every host is the gateway, for many requests at once.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The pod of a Deployment.
    pub fn pod(&self, workload: &str) -> &Pod {
        let found = self.pods.iter().find(|pod| pod.workload == workload);
        found.unwrap_or_else(|| panic!("no pod of {workload} is running"))
    }

    /// What a pod's Envoy has, as JSON in text; empty while it does not answer.
    pub fn config_dump(&self, pod: &Pod) -> String {
        self.admin(pod, "/config_dump")
    }

    /// Waits until the configuration of all pods that `concerned` names is as `holds` says.
    #[track_caller]
    pub fn until(&self, what: &str, concerned: impl Fn(&Pod) -> bool, holds: impl Fn(&str) -> bool) {
        for pod in self.pods.iter().filter(|pod| concerned(pod)) {
            let what = format!("{what} in the proxy of {}", pod.name);
            eventually(&what, || holds(&self.config_dump(pod)).then_some(()));
        }
    }

    /// Waits until every proxy has all that has been applied so far.
    ///
    /// istiod sees the objects of one kind in the order of their changes, so a `VirtualService` and a `DestinationRule` that
    /// are applied last mark all that came before. A proxy that shows both has them; what it still warms up is not in
    /// force yet, and connections that it drains are still served by what was in force before.
    ///
    /// # Panics
    ///
    /// When a proxy refuses a configuration, or has not got it after a minute.
    #[track_caller]
    pub fn settle(&self) {
        let mark = format!("mark-{}", self.marks.fetch_add(1, Ordering::Relaxed));
        let marked = self.kubectl("apply", &marked(&mark));
        marked.expect_success();
        for pod in &self.pods {
            eventually(&format!("the proxy of {} has {mark}", pod.name), || {
                let dump = self.config_dump(pod);
                assert!(
                    !dump.contains("\"error_state\""),
                    "the proxy of {} refuses its configuration:\n{}\n{}",
                    pod.name,
                    excerpt(&dump, "\"error_state\""),
                    pod.logs()
                );
                let has = dump.contains(&format!("\"{mark}\"")) && dump.contains(&format!("|{mark}|"));
                let warms =
                    dump.contains("\"dynamic_warming_clusters\"") || dump.contains("\"warming_state\"");
                (has && !warms && !self.drains(pod)).then_some(())
            });
        }
    }

    /// Whether a proxy still serves connections by listeners or filter chains that are no longer in force.
    fn drains(&self, pod: &Pod) -> bool {
        let stats = self.admin(pod, "/stats?filter=listener_manager.total_.*draining");
        stats.is_empty() || stats.lines().any(|line| !line.ends_with(": 0"))
    }

    /// Waits until every proxy knows every pod of a Service.
    fn reach(&self, service: &Value) {
        let (name, namespace) = (&service["metadata"]["name"], &service["metadata"]["namespace"]);
        let selector: BTreeMap<String, String> =
            serde_json::from_value(service["spec"]["selector"].clone()).expect("a selector");
        let chosen = |pod: &&Pod| {
            *namespace == *pod.namespace
                && selector
                    .iter()
                    .all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let addresses: Vec<String> = self
            .pods
            .iter()
            .filter(chosen)
            .map(|pod| pod.address().to_string())
            .collect();
        let host = format!(
            "||{}.{}.",
            name.as_str().unwrap_or_default(),
            namespace.as_str().unwrap_or_default()
        );
        for proxy in &self.pods {
            eventually(
                &format!("the proxy of {} knows the pods of {name}", proxy.name),
                || {
                    let clusters = self.admin(proxy, "/clusters");
                    let lines: Vec<&str> = clusters.lines().filter(|line| line.contains(&host)).collect();
                    let known =
                        |address: &String| lines.iter().any(|line| line.contains(&format!("::{address}:")));
                    addresses.iter().all(known).then_some(())
                },
            );
        }
    }

    /// `kubectl apply`, `delete` and the like of objects, without waiting for any proxy.
    pub fn kubectl(&self, verb: &str, objects: &[Value]) -> KubectlOutput {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.plane.kubectl_stdin(&[verb, "-f", "-"], &list.to_string())
    }

    /// The objects of a kind, or of several with commas between.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let found = self
            .plane
            .kubectl(&["get", kind, "--all-namespaces", "-o", "json"])
            .expect_success();
        let mut list: Value = serde_json::from_str(&found.stdout).expect("JSON");
        list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn admin(&self, pod: &Pod, path: &str) -> String {
        let page = self.runtime.block_on(self.client.page(&pod.admin(path)));
        page.unwrap_or_default()
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        self.pods.iter().fold(self.istiod.log_tail(20), |mut logs, pod| {
            let _ = write!(logs, "\n{}", pod.logs());
            logs
        })
    }
}

/// Objects by which a proxy shows that it has what was applied before: a route and a cluster of this name.
fn marked(mark: &str) -> [Value; 2] {
    const HOST: &str = "mark.marks.svc.cluster.local";
    let meta = json!({"name": "mark", "namespace": "marks"});
    let rule = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta,
        "spec": {"host": HOST, "subsets": [{"name": mark, "labels": {"mark": mark}}]}});
    let routes = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta,
        "spec": {"hosts": [HOST], "gateways": ["mesh", GATEWAY],
            "http": [{"name": mark, "route": [{"destination": {"host": HOST, "subset": mark}}]}]}});
    [rule, routes]
}

/// Some text from where `what` begins.
fn excerpt<'text>(text: &'text str, what: &str) -> &'text str {
    let rest = text.find(what).map_or(text, |at| &text[at..]);
    rest.get(..1000).unwrap_or(rest)
}
