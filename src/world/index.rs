//! The objects and their index.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::fact::Fact;
use super::key::{Key, carrier_keys, keys};
use crate::resource::{Kind, Labels, ObjectRef, Pod, Resource};
use crate::symbol::Symbol;

/// What is fixed about the mesh when a world is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's domain: services are `name.namespace.svc.<domain>`.
    pub cluster_domain: Symbol,
    /// Istio's own namespace: its mesh configuration is there. It is the root namespace too, whose configuration
    /// is for all, unless the mesh configuration names another one.
    pub root_namespace: Symbol,
    /// Whether that was said outright: then it is the root namespace, whatever the mesh configuration names.
    pub is_root_given: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            is_root_given: false,
        }
    }
}

/// A number that stands for an object while it is in one world.
type Id = u32;

/// The objects under one key, in the order of their numbers. Under most keys there are one or two.
type Ids = SmallVec<[Id; 2]>;

/// Objects and where to find them.
#[derive(Debug, Default)]
pub struct World {
    settings: Settings,
    /// The numbers of the objects, by kind, namespace and name, which only the objects hold.
    ids: HashTable<Id>,
    hasher: DefaultHashBuilder,
    objects: Vec<Option<Resource>>,
    free: Vec<Id>,
    postings: HashMap<Key, Ids>,
    /// The values that [`Key::Naming`] keys have, by namespace and header.
    named: HashMap<Symbol, BTreeMap<Symbol, BTreeSet<Symbol>>>,
    /// Pods that no workload of this world speaks for.
    standing: BTreeSet<Id>,
    counts: BTreeMap<Kind, usize>,
    /// How many wildcards there are rules or entries for.
    wildcards: usize,
    version: u64,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// A world of just these objects.
    pub fn of(settings: Settings, objects: impl IntoIterator<Item = Resource>) -> Self {
        let mut world = Self::new(settings);
        for object in objects {
            world.apply(object);
        }
        world
    }

    /// A world of its own with what a shared one has now. Who looks for long looks at one of these: who waits to write to the
    /// shared world makes decisions wait, too.
    pub fn copy_of(shared: &RwLock<Self>) -> Self {
        let (settings, version, objects) = {
            let shared = shared.read();
            let objects: Vec<_> = shared.objects().cloned().collect();
            (shared.settings.clone(), shared.version, objects)
        };
        Self {
            version,
            ..Self::of(settings, objects)
        }
    }

    /// What is fixed about the mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many changes the world has seen: decisions name it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many objects of `kind` there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Every object, in no order.
    pub fn objects(&self) -> impl Iterator<Item = &Resource> {
        self.objects.iter().flatten()
    }

    /// The object that `reference` names.
    pub fn get(&self, reference: &ObjectRef) -> Option<&Resource> {
        self.id_of(reference).and_then(|id| self.object(id))
    }

    /// Adds an object, or puts it in the place of its former self. Returns whether anything changed.
    pub fn apply(&mut self, object: Resource) -> bool {
        let reference = object.reference();
        let known = self.id_of(&reference);
        if known.is_some_and(|id| self.object(id) == Some(&object)) {
            return false;
        }
        let id = known.unwrap_or_else(|| self.add(&reference));
        let before = self.posted(id);
        self.standing.remove(&id);
        if let Some(slot) = self.objects.get_mut(id as usize) {
            *slot = Some(object);
        }
        if self.is_standing(id) {
            self.standing.insert(id);
        }
        // Most changes leave the index as it is, and some lists in it are long.
        let after = self.posted(id);
        for key in before.iter().filter(|key| after.binary_search(key).is_err()) {
            self.unpost(key, id);
        }
        for key in after {
            if before.binary_search(&key).is_err() {
                self.post(key, id);
            }
        }
        self.version += 1;
        self.let_pods_speak(&reference);
        true
    }

    /// A number for an object that is new.
    fn add(&mut self, reference: &ObjectRef) -> Id {
        let id = self.free.pop().unwrap_or_else(|| {
            self.objects.push(None);
            // A world of more than four billion objects does not fit any machine.
            Id::try_from(self.objects.len() - 1).unwrap_or(Id::MAX)
        });
        let (objects, hasher) = (&self.objects, &self.hasher);
        let hash = |id: &Id| {
            let object = objects.get(*id as usize).and_then(Option::as_ref);
            object.map_or_else(
                || hasher.hash_one(reference),
                |object| hasher.hash_one(object.reference()),
            )
        };
        self.ids.insert_unique(hasher.hash_one(reference), id, hash);
        *self.counts.entry(reference.kind).or_default() += 1;
        id
    }

