//! An earlier route takes every request of a lane route, so that the lane is answered by another version.
//!
//! ## What it does
//! For each list of routes that a proxy tries (a host at a gateway's port, or a service's port on the mesh, and the
//! callers that the routes tell apart) it looks at the matches on the lane header or the entry header, and at all
//! matches before them: is there one that every request of theirs satisfies? Routes of other `VirtualServices` for the
//! same host at the gateway count, in Istio's order, and so do those of delegates. It is quiet where the earlier
//! route leads to the same destinations or where the match is reached in some other list, and warns where the earlier
//! route answers itself (a redirect, a direct response), or where only an age that files do not tell decides.
//! It also tells of delegated routes that Istio leaves out: no such delegate, not exported, or a match that does not
//! fit the root's; and warns of every other route to a service of a lane group that stands after a match-all.
//!
//! Only what can take a match's requests by its path and headers is compared with it, and there is an end to it for objects
//! that nobody writes by hand: where comparisons (some millions for each header against each), patterns (512 in a list,
//! of 64 KiB) or lists of routes (hosts times matches) are more, it says so once in a warning that never refuses, and is
//! quiet about what it did not compare. So it is where it depends on a pattern that it cannot read as Envoy does.
//!
//! ## Why it matters
//! Nothing fails. The earlier route answers 200 with the wrong version, and Istio does not even send the routes
//! after a match-all to Envoy.
//!
//! ## Example
//! ```yaml
//! http:
//! - match:
//!   - uri: {prefix: /}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//! http:
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! - route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//!
//! ## References
//! Istio, `BuildHTTPRoutesForVirtualService` in `pilot/pkg/networking/core/route/route.go` and `mergeHTTPRoute` in
//! `pilot/pkg/model/virtualservice.go`. `istioctl analyze` has IST0130 (`VirtualServiceUnreachableRule`: a match that is
//! written twice, or no match before the end) and IST0131 (`VirtualServiceIneffectiveMatch`), which compare equal
//! matches of one object only; Kiali has nothing of the kind.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{HttpMatch, HttpRoute, Kind, ObjectRef, Resource, StringMatch, VirtualService};
use crate::routing::{
    Broken, Condition, Root, Route, Takers, TooMuch, delegate_of, merged, reached, roots_of,
};
use crate::symbol::Symbol;
use crate::world::is_age_known;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK305",
    name: "route-shadowed",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk305.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut findings = shadowed(check, vs);
    findings.extend(dead(check, vs));
    findings.extend(without_delegate(check, vs));
    findings.extend(misfits(check, vs));
    findings
}

/// A condition on a lane: the place of its route, its own place there, and that of the delegating route.
type Place = (usize, Option<usize>, Option<(ObjectRef, usize, usize)>);

/// A condition on a lane, and what takes its requests.
struct Shadowed<'h, 'w> {
    header: Symbol,
    value: &'w StringMatch,
    route: &'h Route<'w>,
    /// What takes its requests; `None`: in some list nothing does.
    by: Option<&'h Route<'w>>,
}

