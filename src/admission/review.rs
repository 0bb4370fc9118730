//! The request half of an `AdmissionReview` (`admission.k8s.io/v1`), read without copying.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::resource::{Kind, ObjectRef, Resource};
use crate::symbol::Symbol;

/// A request, borrowed from the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request in the answer and in the API server's log.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The resource, in the version that the webhook is registered for.
    #[serde(borrow)]
    pub resource: GroupResource<'a>,
    /// `scale`, `status`, or nothing.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// The object's name; empty on a CREATE that generates it and on deletecollection.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The object's namespace.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// What is done.
    pub operation: Operation,
    /// Who does it.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// The object as it will be; none on DELETE.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is; none on CREATE.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// How it is done.
    #[serde(borrow, default)]
    pub options: Option<Options<'a>>,
}

/// A resource by group and plural name.
#[derive(Debug, Deserialize)]
pub struct GroupResource<'a> {
    /// The API group, empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// The version of the objects in the review.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// The plural name.
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// Who makes a request.
#[derive(Debug, Default, Deserialize)]
pub struct UserInfo<'a> {
    /// The user's name.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// The user's groups.
    #[serde(borrow, default)]
    pub groups: Vec<Cow<'a, str>>,
}

/// `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options<'a> {
    /// Who the fields will belong to.
    #[serde(borrow, default)]
    pub field_manager: Option<Cow<'a, str>>,
    /// What becomes of the objects that the deleted one owns.
    #[serde(borrow, default)]
    pub propagation_policy: Option<Cow<'a, str>>,
    /// The old form of the same: `true` sets them free.
    #[serde(default)]
    pub orphan_dependents: Option<bool>,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// An object goes.
    Delete,
    /// A connection to a pod; not ours.
    Connect,
}

impl Operation {
    /// As the review writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A body that is no `AdmissionReview`.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON, or a field has the wrong type.
    #[error("this is no AdmissionReview: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is one of another version.
    #[error(
        "this is no AdmissionReview of admission.k8s.io/v1: it says apiVersion `{api_version}`, kind `{kind}`"
    )]
    Another {
        /// The `apiVersion`.
        api_version: String,
        /// The `kind`.
        kind: String,
    },
    /// It has no request.
    #[error("this AdmissionReview has no request")]
    Empty,
    /// Its request has no uid, without which the API server does not take an answer.
    #[error("the request of this AdmissionReview has no uid")]
    Nameless,
}

/// Reads a body.
pub fn read(body: &[u8]) -> Result<Request<'_>, ReviewError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Review<'a> {
        #[serde(borrow, default)]
        api_version: Cow<'a, str>,
        #[serde(borrow, default)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        request: Option<Request<'a>>,
    }

    let review: Review<'_> = serde_json::from_slice(body)?;
    if review.api_version != "admission.k8s.io/v1" || review.kind != "AdmissionReview" {
        return Err(ReviewError::Another {
            api_version: review.api_version.into_owned(),
            kind: review.kind.into_owned(),
        });
    }
    let request = review.request.ok_or(ReviewError::Empty)?;
    if request.uid.is_empty() {
        Err(ReviewError::Nameless)
    } else {
        Ok(request)
    }
}

impl Request<'_> {
    /// The kind of the object; `None` for a kind that Lanekeeper does not judge.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_resource(&self.resource.group, &self.resource.resource).filter(|kind| kind.is_admitted())
    }

    /// Whether it is a write to the workload's `scale`.
    pub fn is_scale(&self) -> bool {
        self.sub_resource == "scale"
    }

    /// Whether the objects that a deleted one owns are to stay.
    pub fn frees_dependents(&self) -> bool {
        self.options.as_ref().is_some_and(|options| {
            options.propagation_policy.as_deref() == Some("Orphan") || options.orphan_dependents == Some(true)
        })
    }

    /// Who the fields will belong to.
    pub fn field_manager(&self) -> Option<&str> {
        self.options
            .as_ref()
            .and_then(|options| options.field_manager.as_deref())
    }

    /// Parses an object of the review. The error names the field and what is wrong with it.
    pub fn parse(&self, kind: Kind, object: &RawValue) -> Result<Resource, String> {
        let mut json = serde_json::Deserializer::from_str(object.get());
        let mut resource = Resource::parse(kind, &mut json)
            .or_else(|error| without_nulls(kind, object).ok_or(error))
            .map_err(|error| located(kind, object, &error))?;
        let meta = resource.meta_mut();
        if meta.namespace.is_empty() && kind.is_namespaced() {
            meta.namespace = Symbol::new(&self.namespace);
        }
        if meta.name.is_empty() {
            // A name that is yet to be generated: no object has one that ends so.
            let name = if self.name.is_empty() {
                format!("{}…", meta.generate_name)
            } else {
                self.name.to_string()
            };
            meta.name = name.into();
        }
        Ok(resource)
    }

    /// The reference to the object by the request alone.
    pub fn reference(&self, kind: Kind) -> ObjectRef {
        ObjectRef::new(kind, &self.namespace, &self.name)
    }
}

