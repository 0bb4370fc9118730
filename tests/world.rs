//! The index is what a build from the final state would be, and a view is what an index with the change would be.
//!
//! Worlds are made of few names, labels and hosts, so that objects meet: they own, select, hide and shadow one
//! another in every way there is.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic that says why")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use hashbrown::HashSet;
use lanekeeper::resource::{Kind, Labels, ObjectRef, Resource};
use lanekeeper::symbol::Symbol;
use lanekeeper::world::{Fact, Layer, Scope, Settings, SharedFacts, View, World};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

const NAMESPACES: [&str; 3] = ["cars", "shop", "istio-system"];
const NAMES: [&str; 2] = ["a", "b"];
const PODS: [&str; 4] = ["p", "q", "r", "s"];
const HASHES: [&str; 2] = ["1", "2"];
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
const HEADERS: [&str; 3] = ["bu", "buid", "Bu"];
const GATEWAYS: [&str; 4] = ["mesh", "a", "cars/a", "shop/b"];
const HOSTS: [&str; 9] = [
    "a",
    "b",
    "a.cars.svc.cluster.local",
    "b.shop.svc.cluster.local",
    "*.cars.svc.cluster.local",
    "*.local",
    "*",
    "x.com",
    "*.com",
];

type Objects = BTreeMap<ObjectRef, Resource>;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn after_any_order_of_events_the_index_is_that_of_the_final_state(
        last in objects(25),
        others in vec(object(), 0..30),
        kinds in vec((select(Kind::ALL), any::<bool>()), 0..6),
        order in vec(any::<Index>(), 70),
    ) {
        let mut world = World::new(Settings::default());
        for event in history(&last, &others, &kinds, &order) {
            match event {
                Event::Apply(object) => { world.apply(object); }
                Event::Remove(reference) => { world.remove(&reference); }
                Event::Relist(kind, listed) => {
                    world.retain(kind, |reference| listed.contains_key(reference));
                    for object in listed.into_values() {
                        world.apply(object);
                    }
                }
                Event::Restart(kind, listed) => {
                    world.clear(kind);
                    for object in listed.into_values().rev() {
                        world.apply(object);
                    }
                }
            }
        }
        prop_assert_eq!(world.len(), last.len());
        prop_assert_eq!(world.content(), world_of(&last).content());
    }

    #[test]
    fn applying_what_is_there_already_changes_nothing(objects in objects(25)) {
        let mut world = world_of(&objects);
        let version = world.version();
        for object in objects.values() {
            prop_assert!(!world.apply(object.clone()));
        }
        prop_assert_eq!(world.version(), version);
    }

    #[test]
    fn a_view_with_a_change_answers_as_an_index_with_the_change(
        objects in objects(30),
        change in change(),
    ) {
        let world = world_of(&objects);
        let change = change.of(&objects);
        let top = world_of(&change.after());
        let view = View::new(&world).with(change.layer(&top)).freeing(change.freed());
        let wrong = Answers::of(&view).unlike(&change.made_in(&objects));
        prop_assert!(wrong.is_empty(), "{}", wrong);
    }

    #[test]
    fn an_answer_that_is_another_one_after_a_change_rests_on_what_the_change_alters(
        objects in objects(30),
        put in weighted(0.6, object()),
        gone in any::<Index>(),
    ) {
        let mut world = world_of(&objects);
        let before = with_facts(&View::new(&world).noting());
        let reference = match &put {
            Some(object) => object.reference(),
            None if objects.is_empty() => return Ok(()),
            None => gone.get(&objects.keys().cloned().collect::<Vec<_>>()).clone(),
        };
        // Everything rests on the mesh configuration.
        prop_assume!(reference.kind != Kind::ConfigMap);
        let mut altered = HashSet::new();
        world.facts_of(&reference, &mut altered);
        match put {
            Some(object) => world.apply(object),
            None => world.remove(&reference),
        };
        world.facts_of(&reference, &mut altered);
        let altered: BTreeSet<String> = altered.iter().map(|fact| format!("{fact:?}")).collect();
        let after = with_facts(&View::new(&world).noting());
        for (question, (answer, facts)) in &before {
            let is_same = after.get(question).is_some_and(|(after, _)| after == answer);
            prop_assert!(
                is_same || !facts.is_disjoint(&altered),
                "{reference} makes another answer to `{question}`, which rests on {facts:#?}, and alters {altered:#?}"
            );
        }
    }

    #[test]
    fn a_view_with_fresh_answers_beneath_the_change_answers_as_an_index_of_both(
        stale in objects(20),
        missed in objects(12),
        forgotten in vec(any::<Index>(), 0..6),
        asked in vec(any::<Index>(), 1..6),
        change in change(),
    ) {
        // What there really is, of which the index has missed a few changes.
        let mut real = stale.clone();
        for at in forgotten.iter().filter(|_| !stale.is_empty()) {
            real.remove(at.get(&stale.keys().cloned().collect::<Vec<_>>()));
        }
        real.extend(missed);
        let world = world_of(&stale);
        let change = change.of(&real);
        let top = world_of(&change.after());

        // Some questions are asked again, past the index.
        let first = View::new(&world).with(change.layer(&top)).recording();
        for at in &asked {
            at.get(&QUESTIONS)(&first, &mut |_, _| {});
        }
        let reads = first.reads();
        prop_assert!(!reads.is_empty() || !asked.iter().any(|at| is_recorded(*at.get(&QUESTIONS))));
        let is_read = |object: &Resource| reads.iter().any(|read| read.covers(object));
        let fresh: Objects = real.iter().filter(|(_, object)| is_read(object)).map(owned).collect();
        let mut known: Objects = stale.iter().filter(|(_, object)| !is_read(object)).map(owned).collect();
        known.extend(fresh.clone());

        let fresh_world = world_of(&fresh);
        let layer = Layer { world: &fresh_world, scope: Scope::Reads(reads) };
        let view = View::new(&world).with(layer).with(change.layer(&top)).freeing(change.freed());
        let wrong = Answers::of(&view).unlike(&change.made_in(&known));
        prop_assert!(wrong.is_empty(), "{}", wrong);
    }
}

