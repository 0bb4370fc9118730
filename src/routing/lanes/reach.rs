//! Which lanes the requests to a destination reach.

use std::rc::Rc;

use super::{Lanes, subset_of};
use crate::resource::{Destination, Resource, Service, Subset};
use crate::routing::{carriers_of_subset, workload_labels};
use crate::symbol::Symbol;

/// The lanes of what carries the requests to a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The lanes, by name: those of the carriers, and the one that the subset's labels name.
    pub lanes: Vec<Symbol>,
    /// Whether it depends on chance which lane answers: some two carriers have no lane in common.
    pub is_mixed: bool,
    /// Whether each carrier is known to be in a lane; without carriers, whether the subset's labels name one.
    pub is_known: bool,
}

impl Reach {
    /// The one lane that is reached, where nothing else can be.
    pub fn only(&self) -> Option<&Symbol> {
        match self.lanes.as_slice() {
            [lane] if self.is_known => Some(lane),
            _ => None,
        }
    }
}

impl Lanes<'_, '_> {
    /// What requests to `destination`, which is at the full host `host`, reach; `None` where that is no service of the
    /// group's namespace that selects anything, or where the subset is not defined.
    pub fn reach_of(&self, host: &Symbol, destination: &Destination) -> Option<Rc<Reach>> {
        let service = self.view.service_of(host)?;
        if service.meta.namespace != self.group.namespace {
            return None;
        }
        let subset = match &destination.subset {
            None => None,
            Some(_) => Some(subset_of(self.view, host, service, destination)?),
        };
        self.reach(service, subset)
    }

    /// What requests to `subset` of `service`, or to all of it, reach; `None` where the service selects nothing.
    pub fn reach(&self, service: &Service, subset: Option<&Subset>) -> Option<Rc<Reach>> {
        let labels = subset.map(|subset| subset.labels.clone()).unwrap_or_default();
        let key = (service.meta.namespace.clone(), service.meta.name.clone(), labels);
        if let Some(known) = self.reaches.borrow().get(&key) {
            return known.clone();
        }
        let found = self.work_out_reach(service, subset).map(Rc::new);
        if self.view.keeps() {
            self.reaches.borrow_mut().insert(key, found.clone());
        }
        found
    }

    fn work_out_reach(&self, service: &Service, subset: Option<&Subset>) -> Option<Reach> {
        if service.selector.is_empty() || service.external_name.is_some() {
            return None;
        }
        let everything = Subset::default();
        let chosen = carriers_of_subset(self.view, service, subset.unwrap_or(&everything)).of_subset;
        let labels = chosen.into_iter().filter_map(Resource::carrier_labels);
        let mut of_carriers: Vec<Vec<Symbol>> = labels.map(|labels| self.lanes_of_workload(labels)).collect();
        of_carriers.sort();
        of_carriers.dedup();
        let by_label = subset.and_then(|subset| self.lane_of_labels(&workload_labels(subset)));
        let are_apart = |a: &[Symbol], b: &[Symbol]| {
            !a.is_empty() && !b.is_empty() && a.iter().all(|lane| !b.contains(lane))
        };
        let is_mixed = of_carriers
            .iter()
            .enumerate()
            .any(|(at, a)| of_carriers.iter().skip(at + 1).any(|b| are_apart(a, b)));
        let is_known = if of_carriers.is_empty() {
            by_label.is_some()
        } else {
            of_carriers.iter().all(|lanes| !lanes.is_empty())
        };
        let mut lanes: Vec<Symbol> = of_carriers.into_iter().flatten().chain(by_label).collect();
        lanes.sort();
        lanes.dedup();
        Some(Reach {
            lanes,
            is_mixed,
            is_known,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::Kind;
    use crate::routing::Groups;
    use crate::world::{Settings, View, World};

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    /// What is reached in a cart with workloads of these labels, by a subset of these.
    fn reach(workloads: &[Value], subset: Option<Value>) -> Rc<Reach> {
        let spec = json!({"header": "lane", "workloads": {"matchLabels": {}}, "lanes": ["blue", "green"], "defaultLane": "blue"});
        let mut all = vec![
            object(Kind::LaneGroup, "shop", &spec),
            object(
                Kind::Service,
                "cart",
                &json!({"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}),
            ),
            object(
                Kind::DestinationRule,
                "cart",
                &json!({"host": "cart", "subsets": [
                    {"name": "shared-blue", "labels": {"track": "shared"}},
                    {"name": "shared-green", "labels": {"track": "shared"}},
                    {"name": "blue", "labels": {"version": "blue"}}, {"name": "green", "labels": {"version": "green"}}]}),
            ),
        ];
        for (at, labels) in workloads.iter().enumerate() {
            let mut labels = labels.clone();
            labels["app"] = json!("cart");
            let spec = json!({"template": {"metadata": {"labels": labels}}});
            all.push(object(Kind::Deployment, &format!("cart-{at}"), &spec));
        }
        let world = World::of(Settings::default(), all);
        let view = View::new(&world);
        let lanes = Groups::new(&view, None);
        let lanes = lanes.of_host(&"cart.shop.svc.cluster.local".into()).unwrap();
        let subset =
            subset.map(|labels| serde_json::from_value(json!({"name": "s", "labels": labels})).unwrap());
        let cart = view.service("shop", "cart").unwrap();
        lanes.reach(cart, subset.as_ref()).unwrap()
    }

    #[test]
    fn without_a_subset_the_lanes_of_all_workloads_are_reached() {
        let both = reach(&[json!({"version": "blue"}), json!({"version": "green"})], None);
        assert_eq!(both.lanes, ["blue", "green"]);
        assert!(both.is_mixed && both.is_known && both.only().is_none());
        let one = reach(&[json!({"version": "blue"}), json!({"version": "blue"})], None);
        assert_eq!(one.only(), Some(&"blue".into()));
        assert!(!one.is_mixed);
    }

    #[test]
    fn a_workload_that_is_in_no_lane_leaves_the_lane_unknown_and_mixes_nothing() {
        let some = reach(&[json!({"version": "blue"}), json!({"version": "v7"})], None);
        assert_eq!(
            (some.lanes.len(), some.is_mixed, some.is_known),
            (1, false, false)
        );
        assert_eq!(some.only(), None);
    }

    #[test]
    fn a_workload_that_two_lanes_share_is_not_mixed() {
        let both = [json!({"track": "shared"}), json!({"version": "blue"})];
        let shared = reach(&both, None);
        assert_eq!(shared.lanes, ["blue", "green"]);
        assert!(!shared.is_mixed && shared.is_known);
    }

    #[test]
    fn the_labels_of_a_subset_that_chooses_nothing_tell_its_lane() {
        let empty = reach(&[json!({"version": "blue"})], Some(json!({"version": "green"})));
        assert_eq!(empty.only(), Some(&"green".into()));
        let other = reach(&[json!({"version": "blue"})], Some(json!({"track": "x"})));
        assert_eq!((other.only(), other.is_mixed), (None, false));
    }
}
