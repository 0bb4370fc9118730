//! How far the watches have come: what readiness and metrics ask.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::resource::Kind;

/// How far the watches have come. Shared between them and those who ask.
#[derive(Debug, Default)]
pub struct Progress {
    kinds: Mutex<BTreeMap<Kind, State>>,
    restarts: Mutex<BTreeMap<Kind, u64>>,
    /// When the API server last answered the watch of a kind that is served.
    heard: Mutex<BTreeMap<Kind, Instant>>,
    synced: Notify,
}

/// A kind that the world does not hold yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The kind.
    pub kind: Kind,
    /// What stands in the way, where something does.
    pub reason: Option<String>,
}

/// `VirtualService`, or `VirtualService (watch failed: …)`.
impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// What is known of one kind; a kind that no look has found or missed yet has no state.
#[derive(Debug, Clone)]
enum State {
    /// Nothing is known; the reason.
    Unknown(String),
    /// The API server does not serve it.
    NotServed,
    /// It is watched in this version.
    Served {
        version: &'static str,
        synced: bool,
        failure: Option<String>,
    },
}

impl Progress {
    /// The kinds that keep the world from being complete: served and not yet listed, or not yet known to be
    /// served or not. Empty once every served kind is in the world; a watch that is only interrupted does not
    /// bring its kind back here.
    pub fn pending(&self) -> Vec<Pending> {
        let kinds = self.kinds.lock();
        let pending = Kind::ALL.iter().filter_map(|kind| {
            let reason = match kinds.get(kind) {
                None => None,
                Some(State::Unknown(reason)) => Some(reason.clone()),
                Some(State::NotServed | State::Served { synced: true, .. }) => return None,
                Some(State::Served { failure, .. }) => failure.clone(),
            };
            Some(Pending { kind: *kind, reason })
        });
        pending.collect()
    }

    /// Returns when nothing is pending.
    pub async fn until_synced(&self) {
        loop {
            let change = self.synced.notified();
            tokio::pin!(change);
            change.as_mut().enable();
            if self.pending().is_empty() {
                return;
            }
            change.await;
        }
    }

    /// The kinds that are served, each with the version that it is read in.
    pub fn served(&self) -> Vec<(Kind, &'static str)> {
        let kinds = self.kinds.lock();
        kinds
            .keys()
            .filter_map(|kind| Some((*kind, version(kinds.get(kind)?)?)))
            .collect()
    }

    /// How often the watch of `kind` had to start again because it failed.
    pub fn restarts(&self, kind: Kind) -> u64 {
        self.restarts.lock().get(&kind).copied().unwrap_or_default()
    }

    /// How long ago the API server last answered the watch of `kind`: so old may be what is known of it. `None` while it is
    /// not served.
    pub fn age(&self, kind: Kind) -> Option<Duration> {
        self.heard.lock().get(&kind).map(Instant::elapsed)
    }

    /// Whether the world holds `kind`; `None` where it is known not to be served.
    pub fn is_synced(&self, kind: Kind) -> Option<bool> {
        match self.kinds.lock().get(&kind) {
            Some(State::NotServed) => None,
            Some(State::Served { synced, .. }) => Some(*synced),
            None | Some(State::Unknown(_)) => Some(false),
        }
    }

    /// The version that `kind` is read in; `None` while it is not served.
    pub(super) fn version(&self, kind: Kind) -> Option<&'static str> {
        version(self.kinds.lock().get(&kind)?)
    }

    /// Nothing could be learnt about `kind`. What was known before stands.
    pub(super) fn doubts(&self, kind: Kind, reason: &str) {
        let mut kinds = self.kinds.lock();
        if matches!(kinds.get(&kind), None | Some(State::Unknown(_))) {
            kinds.insert(kind, State::Unknown(reason.to_owned()));
        }
    }

    /// The API server has answered the watch of `kind`.
    pub(super) fn has_heard(&self, kind: Kind) {
        if let Some(heard) = self.heard.lock().get_mut(&kind) {
            *heard = Instant::now();
        }
    }

    pub(super) fn is_served(&self, kind: Kind, version: &'static str) {
        self.heard.lock().entry(kind).or_insert_with(Instant::now);
        // In another version it is the same objects: they stay until they are listed again.
        let mut kinds = self.kinds.lock();
        let synced = matches!(kinds.get(&kind), Some(State::Served { synced: true, .. }));
        kinds.insert(
            kind,
            State::Served {
                version,
                synced,
                failure: None,
            },
        );
    }

    pub(super) fn is_not_served(&self, kind: Kind) {
        self.kinds.lock().insert(kind, State::NotServed);
        self.heard.lock().remove(&kind);
        self.synced.notify_waiters();
    }

    pub(super) fn has_synced(&self, kind: Kind) {
        if let Some(State::Served { synced, failure, .. }) = self.kinds.lock().get_mut(&kind) {
            *synced = true;
            *failure = None;
        }
        self.synced.notify_waiters();
    }

    pub(super) fn has_failed(&self, kind: Kind, reason: String) {
        *self.restarts.lock().entry(kind).or_default() += 1;
        if let Some(State::Served { failure, .. }) = self.kinds.lock().get_mut(&kind) {
            *failure = Some(reason);
        }
    }
}