/// The lane conditions of `vs` that no request gets to, or that not all of them were compared.
fn shadowed<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    let hosts = check.virtual_hosts(vs);
    let mut conditions: BTreeMap<Place, Shadowed<'_, 'w>> = BTreeMap::new();
    let mut unjudged = BTreeSet::new();
    for host in &hosts.lists {
        let takers = OnceCell::new();
        let lists = [(&host.routes, false), (&host.dropped, true)];
        for (list, is_dropped) in lists {
            for (at, route) in list.iter().enumerate().filter(|(_, route)| route.is_of(vs)) {
                let headers = lane_headers(check, route);
                for condition in &route.conditions {
                    let Some((header, value)) = named(*condition, &headers) else {
                        continue;
                    };
                    let before = if is_dropped { host.routes.len() } else { at };
                    let taker = if check.comparisons.are_over() {
                        Err(TooMuch)
                    } else {
                        let takers = takers.get_or_init(|| Takers::of(&host.routes));
                        let judged = (route, *condition);
                        takers.taker_of(before, judged, host.context(), &check.comparisons)
                    };
                    let place = place(route, *condition);
                    if taker.is_err() {
                        unjudged.insert(place.clone());
                    }
                    // What is not known to be taken may get its requests there.
                    let by = taker.unwrap_or_default();
                    match conditions.get_mut(&place) {
                        Some(known) if by.is_none() => known.by = None,
                        Some(_) => {}
                        None => {
                            let shadowed = Shadowed {
                                header,
                                value,
                                route,
                                by,
                            };
                            conditions.insert(place, shadowed);
                        }
                    }
                }
            }
        }
    }
    if hosts.has_more {
        let why = "its hosts times its matches, or the callers that they tell apart, are more than are looked through";
        return (!conditions.is_empty())
            .then(|| not_judged(vs, why))
            .into_iter()
            .collect();
    }
    let unjudged = (!unjudged.is_empty()).then(|| {
        let why = format!(
            "more conditions than are compared: {} of {} matches on a lane were held against all that stands before them",
            conditions.len() - unjudged.len(),
            conditions.len()
        );
        not_judged(vs, &why)
    });
    let shadowed = conditions
        .into_iter()
        .filter_map(|(place, shadowed)| shadowed.by.map(|by| (place, shadowed, by)))
        .filter(|(_, shadowed, by)| !leads_alike(check, shadowed.route, by))
        .map(|(place, shadowed, by)| finding(&place, &shadowed, by));
    shadowed.chain(unjudged).collect()
}

/// What says that lane conditions of `vs` were not judged, or not all of them.
fn not_judged(vs: &VirtualService, why: &str) -> Finding {
    Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), "spec.http")
        .unjudged()
        .says(
            format!("{why}: whether an earlier route takes a lane's requests is not known for the rest"),
            "split it into several VirtualServices, or ask for less in its matches",
        )
}

/// The other routes of `vs` to services of a lane group, by their places, that Istio leaves out everywhere: a route
/// before them takes every request.
fn dead<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    /// A route, and in each list what takes all requests before it.
    type Seen<'h, 'w> = (&'h Route<'w>, Vec<Option<&'h Route<'w>>>);
    let hosts = check.virtual_hosts(vs);
    if hosts.has_more {
        return Vec::new();
    }
    let mut routes: BTreeMap<(String, Option<ObjectRef>), Seen<'_, 'w>> = BTreeMap::new();
    for host in &hosts.lists {
        let by = host.routes.last();
        let live = host.routes.iter().map(|route| (route, None));
        let dropped = host.dropped.iter().map(|route| (route, by));
        for (route, by) in live.chain(dropped).filter(|(route, _)| route.is_of(vs)) {
            let headers = lane_headers(check, route);
            let is_by_lane = route
                .conditions
                .iter()
                .any(|part| named(*part, &headers).is_some());
            if headers.is_empty() || is_by_lane {
                continue;
            }
            let root = route
                .root
                .map(|root| root.vs.meta.reference(Kind::VirtualService));
            let seen = routes.entry((route.path(), root));
            let seen = seen.or_insert_with(|| (route, Vec::new()));
            seen.1.push(by);
        }
    }
    let dead = routes.into_values().filter_map(|(route, by)| {
        let by: Option<Vec<&Route<'w>>> = by.into_iter().collect();
        let by = by?.into_iter().find(|by| !leads_alike(check, route, by))?;
        Some((route, by))
    });
    dead.map(|(route, by)| {
        let to = reached(route.route).next().map(|(_, to)| &to.destination);
        let host = to.map(|to| check.view.resolve(&to.host, &route.vs.meta.namespace));
        let whose = if by.is_of(route.vs) {
            by.path()
        } else {
            format!("{} {}", by.reference(), by.path())
        };
        Finding::new(&RULE, route.reference(), route.path())
            .about(Subject {
                host,
                subset: to.and_then(|to| to.subset.clone()),
                ..Subject::default()
            })
            .warning_if(true)
            .from_objects((!by.is_of(route.vs)).then(|| by.reference()))
            .says(
                format!("no request gets here: {whose} takes all of them before"),
                format!("give {whose} a match, or remove this route"),
            )
    })
    .collect()
}

