//! What has changed since the last pass.

use std::time::{Duration, Instant};

use hashbrown::HashSet;

use crate::resource::{Kind, ObjectRef, Resource};
use crate::world::{Fact, World};

/// How long it has to be quiet until what has changed is judged.
const QUIET: Duration = Duration::from_millis(500);

/// How long a change waits at most, however busy it is.
const LONGEST: Duration = Duration::from_secs(2);

/// So many facts are not kept: to judge everything is less work then.
const MOST: usize = 100_000;

/// What has changed since the last pass: the facts that are others now. Whoever changes the world does it by this.
#[derive(Debug)]
pub struct Changes {
    /// `None`: all may be.
    facts: Option<HashSet<Fact>>,
    objects: HashSet<ObjectRef>,
    /// When the first came, and the last.
    times: Option<(Instant, Instant)>,
}

impl Default for Changes {
    /// Everything, as before the first pass.
    fn default() -> Self {
        Self {
            facts: None,
            objects: HashSet::new(),
            times: Some((Instant::now(), Instant::now())),
        }
    }
}

impl Changes {
    /// Nothing has changed.
    pub fn none() -> Self {
        Self {
            facts: Some(HashSet::new()),
            objects: HashSet::new(),
            times: None,
        }
    }

    /// Takes the changes out, so that new ones can be told apart.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::none())
    }

    /// Everything may have changed.
    pub fn all(&mut self, now: Instant) {
        self.facts = None;
        self.objects.clear();
        self.mark(now);
    }

    /// Whether everything may have changed.
    pub fn concern_all(&self) -> bool {
        self.facts.is_none()
    }

    /// The facts that are others now.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().flatten()
    }

    /// The objects that have come, changed or gone.
    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.objects.iter()
    }

    /// Whether it is time to judge what has changed.
    pub fn are_due(&self, now: Instant) -> bool {
        self.times.is_some_and(|(first, last)| {
            now.saturating_duration_since(last) >= QUIET || now.saturating_duration_since(first) >= LONGEST
        })
    }

    /// Puts an object into the world. Returns whether anything changed.
    pub fn apply(&mut self, world: &mut World, object: Resource, now: Instant) -> bool {
        let reference = object.reference();
        if world.get(&reference) == Some(&object) {
            return false;
        }
        self.around(world, &reference, now, |world| world.apply(object))
    }

    /// Takes an object out of the world. Returns whether it was there.
    pub fn remove(&mut self, world: &mut World, reference: &ObjectRef, now: Instant) -> bool {
        world.get(reference).is_some() && self.around(world, reference, now, |world| world.remove(reference))
    }

    /// Takes the objects of `kind` out of the world that `keep` does not hold on to.
    pub fn retain(&mut self, world: &mut World, kind: Kind, now: Instant, keep: impl Fn(&ObjectRef) -> bool) {
        let objects = world.objects().filter(|object| object.kind() == kind);
        let gone = objects
            .map(Resource::reference)
            .filter(|reference| !keep(reference));
        for reference in gone.collect::<Vec<_>>() {
            self.remove(world, &reference, now);
        }
    }

    fn around(
        &mut self,
        world: &mut World,
        reference: &ObjectRef,
        now: Instant,
        change: impl FnOnce(&mut World) -> bool,
    ) -> bool {
        let Some(facts) = &mut self.facts else {
            self.mark(now);
            return change(world);
        };
        world.facts_of(reference, facts);
        let is_changed = change(world);
        world.facts_of(reference, facts);
        // Everything rests on the mesh configuration.
        if reference.kind == Kind::ConfigMap || facts.len() > MOST {
            self.all(now);
        } else {
            self.objects.insert(reference.clone());
            self.mark(now);
        }
        is_changed
    }

    fn mark(&mut self, now: Instant) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::Settings;

    fn service(name: &str, port: u16) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name});
        let spec = json!({"selector": {"app": name}, "ports": [{"name": "http", "port": port}]});
        Resource::parse(Kind::Service, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_change_is_due_when_it_is_quiet_or_has_waited_long_enough() {
        let (mut world, mut changes) = (World::new(Settings::default()), Changes::none());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!changes.are_due(at(10_000)));
        changes.apply(&mut world, service("cart", 80), at(0));
        assert!(!changes.are_due(at(499)));
        assert!(changes.are_due(at(500)));
        for millis in (400..2000).step_by(400) {
            changes.apply(&mut world, service("cart", 80 + millis), at(millis.into()));
            assert!(!changes.are_due(at(u64::from(millis) + 399)), "{millis}");
        }
        assert!(changes.are_due(at(2000)), "it is not quiet, but has waited");
        assert!(changes.take().are_due(at(2000)));
        assert!(!changes.are_due(at(9000)));
    }

    #[test]
    fn what_is_applied_again_is_no_change() {
        let (mut world, mut changes) = (World::new(Settings::default()), Changes::none());
        let now = Instant::now();
        assert!(changes.apply(&mut world, service("cart", 80), now));
        drop(changes.take());
        assert!(!changes.apply(&mut world, service("cart", 80), now));
        assert!(!changes.remove(&mut world, &ObjectRef::new(Kind::Service, "shop", "pay"), now));
        assert!(!changes.are_due(now + LONGEST));
        assert_eq!(changes.facts().count(), 0);
    }

    #[test]
    fn the_mesh_configuration_concerns_everything() {
        let (mut world, mut changes) = (World::new(Settings::default()), Changes::none());
        let metadata = json!({"namespace": "istio-system", "name": "istio"});
        let config = json!({"metadata": metadata, "data": {"mesh": "rootNamespace: mesh"}});
        let config = Resource::parse(Kind::ConfigMap, config).unwrap();
        changes.apply(&mut world, service("cart", 80), Instant::now());
        assert!(!changes.concern_all());
        changes.apply(&mut world, config, Instant::now());
        assert!(changes.concern_all());
    }
}
