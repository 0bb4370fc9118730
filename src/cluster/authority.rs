//! The authority that all replicas share: it is kept in a Secret, the API server is told to trust it, and another one
//! follows it in time.
//!
//! ```text
//!   Secret: tls.crt, tls.key (the authority), ca.crt (all that are to be trusted)
//!     │
//!     ├─ the leader: after two thirds of its life makes the next one; drops the one before once nothing that it has
//!     │              signed can be valid; puts ca.crt into the webhook configurations where it is not
//!     │
//!     └─ every replica: takes the authority of the Secret up as soon as the configurations have had it for a while, and
//!                       makes its own certificate by it. Until then it serves with what it has.
//! ```
//!
//! So at no time does a server show a certificate that the API server does not trust, and nothing is to be done in
//! order: a Secret that is deleted is made anew in the same way. The caBundle is set by server-side apply under a field
//! manager of its own, so that applying the manifests again leaves it alone.

mod bundle;
mod kept;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::bundle::{Configuration, configurations};
use self::kept::{Kept, is_ours};
use super::watch::with_causes;
use crate::authority::{Authority, AuthorityError, Shared, written};

/// How often everything is looked at though nothing has changed: time passes.
const LOOK: Duration = Duration::from_secs(10);

/// The time until what failed is tried again, and from one writing of the caBundle to the next: somebody else may write it too.
const AGAIN: Duration = Duration::from_secs(2);

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a write is tried that another replica was faster with.
const ATTEMPTS: usize = 3;

/// How long the configurations have had an authority, at most, before certificates by it are shown in the place of others: every
/// API server has to have learnt of it.
const SETTLE: Duration = Duration::from_secs(60);

/// How long others in the caBundle stay there, at most.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// How the shared authority is kept.
#[derive(Debug, Clone)]
pub struct SharedAuthorityConfig {
    /// The namespace of the Secret, and of the Service that the API server calls.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The Service's name.
    pub service: String,
    /// The name of both webhook configurations.
    pub webhooks: String,
    /// How long an authority is valid.
    pub authority_life: Duration,
    /// How long what it signs is valid.
    pub leaf_life: Duration,
}

impl SharedAuthorityConfig {
    /// The names that the API server calls a replica by.
    pub fn names(&self) -> Vec<String> {
        vec![format!("{}.{}.svc", self.service, self.namespace)]
    }

    /// How long the configurations have to have had an authority.
    fn settle(&self) -> Duration {
        SETTLE.min(self.authority_life / 20)
    }

    /// How long others are trusted that the configurations have had besides: a replica that is about to end may show
    /// a certificate by one of them.
    fn grace(&self) -> Duration {
        GRACE.min(self.authority_life / 20)
    }

    /// The time between two looks.
    fn look(&self) -> Duration {
        LOOK.min(self.authority_life / 20)
    }
}

/// The shared authority, looked after until this is dropped.
#[derive(Debug)]
pub struct SharedAuthority {
    shared: watch::Receiver<Shared>,
    keeper: JoinHandle<()>,
}

impl SharedAuthority {
    /// Looks after the authority from now on; `leading` tells whether this replica does what one is to do. Until the Secret
    /// could be read or made, certificates are by an authority that nobody trusts, and say so. Has to be called within a
    /// Tokio runtime.
    pub fn start(
        client: Client,
        config: SharedAuthorityConfig,
        leading: watch::Receiver<bool>,
    ) -> Result<Self, AuthorityError> {
        let (sender, shared) = watch::channel(Shared {
            authority: Arc::new(Authority::new(SystemTime::now(), config.authority_life)?),
            distrust: Some("the Secret with the certificate authority has not been read yet".to_owned()),
        });
        let keeper = Keeper {
            secrets: Api::namespaced(client.clone(), &config.namespace),
            client,
            leading,
            shown: None,
            trusted: None,
            others: HashMap::new(),
            written: None,
            told: None,
            config,
        };
        Ok(Self {
            shared,
            keeper: tokio::spawn(keeper.run(sender)),
        })
    }

    /// The authority to make certificates by, and every change of it.
    pub fn shared(&self) -> watch::Receiver<Shared> {
        self.shared.clone()
    }
}

