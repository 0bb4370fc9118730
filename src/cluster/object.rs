//! An object as it comes from the API server, until it is known what of it counts.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, Resource as KubeResource};
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde_json::value::RawValue;

use crate::resource::{Kind, ObjectRef, Resource};

/// An object in the text that the API server sent, of which only what identifies it is read: one that does
/// not parse spoils neither its list nor its watch, and its kind's own parser reads it without a detour.
///
/// With `METADATA_ONLY` the API server is asked to leave out the rest.
#[derive(Debug, Clone)]
pub(super) struct RawObject<const METADATA_ONLY: bool> {
    metadata: ObjectMeta,
    json: Box<RawValue>,
}

/// Whether metadata is all that [`Resource::parse`] reads of the kind.
pub(super) const fn is_metadata_enough(kind: Kind) -> bool {
    matches!(kind, Kind::EnvoyFilter | Kind::Namespace | Kind::ReplicaSet)
}

impl<const METADATA_ONLY: bool> RawObject<METADATA_ONLY> {
    /// Which object it is.
    pub(super) fn reference(&self, kind: Kind) -> ObjectRef {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        ObjectRef::new(kind, &text(&self.metadata.namespace), &text(&self.metadata.name))
    }

    /// Parses it; `None` for one that no rule reads, or that does not parse, of which a line in the log tells.
    pub(super) fn parse(&self, kind: Kind) -> Option<Resource> {
        self.read(kind).unwrap_or_else(|error| {
            tracing::warn!(
                object = %self.reference(kind),
                error,
                "an object that cannot be read is left out; mend it, or its rules do not hold"
            );
            None
        })
    }

    /// Parses it; `None` for one that no rule reads, and an error, with the field, for one that does not parse.
    pub(super) fn read(&self, kind: Kind) -> Result<Option<Resource>, String> {
        let json = self.json.get();
        if kind == Kind::ConfigMap && !self.is_mesh_config() {
            return Ok(None);
        }
        let parsed = Resource::parse(kind, &mut serde_json::Deserializer::from_str(json));
        parsed.map(Some).map_err(|_| fault(kind, json))
    }

    /// Whether this `ConfigMap` is Istio's mesh configuration, of the default revision or of another. Others
    /// are called `istio-…`, too: the root certificate, the injector's templates.
    fn is_mesh_config(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Wire {
            data: Option<Data>,
        }

        #[derive(serde::Deserialize)]
        struct Data {
            mesh: Option<IgnoredAny>,
        }

        let name = self.metadata.name.as_deref().unwrap_or_default();
        let has_mesh = || {
            let wire = serde_json::from_str::<Wire>(self.json.get());
            wire.is_ok_and(|wire| wire.data.is_some_and(|data| data.mesh.is_some()))
        };
        (name == "istio" || name.starts_with("istio-")) && has_mesh()
    }
}

/// What is wrong with an object that does not parse, and in which field.
fn fault(kind: Kind, json: &str) -> String {
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let error = Resource::parse(kind, tracked)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    // The column is one of a line that nobody sees.
    let error = error.split(" at line ").next().unwrap_or_default();
    format!("{}: {error}", track.path())
}

impl<'de, const METADATA_ONLY: bool> Deserialize<'de> for RawObject<METADATA_ONLY> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Wire {
            metadata: Metadata,
        }

        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
        }

        let json = Box::<RawValue>::deserialize(deserializer)?;
        let wire = serde_json::from_str::<Wire>(json.get()).map_err(serde::de::Error::custom)?;
        let metadata = ObjectMeta {
            name: wire.metadata.name,
            namespace: wire.metadata.namespace,
            resource_version: wire.metadata.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, json })
    }
}

impl<const METADATA_ONLY: bool> KubeResource for RawObject<METADATA_ONLY> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn metadata_api() -> bool {
        METADATA_ONLY
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    fn object(object: &Value) -> RawObject<false> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn a_list_keeps_every_object_as_it_came_whether_or_not_it_parses() {
        let list = r#"{"kind": "VirtualServiceList", "apiVersion": "networking.istio.io/v1",
            "metadata": {"resourceVersion": "9", "continue": ""}, "items": [
            {"metadata": {"namespace": "cars", "name": "portal", "resourceVersion": "1"}, "spec": {"hosts": ["portal"]}},
            {"metadata": {"namespace": "cars", "name": "broken", "resourceVersion": "2"}, "spec": {"hosts": 5}}]}"#;
        let list: ObjectList<RawObject<false>> = serde_json::from_str(list).unwrap();
        let kind = Kind::VirtualService;
        assert_eq!(list.metadata.resource_version.as_deref(), Some("9"));
        assert!(list.items[0].parse(kind).is_some());
        assert!(list.items[1].parse(kind).is_none());
        assert_eq!(
            list.items[1].reference(kind).to_string(),
            "VirtualService cars/broken"
        );
    }

    #[test]
    fn a_watch_event_keeps_its_object_as_it_came() {
        let event =
            r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"7"},"spec":1}}"#;
        let event: WatchEvent<RawObject<false>> = serde_json::from_str(event).unwrap();
        let WatchEvent::Modified(object) = event else {
            panic!("{event:?}")
        };
        assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn the_fault_of_an_object_is_named_by_its_field() {
        let json =
            json!({"metadata": {"name": "a"}, "spec": {"hosts": ["a"], "http": [{"match": 5}]}}).to_string();
        let fault = fault(Kind::VirtualService, &json);
        assert!(
            fault.starts_with("spec.http[0].match: invalid type: integer `5`"),
            "{fault}"
        );
    }

    #[test]
    fn of_the_config_maps_only_the_mesh_configuration_counts() {
        let counts = |name: &str, key: &str| {
            let object =
                object(&json!({"metadata": {"namespace": "istio-system", "name": name}, "data": {key: ""}}));
            object.parse(Kind::ConfigMap).is_some()
        };
        assert!(counts("istio", "mesh"));
        assert!(counts("istio-canary", "mesh"));
        assert!(!counts("istio-ca-root-cert", "root-cert.pem"));
        assert!(!counts("istiod", "mesh"));
        assert!(!counts("kiali", "mesh"));
    }

    #[test]
    fn what_metadata_is_enough_for_parses_from_metadata_alone() {
        for kind in Kind::ALL.iter().filter(|kind| is_metadata_enough(**kind)) {
            let object = object(&json!({"kind": "PartialObjectMetadata", "metadata": {"name": "a"}}));
            assert!(object.parse(*kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn of_what_is_more_than_a_mark_or_a_link_the_whole_is_asked_for() {
        for kind in Kind::ALL {
            let object = object(&json!({"metadata": {"name": "a"}}));
            let is_slight = match object.parse(*kind) {
                Some(Resource::Mark(_)) => true,
                Some(Resource::Pod(pod)) => pod.kind == Kind::ReplicaSet,
                _ => false,
            };
            assert_eq!(is_metadata_enough(*kind), is_slight, "{kind}");
        }
    }
}
