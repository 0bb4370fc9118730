//! Kinds and versions that no API server serves.

use super::Fault;
use crate::lane::meant;
use crate::resource::Kind;
use crate::yaml::Node;

/// Whether the version of an object of this kind is in the table; if no API server serves it, why. One that is newer
/// than all of its group may come to be served.
pub(super) fn version(kind: Kind, object: &Node<'_>) -> Result<bool, Fault> {
    let Some(written) = object.get("apiVersion") else {
        return missing(kind, object).map_or(Ok(false), Err);
    };
    let version = written.as_str().unwrap_or_default().rsplit('/').next();
    let version = version.unwrap_or_default();
    if kind.versions().contains(&version) {
        return Ok(true);
    }
    let of_group = Kind::ALL.iter().filter(|other| other.group() == kind.group());
    let newest = of_group
        .flat_map(|other| other.versions())
        .filter_map(|known| age(known))
        .max();
    if age(version) > newest {
        return Ok(false);
    }
    let versions: Vec<String> = kind
        .versions()
        .iter()
        .map(|known| with_group(kind, known))
        .collect();
    let versions = versions.join(", ");
    let message = format!("no API server serves {kind} in the version `{version}`; expected {versions}");
    Err(fault(written, "apiVersion", message))
}

/// Why an object that is of no known kind looks like a slip for one.
pub fn unserved(object: &Node<'_>) -> Option<Fault> {
    let text = |key: &str| object.get(key).and_then(Node::as_str).unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    let kinds = || Kind::ALL.iter().copied();
    let group = match api_version.split_once('/') {
        Some((group, _)) => group,
        None if api_version == "v1" => "",
        None => return incomplete(object, api_version, name),
    };
    if let Some(kind) = kinds().find(|kind| kind.name() == name) {
        let groups = kinds().map(Kind::group);
        if group.is_empty() || groups.clone().any(|known| known == group) || meant(group, groups).is_some() {
            let message = format!(
                "{} knows no {kind}; expected {}",
                if group.is_empty() { "v1" } else { group },
                kind.api_version()
            );
            return Some(fault(object.get("apiVersion")?, "apiVersion", message));
        }
    }
    let of_group = kinds().filter(|kind| kind.group() == group).map(Kind::name);
    if name.is_empty() {
        let is_known = !group.is_empty() && of_group.clone().next().is_some();
        let message = format!("the field `kind` is missing; {api_version} has several");
        return object
            .get("apiVersion")
            .filter(|_| is_known)
            .map(|written| fault(written, "kind", message));
    }
    let meant = meant(name, of_group)?;
    let message = format!("{api_version} knows no kind `{name}`; did you mean `{meant}`?");
    Some(fault(object.get("kind")?, "kind", message))
}

/// What is wrong with an `apiVersion` that has no version in it, or is not there.
fn incomplete(object: &Node<'_>, api_version: &str, name: &str) -> Option<Fault> {
    let kind = Kind::ALL.iter().copied().find(|kind| kind.name() == name)?;
    let Some(written) = object.get("apiVersion") else {
        return missing(kind, object);
    };
    let is_group = !api_version.is_empty() && api_version == kind.group();
    let message = format!("the version is missing; expected {}", kind.api_version());
    is_group.then(|| fault(written, "apiVersion", message))
}

/// That there is no `apiVersion`. Whatever else may have a `kind`, only an object has metadata.
fn missing(kind: Kind, object: &Node<'_>) -> Option<Fault> {
    object.get("metadata")?;
    let message = format!(
        "the field `apiVersion` is missing; expected {}",
        kind.api_version()
    );
    Some(fault(object.get("kind")?, "apiVersion", message))
}

fn fault(node: &Node<'_>, path: &str, message: String) -> Fault {
    Fault {
        span: node.span(),
        path: path.to_owned(),
        message,
    }
}

fn with_group(kind: Kind, version: &str) -> String {
    match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

/// What makes one version newer than another: `v1alpha3` < `v1beta1` < `v1` < `v2alpha1`; `None` for what is no
/// version.
fn age(version: &str) -> Option<(u32, u8, u32)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(digits);
    let (stage, minor) = match stage {
        "" => (2, 0),
        stage => match (stage.strip_prefix("alpha"), stage.strip_prefix("beta")) {
            (Some(minor), _) => (0, minor.parse().ok()?),
            (_, Some(minor)) => (1, minor.parse().ok()?),
            _ => return None,
        },
    };
    Some((major.parse().ok()?, stage, minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::documents;

    fn is_known(api_version: &str, kind: Kind) -> Result<bool, String> {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\n");
        let node = documents(&text)[0].decode().unwrap();
        version(kind, &node).map_err(|fault| fault.message)
    }

    fn slip(text: &str) -> Option<String> {
        let node = documents(text)[0].decode().unwrap();
        unserved(&node).map(|fault| fault.message)
    }

    #[test]
    fn a_version_that_may_come_is_not_refused_and_one_that_is_gone_is() {
        assert_eq!(is_known("networking.istio.io/v1beta1", Kind::Sidecar), Ok(true));
        assert_eq!(is_known("networking.istio.io/v2alpha1", Kind::Sidecar), Ok(false));
        assert_eq!(is_known("extensions.istio.io/v1", Kind::WasmPlugin), Ok(false));
        assert!(is_known("networking.istio.io/v1alpha2", Kind::Sidecar).is_err());
        assert!(is_known("networking.istio.io/beta", Kind::Sidecar).is_err());
        // The group has this version, but not for this kind.
        assert!(is_known("networking.istio.io/v1", Kind::EnvoyFilter).is_err());
    }

    #[test]
    fn what_is_no_slip_for_a_known_kind_is_left_alone() {
        for text in [
            "apiVersion: v2\nname: chart\n",
            "apiVersion: v1\nname: chart\n",
            "kind: Service\nport: 80\n",
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {}\n",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {}\n",
            "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {}\n",
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {}\n",
            "apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {}\n",
            "- a\n",
        ] {
            assert_eq!(slip(text), None, "{text}");
        }
    }
}
