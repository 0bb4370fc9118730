//! A service of a Strict lane group has no subset, or no route, for some lane of the group.
//!
//! ## What it does
//! In a group that is written down with `completeness: Strict` every service has every lane. For each service of the
//! group with an HTTP port and something behind it, the rule looks for a subset of each lane in the `DestinationRule`
//! that counts in the service's namespace, and, where there is one, for a route in the service's `VirtualService` on the
//! mesh: a match on the lane header that takes the lane's name, or for the default lane a route to it without such a
//! match. A service without any subset or route is told of once, unless another Service for the same pods has them.
//!
//! ## Why it matters
//! Requests of the lane get to the service and find no route of theirs: they take the default route, and leave their
//! lane with a 200, or there is none, and they are answered 404.
//!
//! ## Example
//! The `LaneGroup` has the lanes `wtchk` and `wicph`; the rule says:
//! ```yaml
//! subsets:
//! - name: cars-api-portal-wtchk
//!   labels: {version: wtchk}
//! ```
//! Use instead:
//! ```yaml
//! subsets:
//! - name: cars-api-portal-wtchk
//!   labels: {version: wtchk}
//! - name: cars-api-portal-wicph
//!   labels: {version: wicph}
//! ```
//!
//! ## References
//! What a service is expected to have is the `LaneGroup`'s own promise; neither Istio's analyzers nor Kiali know it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hashbrown::HashSet;

use super::subset::missing_for_lane;
use super::{Check, Finding, Level, Rule, Subject};
use crate::lane::is_near;
use crate::resource::{DestinationRule, Kind, Resource, Service, StringMatch, VirtualService};
use crate::routing::{
    EffectiveRule, Lanes, Patterns, Route, VirtualHost, cost_of, is_on_mesh, reached, rule_for,
};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK304",
    name: "lane-incomplete",
    level: Level::Warn,
    kinds: &[Kind::DestinationRule, Kind::Service, Kind::VirtualService],
    source: include_str!("lk304.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    match object {
        Resource::DestinationRule(rule) => without_subset(check, rule),
        Resource::Service(service) => without_anything(check, service).into_iter().collect(),
        Resource::VirtualService(vs) => without_route(check, vs),
        _ => Vec::new(),
    }
}

/// A service that a Strict group expects to have every lane.
struct Member<'v, 'w> {
    host: Symbol,
    service: &'w Service,
    lanes: Rc<Lanes<'v, 'w>>,
    /// What tells its subsets to callers of its own namespace.
    rule: Option<Rc<EffectiveRule<'w>>>,
    /// The lanes that some subset is for.
    covered: OnceCell<BTreeSet<Symbol>>,
}

impl<'v, 'w> Member<'v, 'w> {
    /// The service at `host`, if it is one with something behind it.
    fn at(check: &Check<'v, 'w>, host: &Symbol) -> Option<Self> {
        let service = check.view.service_of(host)?;
        let lanes = check.groups.of_service(service)?;
        let home = &service.meta.namespace;
        let is_judged = lanes.group.is_strict()
            && !service.headless
            && !service.selector.is_empty()
            && lanes.has_member(service)
            && !check.view.carriers(home, &service.selector).is_empty();
        is_judged.then(|| Self {
            host: host.clone(),
            service,
            lanes,
            rule: rule_for(check.view, home, host, Some(home)),
            covered: OnceCell::new(),
        })
    }

    /// Whether some subset is for the lane.
    fn has_subset(&self, lane: &Symbol) -> bool {
        let covered = self.covered.get_or_init(|| {
            let subsets = self.rule.iter().flat_map(|rule| &rule.subsets);
            subsets
                .flat_map(|defined| {
                    let reach = self.lanes.reach(self.service, Some(defined.subset));
                    let lanes = reach.map(|reach| reach.lanes.clone()).unwrap_or_default();
                    lanes.into_iter().chain(self.lanes.lane_of_subset(defined.subset))
                })
                .collect()
        });
        covered.contains(lane)
    }

    fn subject(&self, lane: Option<&Symbol>) -> Subject {
        Subject {
            host: Some(self.host.clone()),
            lane: lane.cloned(),
            ..Subject::default()
        }
    }
}

