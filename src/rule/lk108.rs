//! A `DestinationRule` is replaced whole by another one, and subsets that routes lead to are lost.
//!
//! ## What it does
//! For each subset that a route leads to, it asks which rule the route's callers get: the sidecars of the
//! `VirtualService`'s namespace and of those it is exported to, and the gateways' pods. It denies where this rule
//! defines the subset and would be for them, and another one stands in that does not define it:
//! - one of the same namespace for the same host whose `exportTo` is written otherwise (`[]` and `["*"]` are not
//!   equal), for then the youngest counts alone; or one with a `workloadSelector`, for the workloads that it chooses;
//! - one for a more specific host;
//! - one of the callers' own namespace, even by a wildcard; or of the service's, before one of the root namespace.
//!
//! Where the ages of rules decide and are not known, as in files, or are equal to the second, it only warns.
//!
//! ## Why it matters
//! Envoy has no cluster for the lost subset and answers 503 without a body. Nothing tells: each rule is right by itself.
//!
//! ## Example
//! ```yaml
//! metadata: {name: cars-api-portal}
//! spec:
//!   host: cars-api-portal
//!   subsets:
//!   - {name: wicph, labels: {version: wicph}}
//! ---
//! metadata: {name: cars-api-portal-tls}
//! spec:
//!   host: cars-api-portal
//!   exportTo: ["*"]
//!   trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
//! ```
//! Use instead:
//! ```yaml
//! metadata: {name: cars-api-portal}
//! spec:
//!   host: cars-api-portal
//!   trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
//!   subsets:
//!   - {name: wicph, labels: {version: wicph}}
//! ```
//!
//! ## References
//! `mergeDestinationRule` (`pilot/pkg/model/destination_rule.go`), `SidecarScope.DestinationRule` (`sidecar.go`) and
//! `PushContext.destinationRule` (`push_context.go`). `istioctl analyze` has no counterpart. Kiali's KIA0201 reports any
//! two rules that a host matches, without asking which of them a caller gets and whether anything is lost.

use std::rc::Rc;

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{DestinationRule, Kind, Labels, ObjectRef, Resource, Subset};
use crate::routing::{Caller, EffectiveRule, Lookup, destinations, home_of, look_up, would_count};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK108",
    name: "destination-rule-shadowed",
    level: Level::Deny,
    kinds: &[Kind::DestinationRule],
    source: include_str!("lk108.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::DestinationRule(rule) = object else {
        return Vec::new();
    };
    if rule.subsets.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for host in hosts_of(check, rule) {
        for (index, subset) in rule.subsets.iter().enumerate() {
            let judged = Judged {
                check,
                rule,
                host: &host,
                subset,
            };
            findings.extend(judged.lost().map(|lost| judged.finding(index, &lost)));
        }
    }
    findings
}

/// The full hosts that the rule is for: of a wildcard, the services of its namespace.
fn hosts_of(check: &Check<'_, '_>, rule: &DestinationRule) -> Vec<Symbol> {
    let view = check.view;
    let host = view.resolve(&rule.host, &rule.meta.namespace);
    if !host.starts_with('*') {
        return vec![host];
    }
    let services = view.services_in(&rule.meta.namespace).into_iter();
    services
        .map(|service| view.host_of(service))
        .filter(|of_service| view.with_wildcards(of_service).contains(&host))
        .collect()
}

/// A subset under judgement.
struct Judged<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    rule: &'c DestinationRule,
    host: &'c Symbol,
    subset: &'c Subset,
}

/// Who loses a subset, and to what.
struct Lost<'w> {
    caller: Caller,
    /// The rule that stands in; `None`: none is left.
    by: Option<Rc<EffectiveRule<'w>>>,
    /// The `workloadSelector` of that rule.
    selector: Option<&'w Labels>,
    /// Whether it depends on ages that are not known.
    is_by_age: bool,
    is_sure: bool,
}

