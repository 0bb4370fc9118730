//! A route to a subset that the caller's `DestinationRule` does not define: its requests are answered 503.
//!
//! ## What it does
//! For each destination and mirror with a subset it finds the `DestinationRule` that Istio would use for each
//! kind of caller (sidecars of the `VirtualService`'s own namespace, of those it is exported to and of any other;
//! the gateways' pods, whose namespace is where they run) and looks for the subset there. Istio takes the
//! caller's namespace first, then the service's, then the root namespace; in each the most specific host wins
//! whole. Where there is no rule for the host at all it only warns: rules and routes are often applied together. So
//! it does, at admission, where a rule comes that does not define all that the routes already ask for.
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
//! `istioctl analyze` has IST0101 (`ReferencedResourceNotFound`, "host+subset in destinationrule") and Kiali KIA1107, a
//! warning. Both are content with any `DestinationRule` of any namespace that has the subset; this rule follows the
//! caller's lookup, so that a rule which hides the service's own, or is not exported to the caller, is found too. Both
//! look at TCP and TLS routes as well, which cannot go by a lane header; KIA1107 does not look at mirrors; neither passes over
//! destinations of weight 0. The lookup is `destinationRule` in `pilot/pkg/model/push_context.go`.

use std::rc::Rc;

use hashbrown::HashSet;

use super::subset::missing_by_name;
use super::{Check, Finding, Level, Rule, Subject, Suggestion, joined};
use crate::lane::nearest;
use crate::resource::{Destination, Kind, ObjectRef, Resource, VirtualService};
use crate::routing::{Caller, Place, Target, alias_at, destinations, home_of, look_up, rule_for, target_of};
use crate::symbol::Symbol;
use crate::world::{EffectiveRule, EffectiveSubset, Lookup, View};

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
    let callers = check.callers_of(vs);
    let mut findings = Vec::new();
    // Most routes lead where others do.
    let mut defined: HashSet<(&Symbol, &Symbol)> = HashSet::new();
    for (index, route) in vs.http.iter().enumerate() {
        for (path, destination) in destinations(route) {
            let Some(subset) = &destination.subset else {
                continue;
            };
            if defined.contains(&(&destination.host, subset)) {
                continue;
            }
            let place = Place { index, at: path };
            match judge(check, vs, &callers, destination, subset, place) {
                Some(finding) => findings.push(finding),
                None => {
                    defined.insert((&destination.host, subset));
                }
            }
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
    place: Place,
) -> Option<Finding> {
    let view = check.view;
    let written = view.resolve(&destination.host, &vs.meta.namespace);
    // The subset of an alias has to be its target's, for those callers that know it as an alias.
    let (host, of_alias) = match alias_at(view, &written) {
        None => (written, None),
        Some((_, of)) if matches!(target_of(view, of), Target::Unknown) => return None,
        Some((alias, of)) => {
            let knows = |caller: &&Caller| caller.gateway.is_some() || !alias.ports.is_empty();
            let them: Vec<Caller> = callers.iter().filter(knows).cloned().collect();
            (of.clone(), Some(them))
        }
    };
    let callers = of_alias.as_deref().unwrap_or(callers);
    let home = home_of(view, &host);
    let path = || format!("{place}.subset");
    let finding = || {
        Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), path()).about(Subject {
            host: Some(host.clone()),
            subset: Some(subset.clone()),
            ..Subject::default()
        })
    };

    let may_be_seen = |caller: &&Caller| {
        let is_unknown = caller.gateway.is_some() && caller.namespace.is_empty();
        !(is_unknown && is_exported_by_name(view, &host, subset))
    };
    let found = callers
        .iter()
        .filter(may_be_seen)
        .map(|caller| (caller, look_up(view, &caller.namespace, &host, home)));
    let (rules, is_by_age) = worst(found.collect(), subset);
    if let Some(mut told) = not_in_the_rule(check, (vs, &path), &rules, &host, subset, home) {
        if is_by_age {
            told.message.push_str(
                ". Another rule defines it: the younger one replaces the other, and their ages are not known",
            );
            told.help = String::from(
                "write the same exportTo in these rules, so that they are merged, or put their subsets in one",
            );
        }
        let message = format!("subset `{subset}` of {host} is not defined{}", told.message);
        let takes_nothing = was_lacking(check, vs, &rules, &host, subset);
        let found = finding()
            .missing_if(is_by_age || !told.is_slip)
            .warning_if(is_by_age || takes_nothing)
            .from_fields(told.fields);
        let suggestion = told.suggestion.filter(|_| !is_by_age);
        return Some(found.mended_by(suggestion).says(message, told.help));
    }
    if let Some((caller, _)) = rules.iter().find(|(_, rule)| rule.is_none()) {
        let by_all = rules.iter().all(|(_, rule)| rule.is_none());
        let who = if by_all { String::new() } else { whose(caller) };
        let (why, help) = no_rule(view, &host, &destination.host);
        return Some(finding().missing_if(true).warning_if(true).says(
            format!(
                "subset `{subset}` of {host} is not defined{who}: {why}, and the requests are answered 503"
            ),
            help,
        ));
    }
    elsewhere(check, callers, &host, subset).map(|(namespace, sources)| {
        finding().missing_if(true).warning_if(true).says(
            format!("subset `{subset}` of {host} is not defined for callers in namespace {namespace}: {sources} stands there in for the service's own DestinationRule, and their requests are answered 503"),
            "define the subset there too, or remove that DestinationRule",
        )
    })
}

