//! Whether Istio puts a sidecar beside the pods of a workload.
//!
//! The webhooks' selectors decide which pods the injector sees (`mutatingwebhook.yaml` of the chart istio-discovery): the
//! namespace's `istio-injection` first, then its `istio.io/rev`, and only where it has neither the pod's own labels. Then
//! the injector refuses some of them (`injectRequired` in `pkg/kube/inject/inject.go`) [s35].

use crate::resource::{INJECTED, Kind, ObjectRef, Pod, Workload};
use crate::symbol::Symbol;
use crate::world::View;

/// What a workload's pods get beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// A sidecar with Envoy.
    Sidecar,
    /// Nothing that Envoy's filters run in: ambient mode, or gRPC without a proxy.
    OtherDataPlane,
    /// No sidecar, for this reason.
    Off(WhyOff),
    /// The namespace is not known, and the pods say nothing.
    Unknown,
}

/// Why pods get no sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyOff {
    /// `hostNetwork: true`: such pods are never injected.
    HostNetwork,
    /// The pods' label `sidecar.istio.io/inject: "false"`.
    Label,
    /// The pods' annotation `sidecar.istio.io/inject: "false"`, where there is no such label.
    Annotation,
    /// The namespace's label `istio-injection` is not `enabled`; no label of the pods counts then.
    Namespace,
    /// Neither the namespace nor the pods ask for one.
    NotAsked,
}

/// The label and annotation that a pod says by whether it wants a sidecar.
pub const INJECT: &str = "sidecar.istio.io/inject";

const DATA_PLANE: &str = "istio.io/dataplane-mode";

/// What the pods that a workload makes from now on get.
pub fn injection(view: &View<'_>, workload: &Workload) -> Injection {
    let pods = &workload.template;
    let label = |key: &str| pods.labels.get(key).map(Symbol::as_str);
    let annotation = |key: &str| pods.annotations.get(key);
    if annotation(INJECTED).is_some() {
        return Injection::Sidecar;
    }
    let is_proxyless = annotation("inject.istio.io/templates")
        .is_some_and(|names| names.split(',').any(|name| name.trim() == "grpc-agent"));
    let namespace = view.get(&ObjectRef::new(Kind::Namespace, "", &workload.meta.namespace));
    let of_namespace = |key: &str| {
        let labels = namespace.map(|namespace| &namespace.meta().labels);
        labels.and_then(|labels| labels.get(key)).map(Symbol::as_str)
    };
    let data_plane = label(DATA_PLANE).or_else(|| of_namespace(DATA_PLANE));
    if is_proxyless || data_plane == Some("ambient") {
        return Injection::OtherDataPlane;
    }
    if pods.host_network {
        return Injection::Off(WhyOff::HostNetwork);
    }
    if label(INJECT) == Some("false") {
        return Injection::Off(WhyOff::Label);
    }
    let is_seen = match (of_namespace("istio-injection"), of_namespace("istio.io/rev")) {
        (Some("enabled"), _) | (None, Some(_)) => true,
        (Some(_), _) => return Injection::Off(WhyOff::Namespace),
        (None, None) => label(INJECT) == Some("true") || label("istio.io/rev").is_some(),
    };
    let is_switched_off = label(INJECT).is_none() && annotation(INJECT) == Some("false");
    match (is_switched_off, is_seen) {
        (true, _) => Injection::Off(WhyOff::Annotation),
        (false, true) => Injection::Sidecar,
        (false, false) if namespace.is_none() => Injection::Unknown,
        (false, false) => Injection::Off(WhyOff::NotAsked),
    }
}

/// Whether a pod that runs was given a sidecar.
pub fn is_injected(pod: &Pod) -> bool {
    pod.meta.annotations.get(INJECTED).is_some()
}

/// Whether a workload's pods have a sidecar, as far as it is known: what runs shows more than labels do.
pub fn has_sidecar(view: &View<'_>, workload: &Workload) -> bool {
    let pods = view.pods_of(workload);
    match injection(view, workload) {
        Injection::Off(_) => pods.iter().any(|pod| is_injected(pod)),
        Injection::Sidecar | Injection::OtherDataPlane | Injection::Unknown => true,
    }
}