    /// Removes an object. Returns whether it was there.
    pub fn remove(&mut self, reference: &ObjectRef) -> bool {
        let Some(id) = self.id_of(reference) else {
            return false;
        };
        for key in self.posted(id) {
            self.unpost(&key, id);
        }
        self.standing.remove(&id);
        if let Ok(entry) = self
            .ids
            .find_entry(self.hasher.hash_one(reference), |other| *other == id)
        {
            entry.remove();
        }
        if let Some(slot) = self.objects.get_mut(id as usize) {
            *slot = None;
        }
        self.free.push(id);
        if let Some(count) = self.counts.get_mut(&reference.kind) {
            *count -= 1;
        }
        self.version += 1;
        self.let_pods_speak(reference);
        true
    }

    /// Removes every object of `kind`, as when the API server stops serving it.
    pub fn clear(&mut self, kind: Kind) {
        self.retain(kind, |_| false);
    }

    /// Removes the objects of `kind` that `keep` does not hold on to, as after a list that starts afresh.
    pub fn retain(&mut self, kind: Kind, keep: impl Fn(&ObjectRef) -> bool) {
        let of_kind = self.objects().filter(|object| object.kind() == kind);
        let gone = of_kind
            .map(Resource::reference)
            .filter(|reference| !keep(reference));
        for reference in gone.collect::<Vec<_>>() {
            self.remove(&reference);
        }
    }

    /// Adds what changes when the object that `reference` names changes as it is now: to be asked before the change and after it.
    pub fn facts_of(&self, reference: &ObjectRef, facts: &mut HashSet<Fact>) {
        facts.insert(Fact::Object(reference.clone()));
        let id = self.id_of(reference);
        if let Some(object) = id.and_then(|id| self.object(id)) {
            for key in keys(object, &self.settings) {
                self.add_facts(key, facts);
            }
        }
        // Pods speak for themselves, or no more, when what owns them goes or comes.
        let owned = if reference.kind == Kind::ReplicaSet || reference.kind.is_workload() {
            self.owned_by(reference)
        } else {
            Vec::new()
        };
        let standing = owned
            .into_iter()
            .chain(id)
            .filter(|id| self.standing.contains(id));
        for pod in standing.filter_map(|id| self.object(id)).map(Resource::meta) {
            let keys = carrier_keys(&pod.namespace, &pod.labels);
            facts.extend(keys.into_iter().map(Fact::Key));
        }
    }

    /// Adds what changes when an object with `key` does.
    fn add_facts(&self, key: Key, facts: &mut HashSet<Fact>) {
        match &key {
            Key::Naming(namespace, header, _) => {
                facts.insert(Fact::Named(namespace.clone(), header.clone()));
                facts.insert(Fact::NamedHeaders(namespace.clone()));
                facts.insert(Fact::Naming(header.clone()));
            }
            Key::In(Kind::Service, _) if self.postings.get(&key).is_some_and(|all| all.len() == 1) => {
                facts.insert(Fact::WithServices);
            }
            _ => {}
        }
        facts.insert(Fact::Key(key));
    }

    /// Whether there are `DestinationRules` or `ServiceEntries` for any wildcard.
    pub(super) fn has_wildcards(&self) -> bool {
        self.wildcards > 0
    }

