//! A route to a port that the service does not have: its requests are answered 503.
//!
//! ## What it does
//! It compares the port that a destination or mirror names with the ports of the Service, or of the `ServiceEntries`,
//! behind its host: of an alias (type `ExternalName`), with those of the host that it stands for. A host that is not
//! known is not judged.
//!
//! ## Why it matters
//! Istio makes one cluster for each port of the service. Envoy finds none for another number and answers 503
//! without a body. A common slip is the pods' port (`targetPort`) in place of the service's.
//!
//! ## Example
//! The Service has the ports 8080 and 20885; the route says:
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, port: {number: 2085}}
//! ```
//! Use instead:
//! ```yaml
//! route:
//! - destination: {host: cars-rti-adapter, port: {number: 20885}}
//! ```
//!
//! ## References
//! `istioctl analyze` has IST0101 (`ReferencedResourceNotFound`, "host:port"), which judges aliases (`ExternalName`) and
//! destinations of weight 0 too and does not tell the pods' port from the service's. Kiali has no counterpart: KIA1101
//! looks at the host only.

use super::{Check, Finding, Level, Rule, Subject, Suggestion, joined};
use crate::resource::{Kind, Resource, TargetPort};
use crate::routing::{Target, alias_at, destinations, target_of};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK105",
    name: "unknown-port",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk105.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut findings = Vec::new();
    for (index, route) in vs.http.iter().enumerate() {
        for (path, destination) in destinations(route) {
            let Some(number) = destination.port else { continue };
            let host = view.resolve(&destination.host, &vs.meta.namespace);
            let alias = alias_at(view, &host);
            let target = target_of(view, alias.map_or(&host, |(_, of)| of));
            let ports = target.ports();
            if is_open(&target) || ports.iter().any(|port| port.number == number) {
                continue;
            }
            let owners = target.references();
            let names = joined(&owners, " with ");
            let stands_for = alias.map_or_else(String::new, |(alias, _)| {
                format!(
                    "{} is an alias of its host: ",
                    alias.meta.reference(Kind::Service)
                )
            });
            let path = format!("spec.http[{index}].{path}.port.number");
            let meant = behind(&target, number);
            let help = match meant {
                Some(port) => format!("{number} is the pods' port; did you mean the service's port {port}?"),
                None => "route to a port that it has, or add the port to it first".to_owned(),
            };
            let finding = Finding::new(&RULE, object.reference(), path.clone())
                .about(Subject {
                    host: Some(host),
                    port: Some(number),
                    subset: destination.subset.clone(),
                    ..Subject::default()
                })
                .missing_if(true)
                .mended_by(meant.map(|port| Suggestion::set(object.reference(), path, port)))
                .from_each(owners, "spec.ports", "its ports");
            findings.push(finding.says(
                format!(
                    "{stands_for}{names} has no port {number}, only {}: the requests are answered 503",
                    joined(&ports, ", ")
                ),
                help,
            ));
        }
    }
    findings
}

/// Whether any port may be right: nothing is known of the host's ports.
fn is_open(target: &Target<'_>) -> bool {
    match target {
        Target::Service(service) => service.external_name.is_some() || service.ports.is_empty(),
        Target::Entries(entries) => entries.iter().all(|entry| entry.ports.is_empty()),
        Target::Unknown => true,
    }
}

/// The service's port whose pods listen on `number`.
fn behind(target: &Target<'_>, number: u32) -> Option<u16> {
    let Target::Service(service) = target else {
        return None;
    };
    let leads_there = |target: &Option<TargetPort>| matches!(target, Some(TargetPort::Number(to)) if u32::from(*to) == number);
    service
        .ports
        .iter()
        .find(|port| leads_there(&port.target))
        .map(|port| port.number)
}
