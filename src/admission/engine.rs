//! Reads a review, judges it, reads afresh before it refuses, and answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::answer::{Answer, Judge, Record};
use super::confirm::{Confirmations, FreshReads, Outcome};
use super::judgement::{Change, Judgement, judge};
use super::mutation::{is_by_argo_cd, mutate};
use super::response::{Response, warning};
use super::review::{Operation, Request, read};
use crate::chance::chance;
use crate::resource::{Kind, ObjectRef, Resource, scale_replicas};
use crate::rule::{Finding, RULES, Rule};
use crate::verdict::{Admission, Mode, Settings, is_one_of};
use crate::world::{self, Read, World};

/// The world, shared by what feeds it and what reads it. Never held across an await.
pub type SharedWorld = Arc<RwLock<World>>;

/// How long a confirmation may take where the API server does not say how long it waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes a review may have that is judged where it was received. A `VirtualService` of 20 routes, with its old
/// state, has a third of it.
const SHORT: usize = 64 * 1024;

/// A change to be judged, and by what.
struct Case<'r> {
    change: &'r Change,
    admission: Admission,
    settings: &'r Settings,
    is_short: bool,
}

/// Judges reviews against a world.
pub struct Engine {
    world: SharedWorld,
    /// What is fixed about the mesh.
    mesh: world::Settings,
    settings: RwLock<Arc<Settings>>,
    rules: Vec<Rule>,
    fresh: Option<Arc<dyn FreshReads>>,
    confirmations: Confirmations,
    unsynced: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Whether all kinds have been synced once: a gap in the world would refuse what is right.
    has_synced: AtomicBool,
    knows_the_old: bool,
    decisions: AtomicU64,
    /// What the ids of this process begin with.
    id: u128,
}

impl Engine {
    /// An engine on `world`, with every rule, that confirms nothing and is always ready.
    pub fn new(world: SharedWorld, settings: Settings) -> Self {
        let mesh = world.read().settings().clone();
        Self {
            world,
            mesh,
            settings: RwLock::new(Arc::new(settings)),
            rules: RULES.to_vec(),
            fresh: None,
            confirmations: Confirmations::default(),
            unsynced: Box::new(Vec::new),
            has_synced: AtomicBool::new(false),
            knows_the_old: false,
            decisions: AtomicU64::new(0),
            id: process_id(),
        }
    }

    /// The engine that reads afresh from `fresh` before it refuses.
    #[must_use]
    pub fn confirming(mut self, fresh: Arc<dyn FreshReads>) -> Self {
        self.fresh = Some(fresh);
        self
    }

    /// The engine that is ready once `unsynced` names no kind.
    #[must_use]
    pub fn ready_when(mut self, unsynced: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.unsynced = Box::new(unsynced);
        self
    }

    /// The engine for a world that comes from files: no API server sends the old state of an object that
    /// is created over one of them, so the world's is taken.
    #[must_use]
    pub fn on_files(mut self) -> Self {
        self.knows_the_old = true;
        self
    }