impl Drop for SharedAuthority {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Who looks after the authority.
struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    leading: watch::Receiver<bool>,
    config: SharedAuthorityConfig,
    /// The authority that certificates are made by; `None`: the Secret has not been read yet.
    shown: Option<Arc<Authority>>,
    /// The certificate of the Secret's authority, and since when all configurations have had it.
    trusted: Option<(String, Instant)>,
    /// What else the configurations trust, and since when that is known.
    others: HashMap<String, Instant>,
    /// When the caBundle was last written.
    written: Option<Instant>,
    /// The failure that the log has told, while it lasts.
    told: Option<String>,
}

impl Keeper {
    /// Looks after the authority for ever, and tells `shared` what there is to tell.
    async fn run(mut self, shared: watch::Sender<Shared>) {
        let mut changes = self.changes();
        loop {
            let failure = match timeout(PATIENCE, self.look()).await {
                Ok(Ok(new)) => {
                    self.told = None;
                    tell(&shared, new);
                    None
                }
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("the API server does not answer".to_owned()),
            };
            let has_failed = failure.is_some();
            if let Some(reason) = failure {
                if self.shown.is_none() {
                    shared.send_modify(|shared| shared.distrust = Some(reason.clone()));
                }
                self.fail(reason);
            }
            let is_waiting = has_failed || shared.borrow().distrust.is_some();
            let look = self.config.look();
            let wait = match &self.trusted {
                _ if is_waiting => look.min(AGAIN),
                Some((_, since)) if since.elapsed() < self.config.settle() => {
                    look.min(self.config.settle().saturating_sub(since.elapsed()))
                }
                _ => look,
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = changes.next() => {}
                Ok(()) = self.leading.changed() => {}
            }
        }
    }

    /// An item for each change of what is looked at. What cannot be watched is told once, and then found by the next look.
    fn changes(&self) -> impl Stream<Item = ()> + Unpin + use<> {
        fn of<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> stream::BoxStream<'static, ()>
        where
            K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
        {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let mut told = false;
            let tell = move |event: watcher::Result<_>| match event {
                Ok(_) => told = false,
                Err(error) if !std::mem::replace(&mut told, true) => {
                    let (kind, error) = (K::kind(&()), with_causes(&error));
                    tracing::warn!(%kind, error, "changes are found late: a watch of the shared authority failed");
                }
                Err(_) => {}
            };
            watcher(api, config).default_backoff().map(tell).boxed()
        }
        let (client, webhooks) = (&self.client, &self.config.webhooks);
        stream::select_all([
            of::<Secret>(
                Api::namespaced(client.clone(), &self.config.namespace),
                &self.config.secret,
            ),
            of::<ValidatingWebhookConfiguration>(Api::all(client.clone()), webhooks),
            of::<MutatingWebhookConfiguration>(Api::all(client.clone()), webhooks),
        ])
    }

