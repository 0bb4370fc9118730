//! A world with changes laid over it, and the questions that rules ask.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use hashbrown::{Equivalent, HashMap, HashSet};

use super::fact::{Fact, Notes, Shared, SharedFacts};
use super::index::speaker;
use super::key::{Key, qualified};

use super::{Host, Lookup, Read, Settings, World, host};
use crate::resource::{
    Created, DestinationRule, Gateway, Kind, Labels, LaneGroup, MeshConfig, Meta, ObjectRef, Pod, Resource,
    Service, ServiceEntry, Sidecar, Telemetry, VirtualService, WasmPlugin, Workload,
};
use crate::symbol::Symbol;

/// One world of a view, and what of the worlds below it it stands in for.
#[derive(Debug, Clone)]
pub struct Layer<'w> {
    /// The objects.
    pub world: &'w World,
    /// What they replace.
    pub scope: Scope,
}

/// Which objects of the worlds below a layer hides.
#[derive(Debug, Clone)]
pub enum Scope {
    /// All of them: the lowest layer.
    All,
    /// One object: a proposed change.
    Object(ObjectRef),
    /// All that these reads would have returned: fresh answers of the API server.
    Reads(Vec<Read>),
}

impl Scope {
    fn hides(&self, object: &Resource) -> bool {
        match self {
            Self::All => true,
            Self::Object(reference) => object.is(reference),
            Self::Reads(reads) => reads.iter().any(|read| read.covers(object)),
        }
    }
}

/// Worlds laid over one another. Every answer is recorded as a [`Read`], so that what a denial rests on can
/// be read again.
#[derive(Debug)]
pub struct View<'w> {
    /// From the lowest to the topmost.
    layers: Vec<Layer<'w>>,
    /// A workload that is deleted with its pods set free (propagation policy `Orphan`).
    freeing: Option<ObjectRef>,
    /// What would repeat its answers, where somebody wants to know.
    reads: Option<RefCell<HashSet<Read>>>,
    known: Known<'w>,
    /// What its answers rest on, where somebody wants to know; the reads are not recorded then.
    notes: Option<Box<Notes>>,
}

/// What was asked for already: a large object asks the same for each of its routes. What is noted has to be noted for each who
/// asks, so where something is only the first two are kept.
#[derive(Debug, Default)]
struct Known<'w> {
    /// The `DestinationRules` for a host.
    rules: RefCell<HashMap<Symbol, KnownRules<'w>>>,
    /// The mesh configurations.
    mesh: OnceCell<Vec<&'w MeshConfig>>,
    /// Full hosts, by what is written and the namespace where it is.
    hosts: RefCell<HashMap<(Symbol, Symbol), Symbol>>,
    /// Services by their full host.
    services: RefCell<HashMap<Symbol, Option<&'w Service>>>,
    /// By their namespace and a selector.
    carriers: RefCell<HashMap<(Symbol, Labels), Carriers<'w>>>,
    /// What is left of the `DestinationRules` for a host.
    lookups: RefCell<HashMap<Symbol, Vec<KnownLookup<'w>>>>,
}

type Carriers<'w> = Rc<[&'w Resource]>;

/// A key of two parts, to look up by: a copy would count up and down what other threads count, too.
#[derive(Hash)]
struct Both<'k, A, B>(&'k A, &'k B);

impl<A: Eq, B: Eq> Equivalent<(A, B)> for Both<'_, A, B> {
    fn equivalent(&self, (first, second): &(A, B)) -> bool {
        self.0 == first && self.1 == second
    }
}

/// What is left of the rules for one host, for one namespace that asks and one where the host is at home.
#[derive(Debug)]
struct KnownLookup<'w> {
    caller: Box<str>,
    home: Option<Box<str>>,
    lookup: Rc<Lookup<'w>>,
}

/// What [`View::destination_rules_including`] has found for a host.
#[derive(Debug, Default)]
struct KnownRules<'w> {
    /// The rules for it and for the wildcards that include it.
    by_host: Vec<Vec<&'w DestinationRule>>,
    /// The namespaces whose rules are recorded as read.
    recorded: Vec<Symbol>,
}

impl<'w> View<'w> {
    /// A view of `world` as it is.
    pub fn new(world: &'w World) -> Self {
        Self {
            layers: vec![Layer {
                world,
                scope: Scope::All,
            }],
            freeing: None,
            reads: None,
            known: Known::default(),
            notes: None,
        }
    }

