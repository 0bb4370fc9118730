//! Quorum reads of what a denial rests on [s5].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::sleep;

use super::look::api_resource;
use super::object::{RawObject, is_metadata_enough};
use super::progress::Progress;
use crate::admission::FreshReads;
use crate::resource::{Kind, Labels, Resource};
use crate::symbol::Symbol;
use crate::world::{Read, Settings, World};

/// How many reads are under way at once.
const IN_FLIGHT: usize = 8;

/// The times after which a read that failed in passing is tried again. Who asks gives up when there is no more time.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
];

/// Reads from the API server, past every cache: no request names a resource version.
#[derive(Clone)]
pub struct Fresh {
    client: Client,
    progress: Arc<Progress>,
    settings: Settings,
}

impl Fresh {
    /// Reads through `client`, in the versions that the watches have found.
    pub fn new(client: Client, progress: Arc<Progress>, settings: Settings) -> Self {
        Self {
            client,
            progress,
            settings,
        }
    }

    async fn answer(&self, reads: Vec<Read>) -> anyhow::Result<(World, Vec<Read>)> {
        let reads = distinct(reads);
        // Boxed, or the compiler cannot see that the future lives long enough.
        let answers: Vec<BoxFuture<'_, _>> = reads.iter().map(|read| self.objects(read).boxed()).collect();
        let answers = futures::stream::iter(answers).buffer_unordered(IN_FLIGHT);
        let objects: Vec<Vec<Resource>> = answers.try_collect().await?;
        Ok((
            World::of(self.settings.clone(), objects.into_iter().flatten()),
            reads,
        ))
    }

    async fn objects(&self, read: &Read) -> anyhow::Result<Vec<Resource>> {
        let objects = if is_metadata_enough(read.kind()) {
            self.objects_as::<true>(read).await
        } else {
            self.objects_as::<false>(read).await
        };
        objects.with_context(|| format!("{} cannot be read afresh", described(read)))
    }

    async fn objects_as<const METADATA_ONLY: bool>(&self, read: &Read) -> anyhow::Result<Vec<Resource>> {
        let kind = read.kind();
        let namespace = match read {
            Read::List(_, namespace) | Read::Pods(namespace, _) => namespace,
            Read::Object(reference) => &reference.namespace,
        };
        if kind == Kind::ConfigMap && *namespace != self.settings.root_namespace {
            return Ok(Vec::new());
        }
        let served = self.progress.version(kind);
        // A kind may be served since the last look: then the best version serves it.
        let Some(version) = served.or_else(|| kind.versions().first().copied()) else {
            return Ok(Vec::new());
        };
        let resource = api_resource(kind, version);
        let api: Api<RawObject<METADATA_ONLY>> = if namespace.is_empty() || !kind.is_namespaced() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        };
        let ask = async || match read {
            Read::List(..) => api.list(&ListParams::default()).await.map(|list| list.items),
            Read::Pods(_, labels) => match selector(labels) {
                Some(selector) => api.list(&selector).await.map(|list| list.items),
                None => Ok(Vec::new()),
            },
            Read::Object(reference) => api
                .get_opt(&reference.name)
                .await
                .map(|object| object.into_iter().collect()),
        };
        let mut answer = ask().await;
        for again in AGAIN {
            match &answer {
                Err(error) if is_in_passing(error) => sleep(again).await,
                _ => break,
            }
            answer = ask().await;
        }
        match answer {
            Ok(objects) => Ok(objects.iter().filter_map(|object| object.parse(kind)).collect()),
            Err(kube::Error::Api(status)) if status.code == 404 && served.is_none() => Ok(Vec::new()),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err(anyhow!("{kind} is not served in {version} any more"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl FreshReads for Fresh {
    fn read(&self, reads: Vec<Read>) -> BoxFuture<'_, anyhow::Result<(World, Vec<Read>)>> {
        self.answer(reads).boxed()
    }
}

/// Whether the same question may be answered a moment later: the connection was a dead one, or the API server is just
/// starting, ending or too busy.
fn is_in_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502..=504),
        _ => true,
    }
}

