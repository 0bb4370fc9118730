//! Object metadata, as far as a rule or the index reads it.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;

use internment::ArcIntern;
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Labels, ObjectRef, kind::Kind};
use crate::symbol::Symbol;

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meta {
    /// The namespace; empty until the reader fills it in, and for kinds that have none.
    pub namespace: Symbol,
    /// The name; empty while the API server is yet to generate it.
    pub name: Symbol,
    /// The beginning of a name that the API server is yet to generate; empty where there is a name.
    pub generate_name: Symbol,
    /// The number of the spec's version, which the API server counts; 0 in files.
    pub generation: u32,
    /// The labels.
    pub labels: Labels,
    /// The annotations that Lanekeeper or Istio read.
    pub annotations: Annotations,
    /// When the object was created, to the second; files do not say.
    pub created: Option<Created>,
    /// Whether the object is being deleted: it only waits for its finalizers.
    pub deleting: bool,
    /// The controller that owns the object.
    pub owner: Option<Owner>,
}

impl Meta {
    /// The reference to the object of `kind` that this is the metadata of.
    pub fn reference(&self, kind: Kind) -> ObjectRef {
        ObjectRef {
            kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let name = wire.name.unwrap_or_default();
        let generate_name = wire.generate_name.filter(|_| name.is_empty());
        Ok(Self {
            namespace: wire.namespace.unwrap_or_default(),
            name,
            generate_name: generate_name.unwrap_or_default(),
            generation: wire
                .generation
                .and_then(|number| number.try_into().ok())
                .unwrap_or_default(),
            labels: wire.labels.unwrap_or_default(),
            annotations: wire.annotations.unwrap_or_default(),
            created: wire.creation_timestamp.map(Created::from),
            deleting: wire.deletion_timestamp.is_some(),
            owner: wire
                .owner_references
                .unwrap_or_default()
                .into_iter()
                .find_map(OwnerReference::controller),
        })
    }
}

/// A time in whole seconds, of which the API server tells no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Created(NonZeroU64);

impl From<Timestamp> for Created {
    fn from(time: Timestamp) -> Self {
        let since = time.as_second().abs_diff(Timestamp::MIN.as_second());
        Self(NonZeroU64::MIN.saturating_add(since))
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    namespace: Option<Symbol>,
    name: Option<Symbol>,
    generate_name: Option<Symbol>,
    generation: Option<i64>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference {
    #[serde(default)]
    api_version: Symbol,
    kind: Symbol,
    name: Symbol,
    #[serde(default)]
    controller: Option<bool>,
}

impl OwnerReference {
    fn controller(self) -> Option<Owner> {
        let controls = self.controller == Some(true);
        controls.then(|| Owner {
            kind: Kind::of(&self.api_version, &self.kind)
                .map_or(OwnerKind::Other(self.kind), OwnerKind::Known),
            name: self.name,
        })
    }
}

/// The controller that made an object: of a pod, its `ReplicaSet`, `StatefulSet`, Rollout, …
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    kind: OwnerKind,
    /// Its name, in the namespace of the owned object.
    pub name: Symbol,
}

#[derive(Debug, Clone, PartialEq)]
enum OwnerKind {
    Known(Kind),
    /// The name of a kind of another group or of no kind that Lanekeeper knows.
    Other(Symbol),
}

impl Owner {
    /// Its kind; `None` for one that is not known.
    pub fn kind(&self) -> Option<Kind> {
        match self.kind {
            OwnerKind::Known(kind) => Some(kind),
            OwnerKind::Other(_) => None,
        }
    }

    /// The name of its kind, known or not.
    pub fn kind_name(&self) -> &str {
        match &self.kind {
            OwnerKind::Known(kind) => kind.name(),
            OwnerKind::Other(name) => name,
        }
    }

    /// The owner as an object of the world in `namespace`; `None` for kinds that are not known.
    pub fn reference(&self, namespace: &Symbol) -> Option<ObjectRef> {
        Some(ObjectRef {
            kind: self.kind()?,
            namespace: namespace.clone(),
            name: self.name.clone(),
        })
    }
}

/// What Istio's injector leaves on a pod that it has given a sidecar, and `istioctl kube-inject` on a template. It says what was
/// added; here it only counts that it is there.
pub const INJECTED: &str = "sidecar.istio.io/status";

/// The annotations that someone reads: Lanekeeper's, Istio's, Argo CD's. The others, some of which hold a
/// copy of the whole object, are dropped. Interned whole: those of all pods of one template are one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations(Option<ArcIntern<Box<[Annotation]>>>);

type Annotation = (Symbol, Box<str>);

impl Annotations {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all()
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    }

    fn all(&self) -> &[Annotation] {
        self.0.as_deref().map_or(&[], |all| all)
    }

    fn is_read(key: &str) -> bool {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        domain == "lanekeeper.dev" || domain == "argocd.argoproj.io" || domain.ends_with("istio.io")
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut annotations = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == INJECTED {
                        map.next_value::<IgnoredAny>()?;
                        annotations.push((Symbol::new(&key), Box::default()));
                    } else if Annotations::is_read(&key) {
                        annotations.push((Symbol::new(&key), map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                let has_any = !annotations.is_empty();
                Ok(Annotations(has_any.then(|| ArcIntern::new(annotations.into()))))
            }

            fn visit_unit<E>(self) -> Result<Annotations, E> {
                Ok(Annotations::default())
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_annotations_that_someone_reads_are_kept() {
        let meta: Meta = serde_json::from_str(
            r#"{"name": "a", "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"kind\": …}",
                "lanekeeper.dev/allow": "LK101", "sidecar.istio.io/inject": "false", "plain": "x"}}"#,
        )
        .unwrap();
        assert_eq!(meta.annotations.get("lanekeeper.dev/allow"), Some("LK101"));
        assert_eq!(meta.annotations.get("sidecar.istio.io/inject"), Some("false"));
        assert_eq!(meta.annotations.all().len(), 2);
    }

    #[test]
    fn the_owner_is_the_controller() {
        let meta: Meta = serde_json::from_str(
            r#"{"name": "a", "creationTimestamp": null, "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "portal-5d", "controller": true}]}"#,
        )
        .unwrap();
        assert_eq!(meta.owner.unwrap().name, "portal-5d");
    }
}
