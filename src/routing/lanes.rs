//! The lanes of a group as the world shows them.

mod member;
mod reach;

pub use member::has_http_port;
pub use reach::Reach;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use hashbrown::HashMap;

use super::delegate::standing_for;
use super::subset::{is_topology_key, workload_labels};
use super::{carriers_of_subset, rule_for};
use crate::lane::{Entry, LaneGroup, WithoutHeader, is_near, nearest};
use crate::resource::{Destination, HttpRoute, Labels, Service, Subset, VirtualService, WasmPlugin};
use crate::symbol::Symbol;
use crate::world::{Shared, View};

/// A lane group, and which names the world knows as its lanes.
#[derive(Debug)]
pub struct Lanes<'v, 'w> {
    /// The group.
    pub group: LaneGroup,
    view: &'v View<'w>,
    /// The world as it was before a change: a name that was a lane then still is one [s32].
    before: Option<&'v View<'w>>,
    /// What was worked out already: a large object asks the same for each of its routes.
    all: OnceCell<Vec<Symbol>>,
    entry: OnceCell<Option<Entry>>,
    known: RefCell<HashMap<Box<str>, bool>>,
    label: OnceCell<Option<Symbol>>,
    members: RefCell<HashMap<Symbol, bool>>,
    reaches: RefCell<HashMap<Subsets, Option<Rc<Reach>>>>,
}

/// The subsets of one service with the same labels: its namespace and name, and these.
type Subsets = (Symbol, Symbol, Labels);

/// The most names of one header that are looked at as lanes: a header with more is an identity. A `LaneGroup` has
/// no more lanes either.
const MOST: usize = 256;

/// The lane groups of a view, each made once.
#[derive(Debug)]
pub struct Groups<'v, 'w> {
    view: &'v View<'w>,
    before: Option<&'v View<'w>>,
    of_namespaces: RefCell<HashMap<Symbol, Vec<Rc<Lanes<'v, 'w>>>>>,
    of_hosts: RefCell<HashMap<Symbol, Option<Rc<Lanes<'v, 'w>>>>>,
}

impl<'v, 'w> Groups<'v, 'w> {
    /// The groups of `view`, and at admission of the world `before` the change.
    pub fn new(view: &'v View<'w>, before: Option<&'v View<'w>>) -> Self {
        Self {
            view,
            before,
            of_namespaces: RefCell::default(),
            of_hosts: RefCell::default(),
        }
    }

    /// The group of the service that the full host `host` names.
    pub fn of_host(&self, host: &Symbol) -> Option<Rc<Lanes<'v, 'w>>> {
        let shared = || Shared::GroupOf(host.clone());
        self.view.shares(shared);
        if let Some(known) = self.of_hosts.borrow().get(host) {
            return known.clone();
        }
        let found = self.view.sharing(shared, || {
            let service = self.view.service_of(host)?;
            self.of_service(service)
        });
        self.of_hosts.borrow_mut().insert(host.clone(), found.clone());
        found
    }

    /// The groups of a namespace.
    pub fn of_namespace(&self, namespace: &Symbol) -> Vec<Rc<Lanes<'v, 'w>>> {
        let shared = || Shared::Groups(namespace.clone());
        self.view.shares(shared);
        if let Some(known) = self.of_namespaces.borrow().get(namespace) {
            return known.clone();
        }
        let found = self
            .view
            .sharing(shared, || lanes_of(self.view, self.before, namespace));
        let found: Vec<_> = found.into_iter().map(Rc::new).collect();
        self.of_namespaces
            .borrow_mut()
            .insert(namespace.clone(), found.clone());
        found
    }

    /// The group that `service` belongs to: the first of its namespace that has a workload behind the service; of
    /// a service with nothing behind it, the first whose labels its selector does not contradict.
    pub fn of_service(&self, service: &Service) -> Option<Rc<Lanes<'v, 'w>>> {
        let groups = self.of_namespace(&service.meta.namespace);
        if groups.is_empty() {
            return None;
        }
        let carriers: Rc<[_]> = if service.selector.is_empty() {
            Rc::default()
        } else {
            self.view.carriers(&service.meta.namespace, &service.selector)
        };
        groups.into_iter().find(|lanes| {
            let workloads = lanes.selector();
            if carriers.is_empty() {
                workloads.agree_with(&service.selector)
            } else {
                let labels = carriers.iter().filter_map(|carrier| carrier.carrier_labels());
                labels.into_iter().any(|labels| workloads.select(labels))
            }
        })
    }
}

