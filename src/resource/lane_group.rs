//! `LaneGroup` (`lanekeeper.dev/v1alpha1`), Lanekeeper's own custom resource.

mod refusal;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::refusal::LaneGroupRule;
use self::refusal::{REFUSALS, Refusal};
use super::{Labels, Meta};
use crate::lane::{self, Completeness, WithoutHeader};
use crate::symbol::Symbol;

/// How many lanes a group may have, and how many of the other lists' items: the API server bounds what its rules cost.
const MOST_LANES: usize = 256;
const MOST_GATEWAYS: usize = 64;
const MOST_CALLS: usize = 64;

/// How long texts may be: a header's name, a label's value, a name behind a namespace or domain, a call.
const MOST_OF_HEADER: usize = 256;
const MOST_OF_LABEL: usize = 63;
const MOST_OF_NAME: usize = 317;
const MOST_OF_CALL: usize = 1024;

/// A set of services that share lanes, a lane header and a default lane, in one namespace.
// The derive makes the CustomResourceDefinition that `lanekeeper crd` prints; its name is `LaneGroupObject`
// so that `LaneGroup` stays the parsed view, as for every other kind.
#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lanekeeper.dev",
    version = "v1alpha1",
    kind = "LaneGroup",
    root = "LaneGroupObject",
    plural = "lanegroups",
    shortname = "lanes",
    namespaced,
    status = "LaneGroupStatus",
    printcolumn = r#"{"name": "Header", "type": "string", "jsonPath": ".spec.header"}"#,
    printcolumn = r#"{"name": "Lanes", "type": "string", "jsonPath": ".spec.lanes"}"#,
    printcolumn = r#"{"name": "Default", "type": "string", "jsonPath": ".spec.defaultLane"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.conditions[?(@.type=='Ready')].message"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct LaneGroupSpec {
    /// The header that carries the lane inside the mesh.
    #[schemars(length(min = 1, max = MOST_OF_HEADER), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub header: String,
    /// How callers outside the mesh name their lane, where they use another header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<LaneGroupEntry>,
    /// The workloads of the group: those whose pods have all of these labels.
    pub workloads: WorkloadSelector,
    /// The label whose value is the lane; without it, the subsets' labels tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MOST_OF_NAME))]
    pub lane_label: Option<String>,
    /// The lanes, by name.
    #[schemars(length(min = 1, max = MOST_LANES), inner(length(min = 1, max = MOST_OF_LABEL)))]
    pub lanes: Vec<String>,
    /// The lane of a request that names none.
    #[schemars(length(min = 1, max = MOST_OF_LABEL))]
    pub default_lane: String,
    /// What becomes of a request that names no lane.
    #[serde(default)]
    pub without_header: WithoutHeader,
    /// Whether every service has every lane, or the default lane stands in.
    #[serde(default)]
    pub completeness: Completeness,
    /// The trace format by which the lane filter follows a request.
    #[serde(default)]
    pub trace: TraceFormat,
    /// What applications call for a request, one after the other, as `cart`, `cart:8080` or `cart.shop:8080/path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_CALLS), inner(length(max = MOST_OF_CALL)))]
    pub chain: Vec<String>,
}

/// The entry of a lane group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LaneGroupEntry {
    /// The header that callers outside use.
    #[schemars(length(min = 1, max = MOST_OF_HEADER), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub header: String,
    /// The gateways, each as `name` or `namespace/name`; empty: every gateway.
    #[serde(default)]
    #[schemars(length(max = MOST_GATEWAYS), inner(length(max = MOST_OF_NAME)))]
    pub gateways: Vec<String>,
}

/// A selector by labels.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that all must be there.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// A trace id's format, by the name that the lane filter's `type` has for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "each is the tracing system of that name")]
pub enum TraceFormat {
    #[default]
    W3C,
    B3,
    #[serde(rename = "JAEGER")]
    Jaeger,
    #[serde(rename = "SKYWALKING")]
    SkyWalking,
    #[serde(rename = "DATADOG")]
    Datadog,
    #[serde(rename = "XRAY")]
    XRay,
    #[serde(rename = "REQUEST_ID")]
    RequestId,
    #[serde(rename = "AUTO")]
    Auto,
}

/// What runs of the group, as Lanekeeper sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LaneGroupStatus {
    /// The generation of the spec that this is about.
    pub observed_generation: i64,
    /// Ready, and what it takes: `RoutesComplete`, `WorkloadsReady`, `FilterInstalled`, `RulesHold`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many services have lanes.
    pub services: i32,
    /// How many lanes there are.
    pub lanes: i32,
    /// How many of them reach all that the group promises.
    pub ready_lanes: i32,
    /// How many workloads are behind the services.
    pub workloads: i32,
}

/// A condition, in the form of `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, in one word.
    pub r#type: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` became what it is.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the words are those of Kubernetes")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A lane group as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneGroup {
    /// Its metadata.
    pub meta: Meta,
    /// The trace format by which the lane filter follows a request, which only the plugin's own configuration makes so.
    pub trace: TraceFormat,
    /// What it says; its namespace is that of `meta`.
    spec: lane::LaneGroup,
}

