//! A route to a host that Istio does not know: its requests are answered 503.
//!
//! ## What it does
//! For each destination and mirror it looks for the Service or the `ServiceEntry` (also by wildcard) of its host. A host
//! without a dot is a Service of the `VirtualService`'s own namespace; every other is taken literally, so that
//! `cart.shop` is no Service, and the full name is proposed. A near name of the namespace is proposed, too. It also
//! tells where a host is known but not to the callers: by the Service's annotation `networking.istio.io/exportTo`, the
//! `ServiceEntry`'s `exportTo` or the mesh's `defaultServiceExportTo`, or because its namespace is none of those that
//! Istio looks at (`discoverySelectors`). An alias (type `ExternalName`) is as good as the host that it stands for.
//!
//! It never denies: another cluster may have the Service, and an `EnvoyFilter` may add the cluster. Addresses and
//! `clusterset.local` hosts are not judged.
//!
//! ## Why it matters
//! Envoy has no cluster for such a host and answers 503 without a body, for the lanes whose route names it only.
//!
//! ## Example
//! The Service `cars-api-portal` is in namespace `cars`; a `VirtualService` of another namespace says:
//! ```yaml
//! route:
//! - destination: {host: cars-api-portal.cars, subset: wicph}
//! ```
//! Use instead:
//! ```yaml
//! route:
//! - destination: {host: cars-api-portal.cars.svc.cluster.local, subset: wicph}
//! ```
//!
//! ## References
//! `istioctl analyze` has IST0101 (`ReferencedResourceNotFound`, "host"), an error: it takes hosts with a dot literally
//! too, reports destinations of weight 0 as well, knows `cluster.local` only, and looks at exports as its `exportTo` says
//! rather than at where the callers are. Kiali has KIA1101, for routes and not for mirrors: it completes `svc.namespace`
//! and `svc.namespace.svc`, which Istio does not. Neither looks behind aliases.

use std::net::IpAddr;

use hashbrown::HashSet;

use super::{Check, Finding, Level, Rule, Subject, Suggestion, joined};
use crate::lane::nearest;
use crate::resource::{Kind, ObjectRef, Resource, VirtualService};
use crate::routing::{Caller, Target, alias_at, destinations, target_of};
use crate::symbol::Symbol;
use crate::world::{Host, View};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK104",
    name: "unknown-host",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk104.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    // Those of a delegate are its roots' callers.
    let callers = (!vs.hosts.is_empty()).then(|| check.callers_of(vs));
    let callers = callers.as_deref().unwrap_or_default();
    let mut findings = Vec::new();
    // Most routes lead where others do.
    let mut known: HashSet<&Symbol> = HashSet::new();
    for (index, route) in vs.http.iter().enumerate() {
        for (path, destination) in destinations(route) {
            if known.contains(&destination.host) {
                continue;
            }
            let host = view.resolve(&destination.host, &vs.meta.namespace);
            if !is_judged(&host) {
                continue;
            }
            let Some(fault) = fault(view, vs, callers, &host, &destination.host) else {
                known.insert(&destination.host);
                continue;
            };
            let path = format!("spec.http[{index}].{path}.host");
            let meant = fault.meant.filter(|_| fault.is_slip);
            let suggestion = meant.map(|host| Suggestion::set(object.reference(), path.as_str(), host));
            let finding = Finding::new(&RULE, object.reference(), path)
                .mended_by(suggestion)
                .about(Subject {
                    host: Some(host),
                    subset: destination.subset.clone(),
                    ..Subject::default()
                })
                .missing_if(!fault.is_slip)
                .from_objects(fault.evidence);
            findings.push(finding.says(
                format!("{}: the requests are answered 503", fault.message),
                fault.help,
            ));
        }
    }
    findings
}

/// Whether anything can be said of the host: addresses and hosts of other clusters are not judged.
fn is_judged(host: &str) -> bool {
    !host.is_empty()
        && !host.contains('*')
        && host.parse::<IpAddr>().is_err()
        && !host.ends_with(".svc.clusterset.local")
}

/// Why a host is not known.
struct Fault {
    message: String,
    help: String,
    is_slip: bool,
    /// The host that is meant.
    meant: Option<String>,
    evidence: Vec<ObjectRef>,
}