    /// The view with one more layer on top.
    #[must_use]
    pub fn with(&self, layer: Layer<'w>) -> Self {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self {
            layers,
            freeing: self.freeing.clone(),
            reads: None,
            known: Known::default(),
            notes: None,
        }
    }

    /// The view in which `workload` goes and its pods stay.
    #[must_use]
    pub fn freeing(mut self, workload: Option<ObjectRef>) -> Self {
        self.freeing = workload;
        self
    }

    /// The view, which from now on records the reads that would repeat its answers.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.reads = Some(RefCell::default());
        self
    }

    /// The view, which from now on notes what its answers rest on, except for the mesh configuration: on that everything does. For a
    /// view of one world; what lies over it notes nothing.
    #[must_use]
    pub fn noting(mut self) -> Self {
        self.notes = Some(Box::default());
        self
    }

    /// What the answers since the last call rest on.
    pub fn take_facts(&self) -> HashSet<Fact> {
        self.notes
            .as_ref()
            .map(|notes| notes.take_own())
            .unwrap_or_default()
    }

    /// What rests on what, of all that was shared.
    pub fn take_shared_facts(&self) -> SharedFacts {
        self.notes
            .as_ref()
            .map(|notes| notes.take_shared())
            .unwrap_or_default()
    }

    /// Notes that an answer rests on something that is worked out once for several.
    pub fn shares(&self, shared: impl FnOnce() -> Shared) {
        self.note(|| Fact::Shared(shared()));
    }

    /// Works out something that is kept for others: what that rests on is noted for all of them.
    pub fn sharing<T>(&self, shared: impl FnOnce() -> Shared, work_out: impl FnOnce() -> T) -> T {
        match &self.notes {
            Some(notes) => notes.within(shared(), work_out),
            None => work_out(),
        }
    }

    fn note(&self, fact: impl FnOnce() -> Fact) {
        if let Some(notes) = &self.notes {
            notes.note(fact());
        }
    }

    /// What is fixed about the mesh.
    pub fn settings(&self) -> &'w Settings {
        // A view always has its lowest layer.
        static DEFAULT: std::sync::LazyLock<Settings> = std::sync::LazyLock::new(Settings::default);
        self.layers
            .first()
            .map_or(&DEFAULT, |layer| layer.world.settings())
    }

    /// Istio's root namespace: as given, else as the mesh configuration has it [s10].
    pub fn root_namespace(&self) -> &'w Symbol {
        let settings = self.settings();
        let config = self.mesh_config().filter(|_| !settings.is_root_given);
        config
            .and_then(|config| config.root_namespace.as_ref())
            .unwrap_or(&settings.root_namespace)
    }

    /// Whether what was worked out may be kept without a word: nobody notes what it rests on.
    pub fn keeps(&self) -> bool {
        self.notes.is_none()
    }

    /// The full name of `host` as an object in `namespace` names it.
    pub fn resolve(&self, host: &Symbol, namespace: &Symbol) -> Symbol {
        if host::is_full(host) {
            return host.clone();
        }
        if let Some(known) = self.known.hosts.borrow().get(&Both(host, namespace)) {
            return known.clone();
        }
        let full = host::resolve(host, namespace, &self.settings().cluster_domain);
        let mut known = self.known.hosts.borrow_mut();
        known.insert((host.clone(), namespace.clone()), full.clone());
        full
    }

    /// The full host of a service.
    pub fn host_of(&self, service: &Service) -> Symbol {
        let Meta { name, namespace, .. } = &service.meta;
        if host::is_full(name) {
            // The API server takes no such name.
            return host::cluster_host(name, namespace, &self.settings().cluster_domain);
        }
        self.resolve(name, namespace)
    }

    /// A full host name, read.
    pub fn read_host<'h>(&self, host: &'h str) -> Host<'h> {
        Host::read(host, &self.settings().cluster_domain)
    }

    /// The reads that would repeat what was asked so far, of a view that records them.
    pub fn reads(&self) -> Vec<Read> {
        let reads = self.reads.iter();
        reads.flat_map(|reads| reads.borrow().clone()).collect()
    }

    /// The object that `reference` names.
    pub fn get(&self, reference: &ObjectRef) -> Option<&'w Resource> {
        self.record(|| Read::Object(reference.clone()));
        self.find_one(reference)
    }

    fn find_one(&self, reference: &ObjectRef) -> Option<&'w Resource> {
        self.note(|| Fact::Object(reference.clone()));
        for (at, layer) in self.layers.iter().enumerate().rev() {
            if let Some(object) = layer.world.get(reference) {
                return (!self.is_hidden(at, object)).then_some(object);
            }
            let absent = match &layer.scope {
                Scope::Object(hidden) => hidden == reference,
                Scope::All | Scope::Reads(_) => false,
            };
            if absent {
                return None;
            }
        }
        None
    }

    /// The service of this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&'w Service> {
        self.record(|| Read::List(Kind::Service, namespace.into()));
        match self.get(&ObjectRef::new(Kind::Service, namespace, name))? {
            Resource::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The service that a full host names.
    pub fn service_of(&self, host: &Symbol) -> Option<&'w Service> {
        if let Some(known) = self.known.services.borrow().get(host) {
            return *known;
        }
        let found = match self.read_host(host) {
            Host::Service { name, namespace } => self.service(namespace, name),
            Host::Other(_) => None,
        };
        if self.keeps() {
            self.known.services.borrow_mut().insert(host.clone(), found);
        }
        found
    }

    /// The namespaces that have a service, by name. Not to be read again: that would be every service there is.
    pub fn namespaces_with_services(&self) -> Vec<Symbol> {
        self.note(|| Fact::WithServices);
        let mut namespaces: Vec<Symbol> = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let services = layer
                .world
                .objects()
                .filter(|object| object.kind() == Kind::Service);
            let stand = services.filter(|object| !self.is_hidden(at, object));
            namespaces.extend(stand.map(|object| object.meta().namespace.clone()));
        }
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    /// The services of a namespace, by name.
    pub fn services_in(&self, namespace: &Symbol) -> Vec<&'w Service> {
        self.all_in(Kind::Service, namespace, |object| match object {
            Resource::Service(service) => Some(&**service),
            _ => None,
        })
    }

    /// The services of `namespace` whose selector chooses pods with `labels`, by name.
    pub fn services_selecting(&self, namespace: &Symbol, labels: &Labels) -> Vec<&'w Service> {
        self.record(|| Read::List(Kind::Service, namespace.clone()));
        let key = |(key, value): &(Symbol, Symbol)| {
            Key::ServiceSelecting(namespace.clone(), key.clone(), value.clone())
        };
        let found = labels.pairs().iter().flat_map(|pair| self.find(&key(pair)));
        let services = found.filter_map(|object| match object {
            Resource::Service(service) if service.selector.select(labels) => Some(&**service),
            _ => None,
        });
        sorted(services.collect(), |service| &service.meta)
    }

    /// The carriers of `namespace` that have every pair of `selector`; an empty one chooses all.
    pub fn carriers(&self, namespace: &Symbol, selector: &Labels) -> Rc<[&'w Resource]> {
        if let Some(known) = self.known.carriers.borrow().get(&Both(namespace, selector)) {
            return Rc::clone(known);
        }
        let found: Carriers<'w> = self.find_carriers(namespace, selector).into();
        if self.keeps() {
            let key = (namespace.clone(), selector.clone());
            self.known.carriers.borrow_mut().insert(key, Rc::clone(&found));
        }
        found
    }

    fn find_carriers(&self, namespace: &Symbol, selector: &Labels) -> Vec<&'w Resource> {
        for kind in [
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::WorkloadEntry,
        ] {
            self.record(|| Read::List(kind, namespace.clone()));
        }
        self.record(|| Read::Pods(namespace.clone(), selector.clone()));
        self.carriers_at(Some(namespace), selector)
    }

    /// The workloads of `namespace` that carry and whose pods have every pair of `selector`; an empty one chooses all.
    pub fn workloads(&self, namespace: &Symbol, selector: &Labels) -> Vec<&'w Workload> {
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            self.record(|| Read::List(kind, namespace.clone()));
        }
        let carriers = self.carriers_at(Some(namespace), selector).into_iter();
        let workloads = carriers.filter_map(|carrier| match carrier {
            Resource::Workload(workload) => Some(&**workload),
            _ => None,
        });
        workloads.collect()
    }

    /// The living pods that a workload speaks for.
    pub fn pods_of(&self, workload: &Workload) -> Vec<&'w Pod> {
        let (namespace, labels) = (&workload.meta.namespace, &workload.template.labels);
        self.record(|| Read::Pods(namespace.clone(), labels.clone()));
        let reference = workload.meta.reference(workload.kind);
        let is_its_own = |object: &&Resource| match object {
            Resource::Pod(pod) => speaker(pod, |link| self.find_one(link)).as_ref() == Some(&reference),
            _ => false,
        };
        let mut found = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let pods: Vec<&'w Resource> = if at == 0 {
                if let Some(notes) = &self.notes {
                    for fact in layer.world.facts_of_pods(&reference) {
                        notes.note(fact);
                    }
                }
                layer.world.spoken_for_by(&reference).collect()
            } else {
                layer.world.objects().filter(is_its_own).collect()
            };
            found.extend(pods.into_iter().filter_map(|object| match object {
                Resource::Pod(pod) if pod.carries() && !self.is_hidden(at, object) => Some(&**pod),
                _ => None,
            }));
        }
        sorted(found, |pod| &pod.meta)
    }

    /// The namespaces of the carriers, wherever they are, that have every pair of `selector`: where a
    /// gateway's pods run. An empty selector chooses none. Not to be read again: that would be every pod there is.
    pub fn namespaces_with(&self, selector: &Labels) -> Vec<Symbol> {
        if selector.is_empty() {
            return Vec::new();
        }
        let carriers = self.carriers_at(None, selector);
        let mut namespaces: Vec<_> = carriers
            .iter()
            .map(|carrier| carrier.meta().namespace.clone())
            .collect();
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    fn carriers_at(&self, namespace: Option<&Symbol>, selector: &Labels) -> Vec<&'w Resource> {
        let is_chosen = |object: &&Resource| {
            let labels = object.carrier_labels();
            labels.is_some_and(|labels| selector.select(labels))
                && namespace.is_none_or(|namespace| object.meta().namespace == *namespace)
        };
        let mut found = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let carriers = if at == 0 {
                if let Some(notes) = &self.notes
                    && let Some(key) = layer.world.key_of_carriers(namespace, selector)
                {
                    notes.note(Fact::Key(key));
                }
                let mut carriers = layer.world.carriers(namespace, selector);
                for workload in self.gone() {
                    carriers.extend(layer.world.spoken_for_by(&workload).filter(is_chosen));
                }
                carriers
            } else {
                // Above the lowest there are few objects, and what their pods belong to may be in another layer.
                layer.world.objects().filter(is_chosen).collect()
            };
            let stand = |object: &&Resource| !self.is_hidden(at, object) && !self.is_spoken_for(object);
            found.extend(carriers.into_iter().filter(stand));
        }
        let order = |object: &'w Resource| {
            let meta = object.meta();
            (object.kind(), &meta.namespace, &meta.name)
        };
        found.sort_by(|a, b| order(a).cmp(&order(b)));
        found
    }

    /// Whether a workload speaks for this pod.
    fn is_spoken_for(&self, object: &Resource) -> bool {
        let Resource::Pod(pod) = object else { return false };
        speaker(pod, |link| self.find_one(link)).is_some_and(|workload| self.speaks(&workload))
    }

    /// Whether `workload` speaks for its pods. One that a proposed change takes away still does, unless it sets
    /// them free; one that is not among the fresh answers does not.
    fn speaks(&self, workload: &ObjectRef) -> bool {
        let is_gone = |at: usize, object: &Resource| {
            let mut above = self.layers.iter().skip(at + 1).map(|layer| &layer.scope);
            above.any(|scope| matches!(scope, Scope::Reads(_)) && scope.hides(object))
        };
        let mut layers = self.layers.iter().enumerate();
        self.freeing.as_ref() != Some(workload)
            && layers.any(|(at, layer)| {
                let object = layer.world.get(workload);
                object.is_some_and(|object| !is_gone(at, object))
            })
    }

    /// The workloads of the lowest world that no longer speak for their pods.
    fn gone(&self) -> Vec<ObjectRef> {
        let mut gone = BTreeSet::new();
        let Some((lowest, above)) = self.layers.split_first() else {
            return Vec::new();
        };
        gone.extend(self.freeing.clone());
        for layer in above {
            let Scope::Reads(reads) = &layer.scope else {
                continue;
            };
            for read in reads.iter().filter(|read| read.kind().is_workload()) {
                match read {
                    Read::List(kind, namespace) => {
                        let key = Key::In(*kind, namespace.clone());
                        gone.extend(lowest.world.find(&key).map(Resource::reference));
                    }
                    Read::Object(reference) => gone.extend([reference.clone()]),
                    Read::Pods(..) => {}
                }
            }
        }
        gone.into_iter()
            .filter(|workload| lowest.world.get(workload).is_some() && !self.speaks(workload))
            .collect()
    }

    /// The `DestinationRules` that are for exactly this full host, in whatever namespace: oldest first, then by
    /// name, as Istio sorts them.
    pub fn destination_rules_for(&self, host: &Symbol) -> Vec<&'w DestinationRule> {
        self.record(|| Read::List(Kind::DestinationRule, self.home_of(host)));
        self.rules_for(host.clone())
    }

    /// The `DestinationRules` for a full host and for the wildcards that include it, the most specific host first;
    /// those for one host as [`View::destination_rules_for`] sorts them. Only those of `namespaces` count for who
    /// asks, so only they have to be read again.
    pub fn destination_rules_including(
        &self,
        host: &Symbol,
        namespaces: &[&str],
    ) -> Vec<Vec<&'w DestinationRule>> {
        let mut rules = self.known.rules.borrow_mut();
        let shared = || Shared::Rules(host.clone());
        self.shares(shared);
        let known = rules.entry(host.clone()).or_insert_with(|| KnownRules {
            by_host: self.sharing(shared, || {
                self.hosts_including(host)
                    .map(|host| self.rules_for(host))
                    .filter(|rules| !rules.is_empty())
                    .collect()
            }),
            recorded: Vec::new(),
        });
        let asked = namespaces.iter().filter(|_| self.reads.is_some());
        for namespace in asked.filter(|namespace| !namespace.is_empty()) {
            if known.recorded.iter().all(|recorded| *recorded != **namespace) {
                let namespace = Symbol::new(namespace);
                known.recorded.push(namespace.clone());
                self.record(|| Read::List(Kind::DestinationRule, namespace));
            }
        }
        known.by_host.clone()
    }

    /// What is left of the rules for a full host, for proxies of namespace `caller` and with the host at home in `home`; worked out
    /// by `work_out` where it is not known yet.
    pub fn lookup(
        &self,
        (caller, host, home): (&str, &Symbol, Option<&str>),
        work_out: impl FnOnce() -> Lookup<'w>,
    ) -> Rc<Lookup<'w>> {
        let find = |known: &[KnownLookup<'w>]| {
            let mut known = known.iter();
            let known = known.find(|known| &*known.caller == caller && known.home.as_deref() == home)?;
            Some(Rc::clone(&known.lookup))
        };
        let known = self.known.lookups.borrow();
        if let Some(known) = known.get(host).and_then(|known| find(known)) {
            return known;
        }
        drop(known);
        let lookup = Rc::new(work_out());
        if self.keeps() {
            let mut known = self.known.lookups.borrow_mut();
            known.entry(host.clone()).or_default().push(KnownLookup {
                caller: caller.into(),
                home: home.map(Into::into),
                lookup: Rc::clone(&lookup),
            });
        }
        lookup
    }

    fn rules_for(&self, host: Symbol) -> Vec<&'w DestinationRule> {
        let found = self.find(&Key::DestinationRuleFor(host)).into_iter();
        let rules = found.filter_map(|object| match object {
            Resource::DestinationRule(rule) => Some(&**rule),
            _ => None,
        });
        sorted_by_age(rules.collect(), |rule| &rule.meta)
    }

    /// As [`View::with_wildcards`], as far as there may be rules or entries for them: mostly there are none for any wildcard.
    fn hosts_including(&self, host: &Symbol) -> impl Iterator<Item = Symbol> {
        let has_wildcards = || self.layers.iter().any(|layer| layer.world.has_wildcards());
        // Who notes what an answer rests on is to be told when the first one comes.
        let most = if self.keeps() && !has_wildcards() {
            1
        } else {
            usize::MAX
        };
        host::with_wildcards(host).take(most)
    }

    /// `host` and the wildcards that include it, the most specific first.
    pub fn with_wildcards(&self, host: &Symbol) -> Vec<Symbol> {
        host::with_wildcards(host).collect()
    }

    /// The `ServiceEntries` that serve a full host, exactly or else by the most specific wildcard: the oldest first.
    /// Those of one namespace are one service to Istio, with the ports and endpoints of them all; of several
    /// namespaces' a caller takes its own, or the oldest that it sees (`appendSidecarServices` in
    /// `pilot/pkg/model/sidecar.go`).
    pub fn service_entries_of(&self, host: &Symbol) -> Vec<&'w ServiceEntry> {
        let entries_for = |host| {
            let found = self.find(&Key::ServiceEntryFor(host)).into_iter();
            let entries = found.filter_map(|object| match object {
                Resource::ServiceEntry(entry) => Some(&**entry),
                _ => None,
            });
            sorted_by_age(entries.collect(), |entry| &entry.meta)
        };
        let mut found = self.hosts_including(host).map(entries_for);
        let entries = found.find(|entries| !entries.is_empty()).unwrap_or_default();
        // They may be of any namespace: only what was found is read again.
        for entry in &entries {
            self.record(|| Read::Object(entry.meta.reference(Kind::ServiceEntry)));
        }
        entries
    }

    /// The `ServiceEntries` of `namespace` whose workload selector chooses what has these labels, by name.
    pub fn service_entries_selecting(&self, namespace: &Symbol, labels: &Labels) -> Vec<&'w ServiceEntry> {
        let selects = |selector: &Labels| selector.select(labels);
        self.all_in(Kind::ServiceEntry, namespace, |object| match object {
            Resource::ServiceEntry(entry) => Some(&**entry),
            _ => None,
        })
        .into_iter()
        .filter(|entry| entry.workload_selector.as_ref().is_some_and(selects))
        .collect()
    }

    /// The services of type `ExternalName` that are aliases of a full host, in whatever namespace.
    pub fn aliases_of(&self, host: &Symbol) -> Vec<&'w Service> {
        let found = self.find(&Key::AliasOf(host.clone())).into_iter();
        let aliases = found.filter_map(|object| match object {
            Resource::Service(service) => Some(&**service),
            _ => None,
        });
        let aliases = sorted(aliases.collect(), |service| &service.meta);
        for alias in &aliases {
            self.record(|| Read::Object(alias.meta.reference(Kind::Service)));
        }
        aliases
    }

    /// The `VirtualServices` that send requests or copies to a full host.
    pub fn virtual_services_to(&self, host: &Symbol) -> Vec<&'w VirtualService> {
        self.record(|| Read::List(Kind::VirtualService, self.home_of(host)));
        self.virtual_services_again(&Key::VirtualServiceTo(host.clone()))
    }

    /// The `VirtualServices` that claim a full host as it stands.
    pub fn virtual_services_of(&self, host: &Symbol) -> Vec<&'w VirtualService> {
        self.virtual_services_again(&Key::VirtualServiceOf(host.clone()))
    }

    /// The `VirtualService` of this name.
    pub fn virtual_service(&self, namespace: &Symbol, name: &Symbol) -> Option<&'w VirtualService> {
        match self.get(&ObjectRef::new(Kind::VirtualService, namespace, name))? {
            Resource::VirtualService(vs) => Some(vs),
            _ => None,
        }
    }

    /// The `VirtualServices` of a namespace, by name.
    pub fn virtual_services_in(&self, namespace: &Symbol) -> Vec<&'w VirtualService> {
        self.all_in(Kind::VirtualService, namespace, |object| match object {
            Resource::VirtualService(vs) => Some(&**vs),
            _ => None,
        })
    }

    /// The `VirtualServices` that are bound to the gateway `namespace/name`. There may be thousands, of all namespaces: which
    /// of them a denial [rests on](Self::rests_on) is for who asks to say.
    pub fn virtual_services_at(&self, gateway: &Symbol) -> Vec<&'w VirtualService> {
        self.virtual_services(&Key::BoundTo(gateway.clone()))
    }

    /// The `VirtualServices` that delegate to `vs`.
    pub fn roots_of(&self, vs: &VirtualService) -> Vec<&'w VirtualService> {
        let name = format!("{}/{}", vs.meta.namespace, vs.meta.name);
        self.virtual_services_again(&Key::DelegatingTo(name.into()))
    }

    /// The `VirtualServices` that send requests to services of `namespace` and whose routes name the value of
    /// `header` exactly.
    pub fn virtual_services_naming(
        &self,
        namespace: &Symbol,
        header: &Symbol,
        value: &Symbol,
    ) -> Vec<&'w VirtualService> {
        self.record(|| Read::List(Kind::VirtualService, namespace.clone()));
        self.virtual_services(&Key::Naming(namespace.clone(), header.clone(), value.clone()))
    }

    /// The exact values of `header` that routes to services of `namespace` name, in the order of their text.
    pub fn named_values(&self, namespace: &Symbol, header: &Symbol) -> Vec<Symbol> {
        self.record(|| Read::List(Kind::VirtualService, namespace.clone()));
        self.note(|| Fact::Named(namespace.clone(), header.clone()));
        let named = self
            .layers
            .iter()
            .flat_map(|layer| layer.world.named(namespace, header));
        let mut values: Vec<_> = named.cloned().collect();
        values.sort();
        values.dedup();
        // A value whose only route a higher layer hides is not named any more.
        values.retain(|value| self.is_named(namespace, header, value));
        values
    }

    /// The namespaces to whose services routes lead that name an exact value of `header`, in the order of their names;
    /// also those whose only such route a change takes away.
    pub fn namespaces_naming(&self, header: &Symbol) -> Vec<Symbol> {
        self.note(|| Fact::Naming(header.clone()));
        let worlds = self.layers.iter().map(|layer| layer.world);
        let mut namespaces: Vec<Symbol> = worlds
            .flat_map(|world| world.namespaces_naming(header))
            .cloned()
            .collect();
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    /// The headers that routes to services of `namespace` name with an exact value.
    pub fn named_headers(&self, namespace: &Symbol) -> Vec<Symbol> {
        self.record(|| Read::List(Kind::VirtualService, namespace.clone()));
        self.note(|| Fact::NamedHeaders(namespace.clone()));
        let mut headers: Vec<_> = self
            .layers
            .iter()
            .flat_map(|layer| layer.world.named_headers(namespace))
            .cloned()
            .collect();
        headers.sort();
        headers.dedup();
        // As with values: the only route may be hidden.
        headers.retain(|header| {
            let worlds = self.layers.iter().map(|layer| layer.world);
            let mut named = worlds.flat_map(|world| world.named(namespace, header));
            named.any(|value| self.is_named(namespace, header, value))
        });
        headers
    }

    /// Whether any route to a service of `namespace` names the value of `header`.
    fn is_named(&self, namespace: &Symbol, header: &Symbol, value: &Symbol) -> bool {
        let key = Key::Naming(namespace.clone(), header.clone(), value.clone());
        self.layers.iter().enumerate().any(|(at, layer)| {
            let mut found = layer.world.find(&key);
            found.any(|object| !self.is_hidden(at, object))
        })
    }

    /// The lane groups that are written down in a namespace.
    pub fn lane_groups(&self, namespace: &Symbol) -> Vec<&'w LaneGroup> {
        self.all_in(Kind::LaneGroup, namespace, |object| match object {
            Resource::LaneGroup(group) => Some(&**group),
            _ => None,
        })
    }

    /// The lane plugins (`WasmPlugin`, `TrafficExtension`) of a namespace that sidecars load.
    pub fn lane_plugins(&self, namespace: &Symbol) -> Vec<&'w WasmPlugin> {
        let plugin = |object: &'w Resource| match object {
            Resource::WasmPlugin(plugin) if plugin.lane_header.is_some() && !plugin.has_target_refs => {
                Some(&**plugin)
            }
            _ => None,
        };
        let mut plugins = self.all_in(Kind::WasmPlugin, namespace, plugin);
        plugins.extend(self.all_in(Kind::TrafficExtension, namespace, plugin));
        plugins
    }

    /// The lane plugins that the sidecars of a namespace may load: its own, and after them those of the root namespace.
    pub fn lane_plugins_for(&self, namespace: &Symbol) -> Vec<&'w WasmPlugin> {
        let mut plugins = self.lane_plugins(namespace);
        if namespace != self.root_namespace() {
            plugins.extend(self.lane_plugins(self.root_namespace()));
        }
        plugins
    }

    /// Every lane plugin, wherever it is, by kind, namespace and name. Not to be read again: it is asked for nothing that is
    /// admitted.
    pub fn lane_plugins_anywhere(&self) -> Vec<ObjectRef> {
        let found = self.find(&Key::LanePlugin).into_iter();
        let mut found: Vec<ObjectRef> = found.map(Resource::reference).collect();
        found.sort();
        found
    }

    /// Whether a namespace has an `EnvoyFilter`, which may do anything.
    pub fn has_envoy_filters(&self, namespace: &Symbol) -> bool {
        let filters = self.all_in(Kind::EnvoyFilter, namespace, |object| match object {
            Resource::Mark(mark) => Some(&**mark),
            _ => None,
        });
        !filters.is_empty()
    }

    /// The `Telemetry` of a namespace: the oldest first, as Istio takes them (`getTelemetries` in
    /// `pilot/pkg/model/telemetry.go`).
    pub fn telemetries(&self, namespace: &Symbol) -> Vec<&'w Telemetry> {
        let found = self.all_in(Kind::Telemetry, namespace, |object| match object {
            Resource::Telemetry(telemetry) => Some(&**telemetry),
            _ => None,
        });
        sorted_by_age(found, |telemetry| &telemetry.meta)
    }

    /// The gateway as an object in `namespace` names it (`name` or `namespace/name`).
    pub fn gateway(&self, name: &Symbol, namespace: &Symbol) -> Option<&'w Gateway> {
        let qualified = qualified(name, namespace);
        let (namespace, name) = qualified.split_once('/')?;
        match self.get(&ObjectRef::new(Kind::Gateway, namespace, name))? {
            Resource::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// The gateways whose pods are those of `gateway`, itself among them: Istio makes one of them
    /// (`MergeGateways` in `pilot/pkg/model/gateway.go`).
    pub fn gateways_with(&self, gateway: &'w Gateway) -> Vec<&'w Gateway> {
        if gateway.selector.is_empty() {
            return vec![gateway];
        }
        let found = self.find(&Key::GatewayOf(gateway.selector.to_string().into()));
        let gateways = found.into_iter().filter_map(|object| match object {
            Resource::Gateway(gateway) => Some(&**gateway),
            _ => None,
        });
        let gateways = sorted_by_age(gateways.collect(), |gateway| &gateway.meta);
        for gateway in &gateways {
            self.record(|| Read::Object(gateway.meta.reference(Kind::Gateway)));
        }
        gateways
    }

    /// The `Sidecar` that counts for the sidecars of `namespace` for which no other is meant by their labels: of its
    /// own the oldest, else that of the root namespace (`getSidecarScope`, `initSidecarScopes` in
    /// `pilot/pkg/model/push_context.go`). For an empty namespace, one without any of its own.
    pub fn sidecar_for(&self, namespace: &Symbol) -> Option<&'w Sidecar> {
        let in_namespace = |namespace: &Symbol| {
            let found = self.all_in(Kind::Sidecar, namespace, |object| match object {
                Resource::Sidecar(sidecar) => Some(&**sidecar),
                _ => None,
            });
            sorted_by_age(found, |sidecar| &sidecar.meta)
        };
        let selects_all =
            |sidecar: &&Sidecar| sidecar.workload_selector.as_ref().is_some_and(Labels::is_empty);
        let has_none = |sidecar: &&Sidecar| sidecar.workload_selector.is_none();
        if !namespace.is_empty() {
            let own = in_namespace(namespace);
            let first = own.iter().copied().find(selects_all);
            let first = first.or_else(|| own.iter().copied().find(has_none));
            if first.is_some() {
                return first;
            }
        }
        in_namespace(self.root_namespace()).into_iter().find(has_none)
    }

    /// Istio's mesh configuration; of several revisions, that of the default one.
    pub fn mesh_config(&self) -> Option<&'w MeshConfig> {
        self.mesh_configs().first().copied()
    }

    /// The mesh configuration of the control plane that serves the proxies of `namespace` (empty: of any), by the
    /// revision in its label: `istio-<revision>`, and `istio` for the default one (`getMeshConfigMapName` in
    /// `pilot/pkg/bootstrap/mesh.go`; the label `istio-injection` comes first). A revision that has no `ConfigMap` of
    /// its own may be a tag: it is taken for the default one [s10].
    pub fn mesh_config_of(&self, namespace: &str) -> Option<&'w MeshConfig> {
        let configs = self.mesh_configs();
        if namespace.is_empty() || configs.len() < 2 {
            return configs.first().copied();
        }
        let named = self
            .revision_of(namespace)
            .map(|revision| Symbol::from(format!("istio-{revision}")));
        let of_revision = configs
            .iter()
            .find(|config| named.as_ref().is_some_and(|name| config.meta.name == *name));
        of_revision.or(configs.first()).copied()
    }

    /// The revision of the control plane that serves the proxies of `namespace`, by its label; `None`: the default one (the
    /// label `istio-injection` comes first).
    pub fn revision_of(&self, namespace: &str) -> Option<&'w Symbol> {
        let namespace = self.get(&ObjectRef::new(Kind::Namespace, "", namespace));
        let labels = namespace.map(|namespace| &namespace.meta().labels);
        let labels = labels.filter(|labels| labels.get("istio-injection").is_none());
        labels.and_then(|labels| labels.get("istio.io/rev"))
    }

    /// Every mesh configuration, that of the default revision first.
    fn mesh_configs(&self) -> &[&'w MeshConfig] {
        self.known.mesh.get_or_init(|| {
            let home = &self.settings().root_namespace;
            self.all_in(Kind::ConfigMap, home, |object| match object {
                Resource::MeshConfig(config) => Some(&**config),
                _ => None,
            })
        })
    }

    /// Whether Istio looks at a namespace at all (`discoverySelectors`). One whose labels are not known here is
    /// looked at.
    pub fn is_discovered(&self, namespace: &str) -> bool {
        let Some(config) = self
            .mesh_config()
            .filter(|config| !config.discovery_selectors.is_empty())
        else {
            return true;
        };
        let Some(known) = self.get(&ObjectRef::new(Kind::Namespace, "", namespace)) else {
            return true;
        };
        // The API server adds this label to each; files do not have it.
        let own = ("kubernetes.io/metadata.name".into(), namespace.into());
        let labels = Labels::new(known.meta().labels.pairs().iter().cloned().chain([own]));
        config
            .discovery_selectors
            .iter()
            .any(|selector| selector.selects(&labels))
    }

    /// The objects of one kind in a namespace that `pick` takes, by name.
    fn all_in<T>(
        &self,
        kind: Kind,
        namespace: &Symbol,
        pick: impl Fn(&'w Resource) -> Option<&'w T>,
    ) -> Vec<&'w T> {
        self.record(|| Read::List(kind, namespace.clone()));
        let mut found = self.find(&Key::In(kind, namespace.clone()));
        found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        found.into_iter().filter_map(pick).collect()
    }

    /// `VirtualServices` by one key, by namespace and name.
    fn virtual_services(&self, key: &Key) -> Vec<&'w VirtualService> {
        let found = self.find(key).into_iter().filter_map(|object| match object {
            Resource::VirtualService(vs) => Some(&**vs),
            _ => None,
        });
        sorted(found.collect(), |vs| &vs.meta)
    }

    /// The same, of which each is read again: they may be of any namespace.
    fn virtual_services_again(&self, key: &Key) -> Vec<&'w VirtualService> {
        let found = self.virtual_services(key);
        for vs in &found {
            self.rests_on(vs);
        }
        found
    }

    /// Has a `VirtualService` that was found among others read again before a denial.
    pub fn rests_on(&self, vs: &VirtualService) {
        self.record(|| Read::Object(vs.meta.reference(Kind::VirtualService)));
    }

    fn find(&self, key: &Key) -> Vec<&'w Resource> {
        self.note(|| Fact::Key(key.clone()));
        let mut found = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            found.extend(layer.world.find(key).filter(|object| !self.is_hidden(at, object)));
        }
        found
    }

    /// Whether a layer above the one at `at` stands in for `object`.
    fn is_hidden(&self, at: usize, object: &Resource) -> bool {
        self.layers
            .iter()
            .skip(at + 1)
            .any(|layer| layer.scope.hides(object))
    }

    /// The namespace of the service that a full host names; empty: of none.
    fn home_of(&self, host: &str) -> Symbol {
        let home = self.read_host(host).namespace();
        home.map(Symbol::new).unwrap_or_default()
    }

    fn record(&self, read: impl FnOnce() -> Read) {
        if let Some(reads) = &self.reads {
            reads.borrow_mut().insert(read());
        }
    }
}

/// What Istio sorts configuration by: age, then name, then namespace (`sortConfigByCreationTime` in
/// `pilot/pkg/model/config.go`). What has not been created yet is the youngest.
pub fn age(meta: &Meta) -> (bool, Option<Created>, &Symbol, &Symbol) {
    (meta.created.is_none(), meta.created, &meta.name, &meta.namespace)
}

/// Whether it is known which of the two is older: files say nothing of it, and within a second the name decides
/// [s37].
pub fn is_age_known(a: &Meta, b: &Meta) -> bool {
    a.created != b.created
}

fn sorted_by_age<T>(mut objects: Vec<&T>, meta: impl Fn(&T) -> &Meta) -> Vec<&T> {
    objects.sort_by(|a, b| age(meta(a)).cmp(&age(meta(b))));
    objects
}

fn sorted<T>(mut objects: Vec<&T>, meta: impl Fn(&T) -> &Meta) -> Vec<&T> {
    objects.sort_by(|a, b| {
        let (a, b) = (meta(a), meta(b));
        (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
    });
    objects
}
