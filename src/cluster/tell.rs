//! Tells what the audit reports: an Event on the object and a line in the log, for what is new and for what is resolved.
//!
//! ```text
//!   Report ──differs from what was told──▶ a line in the log, then an Event ──written──▶ what was told
//!                                                                                         ▲
//!   the Events that are there, when this replica begins to lead ──────────────────────────┘
//! ```
//!
//! It is one comparison over and over, so nothing is told twice, nothing that fails is lost, and what comes and goes faster than
//! Events are written is not told at all. One replica tells: the one that leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::audit::{AuditMetrics, Audited};
use super::look::api_resource;
use super::progress::Progress;
use super::watch::{PAGE_SIZE, with_causes};
use crate::audit::{Report, Reported};
use crate::resource::{Kind, ObjectRef};
use crate::rule::{self, Finding, Identity, Level, Subject};

/// Who reports.
const CONTROLLER: &str = "lanekeeper";

/// The annotation of an Event that tells which finding it is about.
const FINDING: &str = "lanekeeper.dev/finding";

/// What the reason ends with where a finding is resolved.
const RESOLVED: &str = "Resolved";

/// The time from one Event to the next.
const PACE: Duration = Duration::from_millis(50);

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time until what failed is tried again; it doubles up to the longest.
const AGAIN: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// How many bytes a note has at most (`NoteLengthLimit` in `pkg/apis/core/validation/events.go`).
const NOTE: usize = 1024;

/// How many bytes an Event's name has at most.
const NAME: usize = 253;

/// Who tells. It ends when this is dropped.
#[derive(Debug)]
pub struct Teller {
    task: JoinHandle<()>,
}

