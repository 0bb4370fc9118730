//! Writes the status of lane groups: one replica does, and only what has changed.
//!
//! ```text
//!   World, Report ──changed, and quiet again──▶ status::of ──differs from what is there──▶ apply to /status
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::MANAGER;
use super::audit::Audited;
use super::look::api_resource;
use super::progress::Progress;
use super::watch::with_causes;
use crate::audit::Report;
use crate::resource::{Kind, LaneGroupStatus, ObjectRef};
use crate::status::{self, Status};
use crate::world::{View, World};

/// How often it is looked whether the world has changed. What changes within is written once.
const LOOK: Duration = Duration::from_secs(1);

/// A world that never is quiet is written of all the same.
const LONGEST: Duration = Duration::from_secs(5);

/// The time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often what is there is compared though nothing has changed here: somebody else may have written.
const COMPARE: Duration = Duration::from_secs(300);

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the status of lane groups, until it is dropped.
#[derive(Debug)]
pub struct StatusWriter(JoinHandle<()>);

impl StatusWriter {
    /// Writes while `leading` says so. Has to be called within a Tokio runtime.
    pub fn start(
        client: Client,
        world: Arc<RwLock<World>>,
        progress: Arc<Progress>,
        leading: watch::Receiver<bool>,
        audited: Option<watch::Receiver<Audited>>,
    ) -> Self {
        let writer = Writer {
            client,
            world,
            progress,
            leading,
            audited,
            known: HashMap::new(),
            told: None,
        };
        Self(tokio::spawn(writer.run()))
    }
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of a group's status.
struct Known {
    status: LaneGroupStatus,
    compared: Instant,
}

/// What the status was made of.
#[derive(Clone, PartialEq)]
struct Basis {
    /// The version of the world.
    version: u64,
    /// What the audit reports.
    report: Option<Arc<Report>>,
}

struct Writer {
    client: Client,
    world: Arc<RwLock<World>>,
    progress: Arc<Progress>,
    leading: watch::Receiver<bool>,
    /// What the audit reports, where one runs.
    audited: Option<watch::Receiver<Audited>>,
    known: HashMap<ObjectRef, Known>,
    /// The failure that the log has told, while it lasts.
    told: Option<String>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            if self.leading.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            // Another one may have written meanwhile.
            self.known.clear();
            self.lead().await;
        }
    }

    /// Writes for as long as this one leads.
    async fn lead(&mut self) {
        // What was written of; nothing where that failed, and so a reason to try again.
        let mut done: Option<Basis> = None;
        let mut seen = self.basis();
        let mut waiting = Instant::now();
        let mut compared = Instant::now();
        while *self.leading.borrow() {
            let basis = self.basis();
            let is_new = done.as_ref() != Some(&basis);
            let is_quiet = basis == seen || waiting.elapsed() >= LONGEST;
            if !is_new {
                waiting = Instant::now();
            }
            seen = basis.clone();
            if (is_new && is_quiet) || compared.elapsed() >= COMPARE {
                compared = Instant::now();
                let all = self.write_all(basis.report.clone()).await;
                done = all.then_some(basis);
                // It takes no more than half of the time.
                sleep(compared.elapsed()).await;
                waiting = Instant::now();
                if !all {
                    sleep(AGAIN).await;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// What the status is made of.
    fn basis(&self) -> Basis {
        Basis {
            version: self.world.read().version(),
            report: self.audited.as_ref().and_then(|audited| audited.borrow().clone()),
        }
    }

    /// Brings the status of every group up to date. Whether nothing failed.
    async fn write_all(&mut self, report: Option<Arc<Report>>) -> bool {
        let world = Arc::clone(&self.world);
        let Ok(world) = spawn_blocking(move || World::copy_of(&world)).await else {
            return false;
        };
        let world = Arc::new(world);
        let groups = status::groups(&world);
        self.known.retain(|group, _| groups.contains(group));
        let mut all = true;
        for group in groups {
            let (world, of, report) = (Arc::clone(&world), group.clone(), report.clone());
            let computed =
                spawn_blocking(move || status::of(&View::new(&world), &of, report.as_deref())).await;
            let Ok(Some(computed)) = computed else { continue };
            if !*self.leading.borrow() {
                return false;
            }
            match tokio::time::timeout(PATIENCE, self.write(&computed)).await {
                Ok(Ok(is_done)) => all &= is_done,
                Ok(Err(error)) => {
                    self.fail(&group, with_causes(&error));
                    all = false;
                }
                Err(_) => {
                    self.fail(&group, "no answer".to_owned());
                    all = false;
                }
            }
        }
        all
    }

    /// Takes note of a failure; the log tells it once.
    fn fail(&mut self, group: &ObjectRef, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(%group, error = reason, "the status of a lane group cannot be written; it is tried again");
            self.told = Some(reason);
        }
    }

    /// Writes a status if it is another one than what is there. Whether it now is as it should be: not where the group
    /// has changed since, which the watch will tell.
    async fn write(&mut self, computed: &Status) -> kube::Result<bool> {
        let group = &computed.group;
        let now = second(Timestamp::now());
        if let Some(known) = self.known.get(group) {
            let same = computed.over(Some(&known.status), now) == known.status;
            if same && known.compared.elapsed() < COMPARE {
                return Ok(true);
            }
        }
        let version = self.progress.version(Kind::LaneGroup).unwrap_or("v1alpha1");
        let resource = api_resource(Kind::LaneGroup, version);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &group.namespace, &resource);
        let Some(there) = api.get_opt(&group.name).await? else {
            return Ok(true);
        };
        if there.metadata.generation != Some(computed.generation) {
            return Ok(false);
        }
        let written = there.data.get("status").cloned();
        let written: Option<LaneGroupStatus> = written.and_then(|status| serde_json::from_value(status).ok());
        let status = computed.over(written.as_ref(), now);
        if written.as_ref() != Some(&status) {
            let patch = json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {"name": *group.name, "uid": there.metadata.uid},
                "status": status,
            });
            let params = PatchParams::apply(MANAGER).force();
            match api
                .patch_status(&group.name, &params, &Patch::Apply(&patch))
                .await
            {
                Ok(_) => tracing::debug!(%group, "wrote its status"),
                // Another of its name has come.
                Err(kube::Error::Api(status)) if status.code == 409 => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let compared = Instant::now();
        self.known.insert(group.clone(), Known { status, compared });
        Ok(true)
    }
}

/// The whole second, as Kubernetes writes times.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
