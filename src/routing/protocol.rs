//! The protocol of a port, as Istio reads it.

use crate::resource::{EntryPort, ServicePort};

/// What Istio takes a port's traffic for (`pkg/config/protocol/instance.go`,
/// `pkg/config/kube/conversion.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: HTTP/2 from end to end.
    Grpc,
    /// gRPC-Web: HTTP/2 to the upstream; its callers may use HTTP/1.1.
    GrpcWeb,
    /// HTTP/2.
    Http2,
    /// HTTP/1.1.
    Http,
    /// TLS that is passed on unopened, or TCP and what is built on it: no HTTP route applies.
    Tcp,
    /// Not TCP at all.
    Udp,
    /// Nothing that Istio can read: it looks at the first bytes.
    Undeclared,
}

impl Protocol {
    /// The protocol of a service's port: UDP first, then `appProtocol`, then the name's prefix.
    pub fn of(port: &ServicePort) -> Self {
        if port.not_tcp {
            return Self::Udp;
        }
        if let Some(application) = &port.app_protocol {
            match application.as_str() {
                "kubernetes.io/h2c" => return Self::Http2,
                "kubernetes.io/ws" => return Self::Http,
                "kubernetes.io/wss" => return Self::Tcp,
                // An application protocol that Istio does not know hides the name all the same.
                other => return Self::named(other).unwrap_or_else(|| Self::well_known(port.number)),
            }
        }
        Self::named(&port.name).unwrap_or_else(|| Self::well_known(port.number))
    }

    /// The protocol of a `ServiceEntry`'s or a `Gateway`'s port, which says it outright.
    pub fn of_entry(port: &EntryPort) -> Self {
        Self::named(&port.protocol).unwrap_or(Self::Undeclared)
    }

    /// What a protocol's name, or a port name's prefix, stands for.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let prefix = if name.starts_with("grpc-web") {
            "grpc-web"
        } else {
            name.split_once('-').map_or(name.as_str(), |(prefix, _)| prefix)
        };
        Some(match prefix {
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "http2" => Self::Http2,
            "http" | "http_proxy" => Self::Http,
            "https" | "tls" | "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    fn well_known(number: u16) -> Self {
        if matches!(number, 25 | 53 | 3306 | 27017) {
            Self::Tcp
        } else {
            Self::Undeclared
        }
    }

    /// Whether the upstream speaks HTTP/2 by the port alone.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb | Self::Http2)
    }

    /// Whether HTTP routes apply to the port.
    pub fn is_http(self) -> bool {
        self.is_http2() || matches!(self, Self::Http | Self::Undeclared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, application: Option<&str>, number: u16) -> ServicePort {
        ServicePort {
            name: name.into(),
            number,
            app_protocol: application.map(Into::into),
            ..ServicePort::default()
        }
    }

    #[test]
    fn the_name_tells_by_its_prefix() {
        for (name, protocol) in [
            ("grpc", Protocol::Grpc),
            ("grpc-dubbo", Protocol::Grpc),
            ("GRPC-x", Protocol::Grpc),
            ("grpc-web", Protocol::GrpcWeb),
            ("grpc-web-1", Protocol::GrpcWeb),
            ("http2-x", Protocol::Http2),
            ("http", Protocol::Http),
            ("http-8080", Protocol::Http),
            ("https", Protocol::Tcp),
            ("redis", Protocol::Tcp),
            ("web", Protocol::Undeclared),
            ("httpx", Protocol::Undeclared),
            ("", Protocol::Undeclared),
        ] {
            assert_eq!(Protocol::of(&port(name, None, 80)), protocol, "{name}");
        }
    }

    #[test]
    fn the_application_protocol_wins_over_the_name_and_udp_over_both() {
        assert_eq!(Protocol::of(&port("http", Some("grpc"), 80)), Protocol::Grpc);
        assert_eq!(
            Protocol::of(&port("http", Some("kubernetes.io/h2c"), 80)),
            Protocol::Http2
        );
        assert_eq!(
            Protocol::of(&port("grpc", Some("kubernetes.io/ws"), 80)),
            Protocol::Http
        );
        let udp = ServicePort {
            not_tcp: true,
            ..port("grpc", Some("grpc"), 80)
        };
        assert_eq!(Protocol::of(&udp), Protocol::Udp);
    }

    #[test]
    fn some_numbers_are_tcp_without_a_name() {
        assert_eq!(Protocol::of(&port("", None, 3306)), Protocol::Tcp);
        assert_eq!(Protocol::of(&port("db", None, 27017)), Protocol::Tcp);
    }
}
