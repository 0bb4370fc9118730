//! What can be wrong: one file a rule, each a pure function from a view and an object to findings.
//!
//! A rule's file starts with its page (`//!`): what it proves, what happens at run time, a bad and a good
//! example. The catalogue, `lanekeeper rules` and the documentation are made from it. A rule knows nothing of
//! admission, files or configuration; what a finding leads to is decided by [`crate::verdict`].

mod affected;
mod catalogue;
mod default_route;
mod entry;
mod finding;
mod lk101;
mod lk102;
mod lk103;
mod lk104;
mod lk105;
mod lk106;
mod lk107;
mod lk108;
mod lk109;
mod lk201;
mod lk202;
mod lk203;
mod lk204;
mod lk205;
mod lk206;
mod lk301;
mod lk302;
mod lk303;
mod lk304;
mod lk305;
mod lk306;
mod lk307;
mod lk308;
mod lk401;
mod lk402;
mod lk403;
mod lk404;
mod lk405;
mod lk406;
mod lk407;
mod lk408;
mod lk501;
mod lk502;
mod lk503;
mod lk504;
mod lk601;
mod lk602;
mod subset;
mod suggestion;
mod tally;

pub use affected::affected;
pub use catalogue::{RULES, Rule, UnknownRule, find, index, named};

pub use finding::{Certainty, Evidence, Finding, Identity, Level, Subject};
pub use suggestion::{Change, Suggestion};
pub use tally::Tally;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::resource::{HeaderOperations, HttpRoute, Kind, ObjectRef, Resource, VirtualService};
use crate::routing::{
    Caller, Comparisons, EntryRoute, Groups, Lanes, VirtualHosts, callers_of, entry_routes, reached,
    virtual_hosts,
};
use crate::symbol::Symbol;
use crate::world::{Shared, View};
use crate::yaml::field;

/// What a rule judges by.
#[derive(Debug)]
pub struct Check<'v, 'w> {
    /// The world as it is, or as it would be.
    pub view: &'v View<'w>,
    /// At admission, the world as it was: what was a lane then still is one [s32].
    pub before: Option<&'v View<'w>>,
    /// The lane groups of both.
    pub groups: Groups<'v, 'w>,
    /// At admission, the lane groups of the world as it was, by itself.
    pub groups_before: Option<Groups<'v, 'w>>,
    /// What most rules on routes ask for of one `VirtualService`, each worked out once.
    hosts: Known<VirtualHosts<'w>>,
    entries: Known<[EntryRoute<'v, 'w>]>,
    callers: Known<[Caller]>,
    /// What is left to compare for the object that is judged.
    comparisons: Comparisons,
}

/// What was worked out, by the object that it is of.
#[derive(Debug)]
struct Known<T: ?Sized>(RefCell<HashMap<ObjectRef, Rc<T>>>);

impl<T: ?Sized> Default for Known<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: ?Sized> Known<T> {
    fn of<F: Into<Rc<T>>>(
        &self,
        view: &View<'_>,
        vs: &VirtualService,
        work_out: impl FnOnce() -> F,
    ) -> Rc<T> {
        let object = vs.meta.reference(Kind::VirtualService);
        let shared = || Shared::Routes(object.clone());
        view.shares(shared);
        if let Some(known) = self.0.borrow().get(&object) {
            return Rc::clone(known);
        }
        let all: Rc<T> = view.sharing(shared, work_out).into();
        self.0.borrow_mut().insert(object, Rc::clone(&all));
        all
    }
}

impl<'v, 'w> Check<'v, 'w> {
    /// Judges `view`, which at admission is what the world `before` would become.
    pub fn new(view: &'v View<'w>, before: Option<&'v View<'w>>) -> Self {
        Self {
            view,
            before,
            groups: Groups::new(view, before),
            groups_before: before.map(|before| Groups::new(before, None)),
            hosts: Known::default(),
            entries: Known::default(),
            callers: Known::default(),
            comparisons: Comparisons::default(),
        }
    }
}

impl<'v, 'w> Check<'v, 'w> {
    /// The lane groups of the services that a route of `vs` sends requests to, each once.
    pub fn groups_of(&self, vs: &VirtualService, route: &HttpRoute) -> Vec<Rc<Lanes<'v, 'w>>> {
        let hosts = reached(route).map(|(_, to)| self.view.resolve(&to.destination.host, &vs.meta.namespace));
        let mut hosts: SmallVec<[Symbol; 2]> = hosts.collect();
        hosts.sort();
        hosts.dedup();
        let mut found: Vec<Rc<Lanes<'v, 'w>>> = Vec::new();
        for lanes in hosts.iter().filter_map(|host| self.groups.of_host(host)) {
            if !found.iter().any(|known| Rc::ptr_eq(known, &lanes)) {
                found.push(lanes);
            }
        }
        found
    }

    /// The routes of `vs` by which requests enter lane groups ([`entry_routes`]).
    pub fn entry_routes(&self, vs: &'w VirtualService) -> Rc<[EntryRoute<'v, 'w>]> {
        self.entries
            .of(self.view, vs, || entry_routes(self.view, &self.groups, vs))
    }

