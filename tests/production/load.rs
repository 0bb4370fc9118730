//! Writes that have to be allowed and writes that have to be denied, all the time.
//!
//! Each worker builds a host of its own up, moves its route from lane to lane, and takes it down again, without a
//! pause between a write and the next that needs it: who judges by what is old would deny some of it. In between it
//! tries to break a host that has been there from the beginning, so that no replica has an excuse for not seeing it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::http::{Method, Request, header};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::control_plane::eventually;
use crate::objects::{
    GUARDED, Kind, OPEN, deployment, destination_rule, route, service, subsets, virtual_service,
};
use crate::site::Site;

/// How many write at once.
const WORKERS: usize = 8;

/// The host that nothing may break.
const STABLE: &str = "stable";

/// How many wrong answers are kept to be shown.
const SHOWN: usize = 5;

/// A write, and what has to come of it.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Write {
    pub(crate) fn create(kind: Kind, object: Value) -> Self {
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        Self {
            method: Method::POST,
            path: kind.path(namespace),
            body: object,
        }
    }

    /// Changes the `spec` of an object.
    pub(crate) fn edit(kind: Kind, namespace: &str, name: &str, spec: &Value) -> Self {
        Self {
            method: Method::PATCH,
            path: format!("{}/{name}", kind.path(namespace)),
            body: json!({"spec": spec}),
        }
    }

    pub(crate) fn delete(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            method: Method::DELETE,
            path: format!("{}/{name}", kind.path(namespace)),
            body: json!({"propagationPolicy": "Background"}),
        }
    }

    /// Sends it.
    pub(crate) async fn send(&self, client: &Client) -> Answer {
        let content_type = match self.method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(self.body.to_string().into_bytes()))
            .unwrap();
        let response = match client.send(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Failed(format!("no answer: {}", with_causes(&error))),
        };
        let status = response.status();
        let unconfirmed = response
            .headers()
            .get_all(header::WARNING)
            .iter()
            .map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned())
            .find(|warning| warning.contains("could not read the cluster afresh"));
        let body = match response.into_body().collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Err(error) => return Answer::Failed(format!("{status} and half an answer: {error}")),
        };
        match status.as_u16() {
            200..300 => unconfirmed.map_or(Answer::Allowed, Answer::Unconfirmed),
            403 if body.contains(".lanekeeper.dev\\\" denied the request") => Answer::Denied(message(&body)),
            code => Answer::Failed(format!("{code} {}", message(&body))),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.body)
    }
}

fn message(body: &str) -> String {
    let status: Value = serde_json::from_str(body).unwrap_or_default();
    status["message"].as_str().unwrap_or(body).to_owned()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Allowed,
    /// Allowed because what would have denied it could not be read afresh; the warning that tells why.
    Unconfirmed(String),
    Denied(String),
    Failed(String),
}

/// What has to come of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Allowed,
    Denied,
}

/// A load that goes on until it is ended.
pub(crate) struct Load {
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
    started: Instant,
}

struct State {
    client: Client,
    pace: tokio::sync::Mutex<Interval>,
    is_over: AtomicBool,
    /// Whether the API server is away from those that ask it: what fails now is none of the webhook's failures, and
    /// what has to be denied may pass with a warning. Read-held by each write.
    is_server_away: RwLock<bool>,
    outcome: Mutex<Outcome>,
    writes: AtomicUsize,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) allowed: usize,
    pub(crate) denied: usize,
    /// Writes that were tried again, because the API server itself was away.
    pub(crate) retried: usize,
    /// Writes that should have been denied and passed with a warning while the API server was away.
    pub(crate) unconfirmed: usize,
    pub(crate) wrong: usize,
    /// The first of the wrong answers.
    shown: Vec<String>,
    /// How long the writes took.
    times: Vec<Duration>,
}

