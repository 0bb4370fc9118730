//! Which kinds the API server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use kube::core::{ApiResource, GroupVersion, GroupVersionKind};

use crate::resource::Kind;

/// How long one question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What one look found of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The versions that it can be listed and watched in, best first.
    pub(super) versions: Vec<&'static str>,
    /// Why there may be more.
    pub(super) doubt: Option<String>,
}

/// Looks for every kind in every version that can be read.
pub(super) async fn look(client: &Client) -> BTreeMap<Kind, Found> {
    let asked: BTreeSet<(&str, &str)> = Kind::ALL
        .iter()
        .flat_map(|kind| kind.versions().iter().map(|version| (kind.group(), *version)))
        .collect();
    let answers = join_all(
        asked
            .iter()
            .map(|(group, version)| watchable(client, group, version)),
    )
    .await;
    let answers: BTreeMap<_, _> = asked.into_iter().zip(answers).collect();
    Kind::ALL
        .iter()
        .map(|kind| (*kind, found(*kind, &answers)))
        .collect()
}

/// The plural names of what can be listed and watched, or why that is not known.
type Answer = Result<BTreeSet<String>, String>;

fn found(kind: Kind, answers: &BTreeMap<(&str, &str), Answer>) -> Found {
    let mut found = Found::default();
    for version in kind.versions() {
        match answers.get(&(kind.group(), *version)) {
            Some(Ok(plurals)) if plurals.contains(kind.plural()) => found.versions.push(version),
            Some(Err(doubt)) => found.doubt = Some(doubt.clone()),
            Some(Ok(_)) | None => {}
        }
    }
    found
}

async fn watchable(client: &Client, group: &str, version: &str) -> Answer {
    let group_version = GroupVersion::gv(group, version).api_version();
    let question = async {
        if group.is_empty() {
            client.list_core_api_resources(version).await
        } else {
            client.list_api_group_resources(&group_version).await
        }
    };
    let answer = tokio::time::timeout(PATIENCE, question).await;
    let resources = match answer {
        Ok(Ok(list)) => list.resources,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Vec::new(),
        Ok(Err(error)) => return Err(format!("whether {group_version} is served is not known: {error}")),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            return Err(format!(
                "whether {group_version} is served is not known: no answer in {seconds} s"
            ));
        }
    };
    let is_watchable = |verbs: &[String]| {
        ["list", "watch"]
            .iter()
            .all(|verb| verbs.iter().any(|v| v == verb))
    };
    let watchable = resources
        .into_iter()
        .filter(|resource| is_watchable(&resource.verbs));
    Ok(watchable.map(|resource| resource.name).collect())
}

/// How the client addresses `kind` in `version`.
pub(super) fn api_resource(kind: Kind, version: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(kind.group(), version, kind.name()),
        kind.plural(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, answers: &[(&'static str, Result<&str, &str>)]) -> Found {
        let answers = answers.iter().map(|(version, answer)| {
            let plurals = answer.map(|plurals| plurals.split_whitespace().map(str::to_owned).collect());
            ((kind.group(), *version), plurals.map_err(str::to_owned))
        });
        found(kind, &answers.collect())
    }

    #[test]
    fn the_best_served_version_comes_first() {
        let answers = [
            ("v1", Ok("sidecars")),
            ("v1beta1", Ok("gateways")),
            ("v1alpha3", Ok("gateways")),
        ];
        assert_eq!(of(Kind::Gateway, &answers).versions, ["v1beta1", "v1alpha3"]);
        assert_eq!(of(Kind::Sidecar, &answers).versions, ["v1"]);
        assert_eq!(of(Kind::ServiceEntry, &answers), Found::default());
    }

    #[test]
    fn an_answer_that_does_not_come_leaves_a_doubt() {
        let answers = [
            ("v1", Err("timeout")),
            ("v1beta1", Ok("gateways")),
            ("v1alpha3", Ok("")),
        ];
        let found = of(Kind::Gateway, &answers);
        assert_eq!(found.versions, ["v1beta1"]);
        assert_eq!(found.doubt.as_deref(), Some("timeout"));
    }
}
