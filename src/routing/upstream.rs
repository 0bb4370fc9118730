//! Which version of HTTP the upstream of a destination speaks.

use super::{Caller, EffectiveRule, Port, Protocol};
use crate::resource::H2Upgrade;
use crate::world::View;

/// The version of HTTP that a proxy speaks to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// HTTP/1.1, whatever the caller spoke.
    Http1,
    /// HTTP/2, whatever the caller spoke.
    Http2,
    /// What the caller spoke.
    AsCaller,
}

impl Upstream {
    /// What `caller` speaks to `port` of a host, for which `rule` counts, through `subset`. HTTP routes apply to
    /// the port.
    ///
    /// A `connectionPool` that is written, or else the mesh's default one, decides first: `useClientProtocol` before
    /// `h2UpgradePolicy`. Then the port's protocol; the mesh's `h2UpgradePolicy` is for ports that are declared as
    /// HTTP only. A sidecar keeps to its caller on an undeclared port (`applyConnectionPool` and `shouldH2Upgrade` in
    /// `pilot/pkg/networking/core/cluster_traffic_policy.go`, `setUpstreamProtocol` in `cluster_builder.go`) [s19].
    pub fn of(
        view: &View<'_>,
        caller: &Caller,
        rule: Option<&EffectiveRule<'_>>,
        subset: Option<&str>,
        port: &Port,
    ) -> Self {
        let mesh = view.mesh_config_of(&caller.namespace);
        let pool = rule
            .and_then(|rule| rule.connection_pool(subset, port.number))
            .or_else(|| mesh?.connection_pool)
            .unwrap_or_default();
        let is_undeclared = port.protocol == Protocol::Undeclared;
        if pool.use_client_protocol || (is_undeclared && caller.gateway.is_none()) {
            return Self::AsCaller;
        }
        let by_mesh = || mesh.is_some_and(|mesh| mesh.h2_upgrade) && !is_undeclared;
        let is_upgraded = match pool.h2 {
            H2Upgrade::Upgrade => true,
            H2Upgrade::DoNotUpgrade => false,
            H2Upgrade::Default => by_mesh(),
        };
        if port.protocol.is_http2() || is_upgraded {
            Self::Http2
        } else {
            Self::Http1
        }
    }

    /// Whether a caller that speaks HTTP/2, as every gRPC client does, is answered in HTTP/2.
    pub fn keeps_http2(self) -> bool {
        self != Self::Http1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::routing::rule_for;
    use crate::symbol::Symbol;
    use crate::world::{Settings, World};

    /// What is spoken to a port of this name, with a mesh and a rule of these settings.
    fn upstream(port: &str, gateway: bool, mesh: &str, pool: &Value) -> Upstream {
        let metadata = json!({"namespace": "istio-system", "name": "istio"});
        let mesh = json!({"metadata": metadata, "data": {"mesh": mesh}});
        let rule = json!({"metadata": {"namespace": "shop", "name": "cart"},
            "spec": {"host": "cart", "trafficPolicy": {"connectionPool": pool}}});
        let world = World::of(
            Settings::default(),
            [
                Resource::parse(Kind::ConfigMap, mesh).unwrap(),
                Resource::parse(Kind::DestinationRule, rule).unwrap(),
            ],
        );
        let view = View::new(&world);
        let caller = Caller {
            namespace: "shop".into(),
            gateway: gateway.then(|| Symbol::new("shop/edge")),
        };
        let rule = rule_for(&view, "shop", &"cart.shop.svc.cluster.local".into(), Some("shop"));
        let port = Port {
            number: 80,
            name: port.into(),
            protocol: Protocol::named(port).unwrap_or(Protocol::Undeclared),
        };
        Upstream::of(&view, &caller, rule.as_deref(), None, &port)
    }

    const UPGRADES: &str = "h2UpgradePolicy: UPGRADE";
    const UPGRADES_BY_DEFAULT: &str =
        "defaultTrafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}";

    #[test]
    fn the_port_decides_unless_a_connection_pool_does() {
        let http = |keys: Value| json!({"http": keys});
        let none = Value::Null;
        assert_eq!(upstream("http", false, "", &none), Upstream::Http1);
        assert_eq!(upstream("grpc", false, "", &none), Upstream::Http2);
        assert_eq!(
            upstream("http", false, "", &http(json!({"h2UpgradePolicy": "UPGRADE"}))),
            Upstream::Http2
        );
        // Nothing makes an HTTP/2 port speak HTTP/1.1 but its caller.
        assert_eq!(
            upstream(
                "grpc",
                false,
                "",
                &http(json!({"h2UpgradePolicy": "DO_NOT_UPGRADE"}))
            ),
            Upstream::Http2
        );
        let keeps = http(json!({"h2UpgradePolicy": "DO_NOT_UPGRADE", "useClientProtocol": true}));
        assert_eq!(upstream("http", false, "", &keeps), Upstream::AsCaller);
        assert_eq!(upstream("grpc", false, "", &keeps), Upstream::AsCaller);
    }

    #[test]
    fn the_mesh_upgrades_declared_ports_that_no_rule_speaks_of() {
        let none = Value::Null;
        let refuses = json!({"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}});
        assert_eq!(upstream("http", false, UPGRADES, &none), Upstream::Http2);
        assert_eq!(upstream("http", false, UPGRADES, &refuses), Upstream::Http1);
        assert_eq!(upstream("web", true, UPGRADES, &none), Upstream::Http1);
        assert_eq!(
            upstream("http", false, UPGRADES_BY_DEFAULT, &none),
            Upstream::Http2
        );
        // A pool that is written hides the mesh's default one, whatever it leaves out.
        let limits = json!({"tcp": {"maxConnections": 1}});
        assert_eq!(
            upstream("http", false, UPGRADES_BY_DEFAULT, &limits),
            Upstream::Http1
        );
    }

    #[test]
    fn on_an_undeclared_port_a_sidecar_keeps_to_its_caller_and_a_gateway_does_not() {
        assert_eq!(upstream("web", false, "", &Value::Null), Upstream::AsCaller);
        assert_eq!(upstream("web", true, "", &Value::Null), Upstream::Http1);
    }
}