impl Load {
    /// Makes the hosts, waits until both replicas know them, and starts to write, so many times a second.
    pub(crate) fn start(site: &Site, per_second: u32) -> Self {
        for namespace in [OPEN, GUARDED] {
            for host in hosts_of(namespace).chain([STABLE.to_owned()]) {
                site.apply(&service(namespace, &host));
            }
            for lane in ["a", "b"] {
                site.apply(&deployment(namespace, STABLE, lane));
            }
            site.apply(&destination_rule(namespace, STABLE, &["a", "b"]));
            site.apply(&virtual_service(namespace, STABLE, STABLE, "b"));
        }
        let client = site.client();
        for replica in 0..site.replicas.len() {
            eventually("a replica knows what may not be broken", || {
                let is_denied = |namespace| {
                    let wrong = virtual_service(namespace, "asked", STABLE, "c");
                    site.ask(replica, &wrong)["allowed"] == false
                };
                (is_denied(OPEN) && is_denied(GUARDED)).then_some(())
            });
        }
        // That was of the rules; other kinds come by other watches.
        thread::sleep(Duration::from_secs(1));

        let _context = site.runtime.enter();
        let mut pace = interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = Arc::new(State {
            client,
            pace: tokio::sync::Mutex::new(pace),
            is_over: AtomicBool::new(false),
            is_server_away: RwLock::new(false),
            outcome: Mutex::default(),
            writes: AtomicUsize::new(0),
        });
        let tasks = (0..WORKERS)
            .map(|worker| {
                let state = Arc::clone(&state);
                tokio::spawn(async move { state.work(worker).await })
            })
            .collect();
        Self {
            state,
            tasks,
            started: Instant::now(),
        }
    }

    /// How many writes have been answered.
    pub(crate) fn writes(&self) -> usize {
        self.state.writes.load(Ordering::SeqCst)
    }

    /// Says whether the API server is away from now on, at a moment when no write is under way.
    pub(crate) fn server_is_away(&self, is_away: bool) {
        *self.state.is_server_away.blocking_write() = is_away;
    }

    /// Ends it, and tells what came of it. That answers were wrong fails here, and shows the first ones.
    pub(crate) fn end(self, site: &Site, what: &str) -> Outcome {
        self.state.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            site.runtime.block_on(task).unwrap();
        }
        let took = self.started.elapsed();
        let mut outcome = std::mem::take(&mut *self.state.outcome.lock());
        outcome.times.sort();
        let at = |part: usize| {
            outcome
                .times
                .get(outcome.times.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        eprintln!(
            "{what}: {} allowed, {} denied, {} wrong, {} tried again, {} unconfirmed in {took:.1?}; a write took \
             {:.1?}, one of a hundred {:.1?}",
            outcome.allowed,
            outcome.denied,
            outcome.wrong,
            outcome.retried,
            outcome.unconfirmed,
            at(50),
            at(99)
        );
        assert!(
            outcome.shown.is_empty(),
            "{what}: {} wrong answers, the first of them:\n{}\n{}",
            outcome.wrong,
            outcome.shown.join("\n"),
            complaints(site)
        );
        outcome
    }
}

impl State {
    async fn work(&self, worker: usize) {
        let namespace = if worker.is_multiple_of(2) { OPEN } else { GUARDED };
        let host = format!("host-{worker}");
        let mut round = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let mut wrongs: VecDeque<Write> = wrongs(namespace, &host, round).into();
            for right in life(namespace, &host) {
                self.write(&right, Expected::Allowed).await;
                if let Some(wrong) = wrongs.pop_front() {
                    self.write(&wrong, Expected::Denied).await;
                }
            }
            round += 1;
        }
    }