impl Teller {
    /// Tells what is `audited` for as long as this replica is `leading`. Has to be called within a Tokio runtime.
    pub fn start(
        client: Client,
        progress: Arc<Progress>,
        audited: watch::Receiver<Audited>,
        leading: watch::Receiver<bool>,
        metrics: Arc<AuditMetrics>,
    ) -> Self {
        let telling = Telling {
            client,
            progress,
            audited,
            leading,
            metrics,
            instance: std::env::var("HOSTNAME").unwrap_or_else(|_| CONTROLLER.to_owned()),
            said: BTreeMap::new(),
            told: BTreeMap::new(),
            stuck: BTreeSet::new(),
            failure: None,
        };
        Self {
            task: tokio::spawn(telling.run()),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A finding that was told on an object.
#[derive(Debug, Clone)]
struct Told {
    one: Reported,
    /// The uid of the object.
    on: Option<String>,
}

struct Telling {
    client: Client,
    progress: Arc<Progress>,
    audited: watch::Receiver<Audited>,
    leading: watch::Receiver<bool>,
    metrics: Arc<AuditMetrics>,
    instance: String,
    /// What the log has.
    said: BTreeMap<Identity, Reported>,
    /// What the Events have.
    told: BTreeMap<Identity, Told>,
    /// What could not be written the last time: others come first.
    stuck: BTreeSet<Identity>,
    /// The failure that the log has told, while it lasts.
    failure: Option<String>,
}

impl Telling {
    async fn run(mut self) {
        while self.leading.wait_for(|leads| *leads).await.is_ok() && self.lead().await {}
    }

    /// Tells for as long as this one leads. Whether there can be more to tell after that.
    async fn lead(&mut self) -> bool {
        let mut again = AGAIN;
        // Another one may have told meanwhile.
        let mut is_known = false;
        self.said.clear();
        while *self.leading.borrow() {
            let report = self.audited.borrow_and_update().clone();
            let mut is_done = true;
            if let Some(report) = report {
                if !is_known {
                    is_known = self.read(&report).await;
                }
                self.say(&report);
                is_done = is_known && self.tell(&report).await;
            }
            if is_done {
                again = AGAIN;
                self.failure = None;
            } else {
                again = (again * 2).min(LONGEST);
            }
            let mut leading = self.leading.clone();
            tokio::select! {
                changed = self.audited.changed() => if changed.is_err() {
                    return false;
                },
                _ = leading.wait_for(|leads| !*leads) => {}
                () = sleep(again), if !is_done => {}
            }
        }
        true
    }

    /// Reads what the Events that are there tell. Whether it could.
    async fn read(&mut self, report: &Report) -> bool {
        match timeout(PATIENCE, events(&self.client)).await {
            Ok(Ok(events)) => {
                // Events are not kept for ever: what this one has told, and still is so, was told.
                let known = std::mem::take(&mut self.told);
                self.told = told_by(&events);
                let current = current(report);
                let known = known
                    .into_iter()
                    .filter(|(identity, _)| current.contains_key(identity));
                for (identity, told) in known {
                    self.told.entry(identity).or_insert(told);
                }
                // What was told by another one need not be said again; what this one has said is newer.
                for (identity, told) in &self.told {
                    self.said
                        .entry(identity.clone())
                        .or_insert_with(|| told.one.clone());
                }
                true
            }
            Ok(Err(error)) => {
                self.fail(with_causes(&error));
                false
            }
            Err(_) => {
                self.fail("no answer".to_owned());
                false
            }
        }
    }

    /// Says in the log what is new and what is resolved.
    fn say(&mut self, report: &Report) {
        for one in report.all() {
            if self.said.insert(one.finding.identity(), one.clone()).is_none() {
                say("new", one);
            }
        }
        let current = current(report);
        self.said.retain(|identity, one| {
            let goes_on = current.contains_key(identity) || report.has_waiting(identity);
            if !goes_on {
                say("resolved", one);
            }
            goes_on
        });
    }

    /// Writes Events until the report is told, another one is there, or one cannot be written. Whether nothing failed.
    async fn tell(&mut self, report: &Report) -> bool {
        let current = current(report);
        let new = current
            .iter()
            .filter(|(identity, _)| !self.told.contains_key(*identity));
        let new = new.map(|(identity, one)| {
            (
                identity.clone(),
                Told {
                    one: (*one).clone(),
                    on: None,
                },
                true,
            )
        });
        let gone = self
            .told
            .iter()
            .filter(|(identity, _)| !current.contains_key(*identity) && !report.has_waiting(identity));
        let gone = gone.map(|(identity, told)| (identity.clone(), told.clone(), false));
        let mut todo: Vec<(Identity, Told, bool)> = new.chain(gone).collect();
        let has_to = |stuck: &Identity| todo.iter().any(|(identity, ..)| identity == stuck);
        self.stuck.retain(has_to);
        todo.sort_by_key(|(identity, ..)| self.stuck.contains(identity));
        for (identity, told, is_new) in todo {
            if !*self.leading.borrow() || self.audited.has_changed().unwrap_or(false) {
                return true;
            }
            let began = Instant::now();
            let failure = match timeout(PATIENCE, self.write(&told, is_new)).await {
                Ok(Ok(on)) => {
                    self.stuck.remove(&identity);
                    if is_new {
                        self.told.insert(identity, Told { on, ..told });
                    } else {
                        self.told.remove(&identity);
                    }
                    sleep(PACE.saturating_sub(began.elapsed())).await;
                    continue;
                }
                Ok(Err(error)) => with_causes(&error),
                Err(_) => "no answer".to_owned(),
            };
            self.stuck.insert(identity);
            self.fail(failure);
            return false;
        }
        true
    }

    /// Writes an Event on the object, if it is there and still the one that it is about, and returns its uid.
    async fn write(&self, told: &Told, is_new: bool) -> kube::Result<Option<String>> {
        let object = &told.one.finding.object;
        let Some(version) = self.progress.version(object.kind) else {
            return Ok(None);
        };
        let resource = api_resource(object.kind, version);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &object.namespace, &resource);
        let there = api.get_metadata_opt(&object.name).await?;
        let Some(uid) = there.and_then(|there| there.metadata.uid) else {
            return Ok(None);
        };
        if !is_new && told.on.as_ref().is_some_and(|on| *on != uid) {
            return Ok(None);
        }
        let regarding = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(object.namespace.to_string()),
            name: Some(object.name.to_string()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        };
        let event = event(&told.one, is_new, regarding, &self.instance, Timestamp::now());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &object.namespace);
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(Some(uid)),
            // A namespace that is being deleted takes no Events, and its objects go with it.
            Err(kube::Error::Api(status)) if status.code == 403 && is_terminating(&status) => Ok(Some(uid)),
            Err(error) => Err(error),
        }
    }

