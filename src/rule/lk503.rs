//! A workload of a lane group has no sidecar, or one that some of the lanes' requests pass by.
//!
//! ## What it does
//! It takes the workloads behind the services that take part in a group's lanes and asks, as Istio's injector does, whether
//! their pods get a sidecar: the namespace's `istio-injection` before its `istio.io/rev`, and only where it has neither the
//! pods' own labels; `sidecar.istio.io/inject: "false"` as label or annotation; `hostNetwork`. Where neither the namespace nor
//! the pods ask for one, pods that run with a sidecar show that the mesh injects by default. Pods that all run without one in
//! spite of their labels were there before them, and have to be made anew.
//!
//! It warns too where `traffic.sidecar.istio.io/excludeInboundPorts`, `includeInboundPorts` or `excludeOutboundPorts` lead a
//! port of the group's services past the sidecar. It is quiet for workloads in ambient mode and with proxyless gRPC, about
//! whose lanes nothing is proven, and where the namespace is not known.
//!
//! ## Why it matters
//! A route by the lane header is applied in the caller's sidecar. What a pod without one calls goes to any pod of the
//! service, whatever its lane; and what comes to it is not remembered, so that its own calls have no lane.
//!
//! ## Example
//! ```yaml
//! kind: Deployment
//! spec:
//!   template:
//!     metadata:
//!       annotations: {sidecar.istio.io/inject: "false"}
//! ```
//! Use instead:
//! ```yaml
//! kind: Deployment
//! spec:
//!   template:
//!     metadata:
//!       labels: {sidecar.istio.io/inject: "true"}
//! ```
//!
//! ## References
//! Istio, "Installing the sidecar", and the annotations of `istio.io/api/annotation`. `istioctl analyze` has IST0102
//! `NamespaceNotInjected` and IST0103 `PodMissingProxy` for everything in a namespace, whether or not it has lanes. Kiali shows
//! "missing sidecar" on a workload's page.

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Kind, Resource, Service, ServicePort, TargetPort, Workload};
use crate::routing::{INJECT, Injection, Lanes, WhyOff, injection, is_injected};
use crate::world::View;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK503",
    name: "sidecar-missing",
    level: Level::Warn,
    kinds: &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
    source: include_str!("lk503.rs"),
    check,
};

const POD_LABELS: &str = "spec.template.metadata.labels";
const POD_ANNOTATIONS: &str = "spec.template.metadata.annotations";

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Workload(workload) = object else {
        return Vec::new();
    };
    if !workload.carries() {
        return Vec::new();
    }
    let labels = &workload.template.labels;
    let memberships = check.groups.of_workload(&workload.meta.namespace, labels);
    if memberships.is_empty() {
        return Vec::new();
    }
    // The same in every group; which ports count is for each to say.
    let missing = missing(check.view, workload);
    let of_group = memberships.iter().flat_map(|(lanes, services)| {
        let found = match &missing {
            Some(missing) => vec![missing.clone()],
            None => bypassed(check.view, workload, lanes, services),
        };
        found.into_iter().map(|told| told.finding(workload, lanes))
    });
    of_group.collect()
}

/// What is wrong, and where it stands.
#[derive(Clone)]
struct Told {
    path: String,
    message: String,
    help: String,
    is_missing: bool,
}

impl Told {
    fn finding(self, workload: &Workload, lanes: &Lanes<'_, '_>) -> Finding {
        Finding::new(&RULE, workload.meta.reference(workload.kind), self.path)
            .about(Subject {
                header: Some(lanes.group.header.clone()),
                ..Subject::default()
            })
            .missing_if(self.is_missing)
            .says(self.message, self.help)
    }
}