/// The lanes for which the rule, which is the first that counts for its host, has no subset.
fn without_subset(check: &Check<'_, '_>, rule: &DestinationRule) -> Vec<Finding> {
    let host = check.view.resolve(&rule.host, &rule.meta.namespace);
    let Some(member) = Member::at(check, &host) else {
        return Vec::new();
    };
    let reference = rule.meta.reference(Kind::DestinationRule);
    let first = member
        .rule
        .as_ref()
        .and_then(|rule| rule.references().into_iter().next());
    if first.as_ref() != Some(&reference) {
        return Vec::new();
    }
    let group = member.lanes.group.title();
    let lacking = member.lanes.all().iter().filter(|lane| !member.has_subset(lane));
    lacking
        .map(|lane| {
            Finding::new(&RULE, reference.clone(), "spec.subsets")
                .about(member.subject(Some(lane)))
                .missing_if(true)
                .mended_by(missing_for_lane(check, member.service, &member.lanes, rule, lane))
                .says(
                    format!("{group} is Strict and has lane `{lane}`, for which {host} has no subset: requests of the lane take the default route out of it, or are answered 404"),
                    format!("add a subset and a workload for lane `{lane}`, then a route; if the default lane is to stand in, say `completeness: Fallback` in {group}"),
                )
        })
        .collect()
}

/// A service that has no subset and no route for any lane.
fn without_anything(check: &Check<'_, '_>, service: &Service) -> Option<Finding> {
    let member = Member::at(check, &check.view.host_of(service))?;
    if member.rule.is_some() || member.lanes.takes_part(service) {
        return None;
    }
    let is_twin = |other: &&Service| {
        other.selector == service.selector
            && other.meta.name != service.meta.name
            && member.lanes.takes_part(other)
    };
    if check
        .view
        .services_in(&service.meta.namespace)
        .iter()
        .any(is_twin)
    {
        return None;
    }
    let (group, host) = (member.lanes.group.title(), &member.host);
    Some(
        Finding::new(&RULE, service.meta.reference(Kind::Service), "metadata.name")
            .about(member.subject(None))
            .missing_if(true)
            .says(
                format!("{group} is Strict, and {host} has no subset and no route for any of its lanes: requests reach all that runs behind it, whatever their lane"),
                format!("apply a DestinationRule with a subset for each lane and a VirtualService that routes to them; if it is no service of {group}, give its workloads other labels"),
            ),
    )
}

/// The lanes that have a subset and, on the mesh, no route. Of several objects for one host the first by name is told of
/// what none of them has; a delegate is told nothing, its root is.
fn without_route<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    if vs.hosts.is_empty() {
        return Vec::new();
    }
    let own = check.virtual_hosts(vs);
    let on_mesh = own.lists.iter().filter(|list| list.gateway.is_none());
    let mut hosts: Vec<&Symbol> = on_mesh.map(|list| &list.host).collect();
    hosts.sort();
    hosts.dedup();
    hosts
        .into_iter()
        .filter_map(|host| Routed::on_mesh(check, vs, host))
        .flat_map(|routed| routed.findings(check, vs))
        .collect()
}

/// A member with the lists of routes that callers in the mesh get.
struct Routed<'v, 'w> {
    member: Member<'v, 'w>,
    objects: Vec<&'w VirtualService>,
    /// By port, of all callers and objects.
    lists: BTreeMap<Option<u32>, Vec<VirtualHost<'w>>>,
}

impl<'v, 'w> Routed<'v, 'w> {
    /// The service at `host`, if it has subsets, `vs` is the object to tell of its routes, and all of these are known.
    fn on_mesh(check: &Check<'v, 'w>, vs: &'w VirtualService, host: &Symbol) -> Option<Self> {
        let member = Member::at(check, host).filter(|member| member.rule.is_some())?;
        let claiming = check.view.virtual_services_of(host).into_iter();
        let mut objects: Vec<&VirtualService> = claiming.filter(|other| is_on_mesh(other)).collect();
        if objects.is_empty() {
            // It is for the host by a wildcard.
            objects.push(vs);
        }
        objects.first().filter(|first| first.meta == vs.meta)?;
        let mut lists: BTreeMap<Option<u32>, Vec<VirtualHost<'_>>> = BTreeMap::new();
        for object in &objects {
            let of_object = check.virtual_hosts(object);
            if of_object.has_more {
                return None;
            }
            let of_host = of_object
                .lists
                .iter()
                .filter(|list| list.gateway.is_none() && list.host == *host && !list.routes.is_empty());
            for list in of_host {
                lists.entry(list.port).or_default().push(list.clone());
            }
        }
        Some(Self {
            member,
            objects,
            lists,
        })
    }