    /// Takes note of a failure; the log tells it once while it lasts.
    fn fail(&mut self, reason: String) {
        self.metrics.event_errors.inc();
        if self.failure.as_ref() != Some(&reason) {
            tracing::warn!(
                error = reason,
                "the Events of the audit cannot be written; it is tried again"
            );
            self.failure = Some(reason);
        }
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// What is reported, each once.
fn current(report: &Report) -> BTreeMap<Identity, &Reported> {
    report
        .all()
        .iter()
        .map(|one| (one.finding.identity(), one))
        .collect()
}

/// A line in the log.
fn say(state: &'static str, one: &Reported) {
    let Reported { finding, level } = one;
    let object = &finding.object;
    macro_rules! line {
        ($macro:ident) => {
            tracing::$macro!(
                target: "lanekeeper::audit",
                state,
                code = finding.code,
                rule = finding.rule,
                verdict = %level,
                kind = %object.kind,
                namespace = %object.namespace,
                name = %object.name,
                path = finding.path,
                "{}", finding.message
            )
        };
    }
    if state == "new" && *level == Level::Deny {
        line!(warn);
    } else {
        line!(info);
    }
}

/// Every Event of this controller.
async fn events(client: &Client) -> kube::Result<Vec<Event>> {
    let api: Api<Event> = Api::all(client.clone());
    let mut params = ListParams::default()
        .fields(&format!("reportingController={CONTROLLER}"))
        .limit(PAGE_SIZE);
    let mut events = Vec::new();
    loop {
        let page = api.list(&params).await?;
        events.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(events),
        }
    }
}

/// What of a finding an Event does not have in fields of its own.
#[derive(Serialize, Deserialize)]
struct Mark {
    level: Level,
    subject: Subject,
    path: String,
    message: String,
}

fn event(one: &Reported, is_new: bool, regarding: ObjectReference, instance: &str, now: Timestamp) -> Event {
    let finding = &one.finding;
    let mark = Mark {
        level: one.level,
        subject: finding.subject.clone(),
        path: finding.path.clone(),
        message: finding.message.clone(),
    };
    let (type_, reason, note) = if is_new {
        let help = if finding.help.is_empty() { "" } else { "; " };
        let note = format!(
            "{} {}: {}{help}{}",
            finding.rule, finding.path, finding.message, finding.help
        );
        ("Warning", finding.code.to_owned(), note)
    } else {
        let note = format!("resolved: {} {}: {}", finding.rule, finding.path, finding.message);
        ("Normal", format!("{}{RESOLVED}", finding.code), note)
    };
    // As client-go names them, within what a name may have.
    let suffix = format!(".{:x}", now.as_nanosecond());
    let name = cut(&finding.object.name, NAME - suffix.len()).trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            namespace: regarding.namespace.clone(),
            name: Some(format!("{name}{suffix}")),
            annotations: serde_json::to_string(&mark)
                .ok()
                .map(|mark| [(FINDING.to_owned(), mark)].into()),
            ..ObjectMeta::default()
        },
        action: Some("Audit".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(shortened(note)),
        reason: Some(reason),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        type_: Some(type_.to_owned()),
        ..Event::default()
    }
}

/// When an Event was stored, and when it was written.
type Times = (Option<Timestamp>, Option<Timestamp>);

/// What these Events tell that is not resolved.
fn told_by(events: &[Event]) -> BTreeMap<Identity, Told> {
    let mut read: Vec<(Times, bool, Told)> = events.iter().filter_map(told).collect();
    read.sort_by_key(|(time, ..)| *time);
    let mut all = BTreeMap::new();
    for (_, is_new, told) in read {
        let identity = told.one.finding.identity();
        if is_new {
            all.insert(identity, told);
        } else {
            all.remove(&identity);
        }
    }
    all
}

