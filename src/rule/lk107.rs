//! Two `VirtualServices` claim one host for the same callers, and Istio ignores one of them.
//!
//! ## What it does
//! For each host of a `VirtualService` on the mesh it takes the others that claim that very host, and asks for each
//! port of the service and each caller that the routes tell apart (`match.port`, `sourceLabels`, `sourceNamespace`)
//! whether both have routes there for the same callers. If so, the older one counts and the other is as if it were not
//! there; the rule names the one that is ignored. It is quiet where Istio has a reason to prefer one (its export is
//! narrower: a private one of the callers' own namespace overrides a public one), where revisions (`istio.io/rev`)
//! keep them apart, and where the other's host is a wildcard. Equal routes warn: that is how a `VirtualService` is
//! renamed without a gap.
//!
//! ## Why it matters
//! Istio does not put the routes of two `VirtualServices` together on the mesh. Nothing is reported; the lane routes
//! of the younger one never apply, and the default lane answers 200.
//!
//! ## Example
//! ```yaml
//! metadata: {name: portal-default}
//! spec:
//!   hosts: [cars-api-portal]
//!   http: [{route: [{destination: {host: cars-api-portal, subset: wtchk}}]}]
//! ---
//! metadata: {name: portal-lanes}
//! spec:
//!   hosts: [cars-api-portal]
//!   http: [{match: [{headers: {bu: {exact: wicph}}}], route: [{destination: {host: cars-api-portal, subset: wicph}}]}]
//! ```
//! Use instead:
//! ```yaml
//! metadata: {name: portal}
//! spec:
//!   hosts: [cars-api-portal]
//!   http:
//!   - match: [{headers: {bu: {exact: wicph}}}]
//!     route: [{destination: {host: cars-api-portal, subset: wicph}}]
//!   - route: [{destination: {host: cars-api-portal, subset: wtchk}}]
//! ```
//!
//! ## References
//! Istio, "Split large virtual services and destination rules into multiple resources"; `SelectVirtualServices` in
//! `pilot/pkg/model/virtualservice.go`. `istioctl analyze` has IST0109 (`ConflictingMeshGatewayVirtualServiceHosts`) and
//! Kiali KIA1106: both report every pair with one host, also pairs that are split by port or source, and say nothing of
//! which one counts.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, VirtualService};
use crate::routing::{Context, Rank, Source, is_on_mesh, mesh_ports, rank, routes_at, sources_of};
use crate::symbol::Symbol;
use crate::world::{View, age, is_age_known};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK107",
    name: "conflicting-virtual-service",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk107.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    if vs.http.is_empty() || !is_on_mesh(vs) {
        return Vec::new();
    }
    let view = check.view;
    let mut findings = Vec::new();
    for (at, host) in vs.hosts.iter().enumerate() {
        let host = view.resolve(host, &vs.meta.namespace);
        for rival in view.virtual_services_of(&host) {
            let stands_first = !rival.http.is_empty()
                && is_on_mesh(rival)
                && share_a_revision(vs, rival)
                && age(&rival.meta) < age(&vs.meta)
                && share_callers(view, vs, rival);
            if !stands_first {
                continue;
            }
            if let Some((port, source)) = contended(view, &host, vs, rival) {
                findings.push(finding(vs, rival, (at, &host), port, source));
            }
        }
    }
    findings
}

fn finding(
    vs: &VirtualService,
    rival: &VirtualService,
    (at, host): (usize, &Symbol),
    port: Option<u32>,
    source: Source<'_>,
) -> Finding {
    let other = rival.meta.reference(Kind::VirtualService);
    let are_equal = vs.http == rival.http && vs.meta.namespace == rival.meta.namespace;
    let is_unknown = !is_age_known(&vs.meta, &rival.meta);
    let port = port.map(|port| format!(" on port {port}")).unwrap_or_default();
    let from = match (source.namespace, source.labels) {
        (None, None) => String::new(),
        (Some(namespace), None) => format!(" from namespace {namespace}"),
        (None, Some(labels)) => format!(" from callers with {labels}"),
        (Some(namespace), Some(labels)) => format!(" from callers with {labels} in namespace {namespace}"),
    };
    let counts = if is_unknown {
        format!("only the older of the two counts, and files do not tell which it is; by name it is {other}")
    } else {
        format!("{other} is older and counts, and the routes here are ignored")
    };
    let help = if are_equal {
        "the routes are equal, so nothing is lost: delete the other one when the hand-over is done"
    } else {
        "put the routes into one VirtualService, or tell them apart by match.port, sourceLabels or sourceNamespace; to rename one, create the new one with equal routes first, then delete the old"
    };
    Finding::new(
        &RULE,
        vs.meta.reference(Kind::VirtualService),
        format!("spec.hosts[{at}]"),
    )
    .about(Subject {
        host: Some(host.clone()),
        ..Subject::default()
    })
    .missing_if(true)
    .warning_if(are_equal || is_unknown)
    .from_field(other.clone(), "spec.hosts", "its hosts")
    .says(
        format!("{other} claims {host} too: for requests{port}{from} {counts}"),
        help,
    )
}

/// Whether there are callers for whom only age puts one of the two first.
fn share_callers(view: &View<'_>, a: &VirtualService, b: &VirtualService) -> bool {
    let named = [a, b].into_iter().flat_map(|vs| vs.export_to.iter().cloned());
    let others = [
        a.meta.namespace.clone(),
        b.meta.namespace.clone(),
        Symbol::default(),
    ];
    named
        .chain(others)
        .any(|caller| rank(view, a, &caller).is_some_and(|of_a: Rank| rank(view, b, &caller) == Some(of_a)))
}

/// Whether one control plane reads both.
fn share_a_revision(a: &VirtualService, b: &VirtualService) -> bool {
    let revision = |vs: &'_ VirtualService| vs.meta.labels.get("istio.io/rev").cloned();
    revision(a)
        .zip(revision(b))
        .is_none_or(|(of_a, of_b)| of_a == of_b)
}

/// The first port and caller for whom both have routes.
fn contended<'w>(
    view: &View<'w>,
    host: &Symbol,
    a: &'w VirtualService,
    b: &'w VirtualService,
) -> Option<(Option<u32>, Source<'w>)> {
    let mut sources = sources_of(view, a);
    sources.extend(sources_of(view, b));
    mesh_ports(view, host).into_iter().find_map(|port| {
        sources.iter().copied().find_map(|source| {
            let context = Context {
                gateway: None,
                port,
                source: Some(source),
            };
            let has_routes = |vs| !routes_at(view, vs, context).is_empty();
            (has_routes(a) && has_routes(b)).then_some((port, source))
        })
    })
}
