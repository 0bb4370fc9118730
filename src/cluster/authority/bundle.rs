//! The webhook configurations, and whom they trust.

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::super::watch::with_causes;
use crate::authority::{Authority, certificates};

/// Who sets the caBundle.
const BUNDLER: &str = "lanekeeper-ca-bundle";

/// What asks cert-manager to set the caBundle.
const CERT_MANAGER: &str = "cert-manager.io/inject-";

/// A webhook configuration.
pub(super) struct Configuration {
    resource: ApiResource,
    api: Api<DynamicObject>,
    object: DynamicObject,
}

/// Reads the configurations of this name that are there.
pub(super) async fn configurations(client: &Client, name: &str) -> anyhow::Result<Vec<Configuration>> {
    let mut all = Vec::new();
    for resource in [
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
    ] {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let object = api.get_opt(name).await;
        let object = object.with_context(|| format!("the {} {name} cannot be read", resource.kind))?;
        all.extend(object.map(|object| Configuration {
            resource,
            api,
            object,
        }));
    }
    Ok(all)
}

impl Configuration {
    fn webhooks(&self) -> &[Value] {
        self.object.data["webhooks"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The certificates that any of the webhooks trusts, each once.
    pub(super) fn trusted(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for certificate in self.webhooks().iter().flat_map(trusted_by) {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
        all
    }

    /// The annotation that asks cert-manager to set the caBundle.
    fn injector(&self) -> Option<&str> {
        let annotations = self.object.metadata.annotations.as_ref()?;
        annotations
            .keys()
            .map(String::as_str)
            .find(|key| key.starts_with(CERT_MANAGER))
    }

    /// Why what `authority` signs is not trusted by one of the webhooks.
    pub(super) fn lack(&self, authority: &Authority) -> Option<String> {
        let trusts = |webhook: &&Value| trusted_by(webhook).iter().any(|known| known == authority.pem());
        let webhook = self.webhooks().iter().find(|webhook| !trusts(webhook))?;
        let name = webhook["name"].as_str().unwrap_or_default();
        let why = match self.injector() {
            Some(annotation) => format!(
                "its annotation {annotation} has cert-manager set it: take that away, or start without --ca-secret"
            ),
            None => "the leader sets it".to_owned(),
        };
        Some(format!(
            "webhook {name} of the {} {} does not have this server's authority in its caBundle; {why}",
            self.resource.kind,
            self.object.metadata.name.as_deref().unwrap_or_default()
        ))
    }

    /// Sees to it that every webhook trusts these and nobody else, unless cert-manager does. Whether anything was written.
    pub(super) async fn trust(&mut self, trusted: &[String]) -> anyhow::Result<bool> {
        let bundle = STANDARD.encode(trusted.concat());
        let is_bundled = |webhook: &Value| webhook["clientConfig"]["caBundle"] == *bundle;
        if self.webhooks().iter().all(is_bundled) || self.injector().is_some() {
            return Ok(false);
        }
        let webhooks: Vec<Value> = self
            .webhooks()
            .iter()
            .map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}}))
            .collect();
        let (kind, name) = (
            &self.resource.kind,
            self.object.metadata.name.clone().unwrap_or_default(),
        );
        let patch = json!({
            "apiVersion": self.resource.api_version,
            "kind": kind,
            "metadata": {"name": name, "uid": self.object.metadata.uid},
            "webhooks": webhooks,
        });
        let params = PatchParams::apply(BUNDLER).force();
        let patched = self.api.patch(&name, &params, &Patch::Apply(&patch)).await;
        self.object = patched.map_err(|error| {
            anyhow!(
                "the caBundle of the {kind} {name} cannot be set: {}",
                with_causes(&error)
            )
        })?;
        tracing::info!(
            authorities = trusted.len(),
            "set the caBundle of the {kind} {name}"
        );
        Ok(true)
    }
}

/// The certificates that a webhook trusts.
fn trusted_by(webhook: &Value) -> Vec<String> {
    let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    let bundle = STANDARD.decode(bundle).unwrap_or_default();
    certificates(&String::from_utf8_lossy(&bundle))
}