/// The lane groups of a namespace: those that are written down, and those that lane plugins of the namespace
/// or of the root namespace imply for headers that no written one has.
fn lanes_of<'v, 'w>(
    view: &'v View<'w>,
    before: Option<&'v View<'w>>,
    namespace: &Symbol,
) -> Vec<Lanes<'v, 'w>> {
    let mut groups: Vec<LaneGroup> = view
        .lane_groups(namespace)
        .iter()
        .map(|group| group.group())
        .collect();
    for plugin in view.lane_plugins_for(namespace) {
        let Some(header) = &plugin.lane_header else {
            continue;
        };
        match groups.iter_mut().find(|group| group.header == *header) {
            // Plugins with one header are one group: the first to say something says it for all.
            Some(group) if group.is_implicit() => {
                group.default_lane = group.default_lane.take().or_else(|| plugin.traffic_lane.clone());
                group.lanes = group.lanes.take().or_else(|| plugin.lanes.clone());
                let same = plugin
                    .selector
                    .as_ref()
                    .is_some_and(|selector| selector.pairs() == group.workloads.as_slice());
                if !same {
                    group.workloads.clear();
                }
            }
            Some(_) => {}
            None => groups.push(implied_by(plugin, header, namespace)),
        }
    }
    groups
        .into_iter()
        .map(|group| Lanes {
            group,
            view,
            before,
            all: OnceCell::new(),
            entry: OnceCell::new(),
            known: RefCell::default(),
            label: OnceCell::new(),
            members: RefCell::default(),
            reaches: RefCell::default(),
        })
        .collect()
}

fn implied_by(plugin: &WasmPlugin, header: &Symbol, namespace: &Symbol) -> LaneGroup {
    LaneGroup {
        namespace: namespace.clone(),
        source: format!("{} {}", plugin.kind, plugin.meta.name),
        header: header.clone(),
        entry: None,
        lanes: plugin.lanes.clone(),
        default_lane: plugin.traffic_lane.clone(),
        without_header: WithoutHeader::DefaultLane,
        completeness: None,
        lane_label: None,
        chain: Vec::new(),
        workloads: plugin
            .selector
            .as_ref()
            .map(|selector| selector.pairs().to_vec())
            .unwrap_or_default(),
    }
}

/// Whether a label with this key can tell the lane: not a template hash, a revision, or what Istio adds for
/// locality [s32].
pub fn is_lane_key(key: &str) -> bool {
    !key.ends_with("-template-hash") && key != "istio.io/rev" && !is_topology_key(key)
}