fn fault(
    view: &View<'_>,
    vs: &VirtualService,
    callers: &[Caller],
    host: &Symbol,
    written: &Symbol,
) -> Option<Fault> {
    let target = target_of(view, host);
    if matches!(target, Target::Unknown) {
        return Some(missing(view, vs, host, written));
    }
    if let Some((alias, of)) = alias_at(view, host) {
        let is_known = !is_judged(of) || !matches!(target_of(view, of), Target::Unknown);
        return (!is_known).then(|| Fault {
            message: format!(
                "{} is an alias of {of}, which is no Service or ServiceEntry here, and Istio has no cluster for it",
                alias.meta.reference(Kind::Service)
            ),
            help: format!("add a ServiceEntry for {of}, or correct the alias's spec.externalName"),
            is_slip: false,
            meant: None,
            evidence: vec![alias.meta.reference(Kind::Service)],
        });
    }
    unseen(view, callers, &target)
}

/// There is nothing of that name.
fn missing(view: &View<'_>, vs: &VirtualService, host: &Symbol, written: &Symbol) -> Fault {
    let fault = |message: String, help: String, is_slip: bool, evidence: Vec<ObjectRef>| Fault {
        message,
        help,
        is_slip,
        meant: None,
        evidence,
    };
    match view.read_host(host) {
        Host::Service { name, namespace } => {
            let namespace = Symbol::new(namespace);
            let others = view.services_in(&namespace);
            let near = nearest(name, others.iter().map(|service| service.meta.name.as_str()));
            let message = format!("there is no Service {namespace}/{name}");
            match near {
                Some(near) => {
                    let near_host = view.resolve(&near.into(), &namespace);
                    let meant = if written.contains('.') {
                        near_host.as_str()
                    } else {
                        near
                    };
                    // A near name that the same object routes to is another service.
                    let is_named = vs
                        .http
                        .iter()
                        .flat_map(destinations)
                        .any(|(_, to)| view.resolve(&to.host, &vs.meta.namespace) == near_host);
                    let evidence = ObjectRef::new(Kind::Service, &namespace, near);
                    let help = format!("did you mean `{meant}`?");
                    Fault {
                        meant: Some(meant.to_owned()),
                        ..fault(message, help, !is_named, vec![evidence])
                    }
                }
                None => fault(
                    message,
                    "create the Service, or correct the host; one of another namespace is named in full"
                        .to_owned(),
                    false,
                    Vec::new(),
                ),
            }
        }
        Host::Other(_) => match literally_taken(view, host) {
            Some(service) => {
                let full = view.resolve(&service.name, &service.namespace);
                let message =
                    format!("Istio takes `{host}` literally, for it has a dot, and knows no such host");
                let help = format!("write `{full}` for {service}");
                Fault {
                    meant: Some(full.to_string()),
                    ..fault(message, help, true, vec![service])
                }
            }
            None => fault(
                format!("`{host}` is no Service or ServiceEntry here"),
                "add a ServiceEntry for it, or correct the host; one of a Service is NAME.NAMESPACE.svc.DOMAIN"
                    .to_owned(),
                false,
                Vec::new(),
            ),
        },
    }
}

/// The service that `name.namespace` or `name.namespace.svc` is meant to be.
fn literally_taken(view: &View<'_>, host: &str) -> Option<ObjectRef> {
    let (name, rest) = host.split_once('.')?;
    let namespace = rest.strip_suffix(".svc").unwrap_or(rest);
    let service = ObjectRef::new(Kind::Service, namespace, name);
    view.get(&service).map(|_| service)
}

/// It is there, and not for the callers.
fn unseen(view: &View<'_>, callers: &[Caller], target: &Target<'_>) -> Option<Fault> {
    let references = target.references();
    let name = joined(&references, " with ");
    if let Some(hidden) = references
        .iter()
        .find(|object| !view.is_discovered(&object.namespace))
        .filter(|_| references.len() == 1)
    {
        return Some(Fault {
            message: format!(
                "Istio does not look at namespace {}, where {name} is (discoverySelectors of the mesh configuration)",
                hidden.namespace
            ),
            help: "label the namespace so that Istio looks at it".to_owned(),
            is_slip: false,
            meant: None,
            evidence: references,
        });
    }
    let blind = callers
        .iter()
        .filter(|caller| !caller.namespace.is_empty())
        .find(|caller| !target.is_visible_to(view, &caller.namespace))?;
    Some(Fault {
        message: format!(
            "{name} is not exported to namespace {}, where {}",
            blind.namespace,
            match &blind.gateway {
                Some(gateway) => format!("the pods of gateway {gateway} run"),
                None => "the route's callers are".to_owned(),
            }
        ),
        help: "export it there (a Service by its annotation networking.istio.io/exportTo), or keep the route from those callers".to_owned(),
        is_slip: false,
        meant: None,
        evidence: references,
    })
}