/// A caller, with its rule if it has one.
type OfCaller<'c, 'w> = (&'c Caller, Option<Rc<EffectiveRule<'w>>>);

/// The callers with their rules, without those who may have the subset after all, the ages of rules being unknown
/// [s37]; and whether all who lack it may: then they stay.
fn worst<'c, 'w>(found: Vec<(&'c Caller, Rc<Lookup<'w>>)>, subset: &str) -> (Vec<OfCaller<'c, 'w>>, bool) {
    let has = |rule: &Option<Rc<EffectiveRule<'_>>>| {
        rule.as_ref().is_some_and(|rule| rule.subset(subset).is_some())
    };
    let lacks = |found: &Lookup<'_>| found.rule.is_some() && !has(&found.rule);
    let is_by_age = |found: &Lookup<'_>| lacks(found) && found.otherwise.iter().any(has);
    let is_sure = found.iter().any(|(_, found)| lacks(found) && !is_by_age(found));
    let any_by_age = found.iter().any(|(_, found)| is_by_age(found));
    let rules = found
        .into_iter()
        .filter(|(_, found)| !is_sure || !is_by_age(found));
    (
        rules
            .map(|(caller, found)| (caller, found.rule.clone()))
            .collect(),
        any_by_age && !is_sure,
    )
}

/// Whether the change under judgement leaves the routes as they are and takes the subset from no caller: a rule that
/// comes in parts, one for each lane, would else be refused for what its other parts are yet to bring.
fn was_lacking(
    check: &Check<'_, '_>,
    vs: &VirtualService,
    rules: &[OfCaller<'_, '_>],
    host: &Symbol,
    subset: &str,
) -> bool {
    let Some(before) = check.before else { return false };
    let old = before.get(&vs.meta.reference(Kind::VirtualService));
    let is_as_it_was = matches!(old, Some(Resource::VirtualService(old)) if **old == *vs);
    let has = |rule: &Option<Rc<EffectiveRule<'_>>>| {
        rule.as_ref().is_some_and(|rule| rule.subset(subset).is_some())
    };
    let home = home_of(before, host);
    let had = |caller: &Caller| has(&rule_for(before, &caller.namespace, host, home));
    is_as_it_was && !rules.iter().any(|(caller, rule)| !has(rule) && had(caller))
}

/// Whether some rule for the host has the subset and is exported to a namespace by its name: that may be the one where
/// the pods of a gateway run of which none are known here.
fn is_exported_by_name(view: &View<'_>, host: &Symbol, subset: &str) -> bool {
    view.destination_rules_for(host).into_iter().any(|rule| {
        let is_name = |entry: &Symbol| !matches!(entry.as_str(), "*" | "." | "~");
        rule.subset(subset).is_some() && rule.export_to.iter().any(is_name)
    })
}

