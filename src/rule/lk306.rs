//! Requests that name no lane match no route, though the group promises them the default lane.
//!
//! ## What it does
//! For each list of routes that a proxy tries (a host at a gateway's port, or a service's port on the mesh) it takes the
//! matches that ask for the lane header, or at a gateway for the entry header, and looks for a route that takes the
//! same requests without it. Routes of other `VirtualServices` for the same host at the gateway count, and so do the
//! ways to ask for a header's absence: `withoutHeaders` with `{}`, `regex: "*"` or any value that is not empty; but
//! `regex: ".*"` holds for no request, because a header that is not there reads as empty. It is quiet in a group with
//! `withoutHeader: Reject`, and on the mesh where a lane plugin with a default lane is in the sidecars of all callers
//! that are known: the filter sets the lane header before the route is chosen.
//!
//! ## Why it matters
//! Envoy answers such requests 404, without asking any service.
//!
//! ## Example
//! ```yaml
//! http:
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//! http:
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! - route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wtchk}
//! ```
//!
//! ## References
//! `TranslateRouteMatch` in `pilot/pkg/networking/core/route/route.go`. Neither Istio's analyzers nor Kiali ask whether
//! there is a default route: without lanes its absence may be meant.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::default_route::missing_default;
use super::{Check, Finding, Level, Rule, Subject};
use crate::lane::WithoutHeader;
use crate::resource::{HttpMatch, Kind, Pairs, Resource, StringMatch};
use crate::routing::{Condition, Lanes, Patterns, Route, VirtualHost, Weight, is_presence, may_cover};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK306",
    name: "no-default-route",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk306.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    // By the route that shows it: the lists of all ports and callers lack the same route.
    let mut found: BTreeMap<usize, Finding> = BTreeMap::new();
    for host in &check.virtual_hosts(vs).lists {
        if let Some((route, header, lanes)) = first_without_default(check, host)
            && route.is_of(vs)
        {
            found
                .entry(route.index)
                .or_insert_with(|| finding(check, host, route, &header, &lanes));
        }
    }
    found.into_values().collect()
}

fn finding(
    check: &Check<'_, '_>,
    host: &VirtualHost<'_>,
    route: &Route<'_>,
    header: &Symbol,
    lanes: &Lanes<'_, '_>,
) -> Finding {
    let group = &lanes.group;
    let default = group.default_lane.clone().unwrap_or_default();
    let at = match &host.gateway {
        Some(gateway) => format!("for {} at gateway {gateway}", host.host),
        None => format!("for callers of {}", host.host),
    };
    let mut parts = route.conditions.iter().flat_map(|condition| condition.parts());
    let port = parts.find_map(|part| part.port);
    Finding::new(&RULE, route.reference(), "spec.http")
        .about(Subject {
            host: Some(host.host.clone()),
            port,
            header: Some(header.clone()),
            ..Subject::default()
        })
        .mended_by(missing_default(check, route, &telling_headers(host, lanes), lanes))
        .says(
            format!(
                "{at} no route takes what {} takes without `{header}`: such requests are answered 404, though {} promises them lane `{default}`",
                route.path(),
                group.title()
            ),
            format!("add a route without a match on `{header}` that leads to lane `{default}`, after the others"),
        )
}

/// The first route by a lane, of a group that promises the default lane, whose requests no route takes that have
/// no lane; with the header, and the group.
fn first_without_default<'h, 'v, 'w>(
    check: &Check<'v, 'w>,
    host: &'h VirtualHost<'w>,
) -> Option<(&'h Route<'w>, Symbol, Rc<Lanes<'v, 'w>>)> {
    let takes_all = |route: &Route<'_>| {
        route.conditions.is_empty() || route.conditions.iter().any(|all| all.takes_every_request())
    };
    if check.comparisons.are_over() || host.routes.iter().any(takes_all) {
        return None;
    }
    let mut defaults: Vec<Defaults> = Vec::new();
    // For all of them, so that none is read more than once.
    let mut patterns = Patterns::default();
    host.routes.iter().find_map(|route| {
        let groups = check.groups_of(route.vs, route.route).into_iter();
        let mut promising = groups.filter(|lanes| {
            lanes.group.without_header == WithoutHeader::DefaultLane && lanes.group.default_lane.is_some()
        });
        promising.find_map(|lanes| {
            let headers = telling_headers(host, &lanes);
            let at = defaults.iter().position(|known| known.headers == headers);
            let at = at.unwrap_or_else(|| {
                defaults.push(Defaults::of(host, headers, &mut patterns));
                defaults.len() - 1
            });
            let defaults = defaults.get(at)?;
            let header = route.conditions.iter().find_map(|condition| {
                let mut headers = defaults.headers.iter();
                let header = headers.find(|header| condition.header(header).is_some())?;
                (!defaults.take(check, *condition, host)).then(|| header.clone())
            })?;
            let is_set = host.gateway.is_none() && are_filtered(check, host, route, &lanes);
            (!is_set).then_some((route, header, lanes))
        })
    })
}

