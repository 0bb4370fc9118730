//! `exportTo`: which namespaces see an object.

use crate::symbol::Symbol;

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