impl LaneGroup {
    /// The group that the object defines.
    pub fn group(&self) -> lane::LaneGroup {
        let namespace = self.meta.namespace.clone();
        // A gateway without a namespace is one of the group's own.
        let qualify = |gateway: &Symbol| {
            if gateway.contains('/') {
                gateway.clone()
            } else {
                format!("{namespace}/{gateway}").into()
            }
        };
        lane::LaneGroup {
            source: self.meta.name.to_string(),
            entry: self.spec.entry.as_ref().map(|entry| lane::Entry {
                header: entry.header.clone(),
                gateways: entry.gateways.iter().map(qualify).collect(),
            }),
            namespace: namespace.clone(),
            ..self.spec.clone()
        }
    }
}

impl LaneGroup {
    /// The group that `spec` describes, or what about it the API server would refuse.
    pub fn new(meta: Meta, spec: LaneGroupSpec) -> Result<Self, String> {
        if let Some(refused) = refused(&spec) {
            return Err(refused);
        }
        let header = |name: &str| Symbol::from(name.to_ascii_lowercase());
        let labels = spec.workloads.match_labels.iter();
        let labels = Labels::new(labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())));
        Ok(Self {
            trace: spec.trace,
            spec: lane::LaneGroup {
                namespace: Symbol::default(),
                source: String::new(),
                header: header(&spec.header),
                entry: spec.entry.map(|entry| lane::Entry {
                    header: header(&entry.header),
                    gateways: entry
                        .gateways
                        .iter()
                        .map(|gateway| gateway.as_str().into())
                        .collect(),
                }),
                lanes: Some(spec.lanes.iter().map(|lane| lane.as_str().into()).collect()),
                default_lane: Some(spec.default_lane.as_str().into()),
                without_header: spec.without_header,
                completeness: Some(spec.completeness),
                lane_label: spec.lane_label.map(Symbol::from),
                chain: spec.chain,
                workloads: labels.pairs().to_vec(),
            },
            meta,
        })
    }
}

/// The rules of the definition: what [`LaneGroup::new`] refuses, too.
pub fn lane_group_rules() -> Vec<LaneGroupRule> {
    REFUSALS.iter().map(Refusal::rule).collect()
}

/// What the API server would refuse about a group: what the definition's schema says of single fields, and its rules.
fn refused(spec: &LaneGroupSpec) -> Option<String> {
    let entry = spec.entry.as_ref();
    let gateways = entry.map_or(&[][..], |entry| &entry.gateways);
    let headers = [
        Some(("header", &spec.header)),
        entry.map(|entry| ("entry.header", &entry.header)),
    ];
    let no_header = headers.into_iter().flatten().find(|(_, name)| {
        let is_name = !name.is_empty() && name.bytes().all(lanekeeper_filter_core::lane::is_token);
        !is_name || name.len() > MOST_OF_HEADER
    });
    if let Some((field, name)) = no_header {
        return Some(format!("{field} has to be the name of a header: `{name}`"));
    }
    for (field, texts, items, characters) in [
        ("lanes", &*spec.lanes, MOST_LANES, MOST_OF_LABEL),
        ("laneLabel", spec.lane_label.as_slice(), 1, MOST_OF_NAME),
        ("entry.gateways", gateways, MOST_GATEWAYS, MOST_OF_NAME),
        ("chain", &*spec.chain, MOST_CALLS, MOST_OF_CALL),
    ] {
        if texts.len() > items {
            return Some(format!(
                "{field} has at most {items} items: it has {}",
                texts.len()
            ));
        }
        if let Some(text) = texts.iter().find(|text| text.len() > characters) {
            return Some(format!("{field} has at most {characters} characters: `{text}`"));
        }
    }
    REFUSALS.iter().find_map(|refusal| refusal.of(spec))
}

impl<'de> Deserialize<'de> for LaneGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            spec: Checked,
        }

        /// Refused where it stands, so that the error has its place.
        struct Checked(LaneGroupSpec);

        impl<'de> Deserialize<'de> for Checked {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let spec = LaneGroupSpec::deserialize(deserializer)?;
                refused(&spec).map_or(Ok(Self(spec)), |refused| Err(D::Error::custom(refused)))
            }
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Self::new(metadata, spec.0).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_read_with_its_headers_in_lower_case_and_its_gateways_qualified() {
        let object: LaneGroup = serde_json::from_value(json!({
            "metadata": {"namespace": "cars", "name": "cars"},
            "spec": {"header": "Bu", "entry": {"header": "BuId", "gateways": ["cars", "istio-ingress/public"]},
                "workloads": {"matchLabels": {"part-of": "cars"}}, "lanes": ["wtchk", "wicph"], "defaultLane": "wtchk"}}))
        .unwrap();
        let group = object.group();
        assert_eq!(group.header, "bu");
        let entry = group.entry.clone().unwrap();
        assert_eq!(entry.header, "buid");
        assert_eq!(entry.gateways, ["cars/cars", "istio-ingress/public"]);
        assert!(group.is_strict() && !group.is_implicit());
        assert_eq!(group.without_header, WithoutHeader::DefaultLane);
    }
}