    /// The objects that `key` leads to.
    pub(super) fn find(&self, key: &Key) -> impl Iterator<Item = &Resource> {
        self.postings
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|id| self.object(*id))
    }

    /// The carriers that have every pair of `selector`: in `namespace`, or in any when there is none.
    pub(super) fn carriers(&self, namespace: Option<&Symbol>, selector: &Labels) -> Vec<&Resource> {
        let key = |(key, value): &(Symbol, Symbol)| match namespace {
            Some(namespace) => Key::Carrier(namespace.clone(), key.clone(), value.clone()),
            None => Key::CarrierAnywhere(key.clone(), value.clone()),
        };
        let mut lists = Vec::with_capacity(selector.pairs().len());
        for pair in selector.pairs() {
            let Some(ids) = self.postings.get(&key(pair)) else {
                return Vec::new();
            };
            lists.push(&ids[..]);
        }
        if let (true, Some(namespace)) = (lists.is_empty(), namespace) {
            lists.extend(
                self.postings
                    .get(&Key::CarrierIn(namespace.clone()))
                    .map(|ids| &ids[..]),
            );
        }
        lists.sort_by_key(|ids| ids.len());
        let Some((shortest, others)) = lists.split_first() else {
            return Vec::new();
        };
        let in_all = |id: &&Id| others.iter().all(|ids| ids.binary_search(id).is_ok());
        shortest
            .iter()
            .filter(in_all)
            .filter_map(|id| self.object(*id))
            .collect()
    }

    /// A key that each of [`World::carriers`] has, which few others have.
    pub(super) fn key_of_carriers(&self, namespace: Option<&Symbol>, selector: &Labels) -> Option<Key> {
        let key = |(key, value): &(Symbol, Symbol)| match namespace {
            Some(namespace) => Key::Carrier(namespace.clone(), key.clone(), value.clone()),
            None => Key::CarrierAnywhere(key.clone(), value.clone()),
        };
        let count = |key: &Key| self.postings.get(key).map_or(0, SmallVec::len);
        let rarest = selector.pairs().iter().map(key).min_by_key(count);
        rarest.or_else(|| namespace.cloned().map(Key::CarrierIn))
    }

    /// What [`World::spoken_for_by`] rests on.
    pub(super) fn facts_of_pods(&self, workload: &ObjectRef) -> Vec<Fact> {
        let mut facts = vec![Fact::Key(Key::OwnedBy(workload.clone()))];
        for object in self
            .owned_by(workload)
            .into_iter()
            .filter_map(|id| self.object(id))
        {
            let meta = object.meta();
            if object.kind() == Kind::ReplicaSet {
                facts.push(Fact::Key(Key::OwnedBy(object.reference())));
            } else if let Some(owner) = &meta.owner {
                facts.extend(owner.reference(&meta.namespace).map(Fact::Object));
            }
        }
        facts
    }

    /// The exact values of `header` that routes to services of `namespace` name, in the order of their text.
    pub(super) fn named(&self, namespace: &Symbol, header: &Symbol) -> impl Iterator<Item = &Symbol> {
        self.named
            .get(namespace)
            .and_then(|headers| headers.get(header))
            .into_iter()
            .flatten()
    }

    /// The namespaces to whose services routes lead that name an exact value of `header`.
    pub(super) fn namespaces_naming<'s>(&'s self, header: &'s Symbol) -> impl Iterator<Item = &'s Symbol> {
        let naming = self
            .named
            .iter()
            .filter(|(_, headers)| headers.contains_key(header));
        naming.map(|(namespace, _)| namespace)
    }

    /// The headers that routes to services of `namespace` name with an exact value.
    pub(super) fn named_headers(&self, namespace: &Symbol) -> impl Iterator<Item = &Symbol> {
        self.named.get(namespace).into_iter().flat_map(BTreeMap::keys)
    }

    /// The pods that `workload`, which is in this world, speaks for.
    pub(super) fn spoken_for_by(&self, workload: &ObjectRef) -> impl Iterator<Item = &Resource> {
        let pods = self
            .owned_by(workload)
            .into_iter()
            .filter_map(|id| self.object(id));
        pods.filter(move |object| match object {
            Resource::Pod(pod) if pod.kind == Kind::Pod => self.speaker(pod).as_ref() == Some(workload),
            _ => false,
        })
    }

    /// The workload that speaks for `pod`, whether or not it is in this world.
    fn speaker(&self, pod: &Pod) -> Option<ObjectRef> {
        speaker(pod, |link| self.get(link))
    }

    /// The whole content in an order that does not depend on how it came to be: equal worlds are equal here.
    pub fn content(&self) -> BTreeMap<String, Vec<String>> {
        let name = |id: &Id| {
            self.object(*id)
                .map_or_else(String::new, |object| object.reference().to_string())
        };
        let names = |ids: &mut dyn Iterator<Item = &Id>| {
            let mut names: Vec<_> = ids.map(name).collect();
            names.sort();
            names
        };
        let mut content: BTreeMap<_, _> = self
            .postings
            .iter()
            .map(|(key, ids)| (format!("{key:?}"), names(&mut ids.iter())))
            .collect();
        content.insert("standing".to_owned(), names(&mut self.standing.iter()));
        content.insert("wildcards".to_owned(), vec![self.wildcards.to_string()]);
        content.extend(self.named.iter().map(|(namespace, headers)| {
            (
                format!("named {namespace}"),
                headers.iter().map(|named| format!("{named:?}")).collect(),
            )
        }));
        let objects = self
            .objects()
            .map(|object| (object.reference().to_string(), vec![format!("{object:?}")]));
        content.extend(objects);
        content
    }

    fn object(&self, id: Id) -> Option<&Resource> {
        self.objects.get(id as usize)?.as_ref()
    }

    fn id_of(&self, reference: &ObjectRef) -> Option<Id> {
        let is_it = |id: &Id| self.object(*id).is_some_and(|object| object.is(reference));
        self.ids.find(self.hasher.hash_one(reference), is_it).copied()
    }

    /// The keys that an object is under, sorted.
    fn posted(&self, id: Id) -> Vec<Key> {
        let Some(object) = self.object(id) else {
            return Vec::new();
        };
        let mut posted = keys(object, &self.settings);
        if self.standing.contains(&id) {
            let meta = object.meta();
            posted.extend(carrier_keys(&meta.namespace, &meta.labels));
        }
        posted.sort_unstable();
        posted
    }

    fn post(&mut self, key: Key, id: Id) {
        if let Key::Naming(namespace, header, value) = &key {
            let headers = self.named.entry(namespace.clone()).or_default();
            headers.entry(header.clone()).or_default().insert(value.clone());
        }
        let is_wildcard = key.is_for_wildcard();
        let ids = self.postings.entry(key).or_default();
        self.wildcards += usize::from(is_wildcard && ids.is_empty());
        if let Err(at) = ids.binary_search(&id) {
            ids.insert(at, id);
        }
    }

    fn unpost(&mut self, key: &Key, id: Id) {
        let Some(ids) = self.postings.get_mut(key) else {
            return;
        };
        if let Ok(at) = ids.binary_search(&id) {
            ids.remove(at);
        }
        if !ids.is_empty() {
            return;
        }
        self.postings.remove(key);
        self.wildcards -= usize::from(key.is_for_wildcard());
        if let Key::Naming(namespace, header, value) = key {
            self.unname(namespace, header, value);
        }
    }

    fn unname(&mut self, namespace: &Symbol, header: &Symbol, value: &Symbol) {
        let Some(headers) = self.named.get_mut(namespace) else {
            return;
        };
        if let Some(values) = headers.get_mut(header) {
            values.remove(value);
            if values.is_empty() {
                headers.remove(header);
            }
        }
        if headers.is_empty() {
            self.named.remove(namespace);
        }
    }

    /// Decides anew which pods speak for themselves after a `ReplicaSet` or a workload came, changed or went.
    fn let_pods_speak(&mut self, reference: &ObjectRef) {
        if reference.kind == Kind::ReplicaSet || reference.kind.is_workload() {
            for id in self.owned_by(reference) {
                self.let_speak(id);
            }
        }
    }

    /// The pods and `ReplicaSets` that `owner` owns: itself, by name, or through a `ReplicaSet`.
    fn owned_by(&self, owner: &ObjectRef) -> Vec<Id> {
        let direct = |reference| {
            self.postings
                .get(&Key::OwnedBy(reference))
                .map_or(&[][..], |ids| &ids[..])
        };
        let mut ids = direct(owner.clone()).to_vec();
        let links = ids
            .iter()
            .filter_map(|id| self.object(*id))
            .map(Resource::reference);
        let links = links.filter(|link| link.kind == Kind::ReplicaSet);
        let of_links: Vec<Id> = links.flat_map(direct).copied().collect();
        ids.extend(of_links);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn let_speak(&mut self, id: Id) {
        let is_standing = self.is_standing(id);
        if is_standing == self.standing.contains(&id) {
            return;
        }
        let Some(meta) = self.object(id).map(Resource::meta) else {
            return;
        };
        for key in carrier_keys(&meta.namespace, &meta.labels) {
            if is_standing {
                self.post(key, id);
            } else {
                self.unpost(&key, id);
            }
        }
        if is_standing {
            self.standing.insert(id);
        } else {
            self.standing.remove(&id);
        }
    }

    /// Whether it is a pod that carries and that no workload of this world speaks for.
    fn is_standing(&self, id: Id) -> bool {
        let Some(Resource::Pod(pod)) = self.object(id) else {
            return false;
        };
        let is_spoken_for = || {
            self.speaker(pod)
                .is_some_and(|speaker| self.id_of(&speaker).is_some())
        };
        pod.kind == Kind::Pod && pod.carries() && !is_spoken_for()
    }
}

/// The workload that speaks for `pod`, whether or not it exists; `None` for a pod that no known kind of workload
/// owns. `find` leads to the `ReplicaSet` in between, where that is known.
pub(super) fn speaker<'w>(
    pod: &Pod,
    find: impl FnOnce(&ObjectRef) -> Option<&'w Resource>,
) -> Option<ObjectRef> {
    let owner = pod.meta.owner.as_ref()?.reference(&pod.meta.namespace)?;
    if owner.kind != Kind::ReplicaSet {
        return owner.kind.is_workload().then_some(owner);
    }
    match find(&owner) {
        Some(link) => {
            let owner = link.meta().owner.as_ref()?.reference(&pod.meta.namespace)?;
            owner.kind.is_workload().then_some(owner)
        }
        None => pod.deployment_by_name(),
    }
}