fn owned((reference, object): (&ObjectRef, &Resource)) -> (ObjectRef, Resource) {
    (reference.clone(), object.clone())
}

fn world_of(objects: &Objects) -> World {
    World::of(Settings::default(), objects.values().cloned())
}

// ---- What watches tell ----

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few dozen live at a time")]
enum Event {
    Apply(Resource),
    Remove(ObjectRef),
    /// A list from the start: what it does not hold is gone.
    Relist(Kind, Objects),
    /// The kind was not served for a while.
    Restart(Kind, Objects),
}

/// Events that end in `last`: earlier versions and objects that go again (`others`), and the objects of `last`,
/// in any order and some of them twice; in between, lists of a kind.
fn history(last: &Objects, others: &[Resource], kinds: &[(Kind, bool)], order: &[Index]) -> Vec<Event> {
    let mut versions: Vec<Resource> = others.to_vec();
    versions.extend(last.values().cloned());
    for (at, to) in order.iter().enumerate().take(versions.len()) {
        let to = to.index(versions.len());
        versions.swap(at, to);
    }
    let mut events: Vec<Event> = Vec::new();
    let mut settled = Objects::new();
    let mut lists = kinds.iter();
    for (at, version) in versions.iter().enumerate() {
        let reference = version.reference();
        let is_last = versions[at + 1..]
            .iter()
            .all(|later| later.reference() != reference);
        match last.get(&reference).filter(|_| is_last) {
            Some(object) => {
                settled.insert(reference, object.clone());
                events.push(Event::Apply(object.clone()));
            }
            None if is_last => events.extend([Event::Apply(version.clone()), Event::Remove(reference)]),
            None => events.push(Event::Apply(version.clone())),
        }
        if at % 7 == 6 {
            events.extend(lists.next().map(|(kind, is_relist)| {
                let listed = settled.iter().filter(|(reference, _)| reference.kind == *kind);
                let listed = listed.map(owned).collect();
                if *is_relist {
                    Event::Relist(*kind, listed)
                } else {
                    Event::Restart(*kind, listed)
                }
            }));
        }
    }
    events
}

// ---- What is proposed ----