/// What an Event tells: when, whether it is new or resolved, and which finding; `None` for one of another making.
fn told(event: &Event) -> Option<(Times, bool, Told)> {
    let mark = event.metadata.annotations.as_ref()?.get(FINDING)?;
    let mark: Mark = serde_json::from_str(mark).ok()?;
    let reason = event.reason.as_deref()?;
    let code = reason.strip_suffix(RESOLVED).unwrap_or(reason);
    let regarding = event.regarding.as_ref()?;
    let kind = Kind::of(regarding.api_version.as_deref()?, regarding.kind.as_deref()?)?;
    let object = ObjectRef::new(kind, regarding.namespace.as_deref()?, regarding.name.as_deref()?);
    let finding = Finding::new(rule::find(code)?, object, mark.path)
        .about(mark.subject)
        .says(mark.message, "");
    // The API server's clock before that of whoever has written it.
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let time = (created, event.event_time.as_ref().map(|time| time.0));
    let one = Reported {
        finding,
        level: mark.level,
    };
    let on = regarding.uid.clone();
    Some((time, code == reason, Told { one, on }))
}

/// A note as long as it may be.
fn shortened(note: String) -> String {
    const MORE: &str = "…";
    if note.len() <= NOTE {
        return note;
    }
    format!("{}{MORE}", cut(&note, NOTE - MORE.len()))
}

/// The first so many bytes, or a few less: a character is not cut.
fn cut(text: &str, most: usize) -> &str {
    let fits = (0..=most.min(text.len())).rev().find_map(|end| text.get(..end));
    fits.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(subset: &str, message: &str) -> Reported {
        let object = ObjectRef::new(Kind::VirtualService, "cars", "portal");
        let subject = Subject {
            subset: Some(subset.into()),
            ..Subject::default()
        };
        Reported {
            finding: Finding::new(rule::find("LK103").unwrap(), object, "spec.http[0]")
                .about(subject)
                .says(message, "define it"),
            level: Level::Deny,
        }
    }

    fn written(one: &Reported, is_new: bool, second: i64) -> Event {
        let regarding = ObjectReference {
            api_version: Some("networking.istio.io/v1beta1".to_owned()),
            kind: Some("VirtualService".to_owned()),
            namespace: Some("cars".to_owned()),
            name: Some("portal".to_owned()),
            uid: Some("1".to_owned()),
            ..ObjectReference::default()
        };
        event(
            one,
            is_new,
            regarding,
            "pod-1",
            Timestamp::from_second(second).unwrap(),
        )
    }

    #[test]
    fn what_was_told_is_read_from_the_events_in_their_order() {
        let (blue, green, white) = (one("blue", "m"), one("green", "m"), one("white", "m"));
        // As a list has them: by name, not by time.
        let events = [
            written(&blue, false, 20),
            written(&blue, true, 10),
            written(&green, true, 30),
            written(&green, false, 20),
            written(&white, true, 5),
            Event::default(),
        ];
        let told = told_by(&events);
        let identities: Vec<_> = told.keys().cloned().collect();
        assert_eq!(identities, [green.finding.identity(), white.finding.identity()]);
        let read = &told[&green.finding.identity()];
        assert_eq!(read.on.as_deref(), Some("1"));
        assert_eq!(
            (read.one.level, &*read.one.finding.path),
            (Level::Deny, "spec.http[0]")
        );
    }

    #[test]
    fn an_event_says_what_is_wrong_and_is_no_longer_than_it_may_be() {
        let event = written(&one("blue", "it is not there"), true, 1);
        assert_eq!(event.reason.as_deref(), Some("LK103"));
        assert_eq!(
            event.note.as_deref(),
            Some("unknown-subset spec.http[0]: it is not there; define it")
        );
        let resolved = written(&one("blue", "it is not there"), false, 1);
        assert_eq!(
            (resolved.reason.as_deref(), resolved.type_.as_deref()),
            (Some("LK103Resolved"), Some("Normal"))
        );
        // Two bytes a character, after an odd number of bytes.
        let long = written(&one("blue", &"ä".repeat(2000)), true, 1).note.unwrap();
        assert!(
            (NOTE - 3..=NOTE).contains(&long.len()) && long.ends_with("ä…"),
            "{}",
            long.len()
        );
    }

    #[test]
    fn a_name_of_any_length_has_an_event() {
        let mut long = one("blue", "m");
        long.finding.object.name = "a.".repeat(126).into();
        let name = written(&long, true, 1_700_000_000).metadata.name.unwrap();
        assert!(name.len() <= NAME && !name.contains(".."), "{name}");
    }
}
