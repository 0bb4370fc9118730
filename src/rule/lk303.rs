//! A route that takes the requests of one lane leads to another lane's workloads.
//!
//! ## What it does
//! For each route that matches the lane header against a lane's exact name it looks at what the destinations' subsets
//! choose: the subset's labels and those of the workloads tell the lanes, the names do not. Where nothing but another
//! lane can answer, it denies; of several destinations by weight all have to be of other lanes, and some of them
//! warn. Where the other lane is the default one and the service has nothing for the lane, it is quiet in a
//! Fallback group and warns in one that a plugin implies. It only warns where the match asks for more than lane, path
//! and port: then it is an exception on purpose.
//!
//! ## Why it matters
//! Nothing fails: the wrong version answers 200. What is tried in the lane is not what was deployed for it.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//!
//! ## References
//! Neither Istio's analyzers nor Kiali know lanes.

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject};
use crate::lane::Completeness;
use crate::resource::{Destination, Kind, Resource};
use crate::routing::{Condition, Groups, Lanes, Route, reached};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK303",
    name: "lane-crossed",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk303.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    // By route, destination and lane: what one list of routes shows another may show too.
    let mut found: BTreeMap<(usize, usize, Symbol), Finding> = BTreeMap::new();
    for host in &check.virtual_hosts(vs).lists {
        for route in host.routes.iter().filter(|route| route.is_of(vs)) {
            for lanes in check.groups_of(route.vs, route.route) {
                for (lane, is_plain) in lanes_taken(route, &lanes) {
                    for (at, finding) in crossings(check, route, &lanes, &lane, is_plain) {
                        let known = found.entry((route.index, at, lane.clone()));
                        let known = known.or_insert_with(|| finding.clone());
                        if finding.level > known.level {
                            *known = finding;
                        }
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// The lanes whose requests the route takes by their exact name, and whether some match asks for nothing else that
/// tells one caller from another.
fn lanes_taken(route: &Route<'_>, lanes: &Lanes<'_, '_>) -> BTreeMap<Symbol, bool> {
    let header = &lanes.group.header;
    let mut taken = BTreeMap::new();
    for condition in &route.conditions {
        let named = condition.header(header).and_then(|value| value.exact());
        if let Some(lane) = named.filter(|lane| lanes.contains(lane)) {
            *taken.entry(Symbol::new(lane)).or_insert(false) |= is_plain(*condition, header);
        }
    }
    taken
}

fn is_plain(condition: Condition<'_>, header: &str) -> bool {
    condition.source().is_none()
        && condition.parts().all(|part| {
            part.query_params.is_empty()
                && part
                    .headers
                    .iter()
                    .all(|(name, _)| name.eq_ignore_ascii_case(header))
        })
}

/// The destinations of the route where requests of `lane` reach another lane only, with their places.
fn crossings(
    check: &Check<'_, '_>,
    route: &Route<'_>,
    lanes: &Lanes<'_, '_>,
    lane: &Symbol,
    is_plain: bool,
) -> Vec<(usize, Finding)> {
    let mut crossings = Vec::new();
    let mut are_all = true;
    for (at, to) in reached(route.route) {
        let host = route.host_of(check.view, &to.destination);
        let reach = lanes.reach_of(&host, &to.destination);
        let other = reach.and_then(|reach| reach.only().cloned());
        let Some(other) = other.filter(|other| other != lane) else {
            are_all = false;
            continue;
        };
        let has_lane = has(lanes, &host, lane);
        let stands_in = lanes.group.default_lane.as_ref() == Some(&other)
            && (!has_lane || is_new(check, &host, lane))
            && !lanes.group.is_strict();
        if stands_in && !has_lane && lanes.group.completeness == Some(Completeness::Fallback) {
            are_all = false;
            continue;
        }
        let subset = to.destination.subset.clone();
        let field = if subset.is_some() { ".subset" } else { "" };
        let path = format!("{}.route[{at}].destination{field}", route.path());
        let leads_to = match &subset {
            Some(subset) => format!("subset `{subset}` of {host} is"),
            None => format!("all that runs behind {host} is"),
        };
        let help = if has_lane {
            format!("route to the subset of lane `{lane}`")
        } else {
            format!("add a workload and a subset for lane `{lane}` first, then route to it")
        };
        let finding = Finding::new(&RULE, route.reference(), path)
            .about(Subject {
                host: Some(host.clone()),
                subset,
                lane: Some(lane.clone()),
                ..Subject::default()
            })
            .missing_if(!has_lane)
            .warning_if(stands_in || !is_plain)
            .says(
                format!("the route takes the requests of lane `{lane}`, and {leads_to} of lane `{other}`: they leave their lane, and the wrong version answers"),
                help,
            );
        crossings.push((at, finding));
    }
    let warn = |(at, finding): (usize, Finding)| (at, finding.warning_if(!are_all));
    crossings.into_iter().map(warn).collect()
}

/// Whether the service gets the lane only by the change under judgement: its routes come after it.
fn is_new(check: &Check<'_, '_>, host: &Symbol, lane: &str) -> bool {
    check.before.is_some_and(|before| {
        let lanes = Groups::new(before, None).of_host(host);
        !lanes.is_some_and(|lanes| has(&lanes, host, lane))
    })
}

/// Whether the service has anything for the lane: a workload that is in it, or a subset for it that chooses one.
fn has(lanes: &Lanes<'_, '_>, host: &Symbol, lane: &str) -> bool {
    let everything = Destination {
        host: host.clone(),
        ..Destination::default()
    };
    let all = lanes.reach_of(host, &everything);
    all.is_some_and(|reach| reach.lanes.iter().any(|of| *of == lane)) || lanes.serves(host, lane)
}