/// A change, before it is known what there is to change.
#[derive(Debug, Clone)]
enum Draft {
    Put(Box<Resource>),
    /// Whether a workload's pods are set free.
    Delete(Index, bool),
}

/// A proposed change of one object.
#[derive(Debug)]
struct Change {
    reference: ObjectRef,
    after: Option<Resource>,
    frees_pods: bool,
}

fn change() -> impl Strategy<Value = Draft> {
    let admitted = object().prop_filter("only what is admitted is proposed", |object| {
        object.kind().is_admitted()
    });
    prop_oneof![
        admitted.prop_map(|object| Draft::Put(Box::new(object))),
        (any::<Index>(), any::<bool>()).prop_map(|(at, frees_pods)| Draft::Delete(at, frees_pods)),
    ]
}

impl Draft {
    fn of(self, objects: &Objects) -> Change {
        match self {
            Self::Put(object) => Change {
                reference: object.reference(),
                after: Some(*object),
                frees_pods: false,
            },
            Self::Delete(at, frees_pods) => {
                // Workloads first, for their deletion is the one with most to it.
                let mut there: Vec<_> = objects.keys().filter(|one| one.kind.is_admitted()).collect();
                if there.iter().any(|one| one.kind.is_workload()) {
                    there.retain(|one| one.kind.is_workload());
                }
                let nothing = ObjectRef::new(Kind::Service, "cars", "nothing");
                let reference = if there.is_empty() {
                    &nothing
                } else {
                    at.get(&there)
                };
                Change {
                    reference: reference.clone(),
                    after: None,
                    frees_pods: frees_pods && reference.kind.is_workload(),
                }
            }
        }
    }
}

impl Change {
    fn after(&self) -> Objects {
        let after = self.after.clone();
        after
            .into_iter()
            .map(|after| (self.reference.clone(), after))
            .collect()
    }

    fn layer<'w>(&self, world: &'w World) -> Layer<'w> {
        Layer {
            world,
            scope: Scope::Object(self.reference.clone()),
        }
    }

    fn freed(&self) -> Option<ObjectRef> {
        self.frees_pods.then(|| self.reference.clone())
    }

    /// What an index of `objects` with the change made answers. A workload that goes, unless it sets its pods
    /// free, still speaks for them: as one that is scaled to zero.
    fn made_in(&self, objects: &Objects) -> Answers {
        let mut changed = objects.clone();
        changed.remove(&self.reference);
        changed.extend(self.after());
        let world = world_of(&changed);
        let mut answers = Answers::of(&View::new(&world));
        if let (Some(Resource::Workload(gone)), None, false) =
            (objects.get(&self.reference), &self.after, self.frees_pods)
        {
            let mut at_zero = gone.clone();
            at_zero.replicas = 0;
            changed.insert(self.reference.clone(), Resource::Workload(at_zero));
            let world = world_of(&changed);
            answers.carriers = Answers::of(&View::new(&world)).carriers;
        }
        answers
    }
}

// ---- What a view can be asked ----

/// The answers to every question, on every name, label and host that there is.
struct Answers {
    carriers: BTreeMap<String, Vec<String>>,
    others: BTreeMap<String, Vec<String>>,
}

/// Takes a question and its answer.
type Tell<'a> = dyn FnMut(String, Vec<String>) + 'a;

type Ask = fn(&View<'_>, &mut Tell<'_>);

/// Whether there is anything to be read again that would answer the question.
fn is_recorded(ask: Ask) -> bool {
    let world = World::new(Settings::default());
    let view = View::new(&world).recording();
    ask(&view, &mut |_, _| {});
    !view.reads().is_empty()
}

/// Every kind of question, those for carriers first.
const QUESTIONS: [Ask; 8] = [
    ask_for_carriers,
    ask_by_name,
    ask_for_services,
    ask_for_rules,
    ask_for_routes,
    ask_for_names,
    ask_for_groups,
    ask_for_gateways,
];

