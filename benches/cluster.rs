//! `lanekeeper serve` on a cluster of 100,000 pods, 20,000 Services and 10,000 `VirtualServices` of 4 routes.
//!
//! The cluster is a real kube-apiserver with its etcd (which does not wait for the disk), and nothing else: the objects are
//! made through the API server, with the `ReplicaSets`, Deployments, `DestinationRules` and lane groups that belong to them, and
//! nobody runs the pods. Lanekeeper is a process of its own under the rights of the manifests, with its audit and
//! everything else that is on by default. What is measured:
//!
//! - the first list: from the start of the process until `/readyz` answers well, beside `kubectl get -o name` of pods,
//!   Services and `VirtualServices` by the same user, in turn;
//! - its memory (`VmRSS`) ten seconds later, when the audit has judged everything, beside the same before there were
//!   pods;
//! - updates of `VirtualServices` of 20 routes by one client, one after the other, in blocks with and without the webhooks in turn:
//!   the namespace's label switches them, and the decision log is asked whether it was so. Like most, these name no gateway:
//!   the webhook that judges is called, the one that may rewrite is not;
//! - updates that are refused (a subset that is not defined), for which Lanekeeper reads the cluster afresh.
//!
//! The API server, etcd, Lanekeeper and the client share the machine. Making the objects takes it ten minutes, and much longer beside other work, so
//! `LANEKEEPER_BENCH_PODS` may name fewer pods: then what is about 100,000 does not count as reached.

#![allow(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a benchmark tells how far it is, fails by a panic that says why, and counts to far less than 2^52"
)]

#[path = "../tests/support/control_plane.rs"]
mod control_plane;
mod measure;
mod process;
mod world;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control_plane::ControlPlane;
use futures::StreamExt as _;
use http::Request;
use kube::Client;
use lanekeeper::resource::Kind;
use measure::{Line, Times, is_quick, median, memory, millis, print, ratio};
use process::{Served, certify};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::Shape;

/// The pods of the cluster that the table is about.
const PODS: usize = 100_000;

/// How many objects are made at once.
const AT_ONCE: usize = 32;

/// How long after it is ready the memory is read.
const SETTLES: Duration = Duration::from_secs(10);

/// How long the API server may take to learn of a label.
const LEARNS: Duration = Duration::from_secs(1);

/// How many `VirtualServices` are updated in turn: the API server's cache has the one before when its turn comes again,
/// else it would have to begin anew.
const IN_TURN: usize = 20;

/// How much is measured.
struct Extent {
    pods: usize,
    starts: usize,
    blocks: usize,
    updates_a_block: usize,
    denials: usize,
}

fn main() {
    let extent = if is_quick() {
        Extent {
            pods: 1_000,
            starts: 1,
            blocks: 2,
            updates_a_block: 50,
            denials: 50,
        }
    } else {
        Extent {
            pods: std::env::var("LANEKEEPER_BENCH_PODS").map_or(PODS, |pods| pods.parse().unwrap()),
            starts: 3,
            blocks: 8,
            updates_a_block: 200,
            denials: 500,
        }
    };
    let shape = Shape::of_cluster(extent.pods);
    let cluster = Cluster::start();
    let is = |kind: &'static str| move |object: &Value| object["kind"] == kind;
    cluster.make("namespaces", shape.objects().filter(is("Namespace")));
    let others = shape
        .objects()
        .filter(|object| object["kind"] != "Namespace" && object["kind"] != "Pod");
    cluster.make("everything but pods", with_addresses(others));
    let (empty, _) = settled(&cluster.serve());
    cluster.make("pods", shape.objects().filter(is("Pod")));
    let served = lists(&cluster, &extent, empty);
    cluster.register(&served);
    updates(&cluster, &served, shape, &extent);
    denials(&cluster, &served, shape, &extent);
}

/// The same objects, the Services with an address each: to find a free one takes the API server longer and longer.
fn with_addresses(objects: impl Iterator<Item = Value>) -> impl Iterator<Item = Value> {
    let mut addresses =
        (1..u32::MAX).map(|at| Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + at));
    objects.map(move |mut object| {
        if object["kind"] == "Service" {
            object["spec"]["clusterIP"] = json!(addresses.next().unwrap());
        }
        object
    })
}

