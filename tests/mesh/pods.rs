//! Pods without a kubelet: what the API server knows as a pod runs as an Envoy and an application in a network namespace.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use crate::application::{ARGUMENT, Application};
use crate::client::Call;
use crate::control_plane::{Component, ControlPlane};
use crate::istiod::{XDS_PORT, built};
use crate::network::{ADMIN_PORT, BRIDGE, Network, ORDER_PORT};

/// The name of the only container of a gateway's pod, and of what is injected elsewhere.
const PROXY: &str = "istio-proxy";

/// How long Envoy keeps connections to a listener's older filter chains; Istio's agent has 45 s.
const DRAIN_SECONDS: &str = "2";

/// A running pod, until it is dropped.
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its Deployment's name.
    pub workload: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is a gateway: an Envoy without an application.
    pub is_gateway: bool,
    // The programs end before their network does.
    envoy: Component,
    application: Option<Component>,
    network: Network,
}

impl Pod {
    /// Runs a pod of the API server, and tells the API server of it as a kubelet does.
    pub fn run(pod: &Value, number: u8, setting: &Setting<'_>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &pod["metadata"];
        let labels: BTreeMap<String, String> =
            serde_json::from_value(meta["labels"].clone()).expect("labels of a pod");
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        let is_gateway = containers[0]["name"] == PROXY;
        let (name, namespace) = (text(&meta["name"]), text(&meta["namespace"]));
        let workload = workload_of(pod);
        let network = Network::new(number, !is_gateway);

        let application = (!is_gateway).then(|| {
            let ports = containers
                .iter()
                .filter_map(|container| container["ports"].as_array());
            let ports = ports.flatten().filter_map(|port| port["containerPort"].as_u64());
            let application = Application {
                workload: workload.clone(),
                ports: ports.map(|port| u16::try_from(port).expect("a port")).collect(),
                next: labels.get("app").and_then(|app| setting.next.get(app)).cloned(),
                hosts: hosts_for(&namespace, setting.services),
            };
            let mut command = network.command(&env::current_exe().expect("this program"));
            command
                .arg(ARGUMENT)
                .arg(serde_json::to_string(&application).expect("JSON"));
            Component::run(&format!("{name}-application"), setting.dir, command)
        });
        let bootstrap = setting.dir.join(format!("{name}.json"));
        let text = bootstrap_of(&name, &namespace, &labels, is_gateway, &network).to_string();
        fs::write(&bootstrap, text).expect("Envoy's configuration");
        let mut command = network.proxy_command(&built("envoy"));
        command
            .arg("--config-path")
            .arg(&bootstrap)
            .args(["--concurrency", &setting.workers.to_string()])
            .args(["--drain-time-s", DRAIN_SECONDS, "--drain-strategy", "immediate"])
            .args(["--disable-hot-restart", "--log-level", "warning"]);
        let envoy = Component::run(&format!("{name}-envoy"), setting.dir, command);

        let running = Self {
            name,
            namespace,
            workload,
            labels,
            is_gateway,
            envoy,
            application,
            network,
        };
        running.tell(setting.plane);
        running
    }

    /// The pod's address.
    pub fn address(&self) -> IpAddr {
        self.network.address.into()
    }

    /// Where the application takes orders to send a request.
    pub fn orders(&self) -> SocketAddr {
        SocketAddr::new(self.address(), ORDER_PORT)
    }

    /// A page of Envoy's administration.
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}:{ADMIN_PORT}{path}", self.network.address)
    }

    /// The ends of the logs.
    pub fn logs(&self) -> String {
        let application = self
            .application
            .iter()
            .map(|application| application.log_tail(10));
        application
            .chain([self.envoy.log_tail(20)])
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Tells the API server what a scheduler and a kubelet would: endpoints are only made of pods on nodes that are there.
    fn tell(&self, plane: &ControlPlane) {
        let binding = json!({"apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}});
        plane
            .kubectl_stdin(&["create", "-f", "-"], &binding.to_string())
            .expect_success();
        let address = self.network.address.to_string();
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        plane
            .kubectl(&[
                "patch",
                "pod",
                &self.name,
                "-n",
                &self.namespace,
                "--subresource=status",
                "--type=merge",
                "-p",
                &status.to_string(),
            ])
            .expect_success();
    }
}

/// What all pods have in common.
pub struct Setting<'mesh> {
    /// The API server that they are pods of.
    pub plane: &'mesh ControlPlane,
    /// For configurations and logs.
    pub dir: &'mesh Path,
    /// Envoy's worker threads.
    pub workers: u8,
    /// What the applications of a label `app` ask.
    pub next: &'mesh BTreeMap<String, Call>,
    /// Every Service.
    pub services: &'mesh [Value],
}

/// The name of the Deployment that a pod belongs to.
fn workload_of(pod: &Value) -> String {
    let meta = &pod["metadata"];
    let owner = meta["ownerReferences"][0]["name"]
        .as_str()
        .expect("a pod with an owner");
    let hash = meta["labels"]["pod-template-hash"].as_str().unwrap_or_default();
    owner
        .strip_suffix(hash)
        .unwrap_or(owner)
        .trim_end_matches('-')
        .to_owned()
}

/// The names of Services as they are looked up in a namespace.
fn hosts_for(namespace: &str, services: &[Value]) -> BTreeMap<String, IpAddr> {
    let mut hosts = BTreeMap::new();
    for service in services {
        let meta = &service["metadata"];
        let (Some(name), Some(home)) = (meta["name"].as_str(), meta["namespace"].as_str()) else {
            continue;
        };
        let address = service["spec"]["clusterIP"].as_str();
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            continue;
        };
        for suffix in ["", ".svc", ".svc.cluster.local"] {
            hosts.insert(format!("{name}.{home}{suffix}"), address);
        }
        if home == namespace {
            hosts.insert(name.to_owned(), address);
        }
    }
    hosts
}

/// Envoy's bootstrap, as Istio's agent writes it, as far as istiod and the routes need it.
fn bootstrap_of(
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    is_gateway: bool,
    network: &Network,
) -> Value {
    let kind = if is_gateway { "router" } else { "sidecar" };
    let address = network.address;
    let xds = json!({"ads": {}, "resource_api_version": "V3"});
    json!({
        "node": {
            "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{name}.{namespace}"),
            "metadata": {
                "NAME": name, "NAMESPACE": namespace, "LABELS": labels, "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": "1.31.0", "INTERCEPTION_MODE": "REDIRECT", "INSTANCE_IPS": address.to_string(),
                "PROXY_CONFIG": {},
            },
        },
        "admin": {"address": socket_address("0.0.0.0", ADMIN_PORT)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": xds, "cds_config": xds,
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": socket_address(&BRIDGE.to_string(), XDS_PORT)}},
            ]}]},
        }]},
    })
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