/// The object read as if its null fields were not there, as Istio reads it (protobuf's JSON mapping takes null for
/// any field). That is rare, so it costs a second reading.
fn without_nulls(kind: Kind, object: &RawValue) -> Option<Resource> {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|_, value| !value.is_null());
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }

    let mut value = serde_json::from_str(object.get()).ok()?;
    strip(&mut value);
    Resource::parse(kind, value).ok()
}

/// The error with the path of the field: the object is read a second time, for that is rare.
fn located(kind: Kind, object: &RawValue, error: &serde_json::Error) -> String {
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(object.get());
    let _ = Resource::parse(
        kind,
        serde_path_to_error::Deserializer::new(&mut json, &mut track),
    );
    let path = track.path().to_string();
    // The position within the object means nothing to who wrote YAML.
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("{path}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(request: &str) -> String {
        format!(r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {request}}}"#)
    }

    #[test]
    fn a_request_is_read_with_its_objects_left_as_they_are() {
        let body = review(
            r#"{"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Service"},
                "resource": {"group": "", "version": "v1", "resource": "services"}, "name": "portal",
                "namespace": "cars", "operation": "UPDATE", "userInfo": {"username": "dev", "groups": ["a"]},
                "object": {"metadata": {"name": "portal"}, "spec": {"ports": [{"port": 80}]}}, "oldObject": null,
                "dryRun": false, "options": {"kind": "UpdateOptions", "fieldManager": "helm"}}"#,
        );
        let request = read(body.as_bytes()).unwrap();
        assert_eq!(request.kind(), Some(Kind::Service));
        assert_eq!(request.operation, Operation::Update);
        assert_eq!(request.field_manager(), Some("helm"));
        assert!(request.old_object.is_none());
        let object = request.parse(Kind::Service, request.object.unwrap()).unwrap();
        assert_eq!(
            object.reference(),
            ObjectRef::new(Kind::Service, "cars", "portal")
        );
    }

    #[test]
    fn what_is_no_review_is_refused_with_its_reason() {
        let reason = |body: &str| read(body.as_bytes()).unwrap_err().to_string();
        assert!(reason("[]").contains("AdmissionReview"));
        assert!(reason(r#"{"apiVersion": "v1", "kind": "Pod"}"#).contains("kind `Pod`"));
        assert!(reason(&review("null")).contains("no request"));
        let nameless = review(r#"{"uid": "", "resource": {"resource": "services"}, "operation": "CREATE"}"#);
        assert!(reason(&nameless).contains("no uid"));
        assert!(reason("{\"apiVersion\": \"admission.k8s.io/v1\"").contains("EOF"));
    }

    #[test]
    fn a_null_field_is_one_that_is_not_there() {
        let body = review(
            r#"{"uid": "u", "resource": {"group": "networking.istio.io", "resource": "virtualservices"},
                "operation": "CREATE", "object": {"metadata": {"name": "a"}, "spec": {"hosts": null, "http": [{"match": null,
                    "headers": {"request": {"remove": null, "set": {"bu": "x"}}}}]}}}"#,
        );
        let request = read(body.as_bytes()).unwrap();
        let object = request
            .parse(Kind::VirtualService, request.object.unwrap())
            .unwrap();
        let Resource::VirtualService(vs) = object else {
            panic!("{object:?}")
        };
        assert_eq!(
            vs.http[0].headers.as_ref().unwrap().request.set_value("bu"),
            Some("x")
        );
    }

    #[test]
    fn an_object_of_the_wrong_shape_is_refused_with_the_field() {
        let body = review(
            r#"{"uid": "u", "resource": {"group": "networking.istio.io", "resource": "virtualservices"},
                "operation": "CREATE", "object": {"metadata": {"name": "a"}, "spec": {"http": [{"route": [{"destination": {"host": "a", "port": {"number": "8181"}}}]}]}}}"#,
        );
        let request = read(body.as_bytes()).unwrap();
        let error = request
            .parse(Kind::VirtualService, request.object.unwrap())
            .unwrap_err();
        assert!(
            error.starts_with("spec.http[0].route[0].destination.port.number: "),
            "{error}"
        );
        assert!(error.contains("8181"), "{error}");
    }
}
