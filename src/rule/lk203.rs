//! A destination names no port, and the port that its requests go to instead is none of its service's.
//!
//! ## What it does
//! It follows each route without `destination.port` from every listener whose requests reach it. On a sidecar the
//! requests go to the port that the caller called; at a gateway to the one port of a service that has just one, else
//! to the server's port. Where the destination's Service or `ServiceEntry` has no such port, the rule denies; it warns
//! for mirrored copies, and for a route that matches more than headers and works for callers of another port of the
//! same host (a page that only the HTTP port has). A destination that is an `ExternalName` service counts as its
//! target, on a sidecar only if it has the port that was called. Servers that only redirect are no listeners here.
//!
//! ## Why it matters
//! Istio makes one cluster for each port of the service. For another port there is none, and Envoy answers 503 without
//! a body. At a gateway on port 80 or 443 this is every request to a service with two ports; on the mesh it is every
//! caller of a port that the destination does not have.
//!
//! ## Example
//! The gateway listens on 80; the Service has the ports 8080 and 20885:
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, subset: wicph}
//! ```
//! Use instead:
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, subset: wicph, port: {number: 8080}}
//! ```
//!
//! ## References
//! `GetDestinationCluster` in `pilot/pkg/networking/core/route/route.go`. `istioctl analyze` (IST0112) reports every
//! destination without a port whose host has several: also where each caller gets the port that it called, and not
//! where the one port of the host is another than the listener's. Kiali does not look at it.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{HttpMatch, Kind, ObjectRef, Resource, Service};
use crate::routing::{End, Hop, Place, hops};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK203",
    name: "port-required",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk203.rs"),
    check,
};

/// A destination without a port, and whose requests it gets.
struct Reached<'w> {
    /// The listeners whose requests end nowhere.
    broken: Vec<Listener>,
    /// The listeners of sidecars whose requests find a port.
    works: BTreeSet<Symbol>,
    subset: Option<Symbol>,
    is_copy: bool,
    /// Whether the port is named, and yet an alias is not known as one.
    is_named: bool,
    end: End<'w>,
}

/// Whose requests end nowhere.
struct Listener {
    /// The gateway; `None`: the sidecars.
    gateway: Option<Symbol>,
    /// The host that is called.
    host: Symbol,
    port: u32,
    /// Whether the route is for some paths or methods only.
    is_narrow: bool,
}

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut reached: BTreeMap<Place, Reached<'w>> = BTreeMap::new();
    let mut known: HashSet<(Place, Symbol, u32)> = HashSet::new();
    let hosts = check.virtual_hosts(vs);
    for from in &hosts.lists {
        let Some(port) = from.port else { continue };
        for hop in hops(from, vs).filter(|hop| !is_for_some_gateways_only(hop)) {
            // Where requests end depends on the host that was called only as the listener does.
            let listener = from.gateway.as_ref().unwrap_or(&from.host);
            if !known.insert((hop.place, listener.clone(), port)) {
                continue;
            }
            let end = hop.end(view);
            let is_nowhere = end.is_nowhere();
            let is_named = hop.destination.port.is_some();
            if is_named && !end.is_lost_alias() {
                continue;
            }
            let narrow = is_narrow(&hop);
            let entry = reached.entry(hop.place).or_insert_with(|| Reached {
                broken: Vec::new(),
                works: BTreeSet::new(),
                subset: hop.destination.subset.clone(),
                is_copy: hop.is_copy(),
                is_named,
                end: end.clone(),
            });
            if is_nowhere {
                if entry.broken.is_empty() {
                    entry.end = end;
                }
                entry.broken.push(Listener {
                    gateway: from.gateway.clone(),
                    host: from.host.clone(),
                    port,
                    is_narrow: narrow,
                });
            } else if from.gateway.is_none() {
                entry.works.insert(from.host.clone());
            }
        }
    }
    let findings = reached.into_iter();
    findings
        .filter_map(|(place, reached)| finding(object.reference(), place, &reached, hosts.has_more))
        .collect()
}

/// The finding on a destination; where there are more listeners than are known, the route may work for one of them.
fn finding(object: ObjectRef, place: Place, reached: &Reached<'_>, has_more: bool) -> Option<Finding> {
    let Reached { end, .. } = reached;
    let works = |listener: &Listener| has_more || reached.works.contains(&listener.host);
    let sure = |listener: &&Listener| listener.gateway.is_some() || !listener.is_narrow || !works(listener);
    let surest = reached.broken.iter().find(sure);
    let listener = surest.or_else(|| reached.broken.first())?;
    let owners = end.target.references();
    let owner = joined(&owners, " with ");
    let is_alias = |alias: &&Service| owners.contains(&alias.meta.reference(Kind::Service));
    let alias = end.alias.filter(is_alias);
    let (whose, port) = (whose(listener), listener.port);
    let ports = joined(&end.target.ports(), ", ");
    let subject = Subject {
        host: Some(end.host.clone()),
        subset: reached.subset.clone(),
        ..Subject::default()
    };
    let then = if reached.is_copy {
        "the copies are lost"
    } else {
        "they are answered 503"
    };
    let what = if reached.is_copy { "copies of " } else { "" };
    let (path, message, help) = if let Some(alias) = alias {
        (
            place.to_string(),
            format!(
                "{what}{whose} go to the alias {owner}, which does not have port {port}, so that their sidecars do not know what it stands for: {then}"
            ),
            format!(
                "route to {} itself, or add port {port} to the alias",
                alias.external_name.as_ref()?
            ),
        )
    } else {
        (
            format!("{place}.port.number"),
            format!(
                "no port is named, so that {what}{whose} go to port {port} of {owner}, which has only {ports}: {then}"
            ),
            format!("name the port that is meant: {ports}"),
        )
    };
    Some(
        Finding::new(&RULE, object, path)
            .about(subject)
            .missing_if(true)
            .warning_if(reached.is_copy || reached.is_named || surest.is_none())
            .from_each(owners.clone(), "spec.ports", "its ports")
            .says(message, help),
    )
}

fn whose(listener: &Listener) -> String {
    match &listener.gateway {
        Some(gateway) => format!("requests at port {} of gateway {gateway}", listener.port),
        None => format!(
            "requests of callers of port {} of {}",
            listener.port, listener.host
        ),
    }
}

/// Whether the route asks for more than headers, port and caller, in each of its conditions.
fn is_narrow(hop: &Hop<'_, '_>) -> bool {
    let conditions = &hop.route.conditions;
    let says_more = |part: &HttpMatch| {
        part.uri.as_ref().is_some_and(|path| !path.is_any_path())
            || part.method.is_some()
            || part.authority.is_some()
            || !part.query_params.is_empty()
    };
    !conditions.is_empty()
        && conditions
            .iter()
            .all(|condition| condition.parts().any(says_more))
}

/// Whether a gateway may not have the route at all: it is for callers with labels that its pods may lack.
fn is_for_some_gateways_only(hop: &Hop<'_, '_>) -> bool {
    let conditions = &hop.route.conditions;
    hop.is_from_gateway()
        && !conditions.is_empty()
        && conditions.iter().all(|condition| condition.source().is_some())
}