impl<'w> Judged<'_, '_, 'w> {
    /// The first of the routes' callers that loses the subset, those that surely do before the others.
    fn lost(&self) -> Option<Lost<'w>> {
        let view = self.check.view;
        let mut unsure = None;
        for vs in view.virtual_services_to(self.host) {
            let mut all = vs.http.iter().flat_map(destinations);
            let leads_there = all.any(|(_, to)| {
                to.subset.as_ref() == Some(&self.subset.name)
                    && view.resolve(&to.host, &vs.meta.namespace) == *self.host
            });
            if !leads_there {
                continue;
            }
            for caller in self.check.callers_of(vs).iter().cloned() {
                let is_home = caller.namespace == vs.meta.namespace;
                let Some(lost) = self.lost_to(caller, is_home) else {
                    continue;
                };
                if lost.is_sure {
                    return Some(lost);
                }
                unsure.get_or_insert(lost);
            }
        }
        unsure
    }

    fn lost_to(&self, caller: Caller, is_home: bool) -> Option<Lost<'w>> {
        let view = self.check.view;
        let home = home_of(view, self.host);
        // A gateway whose pods are not known may be anywhere.
        let is_unknown = caller.gateway.is_some() && caller.namespace.is_empty();
        if is_unknown || !would_count(view, self.rule, &caller.namespace, home) {
            return None;
        }
        let looked_up = look_up(view, &caller.namespace, self.host, home);
        let Lookup {
            rule,
            otherwise,
            selected,
        } = &*looked_up;
        let lacks = |rule: &Option<Rc<EffectiveRule<'w>>>| {
            rule.as_ref()
                .is_none_or(|rule| rule.subset(&self.subset.name).is_none())
        };
        if lacks(rule) {
            let is_by_age = !otherwise.iter().all(lacks);
            return Some(Lost {
                caller,
                by: rule.clone(),
                selector: None,
                is_by_age,
                is_sure: !is_by_age,
            });
        }
        if let Some(other) = otherwise.iter().find(|rule| lacks(rule)) {
            return Some(Lost {
                caller,
                by: other.clone(),
                selector: None,
                is_by_age: true,
                is_sure: false,
            });
        }
        let chooses_any = |selector: &Labels| !view.carriers(&caller.namespace, selector).is_empty();
        let (selector, by) = selected.iter().find(|(selector, rule)| {
            caller.gateway.is_none() && rule.subset(&self.subset.name).is_none() && chooses_any(selector)
        })?;
        Some(Lost {
            caller,
            by: Some(Rc::clone(by)),
            selector: Some(selector),
            is_by_age: false,
            is_sure: is_home,
        })
    }

    fn finding(&self, index: usize, lost: &Lost<'_>) -> Finding {
        let by = lost.by.as_ref().map(|rule| rule.references()).unwrap_or_default();
        let (why, help) = self.why(lost, &by);
        let name = &self.subset.name;
        let verb = if lost.is_by_age { "may be" } else { "is" };
        let own = self.rule.meta.reference(Kind::DestinationRule);
        Finding::new(&RULE, own, format!("spec.subsets[{index}].name"))
            .about(Subject {
                host: Some(self.host.clone()),
                subset: Some(name.clone()),
                ..Subject::default()
            })
            .missing_if(true)
            .warning_if(!lost.is_sure)
            .from_each(by, "spec.subsets", "its subsets")
            .says(
                format!(
                    "subset `{name}` of {}, which routes lead to, {verb} lost{}: {why}, and the requests are answered 503",
                    self.host,
                    self.whose(lost)
                ),
                help,
            )
    }

    /// Why another rule stands in, and what helps.
    fn why(&self, lost: &Lost<'_>, by: &[ObjectRef]) -> (String, String) {
        let by_name = joined(by, " with ");
        let Some(first) = lost.by.as_ref().and_then(|rule| rule.sources.first()) else {
            return (
                "a rule with a workloadSelector has taken this one in, for its exportTo is [\".\"]"
                    .to_owned(),
                "leave spec.exportTo out of this rule, or put its subsets in the other one too".to_owned(),
            );
        };
        let define_there = format!("define the subset in {by_name} too, or remove that rule");
        let own = &self.rule.meta.namespace;
        if lost.selector.is_some() {
            return (format!("{by_name} is for them alone"), define_there);
        }
        if first.meta.namespace != *own {
            let whose = if first.meta.namespace == lost.caller.namespace {
                "a rule of the callers' own namespace"
            } else {
                "a rule of the service's namespace"
            };
            return (
                format!("{by_name} stands in, for {whose} comes first"),
                define_there,
            );
        }
        let view = self.check.view;
        if view.resolve(&first.host, &first.meta.namespace) != view.resolve(&self.rule.host, own) {
            return (
                format!("{by_name} stands in, for its host is more specific"),
                define_there,
            );
        }
        let age = if lost.is_by_age {
            "whichever of the two is younger replaces the other whole, and their ages are not known"
        } else {
            "it is younger and replaces this one whole"
        };
        (
            format!("{by_name} is for the same host, and as their exportTo is not written alike, {age}"),
            "write the same exportTo in both, so that they are merged, or put the subsets in one".to_owned(),
        )
    }

    /// Whose requests it is about, where others fare better.
    fn whose(&self, lost: &Lost<'_>) -> String {
        let chosen = lost
            .selector
            .map_or_else(String::new, |selector| format!(" with {selector}"));
        let first = lost.by.as_ref().and_then(|rule| rule.sources.first());
        let stands_in_for_all = first.is_some_and(|first| first.meta.namespace == self.rule.meta.namespace);
        match (&lost.caller.gateway, lost.caller.namespace.as_str()) {
            _ if stands_in_for_all && lost.selector.is_none() => String::new(),
            (Some(gateway), namespace) => {
                format!(" for gateway {gateway}, whose pods run in namespace {namespace}")
            }
            (None, "") => " for callers in other namespaces".to_owned(),
            (None, namespace) => format!(" for callers in namespace {namespace}{chosen}"),
        }
    }
}