/// The headers by which requests tell their lane there.
fn telling_headers(host: &VirtualHost<'_>, lanes: &Lanes<'_, '_>) -> Vec<Symbol> {
    let entry = lanes.entry().filter(|entry| {
        let gateway = host.gateway.as_ref();
        gateway.is_some_and(|gateway| entry.is_at(gateway))
    });
    let entry = entry.map(|entry| entry.header.clone());
    [lanes.group.header.clone()].into_iter().chain(entry).collect()
}

/// What takes requests without a lane.
struct Defaults {
    /// The headers that tell a lane.
    headers: Vec<Symbol>,
    /// The conditions that do not ask for any of them, each as its own part and the delegating route's.
    conditions: Vec<(Option<HttpMatch>, Option<HttpMatch>, Weight)>,
    /// Whether there are more than these.
    has_more: bool,
}

impl Defaults {
    fn of(host: &VirtualHost<'_>, headers: Vec<Symbol>, patterns: &mut Patterns) -> Self {
        let all = host.routes.iter().flat_map(|route| &route.conditions);
        let others = all.filter(|condition| headers.iter().all(|header| condition.header(header).is_none()));
        let loose = |part: Option<(usize, &HttpMatch)>| part.map(|(_, part)| loosened(part));
        let (mut conditions, mut has_more) = (Vec::new(), false);
        for condition in others {
            let (own, root) = (loose(condition.own), loose(condition.root));
            let loosened = condition_of(own.as_ref(), root.as_ref());
            if !patterns.take(loosened.texts()) {
                has_more = true;
                break;
            }
            let weight = Weight::of(loosened);
            conditions.push((own, root, weight));
        }
        Self {
            headers,
            conditions,
            has_more,
        }
    }

    /// Whether one of them takes what `condition` takes, of requests that have none of the headers. What is not sure
    /// counts as one that does.
    fn take(&self, check: &Check<'_, '_>, condition: Condition<'_>, host: &VirtualHost<'_>) -> bool {
        if self.has_more {
            return true;
        }
        let is_one = |name: &str| {
            self.headers
                .iter()
                .any(|header| header.eq_ignore_ascii_case(name))
        };
        let without = |part: &HttpMatch| {
            let named = part.headers.iter().filter(|(name, _)| !is_one(name));
            let absent = self.headers.iter();
            let absent = absent.map(|name| (Box::from(name.as_str()), StringMatch::Present));
            let mut part = HttpMatch {
                headers: named.cloned().collect(),
                ..part.clone()
            };
            part.more.without_headers = part.without_headers.iter().cloned().chain(absent).collect();
            part
        };
        let own = condition.own.map(|(_, part)| without(part));
        let root = condition.root.map(|(_, part)| without(part));
        let narrow = condition_of(own.as_ref(), root.as_ref());
        let weight = Weight::of(narrow);
        self.conditions.iter().any(|(own, root, wide)| {
            !check.comparisons.takes(wide.against(weight)) || {
                let wide = condition_of(own.as_ref(), root.as_ref());
                may_cover(wide, narrow, host.context())
            }
        })
    }
}

/// A condition of these parts, whose places do not matter.
fn condition_of<'p>(own: Option<&'p HttpMatch>, root: Option<&'p HttpMatch>) -> Condition<'p> {
    Condition {
        own: own.map(|part| (0, part)),
        root: root.map(|part| (0, part)),
    }
}

/// The match without what only splits the requests further: methods, queries, and paths by a pattern.
fn loosened(part: &HttpMatch) -> HttpMatch {
    let is_pattern = |uri: &StringMatch| matches!(uri, StringMatch::Regex(_)) && !is_presence(uri);
    let mut part = part.clone();
    part.uri = part.uri.filter(|uri| !is_pattern(uri));
    let more = &mut part.more;
    (more.method, more.scheme, more.authority) = (None, None, None);
    more.query_params = Pairs::default();
    part
}

/// Whether a lane plugin with a default lane is in the sidecars of all callers that are known: of the group's own
/// namespace its workloads, of others to which the routes are exported by name everything there.
fn are_filtered<'w>(
    check: &Check<'_, 'w>,
    host: &VirtualHost<'w>,
    route: &Route<'w>,
    lanes: &Lanes<'_, 'w>,
) -> bool {
    let source = host.source.and_then(|source| source.namespace.cloned());
    let calling = || {
        let callers = check.callers_of(route.bound());
        let in_mesh = callers.iter();
        let in_mesh = in_mesh.filter(|caller| caller.gateway.is_none() && !caller.namespace.is_empty());
        in_mesh.map(|caller| caller.namespace.clone()).collect()
    };
    let namespaces = source.map_or_else(calling, |namespace| vec![namespace]);
    namespaces.iter().all(|namespace| lanes.is_filtered(namespace))
}
