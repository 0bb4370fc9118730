//! Whether a proxy gives the requests that it sends a trace id.
//!
//! Envoy adds one only where Istio configures it to trace (`configureTracing` in `pilot/pkg/networking/core/tracing.go`): by
//! the `Telemetry` that counts for the proxy, and only where none says anything of traces and the mesh has no default provider
//! by the mesh configuration and what the proxy is started with (`Telemetries.Tracing` and `applicableTelemetries` in
//! `pilot/pkg/model/telemetry.go`). A request that is not sampled has its id all the same.

use crate::resource::{Annotations, Kind, Labels, MeshTracing, ObjectRef, Resource, Telemetry, has_tracer};
use crate::symbol::Symbol;
use crate::world::{View, is_age_known};

/// A proxy, as far as it decides which configuration counts for it.
#[derive(Debug, Clone, Copy)]
pub struct Proxy<'a> {
    /// Its namespace; empty: one that has no configuration of its own.
    pub namespace: &'a Symbol,
    /// The labels of its pod.
    pub labels: &'a Labels,
    /// The annotations of its pod, where they are known.
    pub annotations: Option<&'a Annotations>,
}

impl<'a> Proxy<'a> {
    /// The proxy of a carrier's pods.
    pub fn of(carrier: &'a Resource) -> Option<Self> {
        let annotations = match carrier {
            Resource::Workload(workload) => Some(&workload.template.annotations),
            Resource::Pod(pod) => Some(&pod.meta.annotations),
            _ => None,
        };
        Some(Self {
            namespace: &carrier.meta().namespace,
            labels: carrier.carrier_labels()?,
            annotations,
        })
    }
}

/// Whether a proxy gives requests a trace id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracing {
    /// It does, as far as can be told: whether its provider can be reached is not asked.
    On,
    /// It does not, for this reason.
    Off(Untraced),
    /// It is not known: some of what decides it is not here.
    Unknown,
}

/// Why a proxy does not trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untraced {
    /// The `Telemetry` or the mesh configuration that it follows from.
    pub object: ObjectRef,
    /// The field.
    pub path: String,
    /// The reason.
    pub why: WhyUntraced,
}

/// Why a proxy does not trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyUntraced {
    /// `disableSpanReporting`: Istio configures no tracer then.
    NoSpans,
    /// `disableContextPropagation`.
    NoContext,
    /// The `Telemetry` names no provider, and the mesh has no default one.
    NoneNamed,
    /// The mesh configuration has no provider of this name.
    NoProvider(Symbol),
    /// The provider of this name does something else.
    NoTracer(Symbol),
    /// `enableTracing: false` in the mesh configuration, and nothing else says anything.
    MeshDisabled,
    /// Nothing says anything, and the proxies are started without a tracer.
    MeshSilent,
}

/// The label of the pods that Istio makes for a `Gateway` of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The configuration of its own that a proxy is started with.
const PROXY_CONFIG: &str = "proxy.istio.io/config";

/// The annotation that puts another bootstrap in the place of Istio's.
const BOOTSTRAP: &str = "sidecar.istio.io/bootstrapOverride";

/// Where the mesh configuration stands in its `ConfigMap`.
const MESH: &str = "data.mesh";

/// Whether `proxy` gives the requests that it sends on a trace id: at a gateway all, at a sidecar those that its
/// application sends. What comes to an application is no matter, for the tracer writes its header after the filters.
pub fn tracing_outward(view: &View<'_>, proxy: &Proxy<'_>) -> Tracing {
    let root = view.root_namespace();
    // An EnvoyFilter may do anything.
    let mut namespaces = [proxy.namespace, root].into_iter();
    if namespaces.any(|namespace| !namespace.is_empty() && view.has_envoy_filters(namespace)) {
        return Tracing::Unknown;
    }
    let Some(applicable) = applicable(view, proxy) else {
        return Tracing::Unknown;
    };
    let config = view.mesh_config_of(proxy.namespace);
    let mesh =
        config.and_then(|config| Some((config.meta.reference(Kind::ConfigMap), config.tracing.as_ref()?)));
    let of_mesh = |why: WhyUntraced| match &mesh {
        Some((object, _)) => Tracing::Off(Untraced {
            object: object.clone(),
            path: MESH.to_owned(),
            why,
        }),
        None => Tracing::Unknown,
    };

    let default = mesh.as_ref().and_then(|(_, mesh)| mesh.default_provider.clone());
    if applicable.iter().all(|telemetry| telemetry.tracing.is_empty()) && default.is_none() {
        return match &mesh {
            None => Tracing::Unknown,
            Some((_, mesh)) if !mesh.is_enabled => of_mesh(WhyUntraced::MeshDisabled),
            Some((_, mesh)) => match is_started_with_tracer(mesh, proxy) {
                Some(true) => Tracing::On,
                Some(false) => of_mesh(WhyUntraced::MeshSilent),
                None => Tracing::Unknown,
            },
        };
    }

    let merged = Merged::of(&applicable);
    if let Some(off) = merged.switched_off {
        return Tracing::Off(off);
    }
    let Some((_, mesh_tracing)) = &mesh else {
        return Tracing::Unknown;
    };
    let off = |name: &Symbol, why: WhyUntraced| match merged
        .provider
        .as_ref()
        .filter(|(known, ..)| known == name)
    {
        Some((_, object, path)) => Tracing::Off(Untraced {
            object: object.clone(),
            path: path.clone(),
            why,
        }),
        None => of_mesh(why),
    };
    let named = merged.provider.as_ref().map(|(name, ..)| name.clone());
    match (named.or(default), merged.first) {
        (Some(name), _) => match mesh_tracing.may_trace(&name) {
            Some(true) => Tracing::On,
            Some(false) => off(&name, WhyUntraced::NoTracer(name.clone())),
            None => off(&name, WhyUntraced::NoProvider(name.clone())),
        },
        (None, Some(object)) => Tracing::Off(Untraced {
            object,
            path: "spec.tracing".to_owned(),
            why: WhyUntraced::NoneNamed,
        }),
        (None, None) => Tracing::Unknown,
    }
}

