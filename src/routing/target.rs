//! What a destination's host and port stand for.

use std::fmt;

use super::{Context, Protocol, is_visible};
use crate::resource::{Destination, Kind, ObjectRef, Service, ServiceEntry, ServicePort};
use crate::symbol::Symbol;
use crate::world::View;

/// What a full host stands for.
#[derive(Debug, Clone)]
pub enum Target<'w> {
    /// A service of the cluster.
    Service(&'w Service),
    /// A host that these `ServiceEntries` add, the oldest first: in one namespace they are one service, and of
    /// several namespaces' it depends on the caller which counts.
    Entries(Vec<&'w ServiceEntry>),
    /// Nothing that is known.
    Unknown,
}

/// A port as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u32,
    /// Its name; empty when it has none.
    pub name: Symbol,
    /// What Istio takes its traffic for.
    pub protocol: Protocol,
}

/// `8080 (http)`, as people call it.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        if self.name.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.name)
        }
    }
}

impl Port {
    /// A service's port.
    fn of(port: &ServicePort) -> Self {
        Self {
            number: port.number.into(),
            name: port.name.clone(),
            protocol: Protocol::of(port),
        }
    }
}

impl Target<'_> {
    /// The ports; of `ServiceEntries`, those of them all.
    pub fn ports(&self) -> Vec<Port> {
        match self {
            Self::Service(service) => service.ports.iter().map(Port::of).collect(),
            Self::Entries(entries) => {
                let mut ports: Vec<Port> = Vec::new();
                for port in entries.iter().flat_map(|entry| &entry.ports) {
                    // Of one number, the first counts.
                    if ports.iter().all(|known| known.number != port.number) {
                        ports.push(Port {
                            number: port.number,
                            name: port.name.clone(),
                            protocol: Protocol::of_entry(port),
                        });
                    }
                }
                ports
            }
            Self::Unknown => Vec::new(),
        }
    }

    /// Whether it is known to have ports, and this is none of them.
    pub fn lacks(&self, number: u32) -> bool {
        let has_any = match self {
            Self::Service(service) => !service.ports.is_empty(),
            _ => !self.ports().is_empty(),
        };
        has_any && self.port(number).is_none()
    }

    /// The objects that make it, the oldest first.
    pub fn references(&self) -> Vec<ObjectRef> {
        match self {
            Self::Service(service) => vec![service.meta.reference(Kind::Service)],
            Self::Entries(entries) => {
                let references = entries
                    .iter()
                    .map(|entry| entry.meta.reference(Kind::ServiceEntry));
                references.collect()
            }
            Self::Unknown => Vec::new(),
        }
    }

    /// Whether the proxies of `namespace` see it: by its `exportTo`, else the mesh's default
    /// (`initServiceRegistry` in `pilot/pkg/model/push_context.go`). What is not known is not hidden.
    pub fn is_visible_to(&self, view: &View<'_>, namespace: &str) -> bool {
        let default = view
            .mesh_config_of(namespace)
            .map_or(&[][..], |config| &config.default_service_export_to);
        let is_for = |export_to: &[Symbol], home: &Symbol| is_visible(export_to, default, home, namespace);
        match self {
            Self::Service(service) => is_for(&service.export_to, &service.meta.namespace),
            Self::Entries(entries) => entries
                .iter()
                .any(|entry| is_for(&entry.export_to, &entry.meta.namespace)),
            Self::Unknown => true,
        }
    }

    /// The port with this number.
    pub fn port(&self, number: u32) -> Option<Port> {
        match self {
            Self::Service(service) => {
                let mut ports = service.ports.iter();
                ports.find(|port| u32::from(port.number) == number).map(Port::of)
            }
            _ => self.ports().into_iter().find(|port| port.number == number),
        }
    }
}

/// What the full host `host` stands for.
pub fn target_of<'w>(view: &View<'w>, host: &Symbol) -> Target<'w> {
    if let Some(service) = view.service_of(host) {
        return Target::Service(service);
    }
    let entries = view.service_entries_of(host);
    if entries.is_empty() {
        Target::Unknown
    } else {
        Target::Entries(entries)
    }
}

/// What requests to the full host `host` are sent to instead, where that is a service of type `ExternalName`: the
/// alias, and the host that it is an alias of. One alias of another is not followed further (`GetDestinationCluster` in
/// `pilot/pkg/networking/core/route/route.go`). A sidecar knows an alias only at the listeners of its ports, a
/// gateway at any [s20].
pub fn alias_at<'w>(view: &View<'w>, host: &Symbol) -> Option<(&'w Service, &'w Symbol)> {
    let alias = view.service_of(host)?;
    Some((alias, alias.external_name.as_ref()?))
}

/// The namespace whose `DestinationRules` count for the full host `host` after the caller's own: that of the service,
/// also of one that does not exist yet, or of the oldest `ServiceEntry`.
pub fn home_of<'h, 'w: 'h>(view: &View<'w>, host: &'h Symbol) -> Option<&'h str> {
    view.read_host(host).namespace().or_else(|| {
        let entries = view.service_entries_of(host);
        entries.first().map(|entry| entry.meta.namespace.as_str())
    })
}

/// The port that a destination means: the one it names; else, at a gateway, the only port of a service that has
/// one; else the port that the caller called, `None` when that is not known [s18].
pub fn effective_port(destination: &Destination, target: &Target<'_>, context: Context<'_>) -> Option<u32> {
    if destination.port.is_some() {
        return destination.port;
    }
    if context.gateway.is_none() {
        return context.port;
    }
    match target.ports().as_slice() {
        [only] => Some(only.number),
        _ => context.port,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_that_is_not_named_is_the_listeners_or_at_a_gateway_the_only_one() {
        let service = |ports: &[u16]| -> Service {
            let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"ports": ports}})).unwrap()
        };
        let (single, double) = (service(&[9090]), service(&[8080, 20885]));
        let gateway = Symbol::new("cars/gw");
        let unnamed = Destination::default();
        let named = Destination {
            port: Some(1),
            ..Destination::default()
        };
        let mesh = Context {
            gateway: None,
            port: Some(8080),
            source: None,
        };
        let edge = Context {
            gateway: Some(&gateway),
            port: Some(80),
            source: None,
        };
        assert_eq!(
            effective_port(&unnamed, &Target::Service(&single), mesh),
            Some(8080)
        );
        assert_eq!(
            effective_port(&unnamed, &Target::Service(&single), edge),
            Some(9090)
        );
        assert_eq!(
            effective_port(&unnamed, &Target::Service(&double), edge),
            Some(80)
        );
        assert_eq!(effective_port(&named, &Target::Service(&double), edge), Some(1));
    }
}
