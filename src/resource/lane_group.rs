//! `LaneGroup` (`lanekeeper.dev/v1alpha1`), Lanekeeper's own custom resource.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Labels, Meta};
use crate::lane::{self, Completeness, WithoutHeader};
use crate::symbol::Symbol;

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
    printcolumn = r#"{"name": "Header", "type": "string", "jsonPath": ".spec.header"}"#,
    printcolumn = r#"{"name": "Lanes", "type": "string", "jsonPath": ".spec.lanes"}"#,
    printcolumn = r#"{"name": "Default", "type": "string", "jsonPath": ".spec.defaultLane"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.spec.lanes.exists(lane, lane == self.spec.defaultLane)").message("spec.defaultLane has to be one of spec.lanes")
)]
#[serde(rename_all = "camelCase")]
pub struct LaneGroupSpec {
    /// The header that carries the lane inside the mesh.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub header: String,
    /// How callers outside the mesh name their lane, where they use another header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<LaneGroupEntry>,
    /// The workloads of the group: those whose pods have all of these labels.
    pub workloads: WorkloadSelector,
    /// The label whose value is the lane; without it, the subsets' labels tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane_label: Option<String>,
    /// The lanes, by name.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    pub lanes: Vec<String>,
    /// The lane of a request that names none.
    #[schemars(length(min = 1, max = 63))]
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
}

/// The entry of a lane group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LaneGroupEntry {
    /// The header that callers outside use.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub header: String,
    /// The gateways, each as `name` or `namespace/name`; empty: every gateway.
    #[serde(default)]
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
        if !spec.lanes.contains(&spec.default_lane) {
            let LaneGroupSpec {
                default_lane, lanes, ..
            } = &spec;
            return Err(format!(
                "defaultLane `{default_lane}` has to be one of the lanes, which are {}",
                lanes.join(", ")
            ));
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
                workloads: labels.pairs().to_vec(),
            },
            meta,
        })
    }
}

impl<'de> Deserialize<'de> for LaneGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            spec: LaneGroupSpec,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Self::new(metadata, spec).map_err(|problem| D::Error::custom(format_args!("spec: {problem}")))
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
