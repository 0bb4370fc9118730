//! What a `Sidecar` lets the sidecars of a namespace know [s27].

use crate::resource::{Sidecar, VirtualService};
use crate::symbol::Symbol;
use crate::world::{View, host_includes};

/// Whether the sidecars of `namespace` (empty: any without a `Sidecar` of its own) get the routes of `vs`, which is
/// visible to them: one listener has to import one of its hosts. Those that a `Sidecar` with a workload selector is for
/// are not looked at; gateways take no notice of `Sidecars`.
pub(super) fn is_imported(view: &View<'_>, vs: &VirtualService, namespace: &Symbol) -> bool {
    let Some(sidecar) = view.sidecar_for(namespace) else {
        return true;
    };
    let hosts: Vec<Symbol> = vs
        .hosts
        .iter()
        .map(|host| view.resolve(host, &vs.meta.namespace))
        .collect();
    imports(sidecar, namespace, &vs.meta.namespace, &hosts)
}

/// Whether the sidecars of `namespace` get the full host `host`, a service of `home`. The destinations of routes that
/// they get come by themselves, and are not asked for here.
pub(super) fn is_host_imported(view: &View<'_>, host: &Symbol, home: &Symbol, namespace: &Symbol) -> bool {
    let sidecar = view.sidecar_for(namespace);
    sidecar.is_none_or(|sidecar| imports(sidecar, namespace, home, std::slice::from_ref(host)))
}

/// Whether a listener of `sidecar`, as it is for `namespace`, imports any of the `hosts` of an object of `home`
/// (`convertIstioListenerToWrapper` in `pilot/pkg/model/sidecar.go`, `SelectVirtualServices` in
/// `pilot/pkg/model/virtualservice.go`). The hosts are written `namespace/host`, where `.` is the sidecars' own
/// namespace and `*` any; `~namespace/host` and `~/host` take out again. No host is completed: `./cart` imports no
/// service.
fn imports(sidecar: &Sidecar, namespace: &Symbol, home: &Symbol, hosts: &[Symbol]) -> bool {
    let of_home = |scope: &str| match scope {
        "*" => true,
        "." => namespace == home,
        name => *home == *name,
    };
    let overlaps = |host: &str, written: &str| {
        host == written
            || (host.starts_with('*') || written.starts_with('*'))
                && (host_includes(host, written) || host_includes(written, host))
    };
    let by_listener = |written: &Vec<Symbol>| {
        let written: Vec<(&str, &str)> = written.iter().filter_map(|host| host.split_once('/')).collect();
        let imported = written.iter().filter(|(scope, _)| !scope.starts_with('~'));
        let imported: Vec<_> = imported.filter(|(scope, _)| of_home(scope)).collect();
        let excluded = |host: &str| {
            written.iter().any(|(scope, excluded)| {
                let scope = scope
                    .strip_prefix('~')
                    .map(|scope| if scope.is_empty() { "*" } else { scope });
                scope.is_some_and(of_home) && host_includes(excluded, host)
            })
        };
        hosts
            .iter()
            .any(|host| imported.iter().any(|(_, written)| overlaps(host, written)) && !excluded(host))
    };
    sidecar.egress.is_empty() || sidecar.egress.iter().any(by_listener)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::{Settings, World};

    const CART: &str = "cart.shop.svc.cluster.local";

    fn sidecar(egress: &[&[&str]]) -> Sidecar {
        let listeners: Vec<_> = egress.iter().map(|hosts| json!({"hosts": hosts})).collect();
        serde_json::from_value(json!({"metadata": {"name": "default"}, "spec": {"egress": listeners}}))
            .unwrap()
    }

    /// Whether the sidecars of `namespace` import the cart of `shop`.
    fn gets(namespace: &str, egress: &[&[&str]], host: &str) -> bool {
        imports(
            &sidecar(egress),
            &namespace.into(),
            &"shop".into(),
            &[host.into()],
        )
    }

    #[test]
    fn a_host_is_imported_by_its_namespace_and_its_full_name() {
        for written in [
            "*/*",
            "shop/*",
            "shop/cart.shop.svc.cluster.local",
            "*/*.shop.svc.cluster.local",
        ] {
            assert!(gets("front", &[&[written]], CART), "{written}");
        }
        for written in [
            "./*",
            "other/*",
            "shop/cart",
            "shop/pay.shop.svc.cluster.local",
            "~/*",
            "nonsense",
        ] {
            assert!(!gets("front", &[&[written]], CART), "{written}");
        }
        assert!(gets("shop", &[&["./*"]], CART));
        assert!(gets("front", &[], CART));
    }

    #[test]
    fn a_wildcard_host_is_imported_by_any_host_under_it() {
        assert!(gets(
            "front",
            &[&["shop/cart.shop.svc.cluster.local"]],
            "*.shop.svc.cluster.local"
        ));
        assert!(!gets("front", &[&["shop/x.com"]], "*.shop.svc.cluster.local"));
    }

    #[test]
    fn what_one_listener_takes_out_another_may_import() {
        assert!(!gets("front", &[&["*/*", "~shop/*"]], CART));
        assert!(!gets("front", &[&["*/*", "~/cart.shop.svc.cluster.local"]], CART));
        assert!(gets("front", &[&["*/*", "~other/*"]], CART));
        assert!(gets("front", &[&["*/*", "~shop/*"], &["shop/*"]], CART));
    }

    #[test]
    fn the_oldest_sidecar_of_the_namespace_counts_else_that_of_the_root_namespace() {
        let object = |namespace: &str, name: &str, created: u8, spec: &Value| {
            let created = format!("2026-11-01T00:00:{created:02}Z");
            let metadata = json!({"namespace": namespace, "name": name, "creationTimestamp": created});
            Resource::parse(Kind::Sidecar, json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let egress = |host: &str| json!({"egress": [{"hosts": [host]}]});
        let selected =
            json!({"workloadSelector": {"labels": {"app": "a"}}, "egress": [{"hosts": ["shop/*"]}]});
        let world = World::of(
            Settings::default(),
            [
                object("istio-system", "default", 1, &egress("./*")),
                object("front", "younger", 3, &egress("~/*")),
                object("front", "older", 2, &egress("shop/*")),
                object("batch", "some", 2, &selected),
            ],
        );
        let view = View::new(&world);
        let vs = json!({"metadata": {"namespace": "shop", "name": "cart"}, "spec": {"hosts": ["cart"]}});
        let vs: VirtualService = serde_json::from_value(vs).unwrap();
        let gets = |namespace: &str| is_imported(&view, &vs, &namespace.into());
        assert!(gets("front") && gets("shop"));
        assert!(!gets("batch") && !gets("other") && !gets(""));
    }
}