    /// Takes note of a failure; the log tells it once.
    fn fail(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(
                error = reason,
                "the shared certificate authority cannot be looked after; it is tried again"
            );
            self.told = Some(reason);
        }
    }

    /// Does what there is to do, and tells by which authority certificates are to be made.
    async fn look(&mut self) -> anyhow::Result<Shared> {
        let mut configurations = configurations(&self.client, &self.config.webhooks).await?;
        let kept = self.kept(&configurations).await?;
        self.bundle(&mut configurations, &kept).await?;

        let lack = |authority: &Authority| configurations.iter().find_map(|one| one.lack(authority));
        let pem = kept.authority.pem();
        let is_trusted = lack(&kept.authority).is_none();
        match &self.trusted {
            Some((known, _)) if is_trusted && known == pem => {}
            _ => self.trusted = is_trusted.then(|| (pem.to_owned(), Instant::now())),
        }
        let now = SystemTime::now();
        let has_settled = self
            .trusted
            .as_ref()
            .is_some_and(|(_, since)| since.elapsed() >= self.config.settle());
        let authority = match &self.shown {
            Some(shown) if shown.pem() != pem => {
                let is_lost =
                    shown.validity().problem(now).is_some() || (is_trusted && lack(shown).is_some());
                let is_time = has_settled && kept.authority.validity().problem(now).is_none();
                if is_lost || is_time {
                    kept.authority
                } else {
                    Arc::clone(shown)
                }
            }
            _ => kept.authority,
        };
        let problem = authority.validity().problem(now);
        let problem = problem.map(|problem| format!("the authority of this server's certificate {problem}"));
        let distrust = problem.or_else(|| lack(&authority));
        self.shown = Some(Arc::clone(&authority));
        Ok(Shared { authority, distrust })
    }

    /// What the Secret holds; where nothing of use, or it is time for the next one, that is made.
    async fn kept(&self, configurations: &[Configuration]) -> anyhow::Result<Kept> {
        let SharedAuthorityConfig {
            namespace,
            secret: name,
            ..
        } = &self.config;
        let may_make = self.shown.is_none() || *self.leading.borrow();
        let anew = |now| {
            // Nobody is to lose trust in what is shown.
            let shown = self.shown.iter().map(|shown| shown.pem().to_owned());
            let mut others: Vec<String> = shown.collect();
            for bundled in configurations.iter().flat_map(Configuration::trusted) {
                if !others.contains(&bundled) {
                    others.push(bundled);
                }
            }
            Kept::new(now, self.config.authority_life, &others)
        };
        for _ in 0..ATTEMPTS {
            let now = SystemTime::now();
            let there = self.secrets.get_opt(name).await;
            let there = there.with_context(|| format!("the Secret {namespace}/{name} cannot be read"))?;
            let next = match there.as_ref().map(Kept::read) {
                None if may_make => anew(now)?,
                None => bail!("the Secret {namespace}/{name} is gone; the leader makes it anew"),
                Some(Ok(kept)) => match kept.follower(now, &self.config)? {
                    Some(next) if *self.leading.borrow() => next,
                    _ => return Ok(kept),
                },
                Some(Err(why)) if may_make && there.as_ref().is_some_and(is_ours) => {
                    tracing::warn!("the Secret {namespace}/{name} is made anew: {why}");
                    anew(now)?
                }
                Some(Err(why)) => bail!("the Secret {namespace}/{name} is of no use: {why}"),
            };
            let is_new = there.is_none();
            let secret = next.write(name, there);
            let written = if is_new {
                self.secrets.create(&PostParams::default(), &secret).await
            } else {
                self.secrets.replace(name, &PostParams::default(), &secret).await
            };
            match written {
                Ok(_) => {
                    tracing::info!(
                        "the Secret {namespace}/{name} has an authority that is valid until {}",
                        self::written(next.authority.validity().until)
                    );
                    return Ok(next);
                }
                // Another one was faster: what it has written counts.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("the Secret {namespace}/{name} cannot be written"));
                }
            }
        }
        Err(anyhow!(
            "the Secret {namespace}/{name} is written to by others all the time"
        ))
    }

    /// Sees to it that the configurations trust what the Secret says. The leader also takes away what nobody shows any more;
    /// a replica that starts only adds, for who leads may be one that has its certificate from elsewhere.
    async fn bundle(&mut self, configurations: &mut [Configuration], kept: &Kept) -> anyhow::Result<()> {
        let is_leading = *self.leading.borrow();
        let is_starting = self.shown.is_none();
        if (!is_leading && !is_starting) || self.written.is_some_and(|at| at.elapsed() < AGAIN) {
            return Ok(());
        }
        let mut own = kept.trusted.clone();
        let shown = self.shown.iter().map(|shown| shown.pem().to_owned());
        own.extend(shown.filter(|shown| !kept.trusted.contains(shown)));
        self.others.retain(|other, _| !own.contains(other));
        for configuration in configurations {
            if !is_leading && configuration.lack(&kept.authority).is_none() {
                continue;
            }
            let others = configuration
                .trusted()
                .into_iter()
                .filter(|other| !own.contains(other));
            let others: Vec<String> = others
                .filter(|other| {
                    let since = self.others.entry(other.clone()).or_insert_with(Instant::now);
                    since.elapsed() < self.config.grace()
                })
                .collect();
            if configuration.trust(&[own.clone(), others].concat()).await? {
                self.written = Some(Instant::now());
            }
        }
        Ok(())
    }
}

/// Tells what there is to make certificates by, if that is new.
fn tell(shared: &watch::Sender<Shared>, new: Shared) {
    shared.send_if_modified(|shared| {
        let is_another = shared.authority.pem() != new.authority.pem();
        if is_another {
            tracing::info!(
                "certificates are made by the authority of the Secret, valid until {}",
                written(new.authority.validity().until)
            );
        }
        let is_change = is_another || shared.distrust != new.distrust;
        *shared = new;
        is_change
    });
}