    /// The engine with these rules instead.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rule>) -> Self {
        self.rules = rules;
        self
    }

    /// What is counted of reading afresh.
    pub fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// Judges by these settings from now on; what is being judged is judged by those that it began with.
    pub fn configure(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
    }

    /// The settings that count now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    fn is_ready(&self) -> bool {
        if self.has_synced.load(Ordering::Relaxed) {
            return true;
        }
        let synced = (self.unsynced)().is_empty();
        self.has_synced.fetch_or(synced, Ordering::Relaxed);
        synced
    }

    /// An id that no other decision of this process has, and hardly one of another.
    fn decision_id(&self) -> String {
        let number = self.decisions.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{number:x}", self.id)
    }

    /// Does work on the world: at once, where it is short and the world is free, else aside.
    fn on_world<T>(&self, is_short: bool, work: impl FnOnce(&World) -> T) -> T {
        if is_short && let Some(world) = self.world.try_read() {
            return work(&world);
        }
        aside(|| work(&self.world.read()))
    }

    fn judge(&self, fresh: Option<&(World, Vec<Read>)>, case: &Case<'_>) -> (Judgement, u64) {
        // With reads laid over the world each question takes longer.
        self.on_world(case.is_short && fresh.is_none(), |world| {
            let Case {
                change,
                admission,
                settings,
                ..
            } = case;
            let judgement = judge(world, fresh, change, admission, &self.rules, settings);
            (judgement, world.version())
        })
    }

    /// Judges anew with what the denials of `judged` rest on, read by `reader`, until they rest on nothing else. Where that does
    /// not come off in time, why, and the last judgement.
    async fn confirm(
        &self,
        reader: &dyn FreshReads,
        mut judged: (Judgement, u64),
        patience: Duration,
        case: &Case<'_>,
    ) -> Result<(Judgement, u64), (String, (Judgement, u64))> {
        let until = tokio::time::Instant::now() + patience;
        let mut reads = Vec::new();
        loop {
            reads.append(&mut judged.0.reads);
            let fresh = match tokio::time::timeout_at(until, reader.read(reads)).await {
                Ok(Ok(fresh)) => fresh,
                Ok(Err(error)) => return Err((format!("{error:#}"), judged)),
                Err(_) => {
                    return Err((format!("no answer within {} ms", patience.as_millis()), judged));
                }
            };
            judged = self.judge(Some(&fresh), case);
            if judged.0.reads.is_empty() {
                return Ok(judged);
            }
            // What belongs together is read together.
            reads = fresh.1;
        }
    }

    async fn validate(&self, mode: Mode, body: &[u8], deadline: Option<Duration>) -> Answer {
        let started = Instant::now();
        if !self.is_ready() {
            return refused(503, "not ready: the cluster has not been read yet");
        }
        let request = match read(body) {
            Ok(request) => request,
            Err(error) => return refused(400, &error.to_string()),
        };
        let mut record = self.record("validate", mode, &request);
        let (mut response, mut codes) = (Response::allow(&request.uid), BTreeSet::new());
        match self.change(&request) {
            Ok(Subject::Change(change)) => {
                let settings = self.settings();
                let admission = admission(mode, &request, &change, &settings);
                let case = Case {
                    change: &change,
                    admission,
                    settings: &settings,
                    is_short: is_short(change.reference.kind, body),
                };
                let (mut judgement, mut version) = self.judge(None, &case);
                let mut unconfirmed = None;
                if let Some(reader) = self.fresh.as_ref().filter(|_| !judgement.denied.is_empty()) {
                    let patience = deadline.unwrap_or(PATIENCE).saturating_sub(started.elapsed());
                    let confirmed = self.confirm(reader.as_ref(), (judgement, version), patience, &case);
                    let (judged, outcome) = match confirmed.await {
                        Ok(judged) if judged.0.denied.is_empty() => (judged, Outcome::Lifted),
                        Ok(judged) => (judged, Outcome::Upheld),
                        Err((error, judged)) => {
                            unconfirmed = Some(error);
                            (judged, Outcome::Failed)
                        }
                    };
                    (judgement, version) = judged;
                    self.confirmations.count(outcome);
                }
                if let Some(error) = unconfirmed {
                    tracing::warn!(%error, object = %change.reference, "a denial could not be confirmed: allowed");
                    response.warn([format!(
                        "Lanekeeper could not read the cluster afresh ({error}) and let this pass"
                    )]);
                    judgement
                        .warned
                        .splice(0..0, std::mem::take(&mut judgement.denied));
                }
                if !judgement.denied.is_empty() {
                    response = Response::deny(&request.uid, &judgement.denied);
                }
                codes = judgement.denied.iter().map(|finding| finding.code).collect();
                response.warn(judgement.warned.iter().map(warning));
                record.warned = distinct(&judgement.warned);
                record.index_version = version;
                record.reference(&change);
                if !judgement.allowed.is_empty() {
                    let reason = judgement.allowed.values().flatten().next();
                    record.allow_reason = Some(reason.map_or("no reason given", String::as_str).to_owned());
                }
            }
            Ok(Subject::Nothing(note)) => response.warn(note),
            Err(Unparsed { kind, error }) => {
                if mode == Mode::Warn || !kind.group().ends_with("istio.io") {
                    response.warn([format!(
                        "{kind} {}/{} was not judged: {error}",
                        request.namespace, request.name
                    )]);
                } else {
                    response =
                        Response::invalid(&request.uid, kind.name(), &request.name, kind.group(), &error);
                }
            }
        }
        record.codes = codes.into_iter().collect();
        Self::finish(response, record, started)
    }

    fn mutate(&self, mode: Mode, body: &[u8]) -> Answer {
        let started = Instant::now();
        if !self.is_ready() {
            return refused(503, "not ready: the cluster has not been read yet");
        }
        let request = match read(body) {
            Ok(request) => request,
            Err(error) => return refused(400, &error.to_string()),
        };
        let mut record = self.record("mutate", mode, &request);
        let mut response = Response::allow(&request.uid);
        // What cannot be read is for /validate to refuse.
        if let (Ok(Subject::Change(change)), Some(object)) = (self.change(&request), request.object) {
            record.reference(&change);
            let is_only_told =
                mode == Mode::Warn || is_by_argo_cd(&request.user_info.username, request.field_manager());
            let mutation = self.on_world(is_short(change.reference.kind, body), |world| {
                record.index_version = world.version();
                mutate(world, &change, object.get(), is_only_told)
            });
            let verb = if mutation.patch.is_some() { "added" } else { "add" };
            response.warn(
                mutation
                    .edits
                    .iter()
                    .map(|edit| format!("{}: {verb} {edit}", change.reference)),
            );
            if let Some(patch) = &mutation.patch {
                match response.patch(patch) {
                    Ok(()) => record.patch = serde_json::to_value(patch).ok(),
                    Err(error) => {
                        tracing::error!(%error, object = %change.reference, "a patch could not be written");
                    }
                }
            }
        }
        Self::finish(response, record, started)
    }

    fn finish(mut response: Response, mut record: Record, started: Instant) -> Answer {
        record.allowed = response.allowed;
        record.message = response.status.as_ref().map(|status| status.message.clone());
        record.duration_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let annotations = [
            ("decision", record.decision.clone()),
            ("mode", record.mode.to_string()),
            ("index-version", record.index_version.to_string()),
            ("codes", record.codes.join(",")),
            ("warned", record.warned.join(",")),
        ];
        response.audit_annotations = annotations
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Answer {
            status: 200,
            body: response.to_json(),
            record: Some(record),
        }
    }

    fn record(&self, webhook: &'static str, mode: Mode, request: &Request<'_>) -> Record {
        Record {
            time: Timestamp::now().to_string(),
            decision: self.decision_id(),
            uid: request.uid.to_string(),
            user: request.user_info.username.to_string(),
            groups: request.user_info.groups.iter().map(ToString::to_string).collect(),
            webhook,
            mode,
            operation: request.operation.name().to_owned(),
            kind: request
                .kind()
                .map_or_else(|| request.resource.resource.to_string(), |kind| kind.to_string()),
            namespace: request.namespace.to_string(),
            name: request.name.to_string(),
            dry_run: request.dry_run == Some(true),
            allowed: true,
            codes: Vec::new(),
            warned: Vec::new(),
            patch: None,
            allow_reason: None,
            message: None,
            duration_micros: 0,
            index_version: 0,
        }
    }

    /// The change that a request proposes [s7].
    fn change(&self, request: &Request<'_>) -> Result<Subject, Unparsed> {
        let Some(kind) = request.kind() else {
            return Ok(Subject::Nothing(None));
        };
        if request.operation == Operation::Connect || !matches!(&*request.sub_resource, "" | "scale") {
            return Ok(Subject::Nothing(None));
        }
        if request.is_scale() {
            return Ok(self.scale(kind, request));
        }
        let parse = |object| {
            request
                .parse(kind, object)
                .map_err(|error| Unparsed { kind, error })
        };
        let after = request
            .object
            .filter(|_| request.operation != Operation::Delete)
            .map(parse)
            .transpose()?;
        if after.as_ref().is_some_and(|object| object.meta().deleting) {
            return Ok(Subject::Nothing(None));
        }
        let before = if request.operation == Operation::Create {
            let reference = after
                .as_ref()
                .filter(|_| self.knows_the_old)
                .map(Resource::reference);
            reference.and_then(|reference| self.world.read().get(&reference).cloned())
        } else {
            match request.old_object.map(parse) {
                Some(Ok(before)) => Some(before),
                Some(Err(Unparsed { error, .. })) => {
                    let note = format!(
                        "{} was not judged: its old state cannot be read: {error}",
                        request.reference(kind)
                    );
                    return Ok(Subject::Nothing(Some(note)));
                }
                None => {
                    let note = format!(
                        "{} was not judged: the request has no oldObject",
                        request.reference(kind)
                    );
                    return Ok(Subject::Nothing(Some(note)));
                }
            }
        };
        let Some(reference) = after.as_ref().or(before.as_ref()).map(Resource::reference) else {
            return Ok(Subject::Nothing(Some(format!(
                "{kind} was not judged: the request has no object"
            ))));
        };
        Ok(self.proposed(reference, before, after, request.frees_dependents()))
    }

    fn proposed(
        &self,
        reference: ObjectRef,
        before: Option<Resource>,
        after: Option<Resource>,
        frees_pods: bool,
    ) -> Subject {
        let change = Change::new(reference, before, after, &self.mesh).freeing(frees_pods);
        Subject::Change(Box::new(change))
    }

    /// A write to `scale` is a change of its workload's replicas.
    fn scale(&self, kind: Kind, request: &Request<'_>) -> Subject {
        let replicas = |object: Option<&serde_json::value::RawValue>| {
            let mut json = serde_json::Deserializer::from_str(object?.get());
            scale_replicas(&mut json).ok()
        };
        let reference = request.reference(kind);
        let known = self.world.read().get(&reference).cloned();
        let (Some(Resource::Workload(workload)), Some(after)) = (known, replicas(request.object)) else {
            return Subject::Nothing(Some(format!("{reference} was not judged: it is not known yet")));
        };
        let with = |replicas| {
            let mut workload = workload.clone();
            workload.replicas = replicas;
            Some(Resource::Workload(workload))
        };
        let before = replicas(request.old_object).unwrap_or(workload.replicas);
        self.proposed(reference, with(before), with(after), false)
    }
}

