//! Lanekeeper in the test's own process, registered with a control plane as the manifests have it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: each test uses its own part of it, and fails by a panic that says why"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanekeeper::admission::Engine;
use lanekeeper::cluster::{Fresh, watch};
use lanekeeper::rule::Rule;
use lanekeeper::server::{CertificateSource, Config, LogTarget, Running, serve};
use lanekeeper::verdict::Settings;
use lanekeeper::world::{Settings as MeshSettings, World};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::control_plane::{ControlPlane, eventually};

/// The namespace of the manifests.
const HOME: &str = "lanekeeper-system";

/// A running webhook, under the rights of its `ServiceAccount`.
pub struct Webhook {
    running: Option<Running>,
    world: Arc<RwLock<World>>,
    runtime: Runtime,
    dir: TempDir,
}

impl Webhook {
    /// Applies the manifests, signs in as their `ServiceAccount`, serves, and registers itself.
    pub fn start(plane: &ControlPlane) -> Self {
        Self::with_rules(plane, lanekeeper::rule::RULES.to_vec())
    }

    /// The same with other rules.
    pub fn with_rules(plane: &ControlPlane, rules: Vec<Rule>) -> Self {
        plane.install_istio_crds();
        plane.install_crds(&root().join("manifests/base/crd.yaml"));
        plane
            .kubectl(&["create", "namespace", "istio-system"])
            .expect_success();
        for file in ["namespace.yaml", "rbac.yaml"] {
            let file = root().join("manifests/base").join(file);
            plane
                .kubectl(&["apply", "-f", &file.display().to_string()])
                .expect_success();
        }
        let token = plane
            .kubectl(&["create", "token", "lanekeeper", "-n", HOME])
            .expect_success()
            .stdout;
        let kubeconfig = plane.kubeconfig_for_token(token.trim());

        let runtime = Runtime::new().expect("a runtime");
        let dir = TempDir::new().expect("a folder");
        let world = Arc::new(RwLock::new(World::new(MeshSettings::default())));
        let running = runtime.block_on(async {
            let client = plane.client(&kubeconfig).await;
            let watches = watch(client.clone(), Arc::clone(&world), Arc::default());
            let progress = Arc::clone(watches.progress());
            tokio::time::timeout(Duration::from_secs(60), progress.until_synced())
                .await
                .unwrap_or_else(|_| {
                    panic!(
                        "not synced: {:?}",
                        progress
                            .pending()
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                    )
                });
            let fresh = Fresh::new(client, progress, MeshSettings::default());
            let engine = Engine::new(Arc::clone(&world), Settings::default())
                .confirming(Arc::new(fresh))
                .ready_when(move || {
                    watches
                        .progress()
                        .pending()
                        .iter()
                        .map(ToString::to_string)
                        .collect()
                })
                .with_rules(rules);
            let config = Config {
                listen: ([127, 0, 0, 1], 0).into(),
                admin_listen: ([127, 0, 0, 1], 0).into(),
                certificates: CertificateSource::SelfMade(Vec::new()),
                decision_log: LogTarget::file(dir.path().join("decisions.jsonl")),
                shutdown_delay: Duration::ZERO,
                ..Config::default()
            };
            serve(config, Arc::new(engine)).await.expect("the webhook serves")
        });
        let webhook = Self {
            running: Some(running),
            world,
            runtime,
            dir,
        };
        webhook.register(plane);
        webhook
    }

    /// Registers the webhooks of the manifests by URL, and returns when the API server calls them.
    fn register(&self, plane: &ControlPlane) {
        let running = self.running.as_ref().expect("it runs");
        let authority = STANDARD.encode(running.ca_pem().expect("a self-made certificate"));
        let address = running.local_addrs().webhook;
        for file in ["validating-webhook.yaml", "mutating-webhook.yaml"] {
            let text = fs::read_to_string(root().join("manifests/base").join(file)).expect("the manifest");
            let mut configuration: Value = serde_saphyr::from_str(&text).expect("YAML");
            for webhook in configuration["webhooks"].as_array_mut().expect("webhooks") {
                let path = webhook["clientConfig"]["service"]["path"]
                    .as_str()
                    .expect("a path")
                    .to_owned();
                webhook["clientConfig"] =
                    json!({"url": format!("https://{address}{path}"), "caBundle": authority});
            }
            plane
                .kubectl_stdin(&["apply", "-f", "-"], &configuration.to_string())
                .expect_success();
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probe", "labels": {"lanekeeper.dev/enforcement": "enforce"}}});
        plane
            .kubectl_stdin(&["apply", "-f", "-"], &namespace.to_string())
            .expect_success();
        let probe = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "probe", "namespace": "probe"}, "spec": {"hosts": ["probe"], "gateways": ["probe"]}});
        for kind in ["mutate", "validate"] {
            eventually("the API server calls the webhook", || {
                plane.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &probe.to_string());
                let decisions = self.decisions();
                decisions
                    .iter()
                    .any(|decision| decision["webhook"] == kind && decision["name"] == "probe")
                    .then_some(())
            });
        }
    }

    /// The decision log so far.
    pub fn decisions(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("decisions.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a whole line of JSON"))
            .collect()
    }

    /// The last decision of `webhook` on an object called `name`.
    pub fn last_decision(&self, webhook: &str, name: &str) -> Value {
        let decisions = self.decisions().into_iter();
        let mut of_name =
            decisions.filter(|decision| decision["webhook"] == webhook && decision["name"] == name);
        of_name
            .next_back()
            .unwrap_or_else(|| panic!("no decision of {webhook} on {name}"))
    }

    /// Waits until the watched world is as `holds` says.
    pub fn world_until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        eventually(what, || holds(&self.world.read()).then_some(()));
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        let address = self.running.as_ref().expect("it runs").local_addrs().admin;
        page(&address.to_string(), "/metrics")
    }
}

/// The page at `path` of a plain HTTP server; empty while nobody answers.
pub fn page(address: &str, path: &str) -> String {
    let mut page = String::new();
    let _ = TcpStream::connect(address).and_then(|mut stream| {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        stream.read_to_string(&mut page)
    });
    page
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            // A test that fails may leave a review in flight.
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(20), running.ended()).await });
        }
    }
}

/// The repository's top.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
