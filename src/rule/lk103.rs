//! A route to a subset that the caller's `DestinationRule` does not define: its requests are answered 503.
//!
//! ## What it does
//! For each destination and mirror with a subset it finds the `DestinationRule` that Istio would use for each
//! kind of caller (sidecars of the `VirtualService`'s own namespace, of those it is exported to and of any other;
//! the gateways' pods, whose namespace is where they run) and looks for the subset there. Istio takes the
//! caller's namespace first, then the service's, then the root namespace; in each the most specific host wins
//! whole. Where there is no rule for the host at all it only warns: rules and routes are often applied together.
//!
//! ## Why it matters
//! Envoy has no cluster for an undefined subset and answers 503 without a body, for the lanes whose route
//! names it only.
//!
//! ## Example
//! The rule has `cars-api-portal-wicph`; the route says:
//! ```yaml
//! route:
//! - destination: {host: cars-api-portal, subset: cars-api-portal-wtcph}
//! ```
//! Use instead:
//! ```yaml
//! route:
//! - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//!
//! ## References
//! Istio's analyzer IST0101 (`ReferencedResourceNotFound`) and Kiali KIA1107 look in any namespace; this rule
//! follows the caller's lookup, so a rule that hides the service's own is found too.

use super::{Check, Finding, Level, Rule, Subject};
use crate::lane::nearest;
use crate::resource::{Destination, Kind, Resource, VirtualService};
use crate::routing::{Caller, Target, callers_of, destinations, rule_for, target_of};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK103",
    name: "unknown-subset",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk103.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let callers = callers_of(check.view, vs);
    let mut findings = Vec::new();
    for (index, route) in vs.http.iter().enumerate() {
        for (path, destination) in destinations(route) {
            let Some(subset) = &destination.subset else {
                continue;
            };
            let path = format!("spec.http[{index}].{path}.subset");
            findings.extend(judge(check, vs, &callers, destination, subset, path));
        }
    }
    findings
}

/// The finding on one destination: for the first of the callers that lacks the subset.
fn judge(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    callers: &[Caller],
    destination: &Destination,
    subset: &Symbol,
    path: String,
) -> Option<Finding> {
    let view = check.view;
    let host = view.resolve(&destination.host, &vs.meta.namespace);
    // The subset of an alias has to be its target's.
    if let Target::Service(service) = target_of(view, &host) {
        if service.external_name.is_some() {
            return None;
        }
    }
    let home = view.read_host(&host).namespace().map(Symbol::new);
    let home = home.as_deref();
    let finding = Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), path).about(Subject {
        host: Some(host.clone()),
        subset: Some(subset.clone()),
        ..Subject::default()
    });

    let mut without_rule = Vec::new();
    for caller in callers {
        let Some(rule) = rule_for(view, &caller.namespace, &host, home) else {
            without_rule.push(caller);
            continue;
        };
        if rule.subset(subset).is_some() {
            continue;
        }
        let defined: Vec<&str> = rule
            .subsets
            .iter()
            .map(|defined| defined.subset.name.as_str())
            .collect();
        let near = nearest(subset, defined.iter().copied()).filter(|near| !routes_to(vs, near));
        let sources: Vec<String> = rule.references().iter().map(ToString::to_string).collect();
        let known = if defined.is_empty() {
            "no subset".to_owned()
        } else {
            format!("`{}`", defined.join("`, `"))
        };
        let help = near.map_or_else(
            || {
                format!(
                    "add the subset to {} first, then route to it (add subset, route, unroute, remove)",
                    sources.join(" or ")
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        return Some(finding.missing_if(near.is_none()).from_objects(rule.references()).says(
            format!("{} for {host} has no subset `{subset}`{}: its requests are answered 503; it has {known}", sources.join(" with "), seen_by(caller, callers)),
            help,
        ));
    }
    if let Some(caller) = without_rule.first() {
        let whose = if without_rule.len() == callers.len() {
            String::new()
        } else {
            seen_by(caller, callers)
        };
        return Some(finding.missing_if(true).warning_if(true).says(
            format!("there is no DestinationRule for {host}{whose}, so subset `{subset}` is not defined: its requests are answered 503"),
            format!("apply a DestinationRule for {} that defines the subset", destination.host),
        ));
    }
    elsewhere(check, callers, &host, subset).map(|(namespace, sources)| {
        finding.missing_if(true).warning_if(true).says(
            format!("for callers in namespace {namespace}, {sources} stands in for the service's own DestinationRule and has no subset `{subset}`: their requests are answered 503"),
            "make its host more specific, or define the subset there too",
        )
    })
}

/// A namespace beyond the usual callers whose own rule for the host lacks the subset: whether anyone there calls
/// the host is not known.
fn elsewhere(
    check: &Check<'_, '_>,
    callers: &[Caller],
    host: &Symbol,
    subset: &str,
) -> Option<(Symbol, String)> {
    let view = check.view;
    if !callers
        .iter()
        .any(|caller| caller.namespace.is_empty() && caller.gateway.is_none())
    {
        return None;
    }
    let names = view.with_wildcards(host);
    let rules = names
        .iter()
        .filter(|name| **name == *host)
        .flat_map(|name| view.destination_rules_for(name));
    let mut namespaces: Vec<_> = rules.map(|rule| rule.meta.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    let home = view.read_host(host).namespace();
    namespaces.into_iter().find_map(|namespace| {
        let rule = rule_for(view, &namespace, host, home)?;
        if rule.subset(subset).is_some() {
            return None;
        }
        let sources: Vec<String> = rule.references().iter().map(ToString::to_string).collect();
        Some((namespace, sources.join(" with ")))
    })
}

/// Whether the `VirtualService` routes to this subset name anywhere.
fn routes_to(vs: &VirtualService, subset: &str) -> bool {
    let all = vs.http.iter().flat_map(destinations);
    all.filter_map(|(_, to)| to.subset.as_ref())
        .any(|name| *name == subset)
}

/// Who looks, where it matters: ` for callers in namespace shop`.
fn seen_by(caller: &Caller, callers: &[Caller]) -> String {
    match (&caller.gateway, caller.namespace.as_str()) {
        (Some(gateway), "") => format!(" for gateway {gateway}"),
        (Some(gateway), namespace) => {
            format!(" for gateway {gateway}, whose pods run in namespace {namespace}")
        }
        (None, "") if callers.len() > 1 => " for callers in other namespaces".to_owned(),
        (None, "") => String::new(),
        (None, namespace) => format!(" for callers in namespace {namespace}"),
    }
}
