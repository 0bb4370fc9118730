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

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::core::{ApiResource, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::watch::with_causes;
use crate::authority::{Authority, Shared, Validity, certificates, written};

/// Who sets the caBundle.
const BUNDLER: &str = "lanekeeper-ca-bundle";

/// The label of a Secret that Lanekeeper has made, and so may make anew.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "lanekeeper");

/// What asks cert-manager to set the caBundle.
const CERT_MANAGER: &str = "cert-manager.io/inject-";

/// How often everything is looked at though nothing has changed: time passes.
const LOOK: Duration = Duration::from_secs(10);

/// The time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a start may try.
const START: Duration = Duration::from_secs(60);

/// How often a write is tried that another replica was faster with.
const ATTEMPTS: usize = 3;

/// How long the configurations have had an authority, at most, before certificates by it are shown: every API server
/// has to have learnt of it.
const SETTLE: Duration = Duration::from_secs(60);

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
    /// Reads the authority, or makes it if there is none, and looks after it from then on; `leading` tells whether this
    /// replica does what one is to do.
    pub async fn start(
        client: Client,
        config: SharedAuthorityConfig,
        leading: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let mut keeper = Keeper {
            secrets: Api::namespaced(client.clone(), &config.namespace),
            configurations: configurations(&client),
            client,
            leading,
            trusted: None,
            told: None,
            config,
        };
        let started = Instant::now();
        let (authority, seen) = loop {
            match keeper.look(None).await {
                Ok(look) => break look,
                Err(error) if started.elapsed() >= START => return Err(error),
                Err(error) => keeper.fail(&format!("{error:#}")),
            }
            sleep(AGAIN).await;
        };
        let (sender, shared) = watch::channel(Shared {
            distrust: seen.distrust(&authority),
            authority,
        });
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

/// What the Secret holds.
struct Kept {
    authority: Arc<Authority>,
    /// All certificates that are to be trusted, in PEM, the authority's own first.
    trusted: Vec<String>,
    /// Whether Lanekeeper has made it.
    is_ours: bool,
}

impl Kept {
    /// A new authority, which is trusted beside `others`.
    fn new(now: SystemTime, life: Duration, others: &[String]) -> anyhow::Result<Self> {
        let authority = Authority::new(now, life)?;
        let others = others.iter().filter(|other| is_valid(other, now)).cloned();
        Ok(Self {
            trusted: [authority.pem().to_owned()].into_iter().chain(others).collect(),
            authority: Arc::new(authority),
            is_ours: true,
        })
    }

    /// What a Secret holds; `Err` says why it is of no use.
    fn read(secret: &Secret) -> Result<Self, String> {
        let text = |key: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(key));
            let data = data.ok_or_else(|| format!("it has no {key}"))?;
            String::from_utf8(data.0.clone()).map_err(|_| format!("its {key} is not PEM"))
        };
        let authority =
            Authority::from_pem(&text("tls.crt")?, &text("tls.key")?).map_err(|error| error.to_string())?;
        let others = text("ca.crt").map_or_else(|_| Vec::new(), |bundle| certificates(&bundle));
        let others = others.into_iter().filter(|other| other != authority.pem());
        Ok(Self {
            trusted: [authority.pem().to_owned()].into_iter().chain(others).collect(),
            authority: Arc::new(authority),
            is_ours: is_ours(secret),
        })
    }

    /// What has to take its place at `now`.
    fn follower(&self, now: SystemTime, config: &SharedAuthorityConfig) -> anyhow::Result<Option<Self>> {
        let validity = self.authority.validity();
        if !self.is_ours {
            return Ok(None);
        }
        if now >= validity.renewal() || validity.problem(now).is_some() {
            return Self::new(now, config.authority_life, &self.trusted).map(Some);
        }
        // By then no certificate of the one before is valid: none was made once this one was trusted.
        let alone = validity.made() + config.leaf_life + config.settle() + AGAIN;
        if self.trusted.len() > 1 && now >= alone {
            return Ok(Some(Self {
                authority: Arc::clone(&self.authority),
                trusted: vec![self.authority.pem().to_owned()],
                is_ours: true,
            }));
        }
        Ok(None)
    }

    /// The Secret that holds it, in the place of one that is there.
    fn write(&self, name: &str, there: Option<Secret>) -> Secret {
        let mut secret = there.unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        });
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert("app.kubernetes.io/name".to_owned(), "lanekeeper".to_owned());
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let data = [
            ("tls.crt", self.authority.pem().to_owned()),
            ("tls.key", self.authority.key_pem().to_owned()),
            ("ca.crt", self.trusted.concat()),
        ];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        secret.data = Some(data.into());
        secret
    }
}

fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY.0))
        .map(String::as_str)
        == Some(MANAGED_BY.1)
}

/// Whether a certificate in PEM is valid at `now`.
fn is_valid(pem: &str, now: SystemTime) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let validity = CertificateDer::from_pem_slice(pem.as_bytes())
        .ok()
        .and_then(|certificate| Validity::of(&certificate).ok());
    validity.is_some_and(|validity| validity.problem(now).is_none())
}

/// What the webhook configurations say of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    /// All of them have it, or there is none, since then.
    Since(Instant),
    /// One has not; which.
    Lacks(String),
}

/// Which authority was looked for, and what was seen.
#[derive(Debug, Clone)]
struct Seen {
    authority: Arc<Authority>,
    trust: Trust,
}

impl Seen {
    /// Why clients will not take what `authority` signs.
    fn distrust(&self, authority: &Authority) -> Option<String> {
        match &self.trust {
            Trust::Lacks(lacking) if self.authority.pem() == authority.pem() => Some(lacking.clone()),
            Trust::Lacks(_) | Trust::Since(_) => None,
        }
    }

    fn has_settled(&self, settle: Duration) -> bool {
        matches!(self.trust, Trust::Since(since) if since.elapsed() >= settle)
    }
}

/// Who looks after the authority.
struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    configurations: [(ApiResource, Api<DynamicObject>); 2],
    leading: watch::Receiver<bool>,
    config: SharedAuthorityConfig,
    /// What was last seen of the Secret's authority.
    trusted: Option<Seen>,
    /// The failure that the log has told, while it lasts.
    told: Option<String>,
}

fn configurations(client: &Client) -> [(ApiResource, Api<DynamicObject>); 2] {
    let resources = [
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
    ];
    resources.map(|resource| {
        let api = Api::all_with(client.clone(), &resource);
        (resource, api)
    })
}