    /// The lists of routes in which the routes of `vs` are tried ([`virtual_hosts`]).
    pub fn virtual_hosts(&self, vs: &'w VirtualService) -> Rc<VirtualHosts<'w>> {
        self.hosts.of(self.view, vs, || virtual_hosts(self.view, vs))
    }

    /// Who can reach the routes of `vs` ([`callers_of`]).
    pub fn callers_of(&self, vs: &'w VirtualService) -> Rc<[Caller]> {
        self.callers.of(self.view, vs, || callers_of(self.view, vs))
    }

    /// All findings of `rules` on one object.
    pub fn object(&self, rules: &[Rule], object: &'w Resource) -> Vec<Finding> {
        let kind = object.kind();
        self.comparisons.renew();
        rules
            .iter()
            .filter(|rule| rule.kinds.contains(&kind))
            .flat_map(|rule| (rule.check)(self, object))
            .collect()
    }

    /// All findings of `rules` on the objects that `references` name, in their order.
    pub fn objects<'r>(
        &self,
        rules: &[Rule],
        references: impl IntoIterator<Item = &'r ObjectRef>,
    ) -> Vec<Finding> {
        let objects = references
            .into_iter()
            .filter_map(|reference| self.view.get(reference));
        objects.flat_map(|object| self.object(rules, object)).collect()
    }
}

/// The items as people list them: `a, b`, or with another joint.
fn joined<T: fmt::Display>(items: &[T], joint: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(joint)
}

/// The request operations of a route and of its destinations, each with its path.
fn request_operations(route: &HttpRoute, index: usize) -> Vec<(String, &HeaderOperations)> {
    let of_route = route
        .headers
        .iter()
        .map(|headers| (format!("spec.http[{index}].headers.request"), headers));
    let of_destinations = route.route.iter().enumerate().filter_map(|(at, to)| {
        to.headers
            .as_ref()
            .map(|headers| (format!("spec.http[{index}].route[{at}].headers.request"), headers))
    });
    of_route
        .chain(of_destinations)
        .map(|(path, headers)| (path, &headers.request))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::routing::{MOST_COMPARED, count};
    use crate::world::{Settings, World};

    #[test]
    fn what_is_compared_for_one_object_has_an_end_however_many_hosts_and_headers_it_has() {
        let object = |kind, name: &str, spec: Value| {
            let object = json!({"metadata": {"namespace": "cars", "name": name}, "spec": spec});
            Resource::parse(kind, object).unwrap()
        };
        let deployment = |lane: &str| {
            let labels = json!({"app": "portal", "version": lane});
            let spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}});
            object(Kind::Deployment, lane, spec)
        };
        let headers = (0..40).map(|at| (format!("a{at}"), json!({"exact": ""})));
        let headers: Map<String, Value> = headers.collect();
        let with = |others: &[(&str, String)]| {
            let mut headers = headers.clone();
            for (name, value) in others {
                headers.insert((*name).to_owned(), json!({"exact": value}));
            }
            json!({"headers": headers})
        };
        let lanes: Vec<Value> = (0..100)
            .map(|at| with(&[("bu", "b".to_owned()), ("z", at.to_string())]))
            .collect();
        let others: Vec<Value> = (0..100).rev().map(|at| with(&[("z", at.to_string())])).collect();
        let hosts: Vec<String> = (0..50).map(|at| format!("h{at}.example")).collect();
        let to = |subset: &str| json!([{"destination": {"host": "portal", "subset": subset}}]);
        let objects = [
            object(
                Kind::Service,
                "portal",
                json!({"selector": {"app": "portal"}, "ports": [{"name": "http", "port": 80}]}),
            ),
            object(
                Kind::DestinationRule,
                "portal",
                json!({"host": "portal", "subsets": [{"name": "a", "labels": {"version": "a"}}, {"name": "b", "labels": {"version": "b"}}]}),
            ),
            object(
                Kind::LaneGroup,
                "cars",
                json!({"header": "bu", "workloads": {"matchLabels": {"app": "portal"}}, "lanes": ["a", "b"], "defaultLane": "a"}),
            ),
            deployment("a"),
            deployment("b"),
            object(
                Kind::VirtualService,
                "portal",
                json!({"hosts": hosts, "http": [{"match": lanes, "route": to("b")}, {"match": others, "route": to("a")}]}),
            ),
        ];
        let world = World::of(Settings::default(), objects);
        let view = View::new(&world);
        let check = Check::new(&view, None);
        let reference: ObjectRef = view
            .virtual_service(&"cars".into(), &"portal".into())
            .unwrap()
            .meta
            .reference(Kind::VirtualService);
        let object = view.get(&reference).unwrap();
        // The second time as the first: each object has what it may cost for itself.
        for _ in 0..2 {
            count::take();
            check.object(RULES, object);
            let compared = count::take();
            assert!(compared > MOST_COMPARED / 2, "{compared}: it is no such object");
            assert!(compared <= MOST_COMPARED, "{compared}");
        }
    }
}