/// What is told of a rule that lacks the subset.
struct Lacking {
    message: String,
    help: String,
    is_slip: bool,
    /// What mends it: the name that is meant, or the subset, where its workload is there.
    suggestion: Option<Suggestion>,
    /// Where the subset that is meant is defined, or all of them are.
    fields: Vec<(ObjectRef, String, &'static str)>,
}

/// The first caller whose rule lacks the subset.
fn not_in_the_rule(
    check: &Check<'_, '_>,
    (vs, path): (&VirtualService, &dyn Fn() -> String),
    rules: &[OfCaller<'_, '_>],
    host: &Symbol,
    subset: &str,
    home: Option<&str>,
) -> Option<Lacking> {
    let lacks = |rule: &&Rc<EffectiveRule<'_>>| rule.subset(subset).is_none();
    let of_callers = rules
        .iter()
        .map(|(caller, rule)| (*caller, rule.as_ref().filter(lacks)));
    let (caller, rule) = of_callers
        .clone()
        .find_map(|(caller, rule)| Some((caller, rule?)))?;
    let sources = rule.references();
    let by_all = of_callers
        .map(|(_, rule)| rule)
        .all(|other| other.is_some_and(|other| other.references() == sources));
    let defined: Vec<&str> = rule
        .subsets
        .iter()
        .map(|defined| defined.subset.name.as_str())
        .collect();
    let known = if defined.is_empty() {
        "no subset".to_owned()
    } else {
        format!("`{}`", defined.join("`, `"))
    };
    // Where another namespace's rule stands in for the service's own, that has to be said.
    let stands_in = sources.iter().find(|source| {
        source.namespace == caller.namespace && home.is_some_and(|home| source.namespace != home)
    });
    let add = match stands_in {
        Some(source) => format!(
            "define the subset in namespace {} too: a rule there comes before the service's own",
            source.namespace
        ),
        None => format!(
            "add subset `{subset}` to {} first, then route to it",
            joined(&sources, " or ")
        ),
    };
    let near = nearest(subset, defined.iter().copied());
    let is_slip = near.is_some_and(|near| !routes_to(vs, near));
    let meant = near.map(|near| Suggestion::set(vs.meta.reference(Kind::VirtualService), path(), near));
    let help = match &meant {
        Some(meant) if is_slip => meant.question(),
        Some(meant) => format!("{} Otherwise {add}", meant.question()),
        None => add,
    };
    let suggestion = if is_slip {
        meant
    } else {
        missing_by_name(check, host, rule, subset)
    };
    let who = if by_all && stands_in.is_none() {
        String::new()
    } else {
        whose(caller)
    };
    let message = format!(
        "{who}: {} has {known}, and the requests are answered 503",
        joined(&sources, " with ")
    );
    Some(Lacking {
        message,
        help,
        is_slip,
        suggestion,
        fields: near
            .and_then(|near| rule.subset(near))
            .and_then(definition)
            .map_or_else(
                || {
                    let all = sources.into_iter();
                    all.map(|source| (source, "spec.subsets".to_owned(), "its subsets"))
                        .collect()
                },
                |field| vec![field],
            ),
    })
}

/// The field that defines a subset.
fn definition(defined: &EffectiveSubset<'_>) -> Option<(ObjectRef, String, &'static str)> {
    let EffectiveSubset { subset, rule } = defined;
    let at = rule
        .subsets
        .iter()
        .position(|other| std::ptr::eq(other, *subset))?;
    Some((
        rule.meta.reference(Kind::DestinationRule),
        format!("spec.subsets[{at}].name"),
        "this subset is defined here",
    ))
}

/// Why a caller has no rule for the host, and what helps.
fn no_rule(view: &View<'_>, host: &Symbol, written: &str) -> (String, String) {
    let hosts = view.with_wildcards(host);
    let hidden = hosts.iter().flat_map(|host| view.destination_rules_for(host));
    let hidden: Vec<ObjectRef> = hidden
        .map(|rule| rule.meta.reference(Kind::DestinationRule))
        .collect();
    if hidden.is_empty() {
        return (
            "there is no DestinationRule for the host".to_owned(),
            format!("apply a DestinationRule for {written} that defines the subset"),
        );
    }
    let hidden = joined(&hidden, ", ");
    (
        format!("{hidden} is not for these callers (spec.exportTo, spec.workloadSelector)"),
        format!("let {hidden} be for them, or apply a DestinationRule that is"),
    )
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
    let hosts = view.with_wildcards(host);
    let rules = hosts
        .iter()
        .filter(|name| **name == *host)
        .flat_map(|name| view.destination_rules_for(name));
    let mut namespaces: Vec<_> = rules.map(|rule| rule.meta.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    let home = home_of(view, host);
    namespaces.into_iter().find_map(|namespace| {
        let rule = rule_for(view, &namespace, host, home)?;
        let is_lacking = rule.subset(subset).is_none();
        is_lacking.then(|| (namespace, joined(&rule.references(), " with ")))
    })
}

/// Whether the `VirtualService` routes to this subset name anywhere.
fn routes_to(vs: &VirtualService, subset: &str) -> bool {
    let all = vs.http.iter().flat_map(destinations);
    all.filter_map(|(_, to)| to.subset.as_ref())
        .any(|name| *name == subset)
}

/// Whose requests it is about, where others fare better.
fn whose(caller: &Caller) -> String {
    match (&caller.gateway, caller.namespace.as_str()) {
        (Some(gateway), "") => format!(" for gateway {gateway}"),
        (Some(gateway), namespace) => {
            format!(" for gateway {gateway}, whose pods run in namespace {namespace}")
        }
        (None, "") => " for callers in other namespaces".to_owned(),
        (None, namespace) => format!(" for callers in namespace {namespace}"),
    }
}
