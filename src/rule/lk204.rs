//! A port of a service with lane routes declares no protocol, so that Istio guesses whether the routes apply.
//!
//! ## What it does
//! It takes the ports of a member service of a lane group for which neither `appProtocol` nor the name's prefix tells
//! the protocol, and warns where a route by the lane or entry header is for their callers or leads to them. Headless
//! services are not judged, nor are ports that look like another protocol's (`postgres`, 9092, a debugger's).
//!
//! ## Why it matters
//! A sidecar looks at the first bytes of each connection. What it does not take for HTTP passes as TCP, and no route
//! applies: the request is answered, by any lane. A gateway does not look: it speaks HTTP/1.1 to the port, so that
//! gRPC fails there.
//!
//! ## Example
//! ```yaml
//! ports:
//! - {name: web, port: 8080}
//! ```
//! Use instead (or `appProtocol: http`):
//! ```yaml
//! ports:
//! - {name: http-web, port: 8080}
//! ```
//!
//! ## References
//! Istio, "Protocol Selection"; `pkg/config/kube/conversion.go`; `setUpstreamProtocol` in
//! `pilot/pkg/networking/core/cluster_builder.go`. `istioctl analyze` (IST0118) and Kiali (KIA0601, KIA0602) report every
//! port of every service; Kiali says that the traffic is TCP, which it no longer is.

use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource, ServicePort, VirtualService};
use crate::routing::{Lanes, Protocol, Route, hops};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK204",
    name: "protocol-undeclared",
    level: Level::Warn,
    kinds: &[Kind::Service],
    source: include_str!("lk204.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::Service(service) = object else {
        return Vec::new();
    };
    if service.headless || service.external_name.is_some() {
        return Vec::new();
    }
    let ports = service.ports.iter().enumerate();
    let undeclared: Vec<_> = ports
        .filter(|(_, port)| Protocol::of(port) == Protocol::Undeclared && !is_of_another_protocol(port))
        .collect();
    let host = check.view.host_of(service);
    if undeclared.is_empty() {
        return Vec::new();
    }
    let Some(lanes) = check.groups.of_host(&host) else {
        return Vec::new();
    };
    let routing = routing(check, &host);
    let served = undeclared.into_iter().filter_map(|(index, port)| {
        let vs = routing
            .iter()
            .find(|vs| serves(check, &lanes, vs, &host, port.number.into()))?;
        Some((index, port, *vs))
    });
    served
        .map(|(index, port, vs)| {
            let (field, written) = match &port.app_protocol {
                Some(application) => ("appProtocol", format!("appProtocol `{application}`")),
                None if port.name.is_empty() => ("port", "no name".to_owned()),
                None => ("name", format!("name `{}`", port.name)),
            };
            let number = port.number;
            let vs = vs.meta.reference(Kind::VirtualService);
            let mend = match &port.app_protocol {
                Some(_) => "write appProtocol: http, or grpc".to_owned(),
                None => format!("name it `http-{0}` or `grpc-{0}`, or add appProtocol: http or grpc", suffix(port)),
            };
            Finding::new(&RULE, object.reference(), format!("spec.ports[{index}].{field}"))
                .about(Subject {
                    host: Some(host.clone()),
                    port: Some(number.into()),
                    ..Subject::default()
                })
                .from_objects([vs.clone()])
                .says(
                    format!("port {number} has {written}, which tells Istio no protocol: whether the lane routes of {vs} apply is guessed from each connection's first bytes, and gateways speak HTTP/1 to it"),
                    mend,
                )
        })
        .collect()
}

/// What a port's name goes on with after its protocol.
fn suffix(port: &ServicePort) -> String {
    if port.name.is_empty() {
        port.number.to_string()
    } else {
        port.name.to_string()
    }
}

/// The `VirtualServices` that are for the host or lead to it.
fn routing<'w>(check: &Check<'_, 'w>, host: &Symbol) -> Vec<&'w VirtualService> {
    let mut all = check.view.virtual_services_of(host);
    all.extend(check.view.virtual_services_to(host));
    all.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
    all.dedup_by(|a, b| std::ptr::eq(*a, *b));
    all
}

/// Whether a lane route of `vs` is for callers of `port`, or leads to it.
fn serves<'w>(
    check: &Check<'_, 'w>,
    lanes: &Lanes<'_, 'w>,
    vs: &'w VirtualService,
    host: &Symbol,
    port: u32,
) -> bool {
    check.virtual_hosts(vs).lists.iter().any(|from| {
        let is_called = from.gateway.is_none() && from.host == *host && from.port == Some(port);
        (is_called && from.routes.iter().any(|route| is_lane_route(lanes, route)))
            || hops(from, vs).any(|hop| {
                is_lane_route(lanes, hop.route) && {
                    let end = hop.end(check.view);
                    end.host == *host && end.port == Some(port)
                }
            })
    })
}

/// Whether the route tells lanes apart by the group's lane or entry header.
fn is_lane_route(lanes: &Lanes<'_, '_>, route: &Route<'_>) -> bool {
    lanes.headers().any(|header| {
        let mut conditions = route.conditions.iter();
        conditions.any(|condition| condition.header(header).is_some())
    })
}

/// Whether the port is by name or number that of a protocol which is not HTTP, and which Istio does not know.
fn is_of_another_protocol(port: &ServicePort) -> bool {
    const NAMES: [&str; 19] = [
        "amqp",
        "cassandra",
        "debug",
        "dubbo",
        "ftp",
        "jdwp",
        "jmx",
        "kafka",
        "ldap",
        "memcached",
        "mqtt",
        "nats",
        "postgres",
        "postgresql",
        "rmi",
        "smtp",
        "ssh",
        "thrift",
        "zookeeper",
    ];
    const NUMBERS: [u16; 14] = [
        22, 389, 587, 1433, 1521, 1883, 2181, 4222, 5005, 5432, 5672, 6379, 9092, 11211,
    ];
    let first = port.name.split('-').next().unwrap_or_default();
    let is_named = NAMES.iter().any(|name| first.eq_ignore_ascii_case(name));
    is_named || (NUMBERS.contains(&port.number) && port.app_protocol.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_another_protocol_is_told_by_its_name_or_number() {
        let port = |name: &str, number| ServicePort {
            name: name.into(),
            number,
            ..ServicePort::default()
        };
        assert!(is_of_another_protocol(&port("postgres", 80)));
        assert!(is_of_another_protocol(&port("Kafka-internal", 80)));
        assert!(is_of_another_protocol(&port("db", 5432)));
        assert!(!is_of_another_protocol(&port("web", 8080)));
        assert!(!is_of_another_protocol(&port("", 80)));
    }
}