fn version(state: &State) -> Option<&'static str> {
    match state {
        State::Served { version, .. } => Some(version),
        State::Unknown(_) | State::NotServed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(progress: &Progress) -> Vec<String> {
        progress.pending().iter().map(ToString::to_string).collect()
    }

    /// Every kind but `Pod` and `Gateway` is not served.
    fn progress() -> Progress {
        let progress = Progress::default();
        assert_eq!(progress.pending().len(), Kind::ALL.len());
        for kind in Kind::ALL
            .iter()
            .filter(|kind| !matches!(kind, Kind::Pod | Kind::Gateway))
        {
            progress.is_not_served(*kind);
        }
        progress
    }

    #[test]
    fn a_kind_is_pending_until_it_is_listed_or_known_not_to_be_served() {
        let progress = progress();
        assert_eq!(pending(&progress), ["Gateway", "Pod"]);
        progress.doubts(Kind::Gateway, "no answer");
        progress.is_served(Kind::Pod, "v1");
        assert_eq!(pending(&progress), ["Gateway (no answer)", "Pod"]);
        progress.has_failed(Kind::Pod, "forbidden".to_owned());
        assert_eq!(pending(&progress), ["Gateway (no answer)", "Pod (forbidden)"]);
        progress.has_synced(Kind::Pod);
        progress.is_not_served(Kind::Gateway);
        assert!(pending(&progress).is_empty());
        assert_eq!(progress.served(), [(Kind::Pod, "v1")]);
        assert_eq!(
            (progress.restarts(Kind::Pod), progress.restarts(Kind::Gateway)),
            (1, 0)
        );
    }

    #[test]
    fn what_was_complete_stays_so_through_doubts_failures_and_another_version() {
        let progress = progress();
        progress.is_not_served(Kind::Pod);
        progress.is_served(Kind::Gateway, "v1");
        progress.has_synced(Kind::Gateway);
        progress.has_failed(Kind::Gateway, "gone".to_owned());
        progress.doubts(Kind::Gateway, "no answer");
        progress.is_served(Kind::Gateway, "v1beta1");
        assert!(pending(&progress).is_empty());
        assert_eq!(progress.version(Kind::Gateway), Some("v1beta1"));
        progress.is_not_served(Kind::Gateway);
        progress.is_served(Kind::Gateway, "v1");
        assert_eq!(pending(&progress), ["Gateway"]);
    }

    #[test]
    fn a_kind_has_an_age_while_it_is_served_and_is_young_again_when_the_api_server_answers() {
        let progress = Progress::default();
        let synced = || progress.is_synced(Kind::Pod);
        assert_eq!((progress.age(Kind::Pod), synced()), (None, Some(false)));
        progress.has_heard(Kind::Pod);
        assert_eq!(progress.age(Kind::Pod), None);
        progress.is_served(Kind::Pod, "v1");
        assert!(progress.age(Kind::Pod).is_some() && synced() == Some(false));
        std::thread::sleep(Duration::from_millis(20));
        progress.is_served(Kind::Pod, "v1");
        let old = progress.age(Kind::Pod);
        assert!(old >= Some(Duration::from_millis(20)), "{old:?}");
        progress.has_heard(Kind::Pod);
        progress.has_synced(Kind::Pod);
        assert!(progress.age(Kind::Pod) < old && synced() == Some(true));
        progress.is_not_served(Kind::Pod);
        assert_eq!((progress.age(Kind::Pod), synced()), (None, None));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_kind() {
        let progress = progress();
        progress.is_not_served(Kind::Pod);
        let waiting = progress.until_synced();
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        progress.is_not_served(Kind::Gateway);
        waiting.await;
    }
}
