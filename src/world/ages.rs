//! Which object is the older one, where files do not say.

use jiff::Timestamp;

use super::World;
use crate::resource::Created;

/// Later than anything that is there: what has not been created yet is the youngest.
const YET_TO_COME: i64 = 250_000_000_000;

impl World {
    /// The same world with the objects whose age is not known in the other order: where it decides which of two counts,
    /// the other one does [s37]. `None`: every age is known.
    pub fn with_ages_reversed(&self) -> Option<Self> {
        let mut objects: Vec<_> = self.objects().cloned().collect();
        let unknown = objects
            .iter_mut()
            .filter(|object| object.meta().created.is_none());
        let mut unknown: Vec<_> = unknown.collect();
        if unknown.len() < 2 {
            return None;
        }
        // Where ages are equal, the name decides, the first one being the oldest.
        unknown.sort_by(|a, b| {
            let (a, b) = (a.meta(), b.meta());
            (&b.name, &b.namespace).cmp(&(&a.name, &a.namespace))
        });
        for (rank, object) in (0..).zip(unknown) {
            object.meta_mut().created = Timestamp::from_second(YET_TO_COME + rank).ok().map(Created::from);
        }
        Some(Self::of(self.settings().clone(), objects))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::{Settings, View};

    #[test]
    fn what_files_do_not_tell_is_turned_round_and_the_rest_stays() {
        let rule = |name: &str, created: Option<&str>| {
            let metadata = json!({"namespace": "shop", "name": name, "creationTimestamp": created});
            let object = json!({"metadata": metadata, "spec": {"host": "cart"}});
            Resource::parse(Kind::DestinationRule, object).unwrap()
        };
        let order = |world: &World| {
            let view = View::new(world);
            let rules = view.destination_rules_for(&"cart.shop.svc.cluster.local".into());
            rules
                .iter()
                .map(|rule| rule.meta.name.to_string())
                .collect::<Vec<_>>()
        };
        let old = Some("2026-11-01T00:00:00Z");
        let objects = [rule("a", None), rule("b", None), rule("c", old)];
        let world = World::of(Settings::default(), objects);
        assert_eq!(order(&world), ["c", "a", "b"]);
        assert_eq!(order(&world.with_ages_reversed().unwrap()), ["c", "b", "a"]);
        let known = World::of(Settings::default(), [rule("b", old), rule("c", old)]);
        assert!(known.with_ages_reversed().is_none());
    }
}
