//! Watches that keep a world in step with the API server.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event, ListSemantic, watcher};
use kube::{Api, Client};
use parking_lot::{Mutex, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower::service_fn;

use super::look::{Found, api_resource, look};
use super::object::{RawObject, is_metadata_enough};
use super::progress::Progress;
use crate::audit::Changes;
use crate::chance::chance;
use crate::resource::{Kind, ObjectRef};
use crate::world::World;

/// The time between two looks for kinds that come and go.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The time until the next look where one left a kind in the dark.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many looks in a row have to miss a kind until it is gone: of several API servers, each learns of a new
/// definition on its own time.
const MISSES: u8 = 2;

/// How long one watch request lasts; an unnoticed loss of the connection is noticed then.
pub(super) const WATCH_SECONDS: u32 = 120;

/// How long one page of a list may take.
pub(super) const PAGE_PATIENCE: Duration = Duration::from_secs(60);

/// How many objects a page of a list holds.
pub(super) const PAGE_SIZE: u32 = 500;

/// Each time that so many failures have come in a row, a watch is not resumed but begun with a list: the API server
/// may not have what it is asked to resume from.
const FAILURES_BEFORE_LIST: u32 = 10;

/// The watches of every kind. They end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    progress: Arc<Progress>,
    _supervisor: Task,
}