/// A process's memory in megabytes, now that it is busy no more, and the most that it was.
fn settled(served: &Served) -> (f64, f64) {
    sleep(SETTLES);
    let of = |field| memory(&served.id(), field).unwrap_or_default();
    (of("VmRSS"), of("VmHWM"))
}

/// The first list, and what remains of it in memory.
fn lists(cluster: &Cluster, extent: &Extent, megabytes_without_pods: f64) -> Served {
    let [mut ours, mut kubectl] = [Vec::new(), Vec::new()];
    let mut last = None;
    for _ in 0..extent.starts {
        drop(last.take());
        let started = Instant::now();
        let listed = cluster.names();
        kubectl.push(started.elapsed().as_secs_f64());
        assert!(listed > extent.pods, "kubectl has listed {listed} objects");
        let served = cluster.serve();
        ours.push(served.until_ready.as_secs_f64());
        last = Some(served);
    }
    let served = last.unwrap();
    let (megabytes, peak) = settled(&served);
    let [ours, kubectl] = [median(ours), median(kubectl)];
    let bytes_a_pod = (megabytes - megabytes_without_pods) * 1e6 / extent.pods as f64;
    let head = [
        "pods",
        "starts",
        "ready s",
        "kubectl s",
        "MB",
        "MB without pods",
        "peak MB",
        "bytes a pod",
    ];
    let row = vec![
        extent.pods.to_string(),
        extent.starts.to_string(),
        format!("{ours:.2}"),
        format!("{kubectl:.2}"),
        format!("{megabytes:.0}"),
        format!("{megabytes_without_pods:.0}"),
        format!("{peak:.0}"),
        format!("{bytes_a_pod:.0}"),
    ];
    print("The first list, from a real API server", &head, &[row]);
    let pods = extent.pods;
    Line {
        work: format!(
            "first list of {pods} pods, {} Services, {} VirtualServices until ready, beside `kubectl get -o name`",
            pods / 5,
            pods / 10
        ),
        measured: format!("{ours:.2} s"),
        beside: format!("{kubectl:.2} s"),
        ratio: format!("{:.2}", ours / kubectl),
        reach: "≤ 10 s".to_owned(),
        is_reached: pods >= PODS && ours <= 10.0,
    }
    .hand_over();
    Line {
        work: "memory of the process with that cluster, beside the same without pods".to_owned(),
        measured: format!("{bytes_a_pod:.0} bytes a pod, {megabytes:.0} MB in all, peak {peak:.0} MB"),
        beside: format!("{megabytes_without_pods:.0} MB"),
        ratio: format!("{:.2}", megabytes / megabytes_without_pods),
        reach: "≤ 1 kB a pod, ≤ 200 MB in all".to_owned(),
        is_reached: pods >= PODS && bytes_a_pod <= 1000.0 && megabytes <= 200.0,
    }
    .hand_over();
    served
}

