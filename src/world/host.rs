//! Host names: how Istio completes and reads them.

use crate::symbol::Symbol;

/// The full name of `host` as an object in `namespace` names it: a name without a dot is a service of that
/// namespace (`pilot/pkg/model/virtualservice.go`, `ResolveShortnameToFQDN`); anything else, `svc.namespace`
/// included, is taken as it stands. Wildcards and addresses are never completed.
pub fn resolve(host: &Symbol, namespace: &str, cluster_domain: &str) -> Symbol {
    if is_full(host) {
        return host.clone();
    }
    cluster_host(host, namespace, cluster_domain)
}

/// Whether `host` stands for itself wherever it is written.
pub(super) fn is_full(host: &str) -> bool {
    host.is_empty() || host.bytes().any(|byte| matches!(byte, b'.' | b'*' | b':'))
}

/// The full name of the service `name` in `namespace`.
pub fn cluster_host(name: &str, namespace: &str, cluster_domain: &str) -> Symbol {
    format!("{name}.{namespace}.svc.{cluster_domain}").into()
}

/// A full host name, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A service of this cluster.
    Service {
        /// Its name.
        name: &'a str,
        /// Its namespace.
        namespace: &'a str,
    },
    /// Any other host.
    Other(&'a str),
}

impl<'a> Host<'a> {
    /// Reads the full host name `host`.
    pub fn read(host: &'a str, cluster_domain: &str) -> Self {
        let service = || {
            let rest = host.strip_suffix(cluster_domain)?.strip_suffix(".svc.")?;
            let (name, namespace) = rest.split_once('.')?;
            (!name.is_empty() && !name.contains('*') && !namespace.contains('.'))
                .then_some(Self::Service { name, namespace })
        };
        service().unwrap_or(Self::Other(host))
    }

    /// The namespace of a service of this cluster.
    pub fn namespace(self) -> Option<&'a str> {
        match self {
            Self::Service { namespace, .. } => Some(namespace),
            Self::Other(_) => None,
        }
    }
}

/// Whether every host that `narrow` stands for is one that `wide` stands for (`Name.SubsetOf` in `pkg/config/host`);
/// each is a host or a wildcard (`*.b.c`, `*`).
pub fn includes(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        None => wide.eq_ignore_ascii_case(narrow),
        Some(end) => {
            let narrow = narrow.strip_prefix('*').unwrap_or(narrow);
            narrow.len() >= end.len()
                && narrow
                    .get(narrow.len() - end.len()..)
                    .is_some_and(|rest| rest.eq_ignore_ascii_case(end))
        }
    }
}

/// `host` and the wildcards that include it, the most specific first: `a.b.c`, `*.b.c`, `*.c`, `*`.
pub(super) fn with_wildcards(host: &Symbol) -> impl Iterator<Item = Symbol> + '_ {
    let suffixes = host
        .match_indices('.')
        .map(|(dot, _)| Symbol::from(format!("*{}", &host[dot..])));
    let own = (!host.starts_with('*')).then(|| host.clone());
    let wildcards = suffixes.filter(move |wildcard| !host.starts_with('*') || wildcard.len() <= host.len());
    own.into_iter()
        .chain(wildcards)
        .chain((!host.is_empty()).then(|| Symbol::new("*")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_a_dot_is_completed() {
        let full = |host: &str| resolve(&host.into(), "cars", "cluster.local").to_string();
        assert_eq!(full("portal"), "portal.cars.svc.cluster.local");
        assert_eq!(full("portal.cars"), "portal.cars");
        assert_eq!(full("*"), "*");
        assert_eq!(full("x.com"), "x.com");
    }

    #[test]
    fn a_service_host_tells_its_name_and_namespace() {
        let read = |host| Host::read(host, "cluster.local");
        assert_eq!(
            read("portal.cars.svc.cluster.local"),
            Host::Service {
                name: "portal",
                namespace: "cars"
            }
        );
        for other in [
            "portal.cars",
            "x.com",
            "*.cars.svc.cluster.local",
            "a.b.cars.svc.cluster.local",
            "*",
        ] {
            assert_eq!(read(other), Host::Other(other));
        }
    }

    #[test]
    fn wildcards_are_listed_from_the_most_specific() {
        let list = |host: &str| {
            with_wildcards(&host.into())
                .map(|s| s.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(list("a.b.c"), ["a.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(list("*.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(list("*"), ["*"]);
    }
}