/// The `Telemetry` that counts for a proxy, what overrides others last: the root namespace's, the namespace's, and those that
/// select the pod. `None`: which it is cannot be told.
fn applicable<'w>(view: &View<'w>, proxy: &Proxy<'_>) -> Option<Vec<&'w Telemetry>> {
    let root = view.root_namespace();
    let own = if proxy.namespace.is_empty() {
        Vec::new()
    } else {
        view.telemetries(proxy.namespace)
    };
    let of_root = view.telemetries(root);
    let mut found = Vec::new();
    found.extend(oldest(&of_root)?);
    if proxy.namespace != root {
        found.extend(oldest(&own)?);
    }
    let mut selecting = own;
    selecting.retain(|telemetry| !telemetry.is_namespace_wide());
    if proxy.labels.get(GATEWAY_NAME).is_some() {
        // By name, or by their labels if istiod is told to.
        return selecting.is_empty().then_some(found);
    }
    selecting.retain(|telemetry| !telemetry.has_target_refs && telemetry.selector.select(proxy.labels));
    let is_order_known = selecting
        .windows(2)
        .all(|pair| is_age_known(&pair[0].meta, &pair[1].meta));
    found.extend(selecting);
    is_order_known.then_some(found)
}

/// The one that counts of those for the whole namespace: the oldest, whatever it says (`namespaceWideTelemetryConfig`).
/// `None`: it is not known which one that is.
fn oldest<'w>(all: &[&'w Telemetry]) -> Option<impl Iterator<Item = &'w Telemetry>> {
    let mut wide = all.iter().filter(|telemetry| telemetry.is_namespace_wide());
    let first = wide.next();
    let is_known = match (first, wide.next()) {
        (Some(first), Some(second)) => is_age_known(&first.meta, &second.meta),
        _ => true,
    };
    is_known.then(|| first.copied().into_iter())
}

/// What several `Telemetry` come to together.
#[derive(Default)]
struct Merged {
    /// The first that says anything of traces.
    first: Option<ObjectRef>,
    /// The provider, and where it is named.
    provider: Option<(Symbol, ObjectRef, String)>,
    /// What switches tracing off.
    switched_off: Option<Untraced>,
}

impl Merged {
    fn of(applicable: &[&Telemetry]) -> Self {
        let mut merged = Self::default();
        let (mut no_spans, mut no_context) = (None, None);
        for telemetry in applicable {
            let object = telemetry.meta.reference(Kind::Telemetry);
            let entries = telemetry.tracing.iter().enumerate();
            for (at, entry) in entries {
                merged.first.get_or_insert_with(|| object.clone());
                if entry.is_for_servers {
                    continue;
                }
                let path = |field: &str| format!("spec.tracing[{at}].{field}");
                if let Some(name) = &entry.provider {
                    let path = path("providers[0].name");
                    merged.provider = Some((name.clone(), object.clone(), path));
                }
                let off = |field: &str, why| Untraced {
                    object: object.clone(),
                    path: path(field),
                    why,
                };
                if let Some(is_off) = entry.disable_span_reporting {
                    no_spans = is_off.then(|| off("disableSpanReporting", WhyUntraced::NoSpans));
                }
                if let Some(is_off) = entry.disable_context_propagation {
                    no_context = is_off.then(|| off("disableContextPropagation", WhyUntraced::NoContext));
                }
            }
        }
        merged.switched_off = no_spans.or(no_context);
        merged
    }
}

/// Whether a proxy is started with a tracer: as its own configuration says, else as the mesh's does. `None`: it is not known.
fn is_started_with_tracer(mesh: &MeshTracing, proxy: &Proxy<'_>) -> Option<bool> {
    let annotations = proxy.annotations?;
    if annotations.get(BOOTSTRAP).is_some() {
        return None;
    }
    let Some(own) = annotations.get(PROXY_CONFIG) else {
        return Some(mesh.has_tracer);
    };
    let document = crate::yaml::documents(own).into_iter().next()?;
    let own = <serde_json::Value as serde::Deserialize>::deserialize(&document.decode().ok()?).ok()?;
    match &own["tracing"] {
        serde_json::Value::Null => Some(mesh.has_tracer),
        tracing if has_tracer(tracing) => Some(true),
        // What is left of the mesh's tracer is for Istio's merging to say.
        _ => (!mesh.has_tracer).then_some(false),
    }
}
