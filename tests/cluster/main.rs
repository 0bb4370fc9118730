//! The cluster layer and the manifests, on a real API server.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says why"
)]

#[path = "../support/command.rs"]
mod command;
#[path = "../support/control_plane.rs"]
mod control_plane;
#[path = "../support/cuttable.rs"]
mod cuttable;
#[path = "../support/monitoring.rs"]
mod monitoring;

mod audit;
mod authority;
mod check;
mod conditions;
mod connection;
mod kinds;
mod manifests;
mod metrics;
mod rights;
mod serving;
mod status;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_plane::{ControlPlane, KubectlOutput, eventually};
use lanekeeper::cluster::{Connection, Fresh, Watches, connect, watch};
use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::world::{Settings, World};
use parking_lot::RwLock;

/// A world, and the watches that keep it.
struct Watched {
    world: Arc<RwLock<World>>,
    watches: Watches,
}

impl Watched {
    /// Watches as the user of a kubeconfig.
    async fn start(kubeconfig: &Path) -> Self {
        let world = Arc::new(RwLock::new(World::new(Settings::default())));
        Self::onto(world, kubeconfig).await
    }

    /// Watches onto a world that may not be empty.
    async fn onto(world: Arc<RwLock<World>>, kubeconfig: &Path) -> Self {
        let watches = watch(client(kubeconfig).await, Arc::clone(&world), Arc::default());
        Self { world, watches }
    }

    /// Returns when every served kind is in the world.
    async fn synced(&self) {
        let progress = self.watches.progress();
        let patience = Duration::from_secs(60);
        if tokio::time::timeout(patience, progress.until_synced())
            .await
            .is_err()
        {
            let pending: Vec<_> = progress.pending().iter().map(ToString::to_string).collect();
            panic!("not in step: {}", pending.join(", "));
        }
    }

    /// Waits until the world or the watches are as `holds` says.
    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        eventually(what, || holds(self).then_some(()));
    }

    fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        let reference = ObjectRef::new(kind, namespace, name);
        self.world.read().get(&reference).is_some()
    }

    /// Whether the `VirtualService` of this name is in the namespace `cars`.
    fn has_vs(&self, name: &str) -> bool {
        self.has(Kind::VirtualService, "cars", name)
    }

    /// The hosts of the `VirtualService` of this name in the namespace `cars`.
    fn hosts(&self, name: &str) -> Vec<String> {
        let reference = ObjectRef::new(Kind::VirtualService, "cars", name);
        match self.world.read().get(&reference) {
            Some(Resource::VirtualService(vs)) => vs.hosts.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// The objects of a kind.
    fn names(&self, kind: Kind) -> BTreeSet<String> {
        let world = self.world.read();
        let objects = world.objects().filter(|object| object.kind() == kind);
        objects.map(|object| object.reference().to_string()).collect()
    }

    fn served_kinds(&self) -> BTreeSet<Kind> {
        let served = self.watches.progress().served();
        served.into_iter().map(|(kind, _)| kind).collect()
    }

    /// The version that a kind is read in.
    fn version(&self, kind: Kind) -> Option<&'static str> {
        let served = self.watches.progress().served();
        served
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, version)| *version)
    }

    /// Fresh reads as the user of a kubeconfig, in the versions that these watches have found.
    async fn fresh(&self, kubeconfig: &Path) -> Fresh {
        let progress = Arc::clone(self.watches.progress());
        Fresh::new(client(kubeconfig).await, progress, Settings::default())
    }
}

async fn client(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = Some(kubeconfig.to_owned());
    connect(&Connection {
        kubeconfig,
        context: None,
    })
    .await
    .unwrap()
}

/// `kubectl` with the words of a line.
fn kubectl(plane: &ControlPlane, line: &str) -> KubectlOutput {
    plane.kubectl(&line.split_whitespace().collect::<Vec<_>>())
}

/// `kubectl` with the words of a line, which has to succeed.
#[track_caller]
fn run(plane: &ControlPlane, line: &str) -> String {
    kubectl(plane, line).expect_success().stdout
}

/// `kubectl apply` of a manifest, which has to succeed.
#[track_caller]
fn apply(plane: &ControlPlane, manifest: &str) {
    plane
        .kubectl_stdin(&["apply", "-f", "-"], manifest)
        .expect_success();
}

/// A `VirtualService` in the namespace `cars` that sends the requests for a host there.
fn virtual_service(version: &str, name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/{version}
kind: VirtualService
metadata: {{namespace: cars, name: {name}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}
"
    )
}

fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}
