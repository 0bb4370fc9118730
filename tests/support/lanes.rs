//! A lane that is added to a world, and taken away again.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: each test uses its own part of it, and fails by a panic that says why"
)]

use lanekeeper::resource::Kind;
use serde_json::Value;

use crate::worlds::kind_of;

/// The lane of the worlds that the new one is made after.
const MODEL: &str = "green";

/// The new lane.
const NEW: &str = "orange";

/// What of a world has one lane more, in the order in which a lane is added: the group, workloads, subsets, the routes
/// inside, the routes at the gateway. Each step is its objects as they were and as they become.
pub fn steps(objects: &[Value]) -> Vec<Step> {
    let named = |name, kinds: &'static [Kind], at_gateway: Option<bool>| {
        let concerned = objects.iter().filter(|object| {
            let gateways = &object["spec"]["gateways"];
            kinds.contains(&kind_of(object))
                && at_gateway.is_none_or(|at_gateway| gateways.is_array() == at_gateway)
        });
        let changes = concerned.filter_map(|object| {
            let (before, after) = with_lane(object);
            (before.as_ref() != Some(&after)).then_some(Change { before, after })
        });
        Step {
            name,
            changes: changes.collect(),
        }
    };
    let steps = [
        named("the group has the lane", &[Kind::LaneGroup], None),
        named("workloads run in the lane", &[Kind::Deployment], None),
        named("subsets choose them", &[Kind::DestinationRule], None),
        named("routes inside lead there", &[Kind::VirtualService], Some(false)),
        named(
            "routes at the gateway lead there",
            &[Kind::VirtualService],
            Some(true),
        ),
    ];
    steps
        .into_iter()
        .filter(|step| !step.changes.is_empty())
        .collect()
}

/// A step of adding a lane; backwards, of taking it away.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is so after it.
    pub name: &'static str,
    /// What changes by it.
    pub changes: Vec<Change>,
}

/// An object without and with the lane.
#[derive(Debug, Clone)]
pub struct Change {
    /// The object without the lane; `None`: there is none.
    pub before: Option<Value>,
    /// The object with the lane.
    pub after: Value,
}

/// An object without and with the new lane; a workload of the model lane gets a fellow of its own.
fn with_lane(object: &Value) -> (Option<Value>, Value) {
    if kind_of(object) == Kind::Deployment {
        let is_model = object["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.ends_with(MODEL));
        return if is_model {
            (None, renewed(object))
        } else {
            (Some(object.clone()), object.clone())
        };
    }
    let mut after = object.clone();
    for list in ["/spec/lanes", "/spec/subsets", "/spec/http"] {
        let Some(items) = after.pointer_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        if let Some(at) = items.iter().position(|item| item.to_string().contains(MODEL)) {
            items.insert(at, renewed(&items[at]));
        }
    }
    (Some(object.clone()), after)
}

/// The same for the new lane.
fn renewed(value: &Value) -> Value {
    serde_json::from_str(&value.to_string().replace(MODEL, NEW)).expect("JSON with another word")
}
