//! `exportTo`: which namespaces see an object.

use crate::resource::VirtualService;
use crate::symbol::Symbol;
use crate::world::View;

/// Whether `exportTo`, on an object of `home`, lets `namespace` see it; `default` stands in where it is empty
/// (and `*` where that is empty too). `.` is the object's own namespace, `*` every one, `~` none.
pub fn is_visible(export_to: &[Symbol], default: &[Symbol], home: &str, namespace: &str) -> bool {
    let effective = if export_to.is_empty() { default } else { export_to };
    if effective.is_empty() {
        return true;
    }
    effective.iter().any(|entry| match entry.as_str() {
        "*" => true,
        "." => namespace == home,
        "~" => false,
        name => name == namespace,
    })
}

/// Why a namespace sees a `VirtualService`: the first of these comes first for Istio, whatever the age
/// (`SelectVirtualServices`, `VirtualServicesForGateway` in `pilot/pkg/model`) [s21].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It is the namespace's own, and only that one sees it.
    Private,
    /// It is exported to the namespace by name.
    Exported,
    /// Every namespace sees it.
    Public,
}

/// How `namespace` (empty: one that nobody names) sees `vs`; `None`: not at all.
pub fn rank(view: &View<'_>, vs: &VirtualService, namespace: &str) -> Option<Rank> {
    let home = &vs.meta.namespace;
    let export_to = export_of(view, vs);
    is_visible(export_to, &[], home, namespace).then(|| {
        if export_to.is_empty() || export_to.iter().any(|entry| *entry == "*") {
            Rank::Public
        } else if *home == namespace {
            Rank::Private
        } else {
            Rank::Exported
        }
    })
}

/// The `exportTo` that counts for `vs`: its own, or the mesh's default; empty: every namespace sees it.
pub(super) fn export_of<'a>(view: &'a View<'_>, vs: &'a VirtualService) -> &'a [Symbol] {
    if !vs.export_to.is_empty() {
        return &vs.export_to;
    }
    view.mesh_config()
        .map_or(&[], |config| &config.default_virtual_service_export_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_an_object_follows_from_its_export_and_else_the_default() {
        let visible = |export: &[&str], default: &[&str], namespace: &str| {
            let symbols = |names: &[&str]| names.iter().map(|name| Symbol::new(name)).collect::<Vec<_>>();
            is_visible(&symbols(export), &symbols(default), "cars", namespace)
        };
        assert!(visible(&[], &[], "other"));
        assert!(!visible(&[], &["."], "other"));
        assert!(visible(&[], &["."], "cars"));
        assert!(visible(&["other"], &["."], "other"));
        assert!(!visible(&["~"], &[], "cars"));
        assert!(visible(&["*"], &["."], "other"));
    }
}
