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
    /// Whether every plain request is answered with a redirect to HTTPS (`tls.httpsRedirect`).
    pub redirects: bool,
    /// The hosts, each possibly as `namespace/host`.
    pub hosts: Vec<Symbol>,
}

impl Server {
    /// Whether it speaks TLS to its callers.
    pub fn is_tls(&self) -> bool {
        let protocol = self.protocol.as_str();
        protocol.eq_ignore_ascii_case("HTTPS") || protocol.eq_ignore_ascii_case("TLS")
    }

    /// Whether HTTP routes apply to what it takes: HTTP in the clear, or TLS that it ends itself
    /// (`IsHTTPServer` in `pkg/config/gateway/gateway.go`) [s23].
    pub fn serves_http(&self) -> bool {
        let protocol = self.protocol.as_str();
        let is_plain = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"]
            .iter()
            .any(|name| protocol.eq_ignore_ascii_case(name));
        let passes_through = self
            .tls_mode
            .as_ref()
            .is_some_and(|mode| *mode == "PASSTHROUGH" || *mode == "AUTO_PASSTHROUGH");
        is_plain || (protocol.eq_ignore_ascii_case("HTTPS") && !passes_through)
    }
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
        #[serde(rename_all = "camelCase", default)]
        struct Tls {
            mode: Symbol,
            https_redirect: bool,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let servers = spec.servers.into_iter().map(|server| Server {
            port: server.port.number,
            protocol: server.port.protocol,
            redirects: server.tls.as_ref().is_some_and(|tls| tls.https_redirect),
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