impl<'w> Lanes<'_, 'w> {
    /// Works out something that the group keeps: who asks for it rests on what the group does.
    fn kept<T>(&self, work_out: impl FnOnce() -> T) -> T {
        self.view
            .sharing(|| Shared::Groups(self.group.namespace.clone()), work_out)
    }

    /// Whether `name` is a lane of the group.
    pub fn contains(&self, name: &str) -> bool {
        if self
            .group
            .default_lane
            .as_ref()
            .is_some_and(|default| *default == name)
        {
            return true;
        }
        match &self.group.lanes {
            Some(lanes) => lanes.iter().any(|lane| *lane == name),
            None => self.is_confirmed(name),
        }
    }

    fn is_confirmed(&self, name: &str) -> bool {
        if let Some(known) = self.known.borrow().get(name) {
            return *known;
        }
        let is_confirmed = self.kept(|| {
            self.confirms(self.view, name) || self.before.is_some_and(|before| self.confirms(before, name))
        });
        self.known.borrow_mut().insert(name.into(), is_confirmed);
        is_confirmed
    }

    /// The lanes, in the order in which they are written, or else of their names.
    pub fn all(&self) -> &[Symbol] {
        if let Some(lanes) = &self.group.lanes {
            return lanes;
        }
        self.all.get_or_init(|| self.kept(|| self.confirmed()))
    }

    /// The names that are confirmed, and the default lane.
    fn confirmed(&self) -> Vec<Symbol> {
        let views = [Some(self.view), self.before].into_iter().flatten();
        let mut lanes: Vec<_> = views
            .flat_map(|view| {
                let named = view.named_values(&self.group.namespace, &self.group.header);
                named
                    .into_iter()
                    .take(MOST)
                    .filter(|name| self.is_confirmed(name))
            })
            .chain(self.group.default_lane.clone())
            .collect();
        lanes.sort();
        lanes.dedup();
        lanes
    }

    /// The lane that `name` is a near miss of.
    pub fn nearest(&self, name: &str) -> Option<Symbol> {
        nearest(name, self.all().iter().map(Symbol::as_str)).map(Symbol::new)
    }

    /// How callers outside name their lane: as written down, else by the one header whose exact values lead,
    /// at a gateway, to the lanes they name. Two such headers: none [s32].
    pub fn entry(&self) -> Option<&Entry> {
        if !self.group.is_implicit() {
            return self.group.entry.as_ref();
        }
        self.entry
            .get_or_init(|| self.kept(|| self.implied_entry()))
            .as_ref()
    }

    fn implied_entry(&self) -> Option<Entry> {
        let views = [Some(self.view), self.before].into_iter().flatten();
        views.into_iter().find_map(|view| {
            let mut headers = self.candidates(view);
            let first = headers.next()?;
            headers.next().is_none().then_some(Entry {
                header: first,
                gateways: Vec::new(),
            })
        })
    }

    /// The headers by which requests tell their lane: the lane header, and the entry header where there is one.
    pub fn headers(&self) -> impl Iterator<Item = &Symbol> {
        let entry = self.entry().map(|entry| &entry.header);
        [&self.group.header].into_iter().chain(entry)
    }

    /// Where callers outside name their lane in several headers, so that none of them is known to be the entry: these,
    /// by name [s32].
    pub fn entry_candidates(&self) -> Vec<Symbol> {
        if !self.group.is_implicit() {
            return Vec::new();
        }
        let headers: Vec<Symbol> = self.candidates(self.view).collect();
        if headers.len() < 2 { Vec::new() } else { headers }
    }

    /// The headers whose exact values lead, at a gateway, to the lanes that they name.
    fn candidates(&self, view: &View<'w>) -> impl Iterator<Item = Symbol> {
        let headers = view.named_headers(&self.group.namespace).into_iter();
        headers.filter(move |header| *header != self.group.header && self.leads_to_lanes(view, header))
    }

    /// The lane of a subset: the value of the lane label; where none is written down, the label value that is a
    /// lane; else the part of the subset's name that is one. `None` where that is not one lane of the group.
    pub fn lane_of_subset(&self, subset: &Subset) -> Option<Symbol> {
        self.lane_of_labels(&subset.labels).or_else(|| {
            let is_open = self.group.lane_label.is_none();
            let named = self.all().iter().filter(|lane| is_named_for(&subset.name, lane));
            is_open.then(|| only(named.cloned())).flatten()
        })
    }

    /// The lane that labels name: the value of the lane label; where none is written down, the value that is a lane.
    /// `None` where that is not one lane of the group.
    pub fn lane_of_labels(&self, labels: &Labels) -> Option<Symbol> {
        if let Some(label) = &self.group.lane_label {
            return labels.get(label).filter(|value| self.contains(value)).cloned();
        }
        let pairs = labels.pairs().iter().filter(|(key, _)| is_lane_key(key));
        only(
            pairs
                .map(|(_, value)| value)
                .filter(|value| self.contains(value))
                .cloned(),
        )
    }

    /// Whether the service at the full host `host` has a version for `lane`: a subset that something carries.
    pub fn serves(&self, host: &Symbol, lane: &str) -> bool {
        let Some(service) = self.view.service_of(host) else {
            return false;
        };
        let home = &service.meta.namespace;
        let rule = rule_for(self.view, home, host, Some(home)).filter(|_| !service.selector.is_empty());
        rule.is_some_and(|rule| {
            rule.subsets.iter().any(|defined| {
                self.lane_of_subset(defined.subset).is_some_and(|of| of == lane)
                    && !carriers_of_subset(self.view, service, defined.subset)
                        .of_subset
                        .is_empty()
            })
        })
    }

    /// Whether any route that names `name` in the lane header, or any workload that it reaches, carries it.
    fn confirms(&self, view: &View<'w>, name: &str) -> bool {
        let (namespace, header) = (&self.group.namespace, &self.group.header);
        view.virtual_services_naming(namespace, header, &name.into())
            .into_iter()
            .flat_map(|vs| routes_with(view, vs, |route| names(route, header, name)))
            .any(|(vs, route)| self.leads_to(view, vs, route, name))
    }

    /// Whether `header`'s exact values lead, at a gateway, to the lanes that they name: a value that is only some
    /// label of the pods behind it (`x-app: portal`) names none.
    fn leads_to_lanes(&self, view: &View<'w>, header: &Symbol) -> bool {
        let namespace = &self.group.namespace;
        view.named_values(namespace, header)
            .iter()
            .take(MOST)
            .filter(|value| self.contains(value))
            .any(|value| {
                view.virtual_services_naming(namespace, header, value)
                    .into_iter()
                    .filter(|vs| vs.bound_gateways().next().is_some())
                    .flat_map(|vs| routes_with(view, vs, |route| matches_exactly(route, header, value)))
                    .any(|(vs, route)| self.leads_to(view, vs, route, value))
            })
    }

    /// Whether some destination of the route carries `lane`: its subset is labelled or named for it and chooses
    /// something, or a workload behind the service has it as a label's value.
    fn leads_to(&self, view: &View<'w>, vs: &VirtualService, route: &HttpRoute, lane: &str) -> bool {
        route.route.iter().any(|to| {
            let host = view.resolve(&to.destination.host, &vs.meta.namespace);
            let Some(service) = view.service_of(&host) else {
                return false;
            };
            if service.meta.namespace != self.group.namespace || service.selector.is_empty() {
                return false;
            }
            let has_value = |labels: &Labels| {
                labels
                    .pairs()
                    .iter()
                    .any(|(key, value)| is_lane_key(key) && *value == lane)
            };
            // A workload behind the service says so too, whatever the subset chooses [s32].
            let carriers = view.carriers(&service.meta.namespace, &service.selector);
            if carriers
                .iter()
                .filter_map(|carrier| carrier.carrier_labels())
                .any(has_value)
            {
                return true;
            }
            let Some(subset) = subset_of(view, &host, service, &to.destination) else {
                return false;
            };
            let labels = workload_labels(subset);
            // `portal-wtcph` with `version: wicph` is a slip in the name, and no lane of its own.
            let is_slip = labels
                .pairs()
                .iter()
                .any(|(key, value)| is_lane_key(key) && is_near(value, lane));
            let is_for_lane = has_value(&labels) || (is_named_for(&subset.name, lane) && !is_slip);
            is_for_lane && !carriers_of_subset(view, service, subset).of_subset.is_empty()
        })
    }
}