/// Why the workload's pods have no sidecar, if they have none.
fn missing(view: &View<'_>, workload: &Workload) -> Option<Told> {
    const LOST: &str = "what they call goes to any lane";
    let namespace = &workload.meta.namespace;
    let pods = view.pods_of(workload);
    let told = |path: &str, message: String, help: &str| Told {
        path: path.to_owned(),
        message: format!("{message}: {LOST}"),
        help: help.to_owned(),
        is_missing: false,
    };
    let why = match injection(view, workload) {
        Injection::Off(why) => why,
        Injection::Sidecar if !pods.is_empty() && !pods.iter().any(|pod| is_injected(pod)) => {
            return Some(told(
                POD_LABELS,
                "the pods that run have no sidecar, for they are older than the labels that ask for it"
                    .to_owned(),
                "make them anew: `kubectl rollout restart`",
            ));
        }
        Injection::Sidecar | Injection::OtherDataPlane | Injection::Unknown => return None,
    };
    match why {
        WhyOff::HostNetwork => Some(told(
            "spec.template.spec.hostNetwork",
            "pods in the network of their node get no sidecar".to_owned(),
            "leave `hostNetwork` out, or take the workload out of the group's services",
        )),
        WhyOff::Label => Some(told(
            &format!("{POD_LABELS}{}", super::field(INJECT)),
            "the label keeps the sidecar off".to_owned(),
            "take it out, or the workload out of the group's services",
        )),
        WhyOff::Annotation => Some(told(
            &format!("{POD_ANNOTATIONS}{}", super::field(INJECT)),
            "the annotation keeps the sidecar off".to_owned(),
            "take it out, or the workload out of the group's services",
        )),
        // The mesh may inject where nobody asks; a namespace's labels may be younger than its pods.
        WhyOff::Namespace | WhyOff::NotAsked if pods.iter().any(|pod| is_injected(pod)) => None,
        WhyOff::Namespace => Some(told(
            POD_LABELS,
            format!("namespace {namespace} has `istio-injection` switched off, whatever the pods say"),
            "set the namespace's label to `enabled`, and make the pods anew",
        )),
        WhyOff::NotAsked => Some(Told {
            is_missing: true,
            ..told(
                POD_LABELS,
                format!("neither the pods nor namespace {namespace} ask for a sidecar"),
                "label the namespace `istio-injection: enabled` (or `istio.io/rev`), and make the pods anew",
            )
        }),
    }
}

/// An annotation about ports that pass the sidecar by.
struct Bypass {
    key: &'static str,
    is_inbound: bool,
    is_excluding: bool,
    harm: &'static str,
}

const BYPASSES: [Bypass; 3] = [
    Bypass {
        key: "traffic.sidecar.istio.io/excludeInboundPorts",
        is_inbound: true,
        is_excluding: true,
        harm: "the lanes of requests that come in there are not remembered",
    },
    Bypass {
        key: "traffic.sidecar.istio.io/includeInboundPorts",
        is_inbound: true,
        is_excluding: false,
        harm: "the lanes of requests that come in elsewhere are not remembered",
    },
    Bypass {
        key: "traffic.sidecar.istio.io/excludeOutboundPorts",
        is_inbound: false,
        is_excluding: true,
        harm: "what the pods call there goes to any lane",
    },
];

/// The ports of the group's services that pass the sidecar by.
fn bypassed(view: &View<'_>, workload: &Workload, lanes: &Lanes<'_, '_>, services: &[&Service]) -> Vec<Told> {
    let told = BYPASSES.iter().filter_map(|bypass| {
        let written = workload.template.annotations.get(bypass.key)?;
        let listed = |port: &u16| {
            let mut items = written.split(',').map(str::trim);
            items.any(|item| item == "*" || item.parse() == Ok(*port))
        };
        let mut past = if bypass.is_inbound {
            let ports = services.iter().flat_map(|service| &service.ports);
            ports.filter_map(|port| number_in_pods(port, workload)).collect()
        } else {
            called(view, lanes)
        };
        past.retain(|port| listed(port) == bypass.is_excluding);
        past.sort_unstable();
        past.dedup();
        (!past.is_empty()).then(|| Told {
            path: format!("{POD_ANNOTATIONS}{}", super::field(bypass.key)),
            message: format!(
                "port {} of the group's services passes the sidecar by: {}",
                joined(&past, ", "),
                bypass.harm
            ),
            help: if bypass.is_excluding {
                "take it off the list".to_owned()
            } else {
                "add it to the list, or leave the annotation out".to_owned()
            },
            is_missing: false,
        })
    });
    told.collect()
}

/// The ports at which the group's services are called.
fn called(view: &View<'_>, lanes: &Lanes<'_, '_>) -> Vec<u16> {
    let of_group = lanes.selector();
    let all = view.services_in(&lanes.group.namespace);
    let members = all
        .into_iter()
        .filter(|service| service.selector.agree_with(&of_group) && lanes.has_member(service));
    members
        .flat_map(|service| service.ports.iter().map(|port| port.number))
        .collect()
}

/// The number of the pods' port that a service's port leads to.
fn number_in_pods(port: &ServicePort, workload: &Workload) -> Option<u16> {
    match &port.target {
        None => Some(port.number),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => {
            let named = workload.template.ports.iter().find(|port| port.name == *name);
            named.map(|port| port.number)
        }
    }
}