/// What is added to an update.
fn updates(cluster: &Cluster, served: &Served, shape: Shape, extent: &Extent) {
    let mut objects: Vec<Value> = (0..IN_TURN)
        .map(|service| cluster.virtual_service(shape, service))
        .collect();
    let mut update = |is_called: bool| {
        cluster.switch(is_called);
        let before = served.judgements();
        let mut times = Times::default();
        for number in 0..extent.updates_a_block {
            let object = &mut objects[number % IN_TURN];
            // Another one than last time, in this block or the one before.
            let seconds = 10 + 2 * (number / IN_TURN) + usize::from(is_called);
            object["spec"]["http"][0]["timeout"] = json!(format!("{seconds}s"));
            let started = Instant::now();
            let answer = cluster.update(object);
            times.push(started.elapsed());
            *object = answer.unwrap();
        }
        let expected = if is_called { extent.updates_a_block } else { 0 };
        assert_eq!(served.judgements() - before, expected, "judgements");
        times
    };
    // The first of each do not count.
    for is_called in [false, true] {
        update(is_called);
    }
    let mut blocks: Vec<[Times; 2]> = (0..extent.blocks)
        .map(|_| [false, true].map(&mut update))
        .collect();
    let added = |blocks: &mut [[Times; 2]], percent| {
        let added = blocks.iter_mut().map(|[without, with]| {
            with.percentile(percent).as_secs_f64() - without.percentile(percent).as_secs_f64()
        });
        median(added.collect::<Vec<_>>()) * 1e3
    };
    let added = [50, 99].map(|percent| added(&mut blocks, percent));
    let mut together = [0, 1].map(|at| {
        let mut together = Times::default();
        for block in &blocks {
            together.extend(block[at].clone());
        }
        together
    });
    let row = |name: &str, times: &mut Times| {
        vec![
            name.to_owned(),
            millis(times.percentile(50)),
            millis(times.percentile(99)),
            times.len().to_string(),
        ]
    };
    let [without, with] = &mut together;
    let rows = [
        row("without", without),
        row("with", with),
        vec![
            "added, middle block".to_owned(),
            format!("{:.2}", added[0]),
            format!("{:.2}", added[1]),
            String::new(),
        ],
    ];
    print(
        "Updates of a VirtualService",
        &["webhooks", "p50 ms", "p99 ms", "samples"],
        &rows,
    );
    let [without, with] = [without.percentile(50), with.percentile(50)];
    Line {
        work: "latency that the webhooks add to an update of a VirtualService of the mesh; all of it beside one without"
            .to_owned(),
        measured: format!("p50 {:.2} ms more ({} ms)", added[0], millis(with)),
        beside: format!("{} ms", millis(without)),
        ratio: format!("{:.2}", ratio(with, without)),
        reach: "p50 ≤ 1.5 ms more".to_owned(),
        is_reached: added[0] <= 1.5,
    }
    .hand_over();
}

/// Updates that are refused.
fn denials(cluster: &Cluster, served: &Served, shape: Shape, extent: &Extent) {
    cluster.switch(true);
    let mut object = cluster.virtual_service(shape, 0);
    object["spec"]["http"][0]["route"][0]["destination"]["subset"] = json!("nowhere");
    let mut times = Times::default();
    let before = served.judgements();
    for number in 0..extent.denials + extent.denials / 10 {
        let started = Instant::now();
        let answer = cluster.update(&object);
        let took = started.elapsed();
        let refusal = answer.unwrap_err().to_string();
        assert!(refusal.contains("LK103"), "{refusal}");
        // The first do not count.
        if number >= extent.denials / 10 {
            times.push(took);
        }
    }
    let judged = served.judgements() - before;
    assert_eq!(judged, extent.denials + extent.denials / 10, "judgements");
    let [p50, p99] = [50, 99].map(|percent| times.percentile(percent));
    let row = vec![millis(p50), millis(p99), times.len().to_string()];
    print(
        "A denial, with its reads from the API server",
        &["p50 ms", "p99 ms", "samples"],
        &[row],
    );
    Line {
        work: "a denial, with its confirming reads".to_owned(),
        measured: format!("p50 {}, p99 {} ms", millis(p50), millis(p99)),
        beside: String::new(),
        ratio: String::new(),
        reach: "p99 ≤ 50 ms".to_owned(),
        is_reached: p99.as_secs_f64() <= 50e-3,
    }
    .hand_over();
}

