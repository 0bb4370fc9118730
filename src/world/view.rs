//! A world with changes laid over it, and the questions that rules ask.

use std::cell::RefCell;

use hashbrown::HashSet;

use super::key::{Key, qualified};
use super::{Host, Read, Settings, World, host};
use crate::resource::{
    DestinationRule, Gateway, Kind, Labels, LaneGroup, MeshConfig, ObjectRef, Resource, Service,
    ServiceEntry, VirtualService, WasmPlugin,
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
            Self::Object(reference) => {
                let meta = object.meta();
                meta.name == reference.name
                    && meta.namespace == reference.namespace
                    && object.kind() == reference.kind
            }
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
    reads: RefCell<HashSet<Read>>,
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
            reads: RefCell::default(),
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
            reads: RefCell::default(),
        }
    }

    /// The view in which `workload` goes and its pods stay.
    #[must_use]
    pub fn freeing(mut self, workload: Option<ObjectRef>) -> Self {
        self.freeing = workload;
        self
    }

    /// What is fixed about the mesh.
    pub fn settings(&self) -> &'w Settings {
        // A view always has its lowest layer.
        static DEFAULT: std::sync::LazyLock<Settings> = std::sync::LazyLock::new(Settings::default);
        self.layers
            .first()
            .map_or(&DEFAULT, |layer| layer.world.settings())
    }

    /// Istio's root namespace.
    pub fn root_namespace(&self) -> &'w Symbol {
        &self.settings().root_namespace
    }

    /// The full name of `host` as an object in `namespace` names it.
    pub fn resolve(&self, host: &Symbol, namespace: &str) -> Symbol {
        host::resolve(host, namespace, &self.settings().cluster_domain)
    }

    /// The full host of a service.
    pub fn host_of(&self, service: &Service) -> Symbol {
        host::cluster_host(
            &service.meta.name,
            &service.meta.namespace,
            &self.settings().cluster_domain,
        )
    }

    /// A full host name, read.
    pub fn read_host<'h>(&self, host: &'h str) -> Host<'h> {
        Host::read(host, &self.settings().cluster_domain)
    }

    /// The reads that would repeat what was asked so far.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.borrow().iter().cloned().collect()
    }

    /// The object that `reference` names.
    pub fn get(&self, reference: &ObjectRef) -> Option<&'w Resource> {
        self.record(Read::Object(reference.clone()));
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
        self.record(Read::List(Kind::Service, namespace.into()));
        match self.get(&ObjectRef::new(Kind::Service, namespace, name))? {
            Resource::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The service that a full host names.
    pub fn service_of(&self, host: &str) -> Option<&'w Service> {
        match self.read_host(host) {
            Host::Service { name, namespace } => self.service(namespace, name),
            Host::Other(_) => None,
        }
    }

    /// The services of a namespace, by name.
    pub fn services_in(&self, namespace: &Symbol) -> Vec<&'w Service> {
        self.all_in(Kind::Service, namespace, |object| match object {
            Resource::Service(service) => Some(service),
            _ => None,
        })
    }

    /// The services of `namespace` whose selector chooses pods with `labels`, by name.
    pub fn services_selecting(&self, namespace: &Symbol, labels: &Labels) -> Vec<&'w Service> {
        self.record(Read::List(Kind::Service, namespace.clone()));
        let key = |(key, value): &(Symbol, Symbol)| {
            Key::ServiceSelecting(namespace.clone(), key.clone(), value.clone())
        };
        let found = labels.pairs().iter().flat_map(|pair| self.find(&key(pair)));
        let services = found.filter_map(|object| match object {
            Resource::Service(service) if service.selector.select(labels) => Some(service),
            _ => None,
        });
        sorted(services.collect(), |service| &service.meta)
    }

    /// The carriers of `namespace` that have every pair of `selector`; an empty one chooses all.
    pub fn carriers(&self, namespace: &Symbol, selector: &Labels) -> Vec<&'w Resource> {
        for kind in [
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::WorkloadEntry,
        ] {
            self.record(Read::List(kind, namespace.clone()));
        }
        self.record(Read::Pods(namespace.clone(), selector.clone()));
        self.carriers_at(Some(namespace), selector)
    }

    /// The namespaces of the carriers, wherever they are, that have every pair of `selector`: where a
    /// gateway's pods run. An empty selector chooses none.
    pub fn namespaces_with(&self, selector: &Labels) -> Vec<Symbol> {
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
        let mut found = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let carriers = layer.world.carriers(namespace, selector);
            found.extend(
                carriers
                    .into_iter()
                    .filter(|object| !self.is_hidden(at, object))
                    .filter(|object| {
                        // A pod of a lower world may have found its workload in a higher one.
                        match object {
                            Resource::Pod(pod) => !layer.world.speaker(pod).is_some_and(|speaker| {
                                self.layers
                                    .iter()
                                    .skip(at + 1)
                                    .any(|above| above.world.get(&speaker).is_some())
                            }),
                            _ => true,
                        }
                    }),
            );
            if let Some(workload) = &self.freeing {
                let freed = Key::OwnedBy(workload.clone());
                let pods = layer.world.find(&freed);
                let chosen = |object: &&Resource| {
                    object
                        .carrier_labels()
                        .is_some_and(|labels| selector.select(labels))
                        && namespace.is_none_or(|namespace| object.meta().namespace == *namespace)
                };
                found.extend(pods.filter(chosen).filter(|object| !self.is_hidden(at, object)));
            }
        }
        found.sort_by(|a, b| (a.kind(), &a.meta().name).cmp(&(b.kind(), &b.meta().name)));
        found
    }

    /// The `DestinationRules` that are for exactly this full host, in whatever namespace: oldest first, then by
    /// name, as Istio sorts them.
    pub fn destination_rules_for(&self, host: &Symbol) -> Vec<&'w DestinationRule> {
        let home = self.read_host(host).namespace().map(Symbol::new);
        self.record(Read::List(Kind::DestinationRule, home.unwrap_or_default()));
        let found = self.find(&Key::DestinationRuleFor(host.clone()));
        let mut rules: Vec<_> = found
            .into_iter()
            .filter_map(|object| match object {
                Resource::DestinationRule(rule) => Some(rule),
                _ => None,
            })
            .collect();
        rules.sort_by(|a, b| age(&a.meta).cmp(&age(&b.meta)));
        rules
    }

    /// `host` and the wildcards that include it, the most specific first.
    pub fn with_wildcards(&self, host: &Symbol) -> Vec<Symbol> {
        host::with_wildcards(host).collect()
    }

    /// The `ServiceEntry` that serves a full host, exactly or by wildcard.
    pub fn service_entry_of(&self, host: &Symbol) -> Option<&'w ServiceEntry> {
        host::with_wildcards(host).find_map(|host| {
            self.find(&Key::ServiceEntryFor(host))
                .into_iter()
                .find_map(|object| match object {
                    Resource::ServiceEntry(entry) => Some(entry),
                    _ => None,
                })
        })
    }

    /// The `VirtualServices` that send requests or copies to a full host.
    pub fn virtual_services_to(&self, host: &Symbol) -> Vec<&'w VirtualService> {
        let home = self.read_host(host).namespace().map(Symbol::new);
        self.record(Read::List(Kind::VirtualService, home.unwrap_or_default()));
        self.virtual_services(&Key::VirtualServiceTo(host.clone()))
    }

    /// The `VirtualServices` that claim a full host as it stands.
    pub fn virtual_services_of(&self, host: &Symbol) -> Vec<&'w VirtualService> {
        self.virtual_services(&Key::VirtualServiceOf(host.clone()))
    }

    /// The `VirtualServices` that are bound to the gateway `namespace/name`.
    pub fn virtual_services_at(&self, gateway: &Symbol) -> Vec<&'w VirtualService> {
        self.virtual_services(&Key::BoundTo(gateway.clone()))
    }

    /// The `VirtualServices` that delegate to `vs`.
    pub fn roots_of(&self, vs: &VirtualService) -> Vec<&'w VirtualService> {
        let name = format!("{}/{}", vs.meta.namespace, vs.meta.name);
        self.virtual_services(&Key::DelegatingTo(name.into()))
    }

    /// The `VirtualServices` that send requests to services of `namespace` and whose routes name the value of
    /// `header` exactly.
    pub fn virtual_services_naming(
        &self,
        namespace: &Symbol,
        header: &Symbol,
        value: &Symbol,
    ) -> Vec<&'w VirtualService> {
        self.record(Read::List(Kind::VirtualService, namespace.clone()));
        self.virtual_services(&Key::Naming(namespace.clone(), header.clone(), value.clone()))
    }

    /// The exact values of `header` that routes to services of `namespace` name, in the order of their text.
    pub fn named_values(&self, namespace: &Symbol, header: &Symbol) -> Vec<Symbol> {
        self.record(Read::List(Kind::VirtualService, namespace.clone()));
        let named = self
            .layers
            .iter()
            .flat_map(|layer| layer.world.named(namespace, header));
        let mut values: Vec<_> = named.cloned().collect();
        values.sort();
        values.dedup();
        // A value whose only route a higher layer hides is not named any more.
        values.retain(|value| {
            !self
                .find(&Key::Naming(namespace.clone(), header.clone(), value.clone()))
                .is_empty()
        });
        values
    }

    /// The headers that routes to services of `namespace` name with an exact value.
    pub fn named_headers(&self, namespace: &Symbol) -> Vec<Symbol> {
        self.record(Read::List(Kind::VirtualService, namespace.clone()));
        let mut headers: Vec<_> = self
            .layers
            .iter()
            .flat_map(|layer| layer.world.named_headers(namespace))
            .cloned()
            .collect();
        headers.sort();
        headers.dedup();
        headers
    }

    /// The lane groups that are written down in a namespace.
    pub fn lane_groups(&self, namespace: &Symbol) -> Vec<&'w LaneGroup> {
        self.all_in(Kind::LaneGroup, namespace, |object| match object {
            Resource::LaneGroup(group) => Some(group),
            _ => None,
        })
    }

    /// The lane plugins (`WasmPlugin`, `TrafficExtension`) of a namespace that sidecars load.
    pub fn lane_plugins(&self, namespace: &Symbol) -> Vec<&'w WasmPlugin> {
        let plugin = |object: &'w Resource| match object {
            Resource::WasmPlugin(plugin) if plugin.lane_header.is_some() && !plugin.has_target_refs => {
                Some(plugin)
            }
            _ => None,
        };
        let mut plugins = self.all_in(Kind::WasmPlugin, namespace, plugin);
        plugins.extend(self.all_in(Kind::TrafficExtension, namespace, plugin));
        plugins
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

    /// Istio's mesh configuration; of several revisions, that of the default one.
    pub fn mesh_config(&self) -> Option<&'w MeshConfig> {
        let configs = self.all_in(Kind::ConfigMap, self.root_namespace(), |object| match object {
            Resource::MeshConfig(config) => Some(config),
            _ => None,
        });
        configs.into_iter().next()
    }

    /// The objects of one kind in a namespace that `pick` takes, by name.
    fn all_in<T>(
        &self,
        kind: Kind,
        namespace: &Symbol,
        pick: impl Fn(&'w Resource) -> Option<&'w T>,
    ) -> Vec<&'w T> {
        self.record(Read::List(kind, namespace.clone()));
        let mut found = self.find(&Key::In(kind, namespace.clone()));
        found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        found.into_iter().filter_map(pick).collect()
    }

    /// `VirtualServices` by one key, by namespace and name.
    fn virtual_services(&self, key: &Key) -> Vec<&'w VirtualService> {
        let found = self.find(key).into_iter().filter_map(|object| match object {
            Resource::VirtualService(vs) => Some(vs),
            _ => None,
        });
        sorted(found.collect(), |vs| &vs.meta)
    }

    fn find(&self, key: &Key) -> Vec<&'w Resource> {
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

    fn record(&self, read: Read) {
        self.reads.borrow_mut().insert(read);
    }
}

/// What Istio sorts configuration by: age, then name, then namespace.
fn age(meta: &crate::resource::Meta) -> (Option<jiff::Timestamp>, &Symbol, &Symbol) {
    (meta.created, &meta.name, &meta.namespace)
}

fn sorted<T>(mut objects: Vec<&T>, meta: impl Fn(&T) -> &crate::resource::Meta) -> Vec<&T> {
    objects.sort_by(|a, b| {
        let (a, b) = (meta(a), meta(b));
        (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
    });
    objects
}