/// The definition of the destination's subset, for a caller in the service's namespace.
fn subset_of<'w>(
    view: &View<'w>,
    host: &Symbol,
    service: &Service,
    destination: &Destination,
) -> Option<&'w Subset> {
    let home = &service.meta.namespace;
    let rule = rule_for(view, home, host, Some(home))?;
    rule.subset(destination.subset.as_ref()?)
        .map(|defined| defined.subset)
}

/// Whether `lane` is the subset's name, or its first or last part: `wicph`, `portal-wicph`, `wicph-portal`.
fn is_named_for(subset: &str, lane: &str) -> bool {
    let is_part =
        |rest: Option<&str>, dash: fn(&str) -> bool| rest.is_some_and(|rest| rest.is_empty() || dash(rest));
    !lane.is_empty()
        && (is_part(subset.strip_suffix(lane), |rest| rest.ends_with('-'))
            || is_part(subset.strip_prefix(lane), |rest| rest.starts_with('-')))
}

/// The routes of `vs` that `is_one` picks; of one that delegates, those that stand for it [s26].
fn routes_with<'w>(
    view: &View<'w>,
    vs: &'w VirtualService,
    is_one: impl Fn(&HttpRoute) -> bool,
) -> Vec<(&'w VirtualService, &'w HttpRoute)> {
    let picked = vs.http.iter().enumerate().filter(|(_, route)| is_one(route));
    picked
        .flat_map(|(index, _)| standing_for(view, vs, index))
        .collect()
}

/// Whether the route names `value` in `header`: in a match, or in what it or a destination sets.
fn names(route: &HttpRoute, header: &str, value: &str) -> bool {
    let on_destinations = route.route.iter().filter_map(|to| to.headers.as_ref());
    matches_exactly(route, header, value)
        || route
            .headers
            .iter()
            .chain(on_destinations)
            .any(|headers| headers.request.set_value(header) == Some(value))
}

fn matches_exactly(route: &HttpRoute, header: &str, value: &str) -> bool {
    route.matches.iter().any(|condition| {
        condition
            .header(header)
            .and_then(crate::resource::StringMatch::exact)
            == Some(value)
    })
}

/// The one item, if there is just one kind of it.
fn only(items: impl Iterator<Item = Symbol>) -> Option<Symbol> {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items.dedup();
    if items.len() == 1 { items.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_named_for_a_lane_as_a_whole_part() {
        for name in ["wicph", "portal-wicph", "wicph-portal", "cars-api-portal-wicph"] {
            assert!(is_named_for(name, "wicph"), "{name}");
        }
        for name in ["portalwicph", "wicphs", "wicp", ""] {
            assert!(!is_named_for(name, "wicph"), "{name}");
        }
        assert!(!is_named_for("anything", ""));
    }

    #[test]
    fn template_hashes_revisions_and_localities_tell_no_lane() {
        for key in [
            "pod-template-hash",
            "rollouts-pod-template-hash",
            "istio.io/rev",
            "topology.kubernetes.io/zone",
        ] {
            assert!(!is_lane_key(key), "{key}");
        }
        assert!(is_lane_key("version"));
    }
}