    /// A finding on `vs` for each lane that lacks a route on some port.
    fn findings(&self, check: &Check<'_, 'w>, vs: &VirtualService) -> Vec<Finding> {
        let member = &self.member;
        let (host, header) = (&member.host, &member.lanes.group.header);
        let judged = self
            .lists
            .iter()
            .filter(|(_, lists)| !self.leads_anywhere(check, lists))
            .filter_map(|(port, lists)| Some((*port, lists, self.values_of(lists)?)));
        let ports: Vec<_> = judged.collect();
        let lanes = member.lanes.all().iter().filter(|lane| member.has_subset(lane));
        lanes
            .filter_map(|lane| {
                let mut ports = ports.iter();
                let (port, ..) =
                    ports.find(|(_, lists, values)| !self.is_routed(check, lists, values, lane))?;
                let port = port.map(|port| format!(" on port {port}")).unwrap_or_default();
                Some(
                    Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), "spec.http")
                        .about(member.subject(Some(lane)))
                        .missing_if(true)
                        .says(
                            format!("no route{port} takes the requests of lane `{lane}`, for which {host} has a subset: they take the default route out of the lane, or are answered 404"),
                            format!("add a route that matches `{header}: {lane}` and leads to that subset"),
                        ),
                )
            })
            .collect()
    }

    /// Whether no route looks at the lane header and some leads to the service without a subset: LK308 tells of that.
    fn leads_anywhere(&self, check: &Check<'_, 'w>, lists: &[VirtualHost<'w>]) -> bool {
        let member = &self.member;
        let header = &member.lanes.group.header;
        let mut routes = lists.iter().flat_map(|list| &list.routes);
        let mut conditions = routes.clone().flat_map(|route| &route.conditions);
        !conditions.any(|condition| condition.header(header).is_some())
            && routes.any(|route| {
                reached(route.route).any(|(_, to)| {
                    to.destination.subset.is_none()
                        && route.host_of(check.view, &to.destination) == member.host
                })
            })
    }

    /// What the routes ask of the lane header, those that delegate too, each once; `None`: more patterns than are read.
    fn values_of<'r>(&'r self, lists: &'r [VirtualHost<'w>]) -> Option<HashSet<&'r StringMatch>> {
        let header = &self.member.lanes.group.header;
        let routes = lists
            .iter()
            .flat_map(|list| list.routes.iter().chain(&list.dropped));
        let conditions = routes.flat_map(|route| &route.conditions);
        let delegating = self.objects.iter().flat_map(|vs| &vs.http);
        let parts = delegating
            .filter(|route| route.delegate.is_some())
            .flat_map(|route| &route.matches);
        let values: HashSet<&StringMatch> = conditions
            .filter_map(|condition| condition.header(header))
            .chain(parts.filter_map(|part| part.header(header)))
            .collect();
        Patterns::default().take(values.iter().copied()).then_some(values)
    }

    /// Whether some route is for the lane, by one of the `values` that are asked for; those of the default lane may be
    /// taken as those of no lane. One that gets no request (LK305), that has a slip in the lane's name (LK301), that
    /// delegates to nothing, or of which it is not sure is one that is there.
    fn is_routed(
        &self,
        check: &Check<'_, 'w>,
        lists: &[VirtualHost<'w>],
        values: &HashSet<&StringMatch>,
        lane: &Symbol,
    ) -> bool {
        let lanes = &self.member.lanes;
        let group = &lanes.group;
        let is_meant = |value: &&StringMatch| {
            !check.comparisons.takes(cost_of(value, lane))
                || value.matches(lane) != Some(false)
                || value
                    .exact()
                    .is_some_and(|value| is_near(value, lane) && !lanes.contains(value))
        };
        let is_default = group.default_lane.as_ref() == Some(lane);
        let mut routes = lists
            .iter()
            .flat_map(|list| list.routes.iter().chain(&list.dropped));
        let mut leads_others = || {
            routes.any(|route| {
                let mut conditions = route.conditions.iter();
                let takes_others = route.conditions.is_empty()
                    || conditions.any(|condition| condition.header(&group.header).is_none());
                takes_others && (route.route.answers_itself() || self.leads_to(check, route, lane))
            })
        };
        values.iter().any(is_meant) || (is_default && leads_others())
    }

    fn leads_to(&self, check: &Check<'_, 'w>, route: &Route<'w>, lane: &Symbol) -> bool {
        reached(route.route).any(|(_, to)| {
            let host = route.host_of(check.view, &to.destination);
            let reach = self.member.lanes.reach_of(&host, &to.destination);
            reach.is_some_and(|reach| reach.lanes.contains(lane))
        })
    }
}