impl Answers {
    fn of(view: &View<'_>) -> Self {
        let (mut carriers, mut others) = (BTreeMap::new(), BTreeMap::new());
        let [for_carriers, rest @ ..] = QUESTIONS;
        for_carriers(view, &mut |question, answer| {
            drop(carriers.insert(question, answer));
        });
        for ask in rest {
            ask(view, &mut |question, answer| {
                drop(others.insert(question, answer));
            });
        }
        Self { carriers, others }
    }

    /// The questions that `expected` answers otherwise, with both answers.
    fn unlike(&self, expected: &Self) -> String {
        let all = |answers: &Self| answers.carriers.clone().into_iter().chain(answers.others.clone());
        let unlike = all(self)
            .zip(all(expected))
            .filter(|(found, expected)| found != expected);
        unlike
            .map(|((question, found), (_, expected))| {
                format!("{question}: {found:#?} but expected {expected:#?}\n")
            })
            .collect::<Vec<_>>()
            .concat()
    }
}

fn text(items: impl IntoIterator<Item = impl Debug>) -> Vec<String> {
    items.into_iter().map(|item| format!("{item:?}")).collect()
}

fn namespaces() -> impl Iterator<Item = Symbol> {
    NAMESPACES.iter().map(|name| Symbol::new(name))
}

fn hosts() -> BTreeSet<Symbol> {
    let full =
        |name: &&str| NAMESPACES.map(|namespace| format!("{name}.{namespace}.svc.cluster.local").into());
    let services = NAMES.iter().flat_map(full);
    services
        .chain(HOSTS.iter().map(|host| Symbol::new(host)))
        .collect()
}

fn selectors() -> Vec<Labels> {
    let pairs = |pairs: &[(&str, &str)]| {
        Labels::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())))
    };
    let mut all = vec![pairs(&[])];
    for name in NAMES {
        all.push(pairs(&[("app", name)]));
        all.extend(VERSIONS.map(|version| pairs(&[("app", name), ("version", version)])));
    }
    all.extend(VERSIONS.map(|version| pairs(&[("version", version)])));
    all.push(pairs(&[("app", "a"), ("no", "such")]));
    all
}

fn ask_for_carriers(view: &View<'_>, tell: &mut Tell<'_>) {
    for selector in selectors() {
        for namespace in namespaces() {
            let carriers = view.carriers(&namespace, &selector);
            tell(
                format!("carriers {namespace} {selector}"),
                text(carriers.to_vec()),
            );
        }
        let anywhere = view.namespaces_with(&selector);
        tell(format!("namespaces with {selector}"), text(anywhere));
    }
}

fn ask_by_name(view: &View<'_>, tell: &mut Tell<'_>) {
    for kind in Kind::ALL {
        for (namespace, name) in
            namespaces().flat_map(|namespace| NAMES.map(|name| (namespace.clone(), name)))
        {
            let reference = ObjectRef::new(*kind, &namespace, name);
            tell(format!("get {reference}"), text(view.get(&reference)));
        }
    }
}

fn ask_for_services(view: &View<'_>, tell: &mut Tell<'_>) {
    for namespace in namespaces() {
        tell(
            format!("services in {namespace}"),
            text(view.services_in(&namespace)),
        );
        for labels in selectors() {
            let found = view.services_selecting(&namespace, &labels);
            tell(format!("services selecting {namespace} {labels}"), text(found));
        }
    }
    for host in hosts() {
        tell(format!("service of {host}"), text(view.service_of(&host)));
        tell(format!("entries of {host}"), text(view.service_entries_of(&host)));
        tell(format!("aliases of {host}"), text(view.aliases_of(&host)));
    }
}

fn ask_for_rules(view: &View<'_>, tell: &mut Tell<'_>) {
    for host in hosts() {
        tell(
            format!("rules for {host}"),
            text(view.destination_rules_for(&host)),
        );
    }
    tell("mesh".to_owned(), text(view.mesh_config()));
    tell("plugins".to_owned(), text(view.lane_plugins_anywhere()));
    for namespace in namespaces() {
        tell(
            format!("telemetry of {namespace}"),
            text(view.telemetries(&namespace)),
        );
    }
}

