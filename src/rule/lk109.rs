//! A routed Service port leads to a container port by name, and no container of a lane's workloads has it.
//!
//! ## What it does
//! For each port of a Service whose `targetPort` is a name, and each subset that a route sends requests to on that
//! port, it looks at the containers (and at the init containers that stay, `restartPolicy: Always`) of the workloads and
//! pods that the subset chooses. It denies where others behind the Service have a port of that name and protocol, and
//! those of the subset do not. Where nothing behind the Service has one, it warns: something that is added to the pods as
//! they start may bring it.
//!
//! ## Why it matters
//! Kubernetes leaves a pod without the named port out of the Service's endpoints for that port. The pods are ready, the
//! other lanes work, and that lane alone is answered 503 "no healthy upstream".
//!
//! ## Example
//! The Service has `targetPort: http`; the Deployment of one lane says:
//! ```yaml
//! containers:
//! - name: app
//!   ports:
//!   - {name: web, containerPort: 8080}
//! ```
//! Use instead:
//! ```yaml
//! containers:
//! - name: app
//!   ports:
//!   - {name: http, containerPort: 8080}
//! ```
//!
//! ## References
//! `FindPort` in Kubernetes' `pkg/api/v1/pod/util.go`. Istio's analyzers do not look at it. Kiali has KIA0701: it asks one
//! Deployment, the first that the Service selects by the Deployment's own labels, so that a lane which alone is wrong
//! escapes it; it asks for port numbers too, which Kubernetes does not need to be declared.

use std::collections::BTreeSet;

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, Service, ServicePort, TargetPort};
use crate::routing::{has_target_port, hops, rule_for, workload_labels};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK109",
    name: "target-port-missing",
    level: Level::Deny,
    kinds: &[Kind::Service],
    source: include_str!("lk109.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Service(service) = object else {
        return Vec::new();
    };
    if service.selector.is_empty() || service.external_name.is_some() || service.meta.deleting {
        return Vec::new();
    }
    let by_name = |port: &ServicePort| match &port.target {
        Some(TargetPort::Name(name)) => Some(name.clone()),
        _ => None,
    };
    let ports: Vec<(usize, &ServicePort, Symbol)> = service
        .ports
        .iter()
        .enumerate()
        .filter_map(|(index, port)| Some((index, port, by_name(port)?)))
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let carriers = check.view.carriers(&service.meta.namespace, &service.selector);
    let mut findings = Vec::new();
    let mut routed = None;
    for (index, port, name) in ports {
        let lacks = |carrier: &&Resource| !has_target_port(carrier, port);
        if !carriers.iter().any(lacks) {
            continue;
        }
        let judged = Judged {
            check,
            service,
            index,
            port,
            name: &name,
        };
        let routed = routed.get_or_insert_with(|| subsets_reached(check, service));
        findings.extend(judged.findings(&carriers, routed));
    }
    findings
}

/// The subsets of the service that requests reach, by port; `None` as a subset: all of it.
fn subsets_reached(check: &Check<'_, '_>, service: &Service) -> BTreeSet<(u32, Option<Symbol>)> {
    let host = check.view.host_of(service);
    let mut reached = BTreeSet::new();
    for vs in check.view.virtual_services_to(&host) {
        for from in &check.virtual_hosts(vs).lists {
            for hop in hops(from, vs).filter(|hop| !hop.is_copy()) {
                let end = hop.end(check.view);
                if let Some(port) = end.port.filter(|_| end.host == host) {
                    reached.insert((port, hop.destination.subset.clone()));
                }
            }
        }
    }
    reached
}

/// A port under judgement.
struct Judged<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    service: &'c Service,
    index: usize,
    port: &'c ServicePort,
    name: &'c Symbol,
}

impl Judged<'_, '_, '_> {
    fn findings(&self, carriers: &[&Resource], routed: &BTreeSet<(u32, Option<Symbol>)>) -> Vec<Finding> {
        let number = u32::from(self.port.number);
        let here = routed.iter().filter(|(port, _)| *port == number);
        let subsets: Vec<Option<&Symbol>> = here.map(|(_, subset)| subset.as_ref()).collect();
        if subsets.is_empty() {
            return Vec::new();
        }
        let has = |carrier: &&Resource| has_target_port(carrier, self.port);
        if !carriers.iter().any(has) {
            return vec![self.of_all(carriers)];
        }
        let view = self.check.view;
        let home = &self.service.meta.namespace;
        let Some(rule) = rule_for(view, home, &view.host_of(self.service), Some(home)) else {
            return Vec::new();
        };
        let found = subsets.into_iter().flatten().filter_map(|subset| {
            let wanted = workload_labels(rule.subset(subset)?.subset);
            let chosen: Vec<&Resource> = carriers
                .iter()
                .copied()
                .filter(|carrier| {
                    carrier
                        .carrier_labels()
                        .is_some_and(|labels| wanted.select(labels))
                })
                .collect();
            let is_lacking = !chosen.is_empty() && !chosen.iter().any(has);
            is_lacking.then(|| self.of_subset(subset, &chosen))
        });
        found.collect()
    }

    fn of_subset(&self, subset: &Symbol, chosen: &[&Resource]) -> Finding {
        let names: Vec<String> = chosen
            .iter()
            .map(|carrier| carrier.reference().to_string())
            .collect();
        self.finding(Some(subset), chosen).says(
            format!(
                "no container of {}, which carries subset `{subset}`, has a port named `{}`: requests to port {} of that subset alone are answered 503 (no healthy upstream)",
                names.join(" or "),
                self.name,
                self.port.number
            ),
            format!("name a container port `{}` there, or let targetPort be a number", self.name),
        )
    }

    fn of_all(&self, carriers: &[&Resource]) -> Finding {
        self.finding(None, carriers).warning_if(true).says(
            format!(
                "no container behind the Service has a port named `{}`: requests to port {} are answered 503 (no healthy upstream), unless something adds it to the pods",
                self.name, self.port.number
            ),
            format!("name a container port `{}`, or correct targetPort", self.name),
        )
    }

    fn finding(&self, subset: Option<&Symbol>, carriers: &[&Resource]) -> Finding {
        let path = format!("spec.ports[{}].targetPort", self.index);
        Finding::new(&RULE, self.service.meta.reference(Kind::Service), path)
            .about(Subject {
                host: Some(self.check.view.host_of(self.service)),
                port: Some(self.port.number.into()),
                subset: subset.cloned(),
                ..Subject::default()
            })
            .missing_if(true)
            .from_objects(carriers.iter().map(|carrier| carrier.reference()))
    }
}
