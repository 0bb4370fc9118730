//! Who can reach the routes of a `VirtualService`.

use super::delegate::roots_of;
use super::import::is_imported;
use super::is_visible;
use super::route::is_bound;
use crate::resource::VirtualService;
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// Callers that Istio treats alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Their namespace; empty: any that has no rules of its own.
    pub namespace: Symbol,
    /// The gateway (`namespace/name`) whose pods they are; `None`: sidecars.
    pub gateway: Option<Symbol>,
}

/// The callers of `vs`, or, if it is a delegate, of those that delegate to it: the sidecars that see it, when it is on
/// `mesh`, as those of its own namespace, of the namespaces it is exported to by name, and of any other, without those
/// whose `Sidecar` does not import it [s27]; and for each gateway its pods, whose namespace is where they run, not
/// where the `Gateway` object is [s13].
pub fn callers_of<'w>(view: &View<'w>, vs: &'w VirtualService) -> Vec<Caller> {
    let mut callers: Vec<Caller> = Vec::new();
    for root in roots_of(view, vs) {
        for caller in callers_of_root(view, root) {
            if !callers.contains(&caller) {
                callers.push(caller);
            }
        }
    }
    callers
}

fn callers_of_root(view: &View<'_>, vs: &VirtualService) -> Vec<Caller> {
    let default = view
        .mesh_config()
        .map_or(&[][..], |config| &config.default_virtual_service_export_to);
    let home = &vs.meta.namespace;
    let mut callers = Vec::new();
    if is_bound(vs, None) {
        let effective = if vs.export_to.is_empty() {
            default
        } else {
            &vs.export_to
        };
        let named = effective
            .iter()
            .filter(|entry| !matches!(entry.as_str(), "*" | "." | "~"));
        let mut namespaces: Vec<Symbol> = named.cloned().chain([home.clone(), Symbol::default()]).collect();
        namespaces.sort();
        namespaces.dedup();
        namespaces.retain(|namespace| {
            is_visible(&vs.export_to, default, home, namespace) && is_imported(view, vs, namespace)
        });
        callers.extend(namespaces.into_iter().map(|namespace| Caller {
            namespace,
            gateway: None,
        }));
    }
    for name in vs.gateways.iter().filter(|name| **name != "mesh") {
        let selector = view.gateway(name, home).map(|gateway| &gateway.selector);
        let mut namespaces = selector
            .map(|selector| view.namespaces_with(selector))
            .unwrap_or_default();
        if namespaces.is_empty() {
            namespaces.push(Symbol::default());
        }
        let gateway = Some(qualified(name, home));
        callers.extend(namespaces.into_iter().map(|namespace| Caller {
            namespace,
            gateway: gateway.clone(),
        }));
    }
    callers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource};
    use crate::world::{Settings, World};

    fn object(kind: Kind, namespace: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": namespace, "name": "cart"});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    /// The namespaces whose sidecars call the cart of `shop`, which is exported to all.
    fn callers(sidecars: Vec<Resource>) -> Vec<String> {
        let vs = json!({"hosts": ["cart"], "exportTo": ["*", "front"]});
        let all = sidecars
            .into_iter()
            .chain([object(Kind::VirtualService, "shop", &vs)]);
        let world = World::of(Settings::default(), all);
        let view = View::new(&world);
        let vs = view.virtual_service(&"shop".into(), &"cart".into()).unwrap();
        let callers = callers_of(&view, vs).into_iter();
        callers.map(|caller| caller.namespace.to_string()).collect()
    }

    #[test]
    fn a_namespace_whose_sidecar_does_not_import_the_host_has_no_callers() {
        let sidecar = |namespace: &str, host: &str| {
            object(Kind::Sidecar, namespace, &json!({"egress": [{"hosts": [host]}]}))
        };
        assert_eq!(callers(vec![]), ["", "front", "shop"]);
        assert_eq!(callers(vec![sidecar("front", "./*")]), ["", "shop"]);
        assert_eq!(callers(vec![sidecar("istio-system", "./*")]), ["shop"]);
        let imports = sidecar("front", "shop/cart.shop.svc.cluster.local");
        assert_eq!(
            callers(vec![sidecar("istio-system", "./*"), imports]),
            ["front", "shop"]
        );
    }
}