/// Whether a review is judged in little time, where it was received: it is short, and not of a kind of which one concerns
/// many other objects. To go aside means another thread, with cold caches and memory of its own: a seventh of what such a
/// review costs.
fn is_short(kind: Kind, body: &[u8]) -> bool {
    let reaches_far = matches!(
        kind,
        Kind::ConfigMap
            | Kind::Gateway
            | Kind::LaneGroup
            | Kind::Namespace
            | Kind::Sidecar
            | Kind::Telemetry
            | Kind::TrafficExtension
            | Kind::WasmPlugin
    );
    body.len() <= SHORT && !reaches_far
}

/// Does work that may take long, while another thread goes on with what this one serves; a runtime of one thread has no other.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    let has_others =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// The time in milliseconds, so that ids are in the order of the processes, and a number by chance: replicas are
/// started at the same moment.
fn process_id() -> u128 {
    let time = u128::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    time << 32 | u128::from(chance()) >> 32
}

/// What of a request decides the level of what is found.
fn admission(mode: Mode, request: &Request<'_>, change: &Change, settings: &Settings) -> Admission {
    let replicas = |object: Option<&Resource>| match object {
        Some(Resource::Workload(workload)) => Some(workload.replicas),
        _ => None,
    };
    let user = &request.user_info.username;
    let to_zero =
        replicas(change.after()) == Some(0) && replicas(change.before()).is_some_and(|before| before > 0);
    Admission {
        mode,
        is_delete: request.operation == Operation::Delete,
        is_dry_run: request.dry_run == Some(true),
        by_set_applier: is_one_of(&settings.set_appliers, user, request.field_manager()),
        is_automatic_scaling: to_zero && is_one_of(&settings.scalers, user, request.field_manager()),
    }
}