fn ask_for_routes(view: &View<'_>, tell: &mut Tell<'_>) {
    for host in hosts() {
        tell(format!("routes to {host}"), text(view.virtual_services_to(&host)));
        tell(format!("routes of {host}"), text(view.virtual_services_of(&host)));
    }
    for (namespace, name) in namespaces().flat_map(|namespace| NAMES.map(|name| (namespace.clone(), name))) {
        let gateway = Symbol::from(format!("{namespace}/{name}"));
        tell(
            format!("routes at {gateway}"),
            text(view.virtual_services_at(&gateway)),
        );
        let vs = view.get(&ObjectRef::new(Kind::VirtualService, &namespace, name));
        let roots = match vs {
            Some(Resource::VirtualService(vs)) => view.roots_of(vs),
            _ => Vec::new(),
        };
        tell(format!("roots of {namespace}/{name}"), text(roots));
    }
}

fn ask_for_names(view: &View<'_>, tell: &mut Tell<'_>) {
    for namespace in namespaces() {
        tell(
            format!("headers {namespace}"),
            text(view.named_headers(&namespace)),
        );
        for header in ["bu", "buid"].map(Symbol::new) {
            let values = view.named_values(&namespace, &header);
            tell(format!("values {namespace} {header}"), text(values));
            for value in VERSIONS.map(Symbol::new) {
                let routes = view.virtual_services_naming(&namespace, &header, &value);
                tell(format!("naming {namespace} {header} {value}"), text(routes));
            }
        }
    }
}

fn ask_for_groups(view: &View<'_>, tell: &mut Tell<'_>) {
    for namespace in namespaces() {
        tell(format!("groups {namespace}"), text(view.lane_groups(&namespace)));
        tell(
            format!("plugins {namespace}"),
            text(view.lane_plugins(&namespace)),
        );
    }
}

fn ask_for_gateways(view: &View<'_>, tell: &mut Tell<'_>) {
    for (namespace, name) in namespaces().flat_map(|namespace| GATEWAYS.map(|name| (namespace.clone(), name)))
    {
        let gateway = view.gateway(&name.into(), &namespace);
        tell(format!("gateway {namespace} {name}"), text(gateway));
    }
}

/// What only those ask who judge a world as it is.
fn ask_for_more(view: &View<'_>, tell: &mut Tell<'_>) {
    tell(
        "namespaces with services".to_owned(),
        text(view.namespaces_with_services()),
    );
    for header in ["bu", "buid"].map(Symbol::new) {
        tell(format!("naming {header}"), text(view.namespaces_naming(&header)));
    }
    for host in hosts() {
        for asked in ["the first time", "again"] {
            let rules = view.destination_rules_including(&host, &[]);
            tell(format!("rules including {host} {asked}"), text(rules));
        }
    }
    for namespace in namespaces() {
        tell(
            format!("filters {namespace}"),
            text([view.has_envoy_filters(&namespace)]),
        );
        tell(format!("sidecar {namespace}"), text(view.sidecar_for(&namespace)));
        tell(
            format!("revision {namespace}"),
            text(view.revision_of(&namespace)),
        );
        tell(
            format!("plugins for {namespace}"),
            text(view.lane_plugins_for(&namespace)),
        );
        for labels in selectors() {
            let entries = view.service_entries_selecting(&namespace, &labels);
            tell(format!("entries selecting {namespace} {labels}"), text(entries));
        }
        for (kind, name) in Kind::ALL.iter().flat_map(|kind| NAMES.map(|name| (*kind, name))) {
            let found = match view.get(&ObjectRef::new(kind, &namespace, name)) {
                Some(Resource::Workload(workload)) => text(view.pods_of(workload)),
                Some(Resource::Gateway(gateway)) => text(view.gateways_with(gateway)),
                _ => continue,
            };
            tell(format!("of {kind} {namespace}/{name}"), found);
        }
    }
}

/// Each answer, with what it rests on.
fn with_facts(view: &View<'_>) -> BTreeMap<String, (Vec<String>, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    let mut shared = SharedFacts::default();
    for ask in QUESTIONS.into_iter().chain([ask_for_more as Ask]) {
        ask(view, &mut |question, answer| {
            let mut facts: Vec<Fact> = view.take_facts().into_iter().collect();
            shared.extend(view.take_shared_facts());
            let mut at = 0;
            while let Some(fact) = facts.get(at) {
                if let Fact::Shared(of) = fact {
                    facts.extend(shared.get(of).into_iter().flatten().cloned().collect::<Vec<_>>());
                }
                at += 1;
            }
            all.insert(
                question,
                (answer, facts.iter().map(|fact| format!("{fact:?}")).collect()),
            );
        });
    }
    all
}