fn place(route: &Route<'_>, condition: Condition<'_>) -> Place {
    let root = route.root.zip(condition.root);
    (
        route.index,
        condition.own.map(|(at, _)| at),
        root.map(|(root, (at, _))| (root.vs.meta.reference(Kind::VirtualService), root.index, at)),
    )
}

/// The lane and entry headers of the groups that the route leads to.
fn lane_headers(check: &Check<'_, '_>, route: &Route<'_>) -> Vec<Symbol> {
    let mut headers = Vec::new();
    for (_, to) in reached(route.route) {
        let host = route.host_of(check.view, &to.destination);
        if let Some(lanes) = check.groups.of_host(&host) {
            headers.extend(lanes.headers().cloned());
        }
    }
    headers
}

/// The first of `headers` that the condition names, and its value.
fn named<'w>(condition: Condition<'w>, headers: &[Symbol]) -> Option<(Symbol, &'w StringMatch)> {
    headers.iter().find_map(|header| {
        let value = condition.header(header)?;
        Some((header.clone(), value))
    })
}

/// Whether both routes send requests to the same places.
fn leads_alike(check: &Check<'_, '_>, a: &Route<'_>, b: &Route<'_>) -> bool {
    let places = |route: &Route<'_>| {
        let all = reached(route.route).map(|(_, to)| {
            let host = route.host_of(check.view, &to.destination);
            (host, to.destination.subset.clone(), to.destination.port)
        });
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    };
    !a.route.route.is_empty() && places(a) == places(b)
}

fn finding(place: &Place, shadowed: &Shadowed<'_, '_>, by: &Route<'_>) -> Finding {
    let Shadowed {
        header, value, route, ..
    } = shadowed;
    let path = match place.1 {
        Some(at) => format!("{}.match[{at}]", route.path()),
        None => route.path(),
    };
    let is_own = by.is_of(route.vs);
    let whose = if is_own {
        by.path()
    } else {
        format!("{} {}", by.reference(), by.path())
    };
    let told = match value {
        StringMatch::Exact(value) => format!("`{header}: {value}`"),
        _ => format!("a pattern on `{header}`"),
    };
    // Only the order of creation puts the other object's route first.
    let (of_route, of_other) = (route.bound(), by.bound());
    let is_by_age = !std::ptr::eq(of_route, of_other) && !takes_all_by_itself(by);
    let is_unknown = is_by_age && !is_age_known(&of_route.meta, &of_other.meta);
    let order = if is_unknown {
        " (which of the two stands first depends on their age, which is not known here)"
    } else {
        ""
    };
    let answers = if by.route.answers_itself() {
        "answers them itself".to_owned()
    } else {
        "they get its version".to_owned()
    };
    let help = if is_own {
        format!("move {} before {}", route.path(), by.path())
    } else {
        format!(
            "give {} a match that leaves these requests, or put both into one VirtualService with the lane's route first",
            by.reference()
        )
    };
    let lane = value.exact().map(Symbol::new);
    Finding::new(&RULE, route.reference(), path)
        .about(Subject {
            lane,
            header: Some(header.clone()),
            ..Subject::default()
        })
        .warning_if(is_unknown || by.route.answers_itself())
        .from_field(by.reference(), by.path(), "this route takes them")
        .says(
            format!(
                "no request with {told} gets here: {whose} takes all of them before{order}, and {answers}"
            ),
            help,
        )
}

/// Whether the route takes every request wherever it stands: then it stands last, and age does not decide.
fn takes_all_by_itself(route: &Route<'_>) -> bool {
    route.conditions.is_empty()
}

