//! `Service`.

use std::fmt;
use std::ops::Deref;

use internment::ArcIntern;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// A Kubernetes service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// Its metadata.
    pub meta: Meta,
    /// The labels of the pods behind it; empty: its endpoints come from elsewhere.
    pub selector: Labels,
    /// Its ports.
    pub ports: Ports,
    /// The host that a service of type `ExternalName` is an alias of.
    pub external_name: Option<Symbol>,
    /// Whether it has no address of its own (`clusterIP: None`).
    pub headless: bool,
    /// Whether its pods get requests before they are ready (`publishNotReadyAddresses`).
    pub publishes_unready: bool,
    /// The namespaces that see it, by its annotation `networking.istio.io/exportTo`: `.`, `*`, `~` or names; empty
    /// means the mesh's default.
    pub export_to: Box<[Symbol]>,
}

/// Ports in the order of the text, interned whole: those of all pods of one template are one.
#[derive(Clone, PartialEq, Eq)]
pub struct Ports(ArcIntern<Box<[ServicePort]>>);

impl Default for Ports {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl FromIterator<ServicePort> for Ports {
    fn from_iter<I: IntoIterator<Item = ServicePort>>(ports: I) -> Self {
        Self(ArcIntern::new(ports.into_iter().collect()))
    }
}

impl Deref for Ports {
    type Target = [ServicePort];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Ports {
    type Item = &'a ServicePort;
    type IntoIter = std::slice::Iter<'a, ServicePort>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// A port of a service, or a named port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Its name; empty when it has none.
    pub name: Symbol,
    /// Its number.
    pub number: u16,
    /// Whether it is UDP (or SCTP), so that no HTTP route applies.
    pub not_tcp: bool,
    /// `appProtocol`, which wins over the name.
    pub app_protocol: Option<Symbol>,
    /// The pods' port, where it is not the same number.
    pub target: Option<TargetPort>,
}

/// `targetPort` of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// A port number.
    Number(u16),
    /// The name of a container's port.
    Name(Symbol),
}

impl Service {
    /// The port with this number.
    pub fn port(&self, number: u32) -> Option<&ServicePort> {
        self.ports.iter().find(|port| u32::from(port.number) == number)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let spec = wire.spec.unwrap_or_default();
        let is_alias = spec.r#type.as_deref() == Some("ExternalName");
        let export_to = wire.metadata.annotations.get("networking.istio.io/exportTo");
        let export_to = export_to.filter(|names| !names.is_empty());
        let export_to = export_to.into_iter().flat_map(|names| names.split(','));
        Ok(Self {
            export_to: export_to.map(|name| Symbol::new(name.trim())).collect(),
            meta: wire.metadata,
            selector: spec.selector.unwrap_or_default(),
            ports: spec
                .ports
                .unwrap_or_default()
                .into_iter()
                .map(ServicePort::from)
                .collect(),
            external_name: spec.external_name.filter(|_| is_alias),
            headless: spec.cluster_ip.as_deref() == Some("None"),
            publishes_unready: spec.publish_not_ready_addresses.unwrap_or(false),
        })
    }
}

#[derive(serde::Deserialize)]
struct Wire {
    metadata: Meta,
    spec: Option<Spec>,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Spec {
    selector: Option<Labels>,
    ports: Option<Vec<WirePort>>,
    r#type: Option<Box<str>>,
    external_name: Option<Symbol>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<Box<str>>,
    publish_not_ready_addresses: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePort {
    #[serde(default)]
    name: Symbol,
    port: u16,
    protocol: Option<Box<str>>,
    app_protocol: Option<Symbol>,
    target_port: Option<TargetPort>,
}

impl From<WirePort> for ServicePort {
    fn from(wire: WirePort) -> Self {
        Self {
            name: wire.name,
            number: wire.port,
            not_tcp: wire.protocol.is_some_and(|protocol| &*protocol != "TCP"),
            app_protocol: wire.app_protocol,
            target: wire.target_port,
        }
    }
}

impl<'de> Deserialize<'de> for TargetPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = TargetPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or name")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<TargetPort, E> {
                let number = u16::try_from(number);
                number
                    .map(TargetPort::Number)
                    .map_err(|_| E::custom("a port number is at most 65535"))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<TargetPort, E> {
                let number = u16::try_from(number);
                number
                    .map(TargetPort::Number)
                    .map_err(|_| E::custom("a port number is from 0 to 65535"))
            }

            fn visit_str<E>(self, name: &str) -> Result<TargetPort, E> {
                Ok(TargetPort::Name(Symbol::new(name)))
            }
        }

        deserializer.deserialize_any(NumberOrName)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_read_with_its_ports() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "adapter"}, "spec": {
            "clusterIP": "None", "selector": {"app": "adapter"}, "ports": [
                {"name": "http", "port": 8080, "targetPort": "web"},
                {"name": "grpc", "port": 20885, "appProtocol": "grpc", "targetPort": 9000},
                {"port": 53, "protocol": "UDP"}]}}))
        .unwrap();
        assert!(service.headless);
        assert_eq!(
            service.port(8080).unwrap().target,
            Some(TargetPort::Name("web".into()))
        );
        assert_eq!(
            service.port(20885).unwrap().target,
            Some(TargetPort::Number(9000))
        );
        assert!(service.port(53).unwrap().not_tcp);
        assert_eq!(service.port(80), None);
    }

    #[test]
    fn an_annotation_says_who_sees_a_service() {
        let annotations = json!({"networking.istio.io/exportTo": "., front"});
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "db", "annotations": annotations}})).unwrap();
        assert_eq!(*service.export_to, [".", "front"]);
    }

    #[test]
    fn only_a_service_of_that_type_is_an_alias() {
        let alias = |kind: &str| -> Service {
            let spec = json!({"type": kind, "externalName": "db.example.com"});
            serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec})).unwrap()
        };
        assert!(alias("ExternalName").external_name.is_some());
        assert!(alias("ClusterIP").external_name.is_none());
    }
}
