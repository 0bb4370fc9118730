//! The world as the API server has it now: every kind listed once.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::ListParams;
use kube::core::GroupVersion;
use kube::{Api, Client};
use tokio::time::timeout;

use super::connection::{Connection, client_of};
use super::look::{PATIENCE, api_resource, look};
use super::object::{RawObject, is_metadata_enough};
use super::watch::{PAGE_PATIENCE, PAGE_SIZE, with_causes};
use crate::progress::Progress;
use crate::resource::{Kind, Resource};
use crate::world::{Settings, World};

/// How many kinds are listed at once.
const IN_FLIGHT: usize = 4;

/// How often a list is begun again whose next page the API server has forgotten meanwhile.
const ATTEMPTS: usize = 3;

/// What the API server has.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects, in no order.
    pub objects: Vec<Resource>,
    /// What is worth telling: what could not be read, and why.
    pub notes: Vec<String>,
    /// Whether every kind that is served could be read. Else nothing is known of what is missing.
    pub is_whole: bool,
    versions: BTreeMap<Kind, &'static str>,
}

impl Loaded {
    /// The world of the objects.
    pub fn world(&self, settings: Settings) -> World {
        World::of(settings, self.objects.iter().cloned())
    }

    /// The `apiVersion` that objects of `kind` were read in.
    pub fn api_version(&self, kind: Kind) -> String {
        match self.versions.get(&kind) {
            Some(version) => GroupVersion::gv(kind.group(), version).api_version(),
            None => kind.api_version(),
        }
    }
}

/// Lists every kind that is served, each once and past every cache. What the user has no right to read is left out with
/// a note.
pub async fn load(
    connection: &Connection,
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<Loaded> {
    let (client, url) = client_of(connection).await?;
    let in_vain = || format!("the API server at {url} cannot be asked");
    greet(&client).await.with_context(in_vain)?;
    let mut loaded = Loaded {
        is_whole: true,
        ..Loaded::default()
    };
    for (kind, found) in look(&client).await {
        match (found.versions.first(), found.doubt) {
            (Some(version), _) => {
                loaded.versions.insert(kind, version);
            }
            (None, Some(doubt)) => loaded.lacks(format!("no {kind} is read: {doubt}")),
            (None, None) => {}
        }
    }
    progress.begin("kinds read from the cluster", loaded.versions.len());
    // Boxed, or the compiler cannot see that the future lives long enough.
    let lists: Vec<_> = loaded
        .versions
        .iter()
        .map(|(kind, version)| list(&client, *kind, version, settings, progress).boxed())
        .collect();
    let lists = futures::stream::iter(lists).buffered(IN_FLIGHT);
    let lists: Vec<Listed> = lists.try_collect().await.with_context(in_vain)?;
    let mut has_read = false;
    for listed in lists {
        match listed {
            Listed::Objects(objects, notes) => {
                has_read = true;
                loaded.objects.extend(objects);
                loaded.notes.extend(notes);
            }
            Listed::Forbidden(note) => loaded.lacks(note),
        }
    }
    if !has_read {
        bail!(
            "nothing of the cluster at {url} can be read:\n  {}",
            loaded.notes.join("\n  ")
        );
    }
    if !loaded.is_whole {
        let note = "what is only missing warns, for it may be among what is not read";
        loaded.notes.push(note.to_owned());
    }
    Ok(loaded)
}

impl Loaded {
    /// Some kind is not read.
    fn lacks(&mut self, note: String) {
        self.notes.push(note);
        self.is_whole = false;
    }
}

/// Whether there is an API server at all, and it knows who asks.
async fn greet(client: &Client) -> anyhow::Result<()> {
    match timeout(PATIENCE, client.apiserver_version()).await {
        Err(_) => bail!("no answer in {} s", PATIENCE.as_secs()),
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            bail!("it does not know who asks (401 {})", status.reason)
        }
        // A server that tells its version to nobody may tell the rest.
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(()),
        Ok(Err(error)) => Err(anyhow!(with_causes(&error))),
    }
}

/// What a list came to.
enum Listed {
    /// The objects, and what is wrong with those that cannot be parsed.
    Objects(Vec<Resource>, Vec<String>),
    /// It may not be read; what to tell.
    Forbidden(String),
}

async fn list(
    client: &Client,
    kind: Kind,
    version: &str,
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<Listed> {
    let listed = if is_metadata_enough(kind) {
        list_as::<true>(client, kind, version, settings).await
    } else {
        list_as::<false>(client, kind, version, settings).await
    };
    progress.add(1);
    listed.with_context(|| format!("{} cannot be listed", kind.plural()))
}

async fn list_as<const METADATA_ONLY: bool>(
    client: &Client,
    kind: Kind,
    version: &str,
    settings: &Settings,
) -> anyhow::Result<Listed> {
    let resource = api_resource(kind, version);
    let root = &settings.root_namespace;
    let (api, place): (Api<RawObject<METADATA_ONLY>>, _) = match kind {
        // As the watches do, for the same reason.
        Kind::ConfigMap => (
            Api::namespaced_with(client.clone(), root, &resource),
            format!(" in namespace {root}"),
        ),
        _ if kind.is_namespaced() => (
            Api::all_with(client.clone(), &resource),
            " in all namespaces".to_owned(),
        ),
        _ => (Api::all_with(client.clone(), &resource), String::new()),
    };
    let mut attempts = 1..ATTEMPTS;
    loop {
        match pages(&api).await {
            Ok(objects) => {
                let (mut read, mut notes) = (Vec::with_capacity(objects.len()), Vec::new());
                for object in &objects {
                    match object.read(kind) {
                        Ok(object) => read.extend(object),
                        Err(fault) => notes.push(format!(
                            "{} cannot be read and is left out: {fault}",
                            object.reference(kind)
                        )),
                    }
                }
                return Ok(Listed::Objects(read, notes));
            }
            Err(Fault::Answer(status)) if status.code == 403 => {
                let group = kind.group();
                let dot = if group.is_empty() { "" } else { "." };
                return Ok(Listed::Forbidden(format!(
                    "no {kind} is read: the right to list {}{dot}{group}{place} is missing",
                    kind.plural()
                )));
            }
            // The next page comes from a state that the server does not have any more.
            Err(Fault::Answer(status)) if status.code == 410 && attempts.next().is_some() => {}
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// A page that does not come.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Answer(Box<kube::core::Status>),
    #[error("{0}")]
    Other(String),
    #[error("no answer in {} s", PAGE_PATIENCE.as_secs())]
    Silence,
}

/// Every object, page by page: quorum reads, for no page names a resource version.
async fn pages<const METADATA_ONLY: bool>(
    api: &Api<RawObject<METADATA_ONLY>>,
) -> Result<Vec<RawObject<METADATA_ONLY>>, Fault> {
    let mut params = ListParams::default().limit(PAGE_SIZE);
    let mut objects = Vec::new();
    loop {
        let page = match timeout(PAGE_PATIENCE, api.list(&params)).await {
            Ok(Ok(page)) => page,
            Ok(Err(kube::Error::Api(status))) => return Err(Fault::Answer(status)),
            Ok(Err(error)) => return Err(Fault::Other(with_causes(&error))),
            Err(_) => return Err(Fault::Silence),
        };
        objects.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(objects),
        }
    }
}
