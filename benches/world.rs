//! Clusters of any size, the same ones each time.
//!
//! ```text
//!   namespace team-000 … of 50 services each: a LaneGroup (even) or a lane WasmPlugin (odd), a Gateway, an entry
//!     service orders-00000 …:  a DestinationRule with a subset a lane
//!                              a VirtualService by path and lane header
//!                              a Deployment a lane ◀─ ReplicaSet ◀─ pods
//! ```
//!
//! Nothing is wrong with them: the rules have all their work to do, and find nothing.

#![allow(dead_code, reason = "each benchmark uses its own part of it")]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::world::{Settings, World};
use serde_json::{Value, json};

const LANES: [&str; 2] = ["wtchk", "wicph"];
const SERVICES_IN_NAMESPACE: usize = 50;

/// How large a cluster is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) services: usize,
    pub(crate) pods_in_lane: usize,
    /// How many routes a `VirtualService` has.
    pub(crate) routes: usize,
    /// Whether the `ReplicaSets` are there: in a cluster, not in files.
    pub(crate) has_links: bool,
}

impl Shape {
    /// A cluster with this many pods: two a lane and service.
    pub(crate) fn of_pods(pods: usize) -> Self {
        Self {
            services: pods / (2 * LANES.len()),
            pods_in_lane: 2,
            routes: 20,
            has_links: true,
        }
    }

    /// The manifests of this many services, seven objects each, of about half a kilobyte.
    pub(crate) fn of_files(services: usize) -> Self {
        Self {
            services,
            pods_in_lane: 1,
            routes: 4,
            has_links: false,
        }
    }

    pub(crate) fn world(self) -> World {
        let mut world = World::new(Settings::default());
        for object in (0..self.namespaces()).flat_map(|number| self.objects_of(number)) {
            world.apply(parsed(object));
        }
        world
    }

    /// The objects one after the other, without their metadata that only the API server writes.
    pub(crate) fn objects(self) -> impl Iterator<Item = Value> {
        (0..self.namespaces()).flat_map(move |number| self.objects_of(number))
    }

    /// Writes a file a namespace below `directory`; how many objects and bytes that were.
    pub(crate) fn write(self, directory: &Path) -> (usize, usize) {
        let (mut objects, mut bytes) = (0, 0);
        for number in 0..self.namespaces() {
            let mut text = Vec::new();
            for object in self.objects_of(number) {
                writeln!(text, "---\n{}", serde_saphyr::to_string(&object).unwrap()).unwrap();
                objects += 1;
            }
            bytes += text.len();
            fs::write(directory.join(format!("{}.yaml", namespace(number))), text).unwrap();
        }
        (objects, bytes)
    }