/// The routes of `vs` whose delegate is not there for them.
fn without_delegate<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    if vs.hosts.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, route) in vs.http.iter().enumerate() {
        let Some(Err(broken)) = delegate_of(check.view, vs, route) else {
            continue;
        };
        let Some(named) = &route.delegate else { continue };
        let home = named.namespace_in(&vs.meta.namespace);
        let name = format!("{home}/{}", named.name);
        let (why, help) = match broken {
            Broken::Missing => (
                format!("there is no VirtualService {name}"),
                "create it first, or correct the name".to_owned(),
            ),
            Broken::HasHosts(_) => (
                format!("VirtualService {name} has hosts, and is no delegate"),
                "take `hosts` and `gateways` out of it".to_owned(),
            ),
            Broken::NotVisible(_) => (
                format!(
                    "VirtualService {name} is not exported to namespace {}",
                    vs.meta.namespace
                ),
                format!("add `{}` to its exportTo", vs.meta.namespace),
            ),
        };
        let is_of_lane = names_lane_header(check, home, route);
        findings.push(
            Finding::new(
                &RULE,
                vs.meta.reference(Kind::VirtualService),
                format!("spec.http[{index}].delegate.name"),
            )
            .about(Subject {
                host: Some(name.as_str().into()),
                ..Subject::default()
            })
            .missing_if(broken == Broken::Missing)
            .warning_if(!is_of_lane)
            .says(
                format!("{why}: Istio leaves the route out, and its requests go to the next one"),
                help,
            ),
        );
    }
    findings
}

/// Whether the route's matches name a lane or entry header of the groups of `namespace`.
fn names_lane_header(check: &Check<'_, '_>, namespace: &Symbol, route: &HttpRoute) -> bool {
    let groups = check.groups.of_namespace(namespace);
    groups.iter().any(|lanes| {
        let mut headers = lanes.headers();
        headers.any(|header| route.matches.iter().any(|part| part.header(header).is_some()))
    })
}

/// The routes of the delegate `vs` that Istio leaves out because a match of theirs fits none of a root's.
fn misfits<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !vs.hosts.is_empty() {
        return findings;
    }
    for of_root in roots_of(check.view, vs) {
        for (at, delegating) in of_root.http.iter().enumerate() {
            let leads_here = delegate_of(check.view, of_root, delegating)
                .is_some_and(|found| found.is_ok_and(|delegate| std::ptr::eq(delegate, vs)));
            if !leads_here {
                continue;
            }
            let root = Root {
                vs: of_root,
                index: at,
                route: delegating,
            };
            for (index, route) in vs.http.iter().enumerate() {
                if merged(root, vs, index, route).is_some() {
                    continue;
                }
                let alone = Route {
                    vs,
                    index,
                    route,
                    root: Some(root),
                    conditions: Vec::new(),
                };
                let headers = lane_headers(check, &alone);
                let lane = route.matches.iter().find_map(|part| lane_of(part, &headers));
                let is_of_lane = lane.is_some()
                    || delegating
                        .matches
                        .iter()
                        .any(|part| lane_of(part, &headers).is_some());
                let of_root = of_root.meta.reference(Kind::VirtualService);
                findings.push(
                    Finding::new(&RULE, alone.reference(), format!("{}.match", alone.path()))
                        .about(Subject {
                            host: Some(of_root.to_string().into()),
                            lane: lane.as_ref().and_then(|(_, value)| value.exact()).map(Symbol::new),
                            header: lane.map(|(name, _)| name),
                            ..Subject::default()
                        })
                        .warning_if(!is_of_lane)
                        .from_field(of_root.clone(), format!("spec.http[{at}]"), "this route delegates")
                        .says(
                            format!("a match of this route fits none of {of_root} spec.http[{at}], which delegates to it: Istio leaves the whole route out, and its requests go on to the next one"),
                            "ask only for what is within the delegating route's match; two regular expressions never fit",
                        ),
                );
            }
        }
    }
    findings
}

/// The first of `headers` that the match names, and its value.
fn lane_of<'w>(part: &'w HttpMatch, headers: &[Symbol]) -> Option<(Symbol, &'w StringMatch)> {
    named(Condition::own(0, part), headers)
}