/// A control plane with the manifests of Lanekeeper, and clients of it.
struct Cluster {
    plane: ControlPlane,
    runtime: Runtime,
    client: Client,
    /// Of the `ServiceAccount` of the manifests.
    kubeconfig: PathBuf,
    /// The certificate of the webhooks, and what the processes write.
    folder: TempDir,
    authority: String,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("audit-policy.yaml");
        let no_audit =
            json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]});
        fs::write(&policy, no_audit.to_string()).unwrap();
        let plane = ControlPlane::with_flags(vec![
            format!("--audit-policy-file={}", policy.display()),
            // A smaller range has no addresses for so many Services.
            "--service-cluster-ip-range=10.0.0.0/12".to_owned(),
        ]);
        plane.install_istio_crds();
        plane.install_crds(&manifest("crd.yaml"));
        plane
            .kubectl(&["create", "namespace", "istio-system"])
            .expect_success();
        for file in ["namespace.yaml", "rbac.yaml"] {
            plane
                .kubectl(&["apply", "-f", manifest(file).to_str().unwrap()])
                .expect_success();
        }
        let token = plane
            .kubectl(&[
                "create",
                "token",
                "lanekeeper",
                "--namespace=lanekeeper-system",
                "--duration=8h",
            ])
            .expect_success();
        let runtime = Runtime::new().unwrap();
        Self {
            client: runtime.block_on(plane.client(&plane.kubeconfig_path())),
            runtime,
            kubeconfig: plane.kubeconfig_for_token(token.stdout.trim()),
            plane,
            authority: certify(folder.path()),
            folder,
        }
    }

    /// Makes objects, many at once.
    fn make(&self, what: &str, objects: impl Iterator<Item = Value>) {
        let (started, count) = (Instant::now(), AtomicUsize::new(0));
        let make = async |object: Value| {
            let request = Request::post(collection(&object)).header("Content-Type", "application/json");
            let request = request.body(object.to_string().into_bytes()).unwrap();
            self.client.request::<Value>(request).await.unwrap();
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(10_000) {
                eprintln!(
                    "{what}: {count} objects after {:.0} s",
                    started.elapsed().as_secs_f64()
                );
            }
        };
        let all = futures::stream::iter(objects).for_each_concurrent(AT_ONCE, make);
        self.runtime.block_on(all);
    }

    /// Starts Lanekeeper, and returns when it is ready.
    fn serve(&self) -> Served {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        Served::start(self.folder.path(), [kubeconfig.as_str()])
    }

    /// Lists the names of what is listed first; how many there are.
    fn names(&self) -> usize {
        let kinds = "pods,services,virtualservices.networking.istio.io";
        let arguments = ["get", kinds, "--all-namespaces", "--output=name"];
        let output = self.plane.kubectl_as(&self.kubeconfig, &arguments, None);
        output.expect_success().stdout.lines().count()
    }

    /// Registers the webhooks of the manifests by their address.
    fn register(&self, served: &Served) {
        for file in ["validating-webhook.yaml", "mutating-webhook.yaml"] {
            let text = fs::read_to_string(manifest(file)).unwrap();
            let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                let path = webhook["clientConfig"]["service"]["path"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                let url = format!("https://{}{path}", served.webhook);
                webhook["clientConfig"] = json!({"url": url, "caBundle": STANDARD.encode(&self.authority)});
            }
            self.plane
                .kubectl_stdin(&["apply", "-f", "-"], &configuration.to_string())
                .expect_success();
        }
    }

    /// Has the webhooks called for the first namespace, or not.
    fn switch(&self, is_called: bool) {
        let label = if is_called {
            "lanekeeper.dev/enforcement=enforce"
        } else {
            "lanekeeper.dev/enforcement-"
        };
        self.plane
            .kubectl(&[
                "label",
                "--overwrite",
                "namespace",
                &Shape::first_namespace(),
                label,
            ])
            .expect_success();
        sleep(LEARNS);
    }

    /// The `VirtualService` of a service, with 20 routes.
    fn virtual_service(&self, shape: Shape, service: usize) -> Value {
        let mut object = Shape { routes: 20, ..shape }.virtual_service(service);
        let name = object["metadata"]["name"].as_str().unwrap();
        let request = Request::get(format!("{}/{name}", collection(&object)));
        let request = self.client.request(request.body(Vec::new()).unwrap());
        let there: Value = self.runtime.block_on(request).unwrap();
        object["metadata"] = there["metadata"].clone();
        self.update(&object).unwrap()
    }

    /// Updates an object; it as it is then.
    fn update(&self, object: &Value) -> kube::Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap();
        let request =
            Request::put(format!("{}/{name}", collection(object))).header("Content-Type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        self.runtime.block_on(self.client.request(request))
    }
}

/// The path under which objects like this one are.
fn collection(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let kind = Kind::of(&version, &text(&object["kind"])).unwrap();
    let version = if kind.group().is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{version}")
    };
    if kind.is_namespaced() {
        let namespace = text(&object["metadata"]["namespace"]);
        format!("{version}/namespaces/{namespace}/{}", kind.plural())
    } else {
        format!("{version}/{}", kind.plural())
    }
}

fn manifest(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manifests/base")
        .join(file)
}
