//! The steps that requests take: from the callers of a virtual host, over a route, to a port of a service.
//!
//! ```text
//!   VirtualHost (host, port, gateway) ──hops──▶ Hop (route, destination) ──end──▶ End (host, port) ──upstream──▶ HTTP/1, HTTP/2
//! ```

use std::fmt;

use super::route::destinations;
use super::{
    Caller, Port, Route, Target, Upstream, VirtualHost, alias_at, effective_port, home_of, rule_for,
    target_of,
};
use crate::resource::{Destination, DestinationPath, Service, VirtualService};
use crate::symbol::Symbol;
use crate::world::View;

/// One step: requests to a virtual host, or copies of them, that a route sends to a destination.
#[derive(Debug, Clone)]
pub struct Hop<'h, 'w> {
    /// What is called.
    pub from: &'h VirtualHost<'w>,
    /// The route that is taken.
    pub route: &'h Route<'w>,
    /// Where the destination stands in the object that has the route.
    pub place: Place,
    /// The destination.
    pub destination: &'w Destination,
}

/// Where a destination stands in its object: `spec.http[0].route[0].destination`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The place of its route in `spec.http`.
    pub index: usize,
    /// Its place there.
    pub at: DestinationPath,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, at } = self;
        write!(f, "spec.http[{index}].{at}")
    }
}

/// The steps from `from` over those of its routes that the object `vs` has; none at a server that answers every
/// request with a redirect.
pub fn hops<'h, 'w>(from: &'h VirtualHost<'w>, vs: &VirtualService) -> impl Iterator<Item = Hop<'h, 'w>> {
    let redirects = from.server.is_some_and(|server| server.redirects);
    let own = from
        .routes
        .iter()
        .filter(move |route| !redirects && route.is_of(vs));
    own.flat_map(move |route| {
        let index = route.index;
        destinations(route.route).map(move |(at, destination)| Hop {
            from,
            route,
            place: Place { index, at },
            destination,
        })
    })
}

/// Where a step ends.
#[derive(Debug, Clone)]
pub struct End<'w> {
    /// The full host; where the destination is an alias, that of what it stands for.
    pub host: Symbol,
    /// What the host stands for.
    pub target: Target<'w>,
    /// The number of the port; `None`: it is not known.
    pub port: Option<u32>,
    /// The alias that the destination names.
    pub alias: Option<&'w Service>,
}

impl<'w> Hop<'_, 'w> {
    /// Whether it gets copies only: nobody waits for its answers.
    pub fn is_copy(&self) -> bool {
        self.place.at.is_copy()
    }

    /// Where the step ends.
    pub fn end(&self, view: &View<'w>) -> End<'w> {
        let host = self.route.host_of(view, self.destination);
        let target = target_of(view, &host);
        let context = self.from.context();
        let port = effective_port(self.destination, &target, context);
        let alias = alias_at(view, &host);
        // A sidecar knows an alias only at the listeners of the alias's own ports [s20].
        let is_known = |alias: &Service| {
            context.gateway.is_some() || context.port.is_none_or(|port| alias.port(port).is_some())
        };
        let (host, target) = match alias {
            Some((alias, of)) if is_known(alias) => (of.clone(), target_of(view, of)),
            _ => (host, target),
        };
        End {
            host,
            target,
            port,
            alias: alias.map(|(alias, _)| alias),
        }
    }

    /// Whether a gateway takes it, not a sidecar.
    pub fn is_from_gateway(&self) -> bool {
        self.from.gateway.is_some()
    }

    /// Whether it is one of those `callers` who take it: pods of the gateway, or sidecars.
    pub fn is_taken_by(&self, caller: &Caller) -> bool {
        caller.gateway == self.from.gateway
    }
}

impl End<'_> {
    /// The port, where the host has it.
    pub fn known_port(&self) -> Option<Port> {
        self.target.port(self.port?).filter(|_| !self.is_lost_alias())
    }

    /// Whether it surely ends nowhere: the host is known and has no such port, or is an alias that the caller's
    /// sidecar does not know as one.
    pub fn is_nowhere(&self) -> bool {
        let Some(number) = self.port else { return false };
        self.is_lost_alias() || self.target.lacks(number)
    }

    /// Whether it is an alias that did not become its target: there is no such cluster.
    pub fn is_lost_alias(&self) -> bool {
        matches!(self.target, Target::Service(service) if service.external_name.is_some())
    }
}

/// What `caller` speaks to `port` of the subset at the end of a step, by the rule that counts for it ([`Upstream::of`]).
pub fn upstream(
    view: &View<'_>,
    caller: &Caller,
    end: &End<'_>,
    subset: Option<&str>,
    port: &Port,
) -> Upstream {
    let home = home_of(view, &end.host);
    let rule = rule_for(view, &caller.namespace, &end.host, home);
    Upstream::of(view, caller, rule.as_deref(), subset, port)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::routing::virtual_hosts;
    use crate::world::{Settings, World};

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let object = json!({"metadata": {"namespace": "cars", "name": name}, "spec": spec});
        Resource::parse(kind, object).unwrap()
    }

    fn service(name: &str, ports: &[(&str, u16)]) -> Resource {
        let ports: Vec<_> = ports
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port}))
            .collect();
        object(Kind::Service, name, &json!({"ports": ports}))
    }

    /// Where requests to each port of `cars/portal` end, by its only route.
    fn ends(destination: &Value, objects: Vec<Resource>) -> Vec<(String, Option<u32>, bool)> {
        let vs = object(
            Kind::VirtualService,
            "portal",
            &json!({"hosts": ["portal"], "http": [{"route": [{"destination": destination}]}]}),
        );
        let world = World::of(Settings::default(), objects.into_iter().chain([vs]));
        let view = View::new(&world);
        let vs = view.virtual_service(&"cars".into(), &"portal".into()).unwrap();
        let hosts = virtual_hosts(&view, vs).lists;
        let hops = hosts.iter().flat_map(|host| hops(host, vs));
        hops.map(|hop| hop.end(&view))
            .map(|end| (end.host.to_string(), end.port, end.is_nowhere()))
            .collect()
    }

    #[test]
    fn on_the_mesh_a_port_that_is_not_named_is_the_one_that_was_called() {
        let portal = service("portal", &[("http", 8080), ("grpc", 20885)]);
        let other = service("other", &[("http", 8080)]);
        let host = "other.cars.svc.cluster.local".to_owned();
        assert_eq!(
            ends(&json!({"host": "other"}), vec![portal, other]),
            [(host.clone(), Some(8080), false), (host, Some(20885), true)]
        );
    }

    #[test]
    fn an_alias_becomes_its_target_where_it_has_the_port_that_was_called() {
        let portal = service("portal", &[("http", 8080), ("grpc", 20885)]);
        let other = service("other", &[("http", 8080), ("grpc", 20885)]);
        let spec = json!({"type": "ExternalName", "externalName": "other.cars.svc.cluster.local", "ports": [{"port": 8080}]});
        let alias = object(Kind::Service, "alias", &spec);
        assert_eq!(
            ends(&json!({"host": "alias"}), vec![portal, other, alias]),
            [
                ("other.cars.svc.cluster.local".to_owned(), Some(8080), false),
                ("alias.cars.svc.cluster.local".to_owned(), Some(20885), true)
            ]
        );
    }
}