    /// Writes, and again where the API server itself was away, and takes note of what came of it.
    async fn write(&self, write: &Write, expected: Expected) {
        let mut tries = 0;
        loop {
            self.pace.lock().await.tick().await;
            let is_away = self.is_server_away.read().await;
            // What has to be denied may pass then: not what would break something for good.
            if *is_away && expected == Expected::Denied && write.method != Method::POST {
                return;
            }
            let started = Instant::now();
            let answer = write.send(&self.client).await;
            tries += 1;
            if *is_away && is_the_servers_own(write, &answer, tries) {
                self.outcome.lock().retried += 1;
                drop(is_away);
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut outcome = self.outcome.lock();
            outcome.times.push(started.elapsed());
            match (&answer, expected) {
                (Answer::Allowed, Expected::Allowed) => outcome.allowed += 1,
                (Answer::Denied(_), Expected::Denied) => outcome.denied += 1,
                (Answer::Unconfirmed(_), Expected::Denied) if *is_away => outcome.unconfirmed += 1,
                (Answer::Unconfirmed(_), Expected::Allowed) if *is_away => outcome.allowed += 1,
                // An earlier try has done it.
                (Answer::Failed(why), _) if tries > 1 && is_done(write, why) => match expected {
                    Expected::Allowed => outcome.allowed += 1,
                    Expected::Denied => outcome.unconfirmed += 1,
                },
                _ => {
                    outcome.wrong += 1;
                    if outcome.shown.len() < SHOWN {
                        let shown = format!("{write}\n  has to be {expected:?} and is {answer:?}");
                        outcome.shown.push(shown);
                    }
                }
            }
            return;
        }
    }
}

/// Whether an answer is the API server's own failure. That it could not call the webhook is none.
fn is_the_servers_own(write: &Write, answer: &Answer, tries: usize) -> bool {
    let Answer::Failed(why) = answer else {
        return false;
    };
    let is_done = tries > 1 && is_done(write, why);
    !is_done && !why.contains("failed calling webhook")
}

/// What the API server has logged, without the denials that it had to pass on.
fn complaints(site: &Site) -> String {
    let log = site.plane.api_server_log();
    let lines = log.lines().filter(|line| !line.contains("rejected by webhook"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a write that is tried again fails because it has been done.
fn is_done(write: &Write, why: &str) -> bool {
    match write.method {
        Method::POST => why.starts_with("409 "),
        Method::DELETE => why.starts_with("404 "),
        _ => false,
    }
}

/// The hosts of the workers of a namespace.
fn hosts_of(namespace: &str) -> impl Iterator<Item = String> {
    let first = usize::from(namespace == GUARDED);
    (first..WORKERS).step_by(2).map(|worker| format!("host-{worker}"))
}

/// A host's life; each write needs the ones before it.
fn life(namespace: &str, host: &str) -> Vec<Write> {
    use Kind::{Deployment, DestinationRule, VirtualService};
    vec![
        Write::create(Deployment, deployment(namespace, host, "a")),
        Write::create(DestinationRule, destination_rule(namespace, host, &["a"])),
        Write::create(VirtualService, virtual_service(namespace, host, host, "a")),
        Write::create(Deployment, deployment(namespace, host, "b")),
        Write::edit(DestinationRule, namespace, host, &subsets(host, &["a", "b"])),
        Write::edit(VirtualService, namespace, host, &route(host, host, "b")),
        Write::edit(VirtualService, namespace, host, &route(host, host, "a")),
        Write::edit(DestinationRule, namespace, host, &subsets(host, &["a"])),
        Write::delete(Deployment, namespace, &format!("{host}-b")),
        Write::delete(VirtualService, namespace, host),
        Write::delete(DestinationRule, namespace, host),
        Write::delete(Deployment, namespace, &format!("{host}-a")),
    ]
}

/// What would break the stable host of a namespace.
fn wrongs(namespace: &str, host: &str, round: usize) -> Vec<Write> {
    use Kind::{Deployment, DestinationRule, VirtualService};
    let bad = format!("{host}-bad-{round}");
    let mut wrongs = vec![
        Write::create(VirtualService, virtual_service(namespace, &bad, STABLE, "c")),
        Write::edit(DestinationRule, namespace, STABLE, &subsets(STABLE, &["a"])),
        Write::edit(Deployment, namespace, "stable-b", &json!({"replicas": 0})),
        Write::edit(VirtualService, namespace, STABLE, &route(STABLE, STABLE, "c")),
    ];
    if namespace == GUARDED {
        wrongs.push(Write::delete(Deployment, namespace, "stable-b"));
    }
    wrongs
}
