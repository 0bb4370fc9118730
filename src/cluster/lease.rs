//! One of several replicas leads: the one that holds a `Lease`.
//!
//! The semantics are those of client-go (`tools/leaderelection/leaderelection.go`): a candidate looks every
//! [`RETRY`]; a lease whose record has not changed for [`DURATION`], by the candidate's own clock, is free, so that no
//! clocks have to agree; a leader that could not renew for [`DEADLINE`] leads no more, before anybody else can; who ends
//! in order gives the lease back.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::chance::chance;

/// How long a lease holds that nobody renews.
const DURATION: Duration = Duration::from_secs(15);

/// How long a leader goes on that cannot renew.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often it is renewed, or tried.
const RETRY: Duration = Duration::from_secs(2);

/// A candidate for a lease.
pub(super) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The record as it was last seen, and when it became so.
    observed: Option<(LeaseSpec, Instant)>,
    /// The failure that the log has told, while it lasts.
    told: Option<String>,
}

/// A name that no other replica has: that of the machine or pod, and something by chance.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "lanekeeper".to_owned());
    format!("{host}_{:016x}", chance())
}

impl Candidate {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity(),
            observed: None,
            told: None,
        }
    }

    /// Runs for the lease for ever, and keeps telling whether it is held. When `stop` says so, gives it back and ends.
    pub(super) async fn run(mut self, leads: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        let mut renewed = Instant::now();
        loop {
            let is_leading = *leads.borrow();
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            let patience = if is_leading { left } else { DEADLINE };
            let asked = Instant::now();
            let attempt = tokio::select! {
                attempt = timeout(patience, self.acquire_or_renew(Timestamp::now())) => attempt,
                () = until(&mut stop) => break,
            };
            match attempt {
                Ok(Ok(true)) => {
                    // From when it was asked for, not from when the answer came.
                    renewed = asked;
                    self.told = None;
                    if !is_leading {
                        tracing::info!(
                            lease = self.name,
                            identity = self.identity,
                            "leads: it does what one replica is to do"
                        );
                        leads.send_replace(true);
                    }
                }
                Ok(Ok(false)) => {
                    if is_leading {
                        tracing::warn!(lease = self.name, "another one leads");
                        leads.send_replace(false);
                    }
                }
                Ok(Err(error)) => self.fail(&super::watch::with_causes(&error)),
                Err(_) => self.fail("no answer"),
            }
            if *leads.borrow() && renewed.elapsed() >= DEADLINE {
                tracing::warn!(
                    lease = self.name,
                    "the lease could not be renewed; it leads no more"
                );
                leads.send_replace(false);
            }
            tokio::select! {
                () = sleep(RETRY + RETRY / 10 * u32::try_from(chance() % 3).unwrap_or_default()) => {}
                () = until(&mut stop) => break,
            }
        }
        if leads.send_replace(false) {
            // Whoever waits need not wait for the lease's end. If it fails they do.
            let _ = timeout(RETRY, self.release(Timestamp::now())).await;
        }
    }

    fn fail(&mut self, reason: &str) {
        if self.told.as_deref() != Some(reason) {
            tracing::warn!(
                lease = self.name,
                error = reason,
                "the lease cannot be had; it is tried again"
            );
            self.told = Some(reason.to_owned());
        }
    }

    /// Whether the lease is held now.
    async fn acquire_or_renew(&mut self, now: Timestamp) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.record(None, now)),
            };
            return self.took(self.api.create(&PostParams::default(), &lease).await);
        };
        let record = lease.spec.clone().unwrap_or_default();
        let seen = Instant::now();
        let since = self.observe(&record, seen);
        if !is_free(&record, &self.identity, seen.duration_since(since)) {
            return Ok(false);
        }
        let lease = Lease {
            spec: Some(self.record(Some(&record), now)),
            ..lease
        };
        // With the version that was read: if another one was faster, this fails.
        self.took(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    /// Takes note of a record, and tells since when it has been so.
    fn observe(&mut self, record: &LeaseSpec, now: Instant) -> Instant {
        match &self.observed {
            Some((known, since)) if known == record => *since,
            _ => {
                self.observed = Some((record.clone(), now));
                now
            }
        }
    }

    fn took(&mut self, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.observe(&lease.spec.unwrap_or_default(), Instant::now());
                Ok(true)
            }
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The record by which this one holds the lease after `before`.
    fn record(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let own = before.filter(|before| before.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before
            .and_then(|before| before.lease_transitions)
            .unwrap_or_default();
        let is_handed_over = before.is_some() && own.is_none();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: own
                .and_then(|own| own.acquire_time.clone())
                .or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions + i32::from(is_handed_over)),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back: nobody holds it, and it lasts no longer than it must.
    async fn release(&self, now: Timestamp) -> kube::Result<()> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let record = lease.spec.clone().unwrap_or_default();
        if record.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        let free = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..record
        };
        let lease = Lease {
            spec: Some(free),
            ..lease
        };
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
            .map(drop)
    }
}

/// Whether `identity` may have a lease whose record has been the same for so long.
fn is_free(record: &LeaseSpec, identity: &str, unchanged: Duration) -> bool {
    let lasts = record
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = lasts.map_or(DURATION, Duration::from_secs);
    match record.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) => holder == identity || unchanged >= lasts,
    }
}

/// Returns when `stop` says so, or nobody can say it any more.
pub(super) async fn until(stop: &mut watch::Receiver<bool>) {
    // Who is gone says nothing more.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: Option<&str>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_free_when_nobody_renews_it_by_ones_own_clock() {
        let (fresh, old) = (Duration::from_secs(14), Duration::from_secs(15));
        assert!(!is_free(&held_by(Some("other")), "me", fresh));
        assert!(is_free(&held_by(Some("other")), "me", old));
        for holder in [None, Some(""), Some("me")] {
            assert!(is_free(&held_by(holder), "me", Duration::ZERO), "{holder:?}");
        }
        // Its own time counts, not what its holder's clock says.
        let given_back = LeaseSpec {
            lease_duration_seconds: Some(1),
            ..held_by(Some("other"))
        };
        assert!(is_free(&given_back, "me", Duration::from_secs(1)));
    }
}
