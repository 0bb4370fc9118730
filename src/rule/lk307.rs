//! The routes of a service of a lane group are not for its callers in the mesh.
//!
//! ## What it does
//! It takes `VirtualServices` whose host is a service that takes part in a group's lanes, and whose routes match the
//! lane header, but whose `gateways` do not name `mesh`. It is quiet where another `VirtualService` on `mesh` is for the
//! host.
//!
//! ## Why it matters
//! Sidecars do not get the routes: each call goes to any of the service's pods, and the lanes mix. Everything answers
//! 200.
//!
//! ## Example
//! ```yaml
//! hosts: [cars-rti-adapter]
//! gateways: [cars]
//! http:
//! - match:
//!   - headers: {bu: {exact: wicph}}
//! ```
//! Use instead:
//! ```yaml
//! hosts: [cars-rti-adapter]
//! gateways: [cars, mesh]
//! http:
//! - match:
//!   - headers: {bu: {exact: wicph}}
//! ```
//!
//! ## References
//! Istio, "Virtual Service", `gateways`: without the field the routes are on `mesh`, with it only where it says.
//! IST0132 (`VirtualServiceHostNotFoundInGateway`) tells of the same object that the gateway does not have the host;
//! Kiali's KIA1106 compares the hosts of several. Neither knows that the routes are meant for the mesh.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, VirtualService};
use crate::routing::{Context, is_claimed_on_mesh, is_on_mesh, routes_at};
use crate::symbol::Symbol;
use crate::world::qualified;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK307",
    name: "not-on-mesh",
    level: Level::Warn,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk307.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    if is_on_mesh(vs) {
        return Vec::new();
    }
    let home = &vs.meta.namespace;
    let mut hosts: Vec<Symbol> = vs
        .hosts
        .iter()
        .map(|host| check.view.resolve(host, home))
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts.iter().filter_map(|host| judge(check, vs, host)).collect()
}

fn judge<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService, host: &Symbol) -> Option<Finding> {
    let view = check.view;
    let service = view.service_of(host)?;
    let lanes = check.groups.of_service(service)?;
    let header = &lanes.group.header;
    if !lanes.takes_part(service) || is_claimed_on_mesh(view, host) || !matches_header(check, vs, header) {
        return None;
    }
    let gateways: Vec<&str> = vs.gateways.iter().map(Symbol::as_str).collect();
    Some(
        Finding::new(&RULE, vs.meta.reference(Kind::VirtualService), "spec.gateways")
            .about(Subject {
                host: Some(host.clone()),
                ..Subject::default()
            })
            .says(
                format!(
                    "the routes match the lane header `{header}` and are for gateway {} only: callers in the mesh reach all that runs behind {host}, whatever their lane",
                    gateways.join(", ")
                ),
                "add `mesh` to spec.gateways, or leave the field out",
            ),
    )
}

/// Whether some route at some gateway, its own or a delegate's, matches the header.
fn matches_header<'w>(check: &Check<'_, 'w>, vs: &'w VirtualService, header: &str) -> bool {
    vs.gateways.iter().any(|name| {
        let gateway = qualified(name, &vs.meta.namespace);
        let context = Context {
            gateway: Some(&gateway),
            ..Context::MESH
        };
        let routes = routes_at(check.view, vs, context);
        let mut conditions = routes.iter().flat_map(|route| &route.conditions);
        conditions.any(|condition| condition.header(header).is_some())
    })
}