    /// An `AdmissionReview`, as the API server sends it, of a change to the routes of a service: one timeout.
    pub(crate) fn review(self, service: usize) -> Bytes {
        let object = |timeout: &str| {
            let mut object = self.virtual_service(service);
            let applied = object.to_string();
            object["spec"]["http"][0]["timeout"] = json!(timeout);
            object["metadata"]["annotations"] =
                json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
            object["metadata"]["uid"] = json!("6f1c9a52-0b1e-4c57-9b53-7d0e7c1f2a3b");
            object["metadata"]["resourceVersion"] = json!("48151623");
            object["metadata"]["creationTimestamp"] = json!("2026-11-01T00:00:00Z");
            object["metadata"]["managedFields"] = json!([{"manager": "kubectl-client-side-apply",
                "operation": "Update", "apiVersion": "networking.istio.io/v1", "time": "2026-11-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:annotations": {}},
                    "f:spec": {"f:hosts": {}, "f:http": {}}}}]);
            object
        };
        let resource =
            json!({"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"});
        let kind = json!({"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": format!("705ab4f5-6393-11e8-b7cc-{service:012}"),
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": name(service), "namespace": namespace(service / SERVICES_IN_NAMESPACE), "operation": "UPDATE",
            "userInfo": {"username": "dev@example.com", "groups": ["system:authenticated", "developers"]},
            "object": object("9s"), "oldObject": object("8s"), "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions", "fieldManager": "kubectl-client-side-apply"}}});
        review.to_string().into()
    }

    /// Reviews of changes to `count` services, spread over the whole cluster.
    pub(crate) fn reviews(self, count: usize) -> Vec<Bytes> {
        let services = (0..count).map(|at| at * self.services / count);
        services.map(|service| self.review(service)).collect()
    }

    fn namespaces(self) -> usize {
        self.services.div_ceil(SERVICES_IN_NAMESPACE)
    }

    fn services_of(self, number: usize) -> std::ops::Range<usize> {
        let first = number * SERVICES_IN_NAMESPACE;
        first..(first + SERVICES_IN_NAMESPACE).min(self.services)
    }

    fn objects_of(self, number: usize) -> Vec<Value> {
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number),
                "labels": {"lanekeeper.dev/enforcement": "enforce", "istio-injection": "enabled"}}}),
            group(number),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
                "metadata": {"namespace": namespace(number), "name": "public"},
                "spec": {"selector": {"istio": "ingressgateway"},
                    "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}}),
            entry(number, self.services_of(number)),
        ];
        for service in self.services_of(number) {
            objects.push(self::service(service));
            objects.push(destination_rule(service));
            objects.push(self.virtual_service(service));
            for lane in LANES {
                objects.push(deployment(service, lane, self.pods_in_lane));
                objects.extend(self.has_links.then(|| replica_set(service, lane)));
                objects.extend((0..self.pods_in_lane).map(|at| pod(service, lane, at)));
            }
        }
        objects
    }

    /// Routes by path and lane, some of them to the next service, and the default.
    fn virtual_service(self, service: usize) -> Value {
        let next =
            if service % SERVICES_IN_NAMESPACE + 1 < SERVICES_IN_NAMESPACE && service + 1 < self.services {
                service + 1
            } else {
                service
            };
        let by_path = (0..self.routes / LANES.len() - 1).flat_map(|path| {
            // A neighbour with other ports does not have those that the callers call.
            let has_neighbour = path % 5 == 4 && speaks_grpc(next) == speaks_grpc(service);
            let to = if has_neighbour { next } else { service };
            LANES.map(|lane| {
                // With two ports, each caller's own is right.
                let mut destination = json!({"host": name(to), "subset": subset(to, lane)});
                if !speaks_grpc(service) {
                    destination["port"] = json!({"number": 8080});
                }
                json!({"name": format!("{lane}-{path}"),
                    "match": [{"uri": {"prefix": format!("/api/v1/resource-{path}/")}, "headers": {"bu": {"exact": lane}}}],
                    "route": [{"destination": destination}], "timeout": "8s"})
            })
        });
        let to =
            |lane: &str| json!([{"destination": {"host": name(service), "subset": subset(service, lane)}}]);
        let [default, other] = LANES;
        let last = [
            json!({"name": other, "match": [{"headers": {"bu": {"exact": other}}}], "route": to(other)}),
            json!({"name": "default", "route": to(default)}),
        ];
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta(service, &name(service)),
            "spec": {"hosts": [name(service)], "http": by_path.chain(last).collect::<Vec<_>>()}})
    }
}

fn parsed(object: Value) -> Resource {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let kind = Kind::of(text("apiVersion"), text("kind")).unwrap();
    Resource::parse(kind, object).unwrap()
}

fn namespace(number: usize) -> String {
    format!("team-{number:03}")
}

fn name(service: usize) -> String {
    const WORDS: [&str; 8] = [
        "orders", "billing", "catalog", "payments", "search", "profile", "stock", "shipping",
    ];
    format!("{}-{service:05}", WORDS[service % WORDS.len()])
}

fn subset(service: usize, lane: &str) -> String {
    format!("{}-{lane}", name(service))
}

fn meta(service: usize, name: &str) -> Value {
    let namespace = namespace(service / SERVICES_IN_NAMESPACE);
    json!({"labels": {"app.kubernetes.io/part-of": namespace}, "namespace": namespace, "name": name})
}