/// The parameters of a list of what has `labels`; `None` where no object can have them. (The API server would
/// refuse the question, and what refuses a `DestinationRule` with such labels would be lost with it.)
fn selector(labels: &Labels) -> Option<ListParams> {
    let possible = labels
        .pairs()
        .iter()
        .all(|(key, value)| is_label_key(key) && is_label_value(value));
    if labels.is_empty() {
        return Some(ListParams::default());
    }
    possible.then(|| ListParams::default().labels(&labels.to_string()))
}

/// Whether the API server takes `key` as the key of a label: a name, after `domain/` or alone.
fn is_label_key(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let is_part = |part: &str| {
        let edge = |at: Option<char>| at.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(inner)
    };
    let is_domain = |domain: &str| domain.len() <= 253 && domain.split('.').all(is_part);
    !name.is_empty() && is_label_value(name) && domain.is_none_or(is_domain)
}

/// Whether the API server takes `value` as the value of a label.
fn is_label_value(value: &str) -> bool {
    let edge = |at: Option<char>| at.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    value.len() <= 63 && edge(value.chars().next()) && edge(value.chars().last()) && value.chars().all(inner)
}

/// The reads that between them answer all of `reads`.
fn distinct(reads: Vec<Read>) -> Vec<Read> {
    let mut distinct: Vec<Read> = Vec::with_capacity(reads.len());
    for read in reads {
        if distinct.iter().any(|other| other.includes(&read)) {
            continue;
        }
        distinct.retain(|other| !read.includes(other));
        distinct.push(read);
    }
    distinct
}

/// A read as a message names it.
fn described(read: &Read) -> String {
    let place = |namespace: &Symbol| match namespace.as_str() {
        "" => "all namespaces".to_owned(),
        namespace => format!("namespace {namespace}"),
    };
    match read {
        Read::List(kind, namespace) => format!("every {kind} of {}", place(namespace)),
        Read::Pods(namespace, labels) => format!("the pods of {} with {labels}", place(namespace)),
        Read::Object(reference) => reference.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ObjectRef;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())))
    }

    #[test]
    fn a_read_that_another_includes_is_dropped() {
        let list = |kind, namespace: &str| Read::List(kind, namespace.into());
        let object = |kind, name| Read::Object(ObjectRef::new(kind, "cars", name));
        let pods = |pairs| Read::Pods("cars".into(), labels(pairs));
        let reads = vec![
            object(Kind::Service, "portal"),
            list(Kind::Service, "cars"),
            list(Kind::Service, "cars"),
            object(Kind::Service, "api"),
            object(Kind::Gateway, "cars"),
            object(Kind::Gateway, "cars"),
            list(Kind::DestinationRule, "cars"),
            list(Kind::DestinationRule, ""),
            list(Kind::DestinationRule, "trains"),
            pods(&[("app", "portal"), ("version", "wicph")]),
            pods(&[("app", "portal")]),
            pods(&[("app", "api")]),
            Read::Object(ObjectRef::new(Kind::Namespace, "", "cars")),
        ];
        assert_eq!(
            distinct(reads),
            [
                list(Kind::Service, "cars"),
                object(Kind::Gateway, "cars"),
                list(Kind::DestinationRule, ""),
                pods(&[("app", "portal")]),
                pods(&[("app", "api")]),
                Read::Object(ObjectRef::new(Kind::Namespace, "", "cars")),
            ]
        );
    }

    #[test]
    fn what_no_object_can_have_is_not_asked_for() {
        let asks = |key: &str, value: &str| selector(&labels(&[(key, value)])).is_some();
        assert!(asks("app.kubernetes.io/part-of", "cars"));
        assert!(asks("version", "") && asks("Version", "V_1.0"));
        assert!(!asks("version", "-v1") && !asks("version", "a b") && !asks("version", "ä"));
        assert!(!asks("version", &"v".repeat(64)));
        assert!(
            !asks("", "a")
                && !asks("a/", "a")
                && !asks("/a", "a")
                && !asks("A.io/b", "a")
                && !asks("a..b/c", "a")
        );
    }

    #[test]
    fn a_read_is_described_as_a_person_would() {
        assert_eq!(
            described(&Read::List(Kind::Gateway, "".into())),
            "every Gateway of all namespaces"
        );
        assert_eq!(
            described(&Read::Pods("cars".into(), labels(&[("app", "portal")]))),
            "the pods of namespace cars with app=portal"
        );
    }
}
