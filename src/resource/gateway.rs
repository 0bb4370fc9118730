//! `Gateway` (`networking.istio.io`).

use serde::{Deserialize, Deserializer};

use super::{Labels, Meta};
use crate::symbol::Symbol;

/// Which ports and hosts the gateway pods serve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gateway {
    /// Its metadata.
    pub meta: Meta,
    /// The labels of the gateway pods, in any namespace.
    pub selector: Labels,
    /// Its listeners.
    pub servers: Vec<Server>,
}

/// One entry of `spec.servers`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    /// The port that it listens on.
    pub port: u32,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `TCP`, `TLS`, `MONGO`, … as written.
    pub protocol: Symbol,
    /// `tls.mode`, as written; `None`: no TLS.
    pub tls_mode: Option<Symbol>,
    /// The hosts, each possibly as `namespace/host`.
    pub hosts: Vec<Symbol>,
}

impl<'de> Deserialize<'de> for Gateway {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Spec {
            selector: Labels,
            servers: Vec<WireServer>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct WireServer {
            port: Port,
            tls: Option<Tls>,
            hosts: Vec<Symbol>,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Port {
            number: u32,
            protocol: Symbol,
        }

        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Tls {
            mode: Symbol,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let servers = spec.servers.into_iter().map(|server| Server {
            port: server.port.number,
            protocol: server.port.protocol,
            tls_mode: server.tls.map(|tls| tls.mode),
            hosts: server.hosts,
        });
        Ok(Self {
            meta: metadata,
            selector: spec.selector,
            servers: servers.collect(),
        })
    }
}