// ---- What there can be ----

fn objects(most: usize) -> impl Strategy<Value = Objects> {
    (vec(object(), 0..most), vec(family(), 0..3)).prop_map(|(objects, families)| {
        let all = objects.into_iter().chain(families.into_iter().flatten());
        all.map(|object| (object.reference(), object)).collect()
    })
}

/// A Deployment with its pods and, mostly, the `ReplicaSet` in between; with or without the hash by which they would
/// be known without it.
fn family() -> impl Strategy<Value = Vec<Resource>> {
    let names = (namespace(), select(&NAMES), select(&HASHES), select(&PODS));
    let flags = (any::<bool>(), weighted(0.8, Just(())), 0..2, select(&VERSIONS));
    (names, flags).prop_map(
        |((namespace, name, hash, pod), (is_hashed, link, replicas, version))| {
            let set = format!("{name}-{hash}");
            let labels = json!({"app": name, "version": version});
            let of_pod = if is_hashed {
                with(labels.clone(), "pod-template-hash", hash)
            } else {
                labels.clone()
            };
            let deployment = json!({"metadata": {"namespace": namespace, "name": name},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": labels}}}});
            let pod = json!({"metadata": {"namespace": namespace, "name": pod, "labels": of_pod,
            "ownerReferences": owner("ReplicaSet", &set)}});
            let link = link.map(|()| {
                json!({"metadata": {"namespace": namespace, "name": set,
            "ownerReferences": owner("Deployment", name)}})
            });
            let link = link.map(|link| parse(Kind::ReplicaSet, link));
            [parse(Kind::Deployment, deployment), parse(Kind::Pod, pod)]
                .into_iter()
                .chain(link)
                .collect()
        },
    )
}

fn object() -> impl Strategy<Value = Resource> {
    prop_oneof![
        3 => workload(),
        2 => replica_set(),
        4 => pod(),
        3 => service(),
        3 => destination_rule(),
        4 => virtual_service(),
        2 => gateway(),
        1 => service_entry(),
        1 => workload_entry(),
        1 => plugin(),
        1 => lane_group(),
        1 => mark(),
        1 => mesh_config(),
        1 => telemetry(),
    ]
}

fn parse(kind: Kind, object: Value) -> Resource {
    Resource::parse(kind, object).unwrap()
}

/// One of the namespaces; mostly the same, so that objects meet.
fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(NAMESPACES[0]), 1 => select(&NAMESPACES)]
}

/// Metadata with one of a few names, and one of a few ages.
fn meta() -> impl Strategy<Value = Value> {
    (namespace(), select(&NAMES), of(0..3)).prop_map(|(namespace, name, second)| {
        let created = second.map(|second| format!("2026-11-01T00:00:0{second}Z"));
        json!({"namespace": namespace, "name": name, "creationTimestamp": created})
    })
}

fn labels() -> impl Strategy<Value = Value> {
    let (app, version) = (weighted(0.8, select(&NAMES)), weighted(0.7, select(&VERSIONS)));
    (app, version).prop_map(|(app, version)| {
        let app = app.map(|app| ("app".to_owned(), json!(app)));
        let version = version.map(|version| ("version".to_owned(), json!(version)));
        Value::Object(app.into_iter().chain(version).collect())
    })
}

fn host() -> impl Strategy<Value = &'static str> {
    select(&HOSTS)
}

fn with(mut meta: Value, field: &str, value: impl Into<Value>) -> Value {
    meta[field] = value.into();
    meta
}

/// The time of deletion, of a few.
fn deleted() -> impl Strategy<Value = Value> {
    weighted(0.1, Just("2026-11-02T00:00:00Z")).prop_map(Value::from)
}