impl Keeper {
    /// Looks after the authority for ever, and tells `shared` what there is to tell.
    async fn run(mut self, shared: watch::Sender<Shared>) {
        let mut changes = self.changes();
        loop {
            let settle = self.config.settle();
            let current = Arc::clone(&shared.borrow().authority);
            let wait = match timeout(PATIENCE, self.look(Some(&current))).await {
                Ok(Ok((authority, seen))) => {
                    self.told = None;
                    tell(&shared, authority, &seen);
                    match seen.trust {
                        Trust::Since(since) => settle.saturating_sub(since.elapsed()),
                        Trust::Lacks(_) => AGAIN,
                    }
                }
                Ok(Err(error)) => {
                    self.fail(&format!("{error:#}"));
                    AGAIN
                }
                Err(_) => {
                    self.fail("no answer");
                    AGAIN
                }
            };
            let look = self.config.look();
            let wait = if wait.is_zero() { look } else { wait.min(look) };
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
    fn fail(&mut self, reason: &str) {
        if self.told.as_deref() != Some(reason) {
            tracing::warn!(
                error = reason,
                "the shared certificate authority cannot be looked after; it is tried again"
            );
            self.told = Some(reason.to_owned());
        }
    }

    /// Does what there is to do, and gives the authority to make certificates by, which is `current` until the one of
    /// the Secret is trusted, with what was seen.
    async fn look(&mut self, current: Option<&Arc<Authority>>) -> anyhow::Result<(Arc<Authority>, Seen)> {
        let kept = self.kept(current).await?;
        let mut trusted = kept.trusted.clone();
        // Nobody is to lose trust in what is shown.
        let shown = current.map(|current| current.pem().to_owned());
        trusted.extend(shown.filter(|shown| !kept.trusted.contains(shown)));
        let mut lacking = None;
        for (resource, api) in &self.configurations {
            let kind = &resource.kind;
            let read = || format!("the {kind} {} cannot be read", self.config.webhooks);
            let Some(mut object) = api.get_opt(&self.config.webhooks).await.with_context(read)? else {
                continue;
            };
            if *self.leading.borrow() {
                object = self.bundle(resource, api, object, &trusted).await?;
            }
            lacking = lacking.or_else(|| lack(&object, kind, &kept.authority));
        }
        let trust = match lacking {
            Some(lacking) => Trust::Lacks(lacking),
            None => match &self.trusted {
                Some(Seen {
                    authority,
                    trust: Trust::Since(since),
                }) if authority.pem() == kept.authority.pem() => Trust::Since(*since),
                _ => Trust::Since(Instant::now()),
            },
        };
        let seen = Seen {
            authority: Arc::clone(&kept.authority),
            trust,
        };
        self.trusted = Some(seen.clone());
        let authority = match current {
            Some(current) if !seen.has_settled(self.config.settle()) => Arc::clone(current),
            _ => kept.authority,
        };
        Ok((authority, seen))
    }

    /// What the Secret holds; where nothing of use, or it is time for the next one, that is made.
    async fn kept(&self, current: Option<&Arc<Authority>>) -> anyhow::Result<Kept> {
        let SharedAuthorityConfig {
            namespace,
            secret: name,
            ..
        } = &self.config;
        let may_make = current.is_none() || *self.leading.borrow();
        let others: Vec<String> = current.iter().map(|current| current.pem().to_owned()).collect();
        let anew = |now| Kept::new(now, self.config.authority_life, &others);
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

    /// Sees to it that every webhook of a configuration trusts `trusted`, and gives the configuration as it then is.
    async fn bundle(
        &self,
        resource: &ApiResource,
        api: &Api<DynamicObject>,
        object: DynamicObject,
        trusted: &[String],
    ) -> anyhow::Result<DynamicObject> {
        let bundle = STANDARD.encode(trusted.concat());
        let is_bundled = |webhook: &Value| webhook["clientConfig"]["caBundle"] == *bundle;
        let webhooks = webhooks(&object);
        if webhooks.iter().all(is_bundled) || injector(&object).is_some() {
            return Ok(object);
        }
        let webhooks: Vec<Value> = webhooks
            .iter()
            .map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}}))
            .collect();
        let name = &self.config.webhooks;
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "uid": object.metadata.uid},
            "webhooks": webhooks,
        });
        let params = PatchParams::apply(BUNDLER).force();
        let patched = api.patch(name, &params, &Patch::Apply(&patch)).await;
        let patched = patched.map_err(|error| {
            anyhow!(
                "the caBundle of the {} {name} cannot be set: {}",
                resource.kind,
                with_causes(&error)
            )
        })?;
        tracing::info!(
            "the {} {name} has the caBundle of {} authorities",
            resource.kind,
            trusted.len()
        );
        Ok(patched)
    }
}

/// Tells what there is to make certificates by, if that is new.
fn tell(shared: &watch::Sender<Shared>, authority: Arc<Authority>, seen: &Seen) {
    let distrust = seen.distrust(&authority);
    shared.send_if_modified(|shared| {
        let is_new = shared.authority.pem() != authority.pem();
        if is_new {
            tracing::info!(
                "certificates are made by another authority, valid until {}",
                written(authority.validity().until)
            );
        }
        let is_change = is_new || shared.distrust != distrust;
        *shared = Shared { authority, distrust };
        is_change
    });
}

fn webhooks(object: &DynamicObject) -> &[Value] {
    object.data["webhooks"].as_array().map_or(&[], Vec::as_slice)
}

/// The annotation that asks cert-manager to set the caBundle.
fn injector(object: &DynamicObject) -> Option<&str> {
    let annotations = object.metadata.annotations.as_ref()?;
    annotations
        .keys()
        .map(String::as_str)
        .find(|key| key.starts_with(CERT_MANAGER))
}

/// Which webhook of a configuration does not trust `authority`.
fn lack(object: &DynamicObject, kind: &str, authority: &Authority) -> Option<String> {
    let trusts = |webhook: &&Value| {
        let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        let bundle = STANDARD.decode(bundle).unwrap_or_default();
        certificates(&String::from_utf8_lossy(&bundle))
            .iter()
            .any(|known| known == authority.pem())
    };
    let webhook = webhooks(object).iter().find(|webhook| !trusts(webhook))?;
    let name = webhook["name"].as_str().unwrap_or_default();
    let why = match injector(object) {
        Some(annotation) => format!(
            "its annotation {annotation} has cert-manager set it: take that away, or start without --ca-secret"
        ),
        None => "the leader sets it".to_owned(),
    };
    Some(format!(
        "webhook {name} of the {kind} {} does not have this server's authority in its caBundle; {why}",
        object.metadata.name.as_deref().unwrap_or_default()
    ))
}
