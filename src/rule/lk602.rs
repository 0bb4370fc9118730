//! A lane of a service has pods, and none of them is ready.
//!
//! ## What it does
//! It takes the services that take part in a lane group and, for each lane that has a subset, all that carries it there: the
//! pods of its workloads and those that belong to no workload. It warns, once for each lane of a service, if not one of
//! them is ready; so a rollout is not told while some pod of the old or the new version answers. A pod counts by its own labels: the
//! ready ones that a workload has left in another lane do not.
//!
//! It looks only at what is there, as `check` does on objects of a cluster, and says nothing at admission: pods get ready and
//! cease to be without anyone's change. It is quiet where the pods of one of the lane's workloads are not known (files) or have no
//! conditions yet, where a `WorkloadEntry` carries it, and for a Service with `publishNotReadyAddresses`, whose pods get requests all the same. What
//! is scaled to zero is LK101's.
//!
//! ## Why it matters
//! Istio leaves out endpoints that are not ready, and a subset without endpoints does not fall back to another: the lane's
//! requests are answered 503 "no healthy upstream".
//!
//! ## Example
//! ```yaml
//! kind: Pod
//! metadata: {labels: {app: cars-api-portal, version: wicph}}
//! status:
//!   conditions: [{type: Ready, status: "False"}]
//! ```
//! Use instead:
//! ```yaml
//! kind: Pod
//! metadata: {labels: {app: cars-api-portal, version: wicph}}
//! status:
//!   conditions: [{type: Ready, status: "True"}]
//! ```
//!
//! ## References
//! Kubernetes, "Pod conditions" and `publishNotReadyAddresses`; Istio, `filterIstioEndpoint` in
//! `pilot/pkg/xds/endpoints/endpoint_builder.go`. `istioctl analyze` does not look at readiness. Kiali shows a workload's
//! health, and knows no lanes.

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Kind, ObjectRef, Pod, Resource, Service};
use crate::routing::Lanes;
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK602",
    name: "lane-not-ready",
    level: Level::Warn,
    kinds: &[Kind::Service],
    source: include_str!("lk602.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Service(service) = object else {
        return Vec::new();
    };
    if check.before.is_some() || service.selector.is_empty() || service.publishes_unready {
        return Vec::new();
    }
    let Some(lanes) = check
        .groups
        .of_service(service)
        .filter(|lanes| lanes.has_member(service))
    else {
        return Vec::new();
    };
    let host = check.view.host_of(service);
    let all = carried(check, service, &lanes);
    let waiting = all.into_iter().filter_map(|(lane, counts)| {
        let counts = counts?;
        let is_told = counts.iter().all(|count| count.ready == 0) && lanes.serves(&host, &lane);
        is_told.then(|| finding(service, &lanes, &host, lane, &counts))
    });
    waiting.collect()
}

/// The pods of one carrier that are in a lane.
struct Count {
    carrier: ObjectRef,
    pods: usize,
    ready: usize,
}

/// What carries each lane of `service`; `None`: the pods of some carrier of it are not known.
fn carried(
    check: &Check<'_, '_>,
    service: &Service,
    lanes: &Lanes<'_, '_>,
) -> BTreeMap<Symbol, Option<Vec<Count>>> {
    let view = check.view;
    let mut all: BTreeMap<Symbol, Option<Vec<Count>>> = BTreeMap::new();
    let carriers = view.carriers(&service.meta.namespace, &service.selector);
    for carrier in carriers.iter().copied() {
        let pods: Vec<&Pod> = match carrier {
            Resource::Workload(workload) => view.pods_of(workload),
            Resource::Pod(pod) => vec![pod],
            _ => Vec::new(),
        };
        // How many there are, and how many of them are ready or not known to be so.
        let mut by_lane: BTreeMap<Symbol, (usize, usize)> = BTreeMap::new();
        for pod in pods
            .iter()
            .filter(|pod| service.selector.select(&pod.meta.labels))
        {
            for lane in lanes.lanes_of_workload(&pod.meta.labels) {
                let (pods, ready) = by_lane.entry(lane).or_default();
                *pods += 1;
                *ready += usize::from(pod.ready != Some(false));
            }
        }
        // A lane that it is to carry, and of which it has no pods here.
        let labels = carrier.carrier_labels().into_iter();
        for lane in labels.flat_map(|labels| lanes.lanes_of_workload(labels)) {
            by_lane.entry(lane).or_default();
        }
        for (lane, (pods, ready)) in by_lane {
            match all.entry(lane).or_insert_with(|| Some(Vec::new())) {
                Some(counts) if pods > 0 => counts.push(Count {
                    carrier: carrier.reference(),
                    pods,
                    ready,
                }),
                counts => *counts = None,
            }
        }
    }
    all
}

fn finding(
    service: &Service,
    lanes: &Lanes<'_, '_>,
    host: &Symbol,
    lane: Symbol,
    counts: &[Count],
) -> Finding {
    let of_each: Vec<String> = counts
        .iter()
        .map(|count| match (count.carrier.kind, count.pods) {
            (Kind::Pod, _) => count.carrier.to_string(),
            (_, 1) => format!("the pod of {}", count.carrier),
            (_, pods) => format!("the {pods} pods of {}", count.carrier),
        })
        .collect();
    let message = format!(
        "none of what carries lane `{lane}` is ready ({}): its requests are answered 503 (no healthy upstream)",
        joined(&of_each, ", ")
    );
    Finding::new(&RULE, service.meta.reference(Kind::Service), "spec.selector")
        .about(Subject {
            host: Some(host.clone()),
            lane: Some(lane),
            header: Some(lanes.group.header.clone()),
            ..Subject::default()
        })
        .missing_if(true)
        .from_objects(counts.iter().map(|count| count.carrier.clone()))
        .says(
            message,
            "see why its pods are not ready (`kubectl describe pod`), or lead the lane elsewhere until one is",
        )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::{Settings, View, World};

    fn object(kind: Kind, name: &str, body: Value) -> Resource {
        let mut object = body;
        object["metadata"]["namespace"] = json!("shop");
        object["metadata"]["name"] = json!(name);
        Resource::parse(kind, object).unwrap()
    }

    #[test]
    fn at_admission_nothing_is_said() {
        let labels = json!({"app": "cart", "version": "blue"});
        let status = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        let group = json!({"header": "lane", "workloads": {"matchLabels": {"app": "cart"}}, "lanes": ["blue"],
            "defaultLane": "blue", "laneLabel": "version"});
        let service = json!({"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]});
        let rule = json!({"host": "cart", "subsets": [{"name": "blue", "labels": {"version": "blue"}}]});
        let objects = [
            object(Kind::LaneGroup, "shop", json!({"spec": group})),
            object(Kind::Service, "cart", json!({"spec": service})),
            object(Kind::DestinationRule, "cart", json!({"spec": rule})),
            object(
                Kind::Pod,
                "cart-0",
                json!({"metadata": {"labels": labels}, "status": status}),
            ),
        ];
        let world = World::of(Settings::default(), objects);
        let view = View::new(&world);
        let service = world.get(&ObjectRef::new(Kind::Service, "shop", "cart")).unwrap();
        let found = |before| Check::new(&view, before).object(&[RULE], service);
        let told = found(None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            told[0].message,
            "none of what carries lane `blue` is ready (Pod shop/cart-0): its requests are answered 503 (no healthy upstream)"
        );
        assert_eq!(found(Some(&view)), []);
    }
}