fn workload() -> impl Strategy<Value = Resource> {
    let kind = select(&[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet]);
    (kind, meta(), labels(), 0..3, deleted()).prop_map(|(kind, meta, labels, replicas, deleted)| {
        let spec = json!({"replicas": replicas, "template": {"metadata": {"labels": labels}}});
        let meta = with(meta, "deletionTimestamp", deleted);
        parse(kind, json!({"metadata": meta, "spec": spec}))
    })
}

/// The owners that there can be, as `ownerReferences`.
fn owner(kind: &str, name: &str) -> Value {
    let group = match kind {
        "Rollout" => "argoproj.io/v1alpha1",
        _ => "apps/v1",
    };
    json!([{"apiVersion": group, "kind": kind, "name": name, "controller": true}])
}

fn replica_set() -> impl Strategy<Value = Resource> {
    let owned = weighted(
        0.8,
        (select(&["Deployment", "Deployment", "Rollout"]), select(&NAMES)),
    );
    (namespace(), select(&NAMES), select(&HASHES), owned).prop_map(|(namespace, name, hash, owned)| {
        let owners = owned.map(|(kind, name)| owner(kind, name));
        let meta =
            json!({"namespace": namespace, "name": format!("{name}-{hash}"), "ownerReferences": owners});
        parse(Kind::ReplicaSet, json!({"metadata": meta}))
    })
}

fn pod() -> impl Strategy<Value = Resource> {
    let set = (select(&NAMES), select(&HASHES), any::<bool>());
    let owned = prop_oneof![
        5 => set.prop_map(|(name, hash, labelled)| (owner("ReplicaSet", &format!("{name}-{hash}")), labelled.then_some(hash))),
        2 => (select(&["StatefulSet", "DaemonSet", "Rollout", "Deployment"]), select(&NAMES)).prop_map(|(kind, name)| (owner(kind, name), None)),
        2 => Just((json!(null), None)),
    ];
    let phase = weighted(0.2, select(&["Running", "Failed", "Succeeded"]));
    (namespace(), select(&PODS), labels(), owned, phase, deleted()).prop_map(
        |(namespace, name, mut labels, (owners, hash), phase, deleted)| {
            if let Some(hash) = hash {
                labels["pod-template-hash"] = hash.into();
            }
            let meta = json!({"namespace": namespace, "name": name, "labels": labels, "ownerReferences": owners,
                "deletionTimestamp": deleted});
            parse(Kind::Pod, json!({"metadata": meta, "status": {"phase": phase}}))
        },
    )
}

fn service() -> impl Strategy<Value = Resource> {
    let alias = weighted(0.2, host());
    (meta(), labels(), 80..83, alias).prop_map(|(meta, selector, port, alias)| {
        let mut spec = json!({"selector": selector, "ports": [{"port": port}]});
        if let Some(host) = alias {
            spec["type"] = json!("ExternalName");
            spec["externalName"] = json!(host);
        }
        parse(Kind::Service, json!({"metadata": meta, "spec": spec}))
    })
}

fn destination_rule() -> impl Strategy<Value = Resource> {
    (meta(), host(), vec((select(&NAMES), labels()), 0..3)).prop_map(|(meta, host, subsets)| {
        let subsets: Vec<_> = subsets
            .iter()
            .map(|(name, labels)| json!({"name": name, "labels": labels}))
            .collect();
        let spec = json!({"host": host, "subsets": subsets});
        parse(Kind::DestinationRule, json!({"metadata": meta, "spec": spec}))
    })
}

fn destination() -> impl Strategy<Value = Value> {
    (host(), of(select(&NAMES))).prop_map(|(host, subset)| json!({"host": host, "subset": subset}))
}

fn route() -> impl Strategy<Value = Value> {
    let header = || (select(&HEADERS), select(&VERSIONS));
    let delegate = weighted(0.2, (of(select(&NAMESPACES)), select(&NAMES)));
    (
        vec((header(), select(&["exact", "prefix"])), 0..3),
        vec(destination(), 0..3),
        weighted(0.3, header()),
        weighted(0.2, header()),
        weighted(0.2, destination()),
        delegate,
    )
        .prop_map(|(matches, to, set, set_there, mirror, delegate)| {
            let matches: Vec<_> = matches
                .iter()
                .map(|((header, value), how)| json!({"headers": {*header: {*how: value}}}))
                .collect();
            let setting = |set: Option<(&str, &str)>| {
                set.map(|(header, value)| json!({"request": {"set": {header: value}}}))
            };
            let to: Vec<_> = to
                .into_iter()
                .map(|to| json!({"destination": to, "headers": setting(set_there)}))
                .collect();
            let delegate = delegate
                .map(|(namespace, name)| json!({"namespace": namespace.unwrap_or_default(), "name": name}));
            json!({"match": matches, "route": to, "headers": setting(set), "mirror": mirror, "delegate": delegate})
        })
}