/// What a request is about.
enum Subject {
    /// A change to judge.
    Change(Box<Change>),
    /// Nothing that is judged, and perhaps why.
    Nothing(Option<String>),
}

/// An object that is not one of its kind.
struct Unparsed {
    kind: Kind,
    error: String,
}

impl Record {
    /// A name that the request does not have, on deletecollection, is the object's.
    fn reference(&mut self, change: &Change) {
        if self.name.is_empty() {
            self.name = change.reference.name.to_string();
        }
        if self.namespace.is_empty() {
            self.namespace = change.reference.namespace.to_string();
        }
    }
}

impl Judge for Engine {
    async fn validate(&self, mode: Mode, body: Bytes, deadline: Option<Duration>) -> Answer {
        self.validate(mode, &body, deadline).await
    }

    async fn mutate(&self, mode: Mode, body: Bytes, _deadline: Option<Duration>) -> Answer {
        self.mutate(mode, &body)
    }

    fn unsynced(&self) -> Vec<String> {
        (self.unsynced)()
    }

    fn index(&self) -> (Vec<(Kind, usize)>, u64) {
        let world = self.world.read();
        let counts = Kind::ALL.iter().map(|kind| (*kind, world.count(*kind)));
        (counts.collect(), world.version())
    }
}

fn refused(status: u16, error: &str) -> Answer {
    let body = serde_json::json!({ "error": error }).to_string();
    Answer {
        status,
        body: body.into_bytes(),
        record: None,
    }
}

/// The codes of findings, each once.
fn distinct(findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .map(|finding| finding.code)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