/// The hash in the names of a Deployment's pods.
fn hash(service: usize, lane: &str) -> String {
    format!(
        "{:08x}",
        (service * 2 + usize::from(lane == LANES[1]) + 1) * 2_654_435_761 % 0xffff_ffff
    )
}

fn labels(service: usize, lane: &str) -> Value {
    json!({"app": name(service), "version": lane,
        "app.kubernetes.io/part-of": namespace(service / SERVICES_IN_NAMESPACE)})
}

fn group(number: usize) -> Value {
    let namespace = namespace(number);
    let selector = json!({"matchLabels": {"app.kubernetes.io/part-of": namespace}});
    if number.is_multiple_of(2) {
        json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup",
            "metadata": {"namespace": namespace, "name": "lanes"},
            "spec": {"header": "bu", "entry": {"header": "buid", "gateways": ["public"]}, "workloads": selector,
                "laneLabel": "version", "lanes": LANES, "defaultLane": LANES[0]}})
    } else {
        json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
            "metadata": {"namespace": namespace, "name": "lanes"},
            "spec": {"selector": selector, "url": "oci://registry.example.com/lanes:1",
                "pluginConfig": {"lane_header": "bu", "traffic_lane": LANES[0]}}})
    }
}

/// How requests enter the lanes of a namespace, at its gateway.
fn entry(number: usize, services: std::ops::Range<usize>) -> Value {
    let http: Vec<_> = services
        .take(10)
        .flat_map(|service| {
            LANES.map(|lane| {
                json!({"match": [{"uri": {"prefix": format!("/{}/", name(service))}, "headers": {"buid": {"exact": lane}}}],
                    "headers": {"request": {"set": {"bu": lane}}},
                    "route": [{"destination": {"host": name(service), "subset": subset(service, lane), "port": {"number": 8080}}}]})
            })
        })
        .collect();
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": namespace(number), "name": "entry"},
        "spec": {"hosts": [format!("{}.example.com", namespace(number))], "gateways": ["public"], "http": http}})
}

/// Every third service has a port for gRPC beside the one for HTTP.
fn speaks_grpc(service: usize) -> bool {
    service.is_multiple_of(3)
}

fn service(service: usize) -> Value {
    let grpc = speaks_grpc(service).then(|| json!({"name": "grpc", "port": 20885, "targetPort": 20885}));
    let ports: Vec<_> = [json!({"name": "http", "port": 8080, "targetPort": 8080})]
        .into_iter()
        .chain(grpc)
        .collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(service, &name(service)),
        "spec": {"selector": {"app": name(service)}, "ports": ports}})
}

fn destination_rule(service: usize) -> Value {
    let subsets = LANES.map(|lane| json!({"name": subset(service, lane), "labels": {"version": lane}}));
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta(service, &name(service)),
        "spec": {"host": name(service), "subsets": subsets}})
}

fn containers(service: usize) -> Value {
    json!([{"name": "app", "image": format!("registry.example.com/{}:1.42.0", name(service)),
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 20885}]}])
}

fn deployment(service: usize, lane: &str, replicas: usize) -> Value {
    let labels = labels(service, lane);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(service, &subset(service, lane)),
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name(service), "version": lane}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers(service)}}}})
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true,
        "uid": "0d1a3c55-8b1e-4c57-9b53-7d0e7c1f2a3b"}])
}

fn replica_set(service: usize, lane: &str) -> Value {
    let deployment = subset(service, lane);
    let mut meta = meta(service, &format!("{deployment}-{}", hash(service, lane)));
    meta["ownerReferences"] = owner("Deployment", &deployment);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta})
}

fn pod(service: usize, lane: &str, at: usize) -> Value {
    let hash = hash(service, lane);
    let set = format!("{}-{hash}", subset(service, lane));
    let mut meta = meta(service, &format!("{set}-{at:05}"));
    meta["labels"] = labels(service, lane);
    meta["labels"]["pod-template-hash"] = json!(hash);
    meta["ownerReferences"] = owner("ReplicaSet", &set);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers(service)},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}
