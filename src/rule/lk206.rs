//! Routes to subsets of a service whose address the caller has chosen already: a headless one, or one with PASSTHROUGH.
//!
//! ## What it does
//! It follows the routes that name a subset, from each listener, and warns where the proxy sends the request to the
//! address that its caller asked for, whatever the subset: on sidecars for a headless Service or a `ServiceEntry` with
//! resolution NONE, and everywhere for a port or subset whose `DestinationRule` says `loadBalancer.simple:
//! PASSTHROUGH` (which a subset cannot take back). It is quiet where the subset is all that the service has. Gateways
//! balance over a headless Service's endpoints, so it is quiet for them there.
//!
//! ## Why it matters
//! The route for the lane is taken, with 200 and the lane's name in every log, and the pod is the one that the client's
//! DNS, or kube-proxy, has picked: any lane. At a gateway nobody has picked an address, so with PASSTHROUGH it answers
//! 503 "no healthy upstream".
//!
//! ## Example
//! ```yaml
//! kind: Service
//! spec: {clusterIP: None, selector: {app: cars-api-portal}}
//! ```
//! Use instead (a `StatefulSet` may keep its headless Service beside it):
//! ```yaml
//! kind: Service
//! spec: {selector: {app: cars-api-portal}}
//! ```
//!
//! ## References
//! `convertResolution` in `pilot/pkg/networking/core/cluster.go`, `buildSubsetCluster` in `cluster_builder.go`,
//! `applyLoadBalancer` in `cluster_traffic_policy.go`; Envoy, "Original destination". With istiod's
//! `PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES` sidecars do balance over headless Services: then allow the rule. Neither
//! `istioctl analyze` nor Kiali look at it.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Kind, ObjectRef, Resource, Subset};
use crate::routing::{
    Caller, End, Hop, Place, Target, carriers_of_subset, home_of, hops, rule_for, workload_labels,
};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK206",
    name: "subset-ignored",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk206.rs"),
    check,
};

/// Why the subset does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The host itself has no address: a headless service, a `ServiceEntry` that is not resolved.
    OfHost,
    /// Sidecars keep the address that was asked for.
    OfRule,
    /// The gateway would, but has none.
    AtGateway(Symbol),
}

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut known: HashSet<(Place, Option<Symbol>, Option<u32>)> = HashSet::new();
    let mut findings: BTreeMap<(Symbol, Cause), Finding> = BTreeMap::new();
    for from in &check.virtual_hosts(vs).lists {
        for hop in hops(from, vs).filter(|hop| !hop.is_copy()) {
            let Some(subset) = &hop.destination.subset else {
                continue;
            };
            if !known.insert((hop.place, from.gateway.clone(), from.port)) {
                continue;
            }
            let end = hop.end(view);
            if let Some((cause, rules)) = cause(view, &check.callers_of(vs), &hop, &end, subset) {
                let says = || finding(object, &hop, &end, subset, &cause, rules);
                findings
                    .entry((end.host.clone(), cause.clone()))
                    .or_insert_with(says);
            }
        }
    }
    findings.into_values().collect()
}

/// Why the subset of a step does not count, and the objects that say so.
fn cause<'w>(
    view: &View<'w>,
    proxies: &[Caller],
    hop: &Hop<'_, 'w>,
    end: &End<'w>,
    subset: &str,
) -> Option<(Cause, Vec<ObjectRef>)> {
    let home = home_of(view, &end.host);
    let of_host = match &end.target {
        Target::Service(service) if service.headless => Some(service.meta.reference(Kind::Service)),
        Target::Entries(entries) => {
            let first = entries.first().filter(|entry| entry.keeps_address);
            first.map(|entry| entry.meta.reference(Kind::ServiceEntry))
        }
        _ => None,
    };
    let of_host = of_host.filter(|_| !hop.is_from_gateway());
    let taken = proxies.iter().filter(|proxy| hop.is_taken_by(proxy));
    for proxy in taken {
        let Some(rule) = rule_for(view, &proxy.namespace, &end.host, home) else {
            continue;
        };
        let Some(defined) = rule.subset(subset) else {
            continue;
        };
        let is_kept = || {
            let keeps = |port| rule.keeps_address(Some(subset), port);
            end.port.is_some_and(keeps)
        };
        if (of_host.is_none() && !is_kept()) || !chooses_a_part(view, &end.target, defined.subset) {
            continue;
        }
        return Some(match (of_host, &hop.from.gateway) {
            (Some(object), _) => (Cause::OfHost, vec![object]),
            (None, Some(gateway)) => (Cause::AtGateway(gateway.clone()), rule.references()),
            (None, None) => (Cause::OfRule, rule.references()),
        });
    }
    None
}

/// Whether it matters which pods the subset chooses: not where it is all that the service has.
fn chooses_a_part(view: &View<'_>, target: &Target<'_>, subset: &Subset) -> bool {
    if workload_labels(subset).is_empty() {
        return false;
    }
    match target {
        Target::Service(service) if !service.selector.is_empty() => {
            let carriers = carriers_of_subset(view, service, subset);
            carriers.of_service.is_empty() || carriers.of_subset.len() < carriers.of_service.len()
        }
        _ => true,
    }
}

fn finding(
    object: &Resource,
    hop: &Hop<'_, '_>,
    end: &End<'_>,
    subset: &Symbol,
    cause: &Cause,
    because: Vec<ObjectRef>,
) -> Finding {
    let host = &end.host;
    let names = joined(&because, " with ");
    let (message, help) = match cause {
        Cause::OfHost => (
            format!(
                "{names} has no address of its own, so that sidecars send each request to the pod that the caller's DNS has picked: subset `{subset}` of {host} chooses none, and any lane answers"
            ),
            match end.target {
                Target::Entries(_) => "give the ServiceEntry a resolution (STATIC or DNS)",
                _ => {
                    "let callers use a Service with an address (without clusterIP: None), and route to its subsets"
                }
            },
        ),
        Cause::OfRule => (
            format!(
                "{names} keeps the address that the caller asked for (loadBalancer.simple: PASSTHROUGH): subset `{subset}` of {host} chooses no pod, and any lane answers"
            ),
            "take PASSTHROUGH out of the DestinationRule's loadBalancer",
        ),
        Cause::AtGateway(gateway) => (
            format!(
                "{names} keeps the address that the caller asked for (loadBalancer.simple: PASSTHROUGH), and at gateway {gateway} there is none: subset `{subset}` of {host} chooses no pod, and the requests are answered 503"
            ),
            "take PASSTHROUGH out of the DestinationRule's loadBalancer",
        ),
    };
    Finding::new(&RULE, object.reference(), format!("{}.subset", hop.place))
        .about(Subject {
            host: Some(host.clone()),
            ..Subject::default()
        })
        .from_objects(because)
        .says(message, help)
}