impl Watches {
    /// How far they have come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

/// Keeps `world` in step with the API server: every kind of [`Kind::ALL`] in any version that is served. Has to
/// be called within a Tokio runtime. What it changes is in `changes` too.
pub fn watch(client: Client, world: Arc<RwLock<World>>, changes: Arc<Mutex<Changes>>) -> Watches {
    let progress = Arc::new(Progress::default());
    let mut supervisor = Supervisor {
        client,
        world,
        changes,
        progress: Arc::clone(&progress),
        running: BTreeMap::new(),
    };
    let supervisor = Task(tokio::spawn(async move { supervisor.run().await }));
    Watches {
        progress,
        _supervisor: supervisor,
    }
}

/// A task that ends with its holder.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    /// Ends the task, and returns when it has ended: nothing of it comes later.
    async fn stop(mut self) {
        self.0.abort();
        (&mut self.0).await.ok();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a watch for each kind that is served, and ends it when the kind is not served any more.
struct Supervisor {
    client: Client,
    world: Arc<RwLock<World>>,
    changes: Arc<Mutex<Changes>>,
    progress: Arc<Progress>,
    running: BTreeMap<Kind, Running>,
}

/// A kind that is watched.
struct Running {
    version: &'static str,
    task: Task,
    /// How many looks in a row have not found it.
    misses: u8,
}

impl Supervisor {
    async fn run(&mut self) {
        loop {
            for (kind, found) in look(&self.client).await {
                self.tend(kind, &found).await;
            }
            let in_the_dark = self
                .progress
                .pending()
                .iter()
                .any(|kind| !self.running.contains_key(&kind.kind));
            sleep(if in_the_dark { LOOK_AGAIN } else { LOOK_INTERVAL }).await;
        }
    }

    /// Does for `kind` what a look's answer asks for.
    async fn tend(&mut self, kind: Kind, found: &Found) {
        let Some(running) = self.running.get_mut(&kind) else {
            match (found.versions.first(), &found.doubt) {
                (Some(version), _) => self.start(kind, version),
                (None, Some(doubt)) => self.progress.doubts(kind, doubt),
                (None, None) => self.progress.is_not_served(kind),
            }
            return;
        };
        if found.versions.contains(&running.version) {
            running.misses = 0;
            if running.task.0.is_finished() {
                // A watch has no end of its own: it panicked, and the log has told.
                self.progress.has_failed(kind, "its watch broke off".to_owned());
                let version = running.version;
                self.start(kind, version);
            }
            return;
        }
        if found.doubt.is_some() {
            return;
        }
        running.misses += 1;
        let other = found.versions.first();
        if other.is_none() && running.misses < MISSES {
            return;
        }
        if let Some(running) = self.running.remove(&kind) {
            running.task.stop().await;
        }
        if let Some(version) = other {
            self.start(kind, version);
        } else {
            tracing::info!(%kind, "not served any more");
            let (mut world, now) = (self.world.write(), std::time::Instant::now());
            self.changes.lock().retain(&mut world, kind, now, |_| false);
            drop(world);
            self.progress.is_not_served(kind);
        }
    }

    fn start(&mut self, kind: Kind, version: &'static str) {
        tracing::debug!(%kind, version, "watching");
        self.progress.is_served(kind, version);
        let reflection = Reflection {
            kind,
            world: Arc::clone(&self.world),
            changes: Arc::clone(&self.changes),
            progress: Arc::clone(&self.progress),
            listed: HashSet::new(),
            told: None,
        };
        let client = self.client.clone();
        let task = if is_metadata_enough(kind) {
            tokio::spawn(follow::<true>(client, version, reflection))
        } else {
            tokio::spawn(follow::<false>(client, version, reflection))
        };
        self.running.insert(
            kind,
            Running {
                version,
                task: Task(task),
                misses: 0,
            },
        );
    }
}

/// How one kind is listed and watched: lists are quorum reads, so that starting afresh never goes back in time,
/// and any API server can page them.
fn config() -> watcher::Config {
    watcher::Config::default()
        .list_semantic(ListSemantic::MostRecent)
        .page_size(PAGE_SIZE)
        .timeout(WATCH_SECONDS)
}

/// Watches one kind for ever.
async fn follow<const METADATA_ONLY: bool>(
    client: Client,
    version: &'static str,
    mut reflection: Reflection,
) {
    let kind = reflection.kind;
    let client = heard(&client, kind, &reflection.progress);
    let resource = api_resource(kind, version);
    let api: Api<RawObject<METADATA_ONLY>> = if kind == Kind::ConfigMap {
        // No selector can tell `istio` and `istio-<revision>` from the others: the namespace has to.
        let root = reflection.world.read().settings().root_namespace.clone();
        Api::namespaced_with(client, &root, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    let mut backoff = Backoff::default();
    loop {
        let mut events = pin!(watcher(api.clone(), config()));
        let mut listing = true;
        loop {
            let event = if listing {
                timeout(PAGE_PATIENCE, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match event {
                Ok(Some(Ok(event))) => {
                    listing = match event {
                        Event::Init | Event::InitApply(_) => true,
                        Event::InitDone | Event::Apply(_) | Event::Delete(_) => false,
                    };
                    reflection.take(event);
                }
                Ok(Some(Err(error))) => {
                    reflection.fail(with_causes(&error));
                    sleep(backoff.delay(Instant::now())).await;
                    if backoff.failures.is_multiple_of(FAILURES_BEFORE_LIST) {
                        break;
                    }
                }
                Ok(None) | Err(_) => {
                    reflection.fail(format!("a list got no answer in {} s", PAGE_PATIENCE.as_secs()));
                    sleep(backoff.delay(Instant::now())).await;
                    break;
                }
            }
        }
    }
}

/// A client whose good answers `progress` takes for signs of life of the watch of `kind`: the watcher itself tells of
/// objects and failures only, and neither comes while nothing happens.
fn heard(client: &Client, kind: Kind, progress: &Arc<Progress>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, progress) = (client.clone(), Arc::clone(progress));
    let asked = service_fn(move |request| {
        let (client, progress) = (client.clone(), Arc::clone(&progress));
        async move {
            let answer = client.send(request).await?;
            if answer.status().is_success() {
                progress.has_heard(kind);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(asked, namespace)
}

/// An error and what caused it, each said once.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// What one watch says, put into the world.
struct Reflection {
    kind: Kind,
    world: Arc<RwLock<World>>,
    /// Locked after the world.
    changes: Arc<Mutex<Changes>>,
    progress: Arc<Progress>,
    /// What the list has held so far.
    listed: HashSet<ObjectRef>,
    /// The failure that the log has told, while it lasts.
    told: Option<String>,
}

impl Reflection {
    /// Puts one event into the world. While a list is under way the world keeps what it had.
    fn take<const METADATA_ONLY: bool>(&mut self, event: Event<RawObject<METADATA_ONLY>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                if let Some(reference) = self.put(&object) {
                    self.listed.insert(reference);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.change(|changes, world, now| {
                    changes.retain(world, self.kind, now, |reference| listed.contains(reference));
                });
                tracing::debug!(kind = %self.kind, objects = listed.len(), "in step");
                self.progress.has_synced(self.kind);
                self.told = None;
            }
            Event::Apply(object) => {
                self.told = None;
                self.put(&object);
            }
            Event::Delete(object) => {
                self.told = None;
                let reference = object.reference(self.kind);
                self.change(|changes, world, now| changes.remove(world, &reference, now));
            }
        }
    }

    /// Puts an object into the world. One that does not parse takes its former self with it: nothing is known
    /// of what it says now.
    fn put<const METADATA_ONLY: bool>(&self, object: &RawObject<METADATA_ONLY>) -> Option<ObjectRef> {
        let reference = object.reference(self.kind);
        if let Some(resource) = object.parse(self.kind) {
            self.change(|changes, world, now| changes.apply(world, resource, now));
            Some(reference)
        } else {
            self.change(|changes, world, now| changes.remove(world, &reference, now));
            None
        }
    }

    /// Changes the world, and what is known of its changes: both at once for who reads the world.
    fn change<T>(&self, change: impl FnOnce(&mut Changes, &mut World, std::time::Instant) -> T) -> T {
        let mut world = self.world.write();
        change(&mut self.changes.lock(), &mut world, std::time::Instant::now())
    }

    /// Takes note of a failure; the log tells it once.
    fn fail(&mut self, reason: String) {
        if self.told.as_ref() == Some(&reason) {
            tracing::debug!(kind = %self.kind, error = reason, "a watch failed again");
        } else {
            tracing::warn!(kind = %self.kind, error = reason, "a watch failed; it starts again");
            self.told = Some(reason.clone());
        }
        self.progress.has_failed(self.kind, reason);
    }
}

/// How long to wait after a failure: longer each time, and never as long as another replica.
#[derive(Default)]
struct Backoff {
    /// How many there were in a row.
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
    /// After so long without a failure the next is the first.
    const FORGETS: Duration = Duration::from_secs(60);

    fn delay(&mut self, now: Instant) -> Duration {
        if self
            .last
            .is_none_or(|last| now.duration_since(last) > Self::FORGETS)
        {
            self.failures = 0;
        }
        self.last = Some(now);
        let delay = (Self::FIRST * (1 << self.failures.min(5))).min(Self::LONGEST);
        self.failures += 1;
        // Half of the delay is by chance.
        let chance = u32::try_from(chance() % 1024).unwrap_or_default();
        delay / 2 + delay * chance / 2048
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::Resource;
    use crate::world::Settings;

    fn reflection() -> Reflection {
        Reflection {
            kind: Kind::VirtualService,
            world: Arc::new(RwLock::new(World::new(Settings::default()))),
            changes: Arc::default(),
            progress: Arc::default(),
            listed: HashSet::new(),
            told: None,
        }
    }

    fn object(name: &str, hosts: &Value) -> RawObject<false> {
        let json = json!({"metadata": {"namespace": "cars", "name": name}, "spec": {"hosts": hosts}});
        serde_json::from_str(&json.to_string()).unwrap()
    }

    fn names(reflection: &Reflection) -> Vec<String> {
        let world = reflection.world.read();
        let mut names: Vec<_> = world
            .objects()
            .map(|object| object.meta().name.to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_list_that_starts_afresh_removes_what_is_gone_and_only_at_its_end() {
        let mut reflection = reflection();
        for name in ["a", "b"] {
            reflection.take(Event::Apply(object(name, &json!(["x"]))));
        }
        let service = json!({"metadata": {"namespace": "cars", "name": "service"}, "spec": {}});
        reflection
            .world
            .write()
            .apply(Resource::parse(Kind::Service, service).unwrap());
        reflection.take::<false>(Event::Init);
        reflection.take(Event::InitApply(object("b", &json!(["y"]))));
        assert_eq!(names(&reflection), ["a", "b", "service"]);
        // The list breaks off and starts again.
        reflection.take::<false>(Event::Init);
        reflection.take(Event::InitApply(object("c", &json!(["x"]))));
        reflection.take::<false>(Event::InitDone);
        assert_eq!(names(&reflection), ["c", "service"]);
    }

    #[test]
    fn an_object_that_does_not_parse_takes_its_former_self_with_it() {
        let mut reflection = reflection();
        reflection.take(Event::Apply(object("a", &json!(["x"]))));
        reflection.take(Event::Apply(object("b", &json!(["x"]))));
        reflection.take(Event::Apply(object("a", &json!(5))));
        assert_eq!(names(&reflection), ["b"]);
        reflection.take(Event::Delete(object("b", &json!(5))));
        assert!(names(&reflection).is_empty());
    }

    #[test]
    fn a_failure_is_told_with_its_causes_and_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to list: {0}")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("client error")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("connection refused")));
        assert_eq!(
            with_causes(&error),
            "failed to list: client error: connection refused"
        );
    }

    #[tokio::test]
    async fn good_answers_are_signs_of_life_of_a_watch_and_others_are_not() {
        use std::sync::atomic::{AtomicU16, Ordering};
        let status = Arc::new(AtomicU16::new(500));
        let answering = Arc::clone(&status);
        let server = service_fn(move |_: hyper::Request<kube::client::Body>| {
            let answer = hyper::Response::builder().status(answering.load(Ordering::Relaxed));
            std::future::ready(answer.body(kube::client::Body::empty()))
        });
        let progress = Arc::new(Progress::default());
        progress.is_served(Kind::Pod, "v1");
        let client = heard(&Client::new(server, "default"), Kind::Pod, &progress);
        let age_after = async |code: u16| {
            status.store(code, Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
            client
                .send(hyper::Request::new(kube::client::Body::empty()))
                .await
                .unwrap();
            progress.age(Kind::Pod).unwrap()
        };
        for refused in [500, 403, 410] {
            assert!(age_after(refused).await >= Duration::from_millis(20), "{refused}");
        }
        assert!(age_after(200).await < Duration::from_millis(20));
    }

    #[test]
    fn the_wait_grows_to_its_longest_and_is_forgotten() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for expected in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let delay = backoff.delay(now);
            let expected = Duration::from_millis(expected);
            assert!(
                (expected / 2..=expected).contains(&delay),
                "{delay:?} for {expected:?}"
            );
        }
        assert!(backoff.delay(now + Duration::from_secs(61)) <= Backoff::FIRST);
    }
}