fn virtual_service() -> impl Strategy<Value = Resource> {
    (
        meta(),
        vec(host(), 0..3),
        vec(select(&GATEWAYS), 0..3),
        vec(route(), 0..3),
    )
        .prop_map(|(meta, hosts, gateways, http)| {
            let spec = json!({"hosts": hosts, "gateways": gateways, "http": http});
            parse(Kind::VirtualService, json!({"metadata": meta, "spec": spec}))
        })
}

fn gateway() -> impl Strategy<Value = Resource> {
    (meta(), labels()).prop_map(|(meta, selector)| {
        parse(
            Kind::Gateway,
            json!({"metadata": meta, "spec": {"selector": selector}}),
        )
    })
}

fn service_entry() -> impl Strategy<Value = Resource> {
    (meta(), vec(host(), 0..3)).prop_map(|(meta, hosts)| {
        parse(
            Kind::ServiceEntry,
            json!({"metadata": meta, "spec": {"hosts": hosts}}),
        )
    })
}

fn workload_entry() -> impl Strategy<Value = Resource> {
    (meta(), labels(), deleted()).prop_map(|(meta, labels, deleted)| {
        let meta = with(meta, "deletionTimestamp", deleted);
        parse(
            Kind::WorkloadEntry,
            json!({"metadata": meta, "spec": {"labels": labels}}),
        )
    })
}

fn plugin() -> impl Strategy<Value = Resource> {
    let kind = select(&[Kind::WasmPlugin, Kind::TrafficExtension]);
    (
        kind,
        meta(),
        of(select(&HEADERS)),
        weighted(0.2, Just(json!([{"name": "a"}]))),
    )
        .prop_map(|(kind, meta, header, refs)| {
            let config = json!({"lane_header": header});
            let spec = json!({"pluginConfig": config, "wasm": {"pluginConfig": config}, "targetRefs": refs});
            parse(kind, json!({"metadata": meta, "spec": spec}))
        })
}

fn lane_group() -> impl Strategy<Value = Resource> {
    (meta(), select(&HEADERS), labels()).prop_map(|(meta, header, labels)| {
        let spec = json!({"header": header, "workloads": {"matchLabels": labels}, "lanes": VERSIONS,
            "defaultLane": "v1"});
        parse(Kind::LaneGroup, json!({"metadata": meta, "spec": spec}))
    })
}

fn mark() -> impl Strategy<Value = Resource> {
    let kind = select(&[Kind::Namespace, Kind::Sidecar, Kind::EnvoyFilter]);
    (kind, meta(), labels()).prop_map(|(kind, meta, labels)| {
        let meta = with(meta, "labels", labels);
        let meta = if kind.is_namespaced() {
            meta
        } else {
            with(meta, "namespace", Value::Null)
        };
        parse(kind, json!({"metadata": meta}))
    })
}

fn telemetry() -> impl Strategy<Value = Resource> {
    (meta(), any::<bool>(), labels()).prop_map(|(meta, is_off, labels)| {
        let spec =
            json!({"selector": {"matchLabels": labels}, "tracing": [{"disableSpanReporting": is_off}]});
        parse(Kind::Telemetry, json!({"metadata": meta, "spec": spec}))
    })
}

fn mesh_config() -> impl Strategy<Value = Resource> {
    (meta(), any::<bool>()).prop_map(|(meta, upgrades)| {
        let mesh = if upgrades { "h2UpgradePolicy: UPGRADE" } else { "" };
        parse(Kind::ConfigMap, json!({"metadata": meta, "data": {"mesh": mesh}}))
    })
}
