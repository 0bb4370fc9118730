//! Requests come to the lane filter without a trace id, because tracing is off where they enter.
//!
//! ## What it does
//! It takes the lane plugins and asks for each lane group that they are for where its requests come from: the pods of the
//! gateways whose routes lead to its services by the lane header or the entry header; where there is no such gateway, the
//! group's own workloads and whoever calls them. For each of these proxies it works out as Istio does whether it gives
//! requests a trace id: the `Telemetry` of the root namespace, that of the proxy's namespace and those that select its pod,
//! the later over the earlier; the provider, which the mesh configuration has to have; and where none of them says anything,
//! the mesh configuration's `enableTracing` and the tracer in `defaultConfig` or in the pod's annotation. It warns, once for each
//! plugin, if all of them surely give none.
//!
//! Tracing in the lanes' own sidecars is no matter where a gateway traces: they hand on what comes. Nor does it help where the
//! gateway does not trace, because a sidecar's tracer writes its header after the filter has looked. Nor is the sampling asked:
//! the id of a request that is not sampled is sent all the same. `disableSpanReporting` does not only keep spans back: the proxy
//! has no tracer then.
//!
//! It is quiet where the filter needs no trace id of Envoy's: `type` names `REQUEST_ID`, `CUSTOM` or formats that no tracer of
//! Istio sends, `generate_trace` or `baggage` is on, or the `LaneGroup` says `trace: REQUEST_ID`. It is quiet too where the answer is
//! not known: an `EnvoyFilter` of the proxies' or the root namespace, the mesh configuration is not here (files) and no
//! `Telemetry` switches tracing off, or the gateway's pods are not here and may be configured by themselves.
//!
//! ## Why it matters
//! The filter stores a request's lane under its trace id, and gives it to what the application sends with the same id. Without
//! one the lane is stored under `x-request-id`: an application that forwards only trace headers loses it, and what it calls is
//! in the default lane.
//!
//! ## Example
//! ```yaml
//! kind: Telemetry
//! metadata: {namespace: istio-system, name: default}
//! spec:
//!   tracing:
//!   - disableSpanReporting: true
//! ```
//! Use instead:
//! ```yaml
//! kind: Telemetry
//! metadata: {namespace: istio-system, name: default}
//! spec:
//!   tracing:
//!   - providers: [{name: otel}]
//!     randomSamplingPercentage: 0
//! ```
//!
//! ## References
//! Istio, "Telemetry API" and `MeshConfig`; `Telemetries.Tracing` in `pilot/pkg/model/telemetry.go` and `configureTracing` in
//! `pilot/pkg/networking/core/tracing.go`. Neither `istioctl analyze` nor Kiali tells what depends on trace ids.

use lanekeeper_filter_core::{Config, Format};

use super::{Check, Finding, Level, Rule, Subject, joined};
use crate::resource::{Gateway, Kind, Labels, Resource, TraceFormat, WasmPlugin};
use crate::routing::{
    Injection, Lanes, Proxy, Tracing, Untraced, WhyUntraced, injection, roots_of, tracing_outward,
};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK504",
    name: "tracing-disabled",
    level: Level::Warn,
    kinds: &[Kind::WasmPlugin, Kind::TrafficExtension],
    source: include_str!("lk504.rs"),
    check,
};

/// The most lanes of one group whose routes are asked for their gateways: there are hardly ever several.
const MOST: usize = 64;

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::WasmPlugin(plugin) = object else {
        return Vec::new();
    };
    let (Some(header), Some(Ok(config))) = (&plugin.lane_header, &plugin.config) else {
        return Vec::new();
    };
    if plugin.meta.deleting || plugin.has_target_refs || !needs_a_tracer(config) {
        return Vec::new();
    }
    let home = &plugin.meta.namespace;
    let mut namespaces = vec![home.clone()];
    if home == check.view.root_namespace() {
        namespaces.extend(check.view.namespaces_naming(header));
        namespaces.dedup();
    }
    let judged = namespaces.iter().find_map(|namespace| {
        let groups = check.groups.of_namespace(namespace);
        let lanes = groups.iter().find(|lanes| lanes.group.header == *header)?;
        judge(check, plugin, config, lanes)
    });
    judged.into_iter().collect()
}

/// Whether the filter looks for trace ids that only a tracer of Envoy's brings.
fn needs_a_tracer(config: &Config) -> bool {
    // Istio has providers for these (`configureFromProviderConfig` in `pilot/pkg/networking/core/tracing.go`).
    let is_of_envoy = |format: &Format| {
        matches!(
            format,
            Format::W3c | Format::B3 | Format::Datadog | Format::SkyWalking
        )
    };
    let needs_none = |format: &Format| matches!(format, Format::RequestId | Format::Custom);
    config.formats.iter().any(is_of_envoy)
        && !config.formats.iter().any(needs_none)
        && !config.generate_trace
        && !config.baggage
}

fn judge<'w>(
    check: &Check<'_, 'w>,
    plugin: &WasmPlugin,
    config: &Config,
    lanes: &Lanes<'_, 'w>,
) -> Option<Finding> {
    let (header, namespace) = (&lanes.group.header, &lanes.group.namespace);
    let written = check.view.lane_groups(namespace).into_iter();
    let mut of_header = written.filter(|group| group.group().header == *header);
    if of_header.any(|group| group.trace == TraceFormat::RequestId) {
        return None;
    }
    let gateways = gateways_of(check, lanes)?;
    let (place, off) = if gateways.is_empty() {
        (
            "the group's workloads".to_owned(),
            workloads_off(check, plugin, namespace)?,
        )
    } else {
        let mut off = Vec::new();
        for gateway in &gateways {
            off.extend(gateway_off(check, gateway)?);
        }
        let names: Vec<String> = gateways
            .iter()
            .map(|gateway| gateway.meta.reference(Kind::Gateway).to_string())
            .collect();
        (joined(&names, " and "), off)
    };
    let mut causes: Vec<Untraced> = Vec::new();
    for cause in off {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let reasons: Vec<String> = causes.iter().map(reason).collect();
    let own = match plugin.kind {
        Kind::TrafficExtension => "spec.wasm.pluginConfig.type",
        _ => "spec.pluginConfig.type",
    };
    let evidence = causes
        .iter()
        .map(|cause| (cause.object.clone(), cause.path.clone(), note(&cause.why)));
    let is_switched_off = causes.iter().any(|cause| {
        matches!(
            cause.why,
            WhyUntraced::NoSpans | WhyUntraced::NoContext | WhyUntraced::MeshDisabled
        )
    });
    let help = if config.formats.contains(&Format::W3c) {
        "turn tracing on there (what is sampled does not matter), or let the filter make trace ids: `generate_trace: true`"
    } else {
        "turn tracing on there; what is sampled does not matter"
    };
    Some(
        Finding::new(&RULE, plugin.meta.reference(plugin.kind), own)
            .about(Subject {
                header: Some(header.clone()),
                ..Subject::default()
            })
            .missing_if(!is_switched_off)
            .from_fields(evidence)
            .says(
                format!(
                    "no trace id comes from {place}, for {}: an application that forwards only trace headers loses its lane",
                    joined(&reasons, ", and ")
                ),
                help,
            ),
    )
}

/// The gateways by which requests enter the group, by name; `None`: one of them is not known.
fn gateways_of<'w>(check: &Check<'_, 'w>, lanes: &Lanes<'_, 'w>) -> Option<Vec<&'w Gateway>> {
    let view = check.view;
    let namespace = &lanes.group.namespace;
    let mut found: Vec<&Gateway> = Vec::new();
    for header in lanes.headers() {
        for value in view.named_values(namespace, header).iter().take(MOST) {
            let naming = view.virtual_services_naming(namespace, header, value).into_iter();
            for root in naming.flat_map(|vs| roots_of(view, vs)) {
                for name in root.bound_gateways() {
                    let gateway = view.gateway(name, &root.meta.namespace)?;
                    if !found.iter().any(|known| known.meta == gateway.meta) {
                        found.push(gateway);
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
    Some(found)
}

/// Why the pods of a gateway do not trace; `None`: some do, or it is not known.
fn gateway_off(check: &Check<'_, '_>, gateway: &Gateway) -> Option<Vec<Untraced>> {
    let view = check.view;
    let homes = view.namespaces_with(&gateway.selector);
    let pods = homes
        .iter()
        .flat_map(|home| view.carriers(home, &gateway.selector).to_vec());
    let pods: Vec<Proxy<'_>> = pods.filter_map(Proxy::of).collect();
    if !pods.is_empty() {
        return all_off(check, &pods);
    }
    // They may be beside the gateway's object, or in any other namespace.
    let proxy = |namespace| Proxy {
        namespace,
        labels: &gateway.selector,
        annotations: None,
    };
    let elsewhere = Symbol::default();
    let root = view.root_namespace();
    all_off(
        check,
        &[proxy(&gateway.meta.namespace), proxy(root), proxy(&elsewhere)],
    )
}

/// Why neither the workloads that the plugin selects nor others that may call them trace.
fn workloads_off(check: &Check<'_, '_>, plugin: &WasmPlugin, namespace: &Symbol) -> Option<Vec<Untraced>> {
    let view = check.view;
    let any = Labels::default();
    let workloads = view
        .workloads(namespace, plugin.selector.as_ref().unwrap_or(&any))
        .into_iter();
    let members = workloads.filter(|workload| {
        injection(view, workload) != Injection::OtherDataPlane
            && !check
                .groups
                .of_workload(namespace, &workload.template.labels)
                .is_empty()
    });
    let mut proxies: Vec<Proxy<'_>> = members
        .map(|workload| Proxy {
            namespace,
            labels: &workload.template.labels,
            annotations: Some(&workload.template.annotations),
        })
        .collect();
    if proxies.is_empty() {
        return None;
    }
    let elsewhere = Symbol::default();
    proxies.push(Proxy {
        namespace: &elsewhere,
        labels: &any,
        annotations: None,
    });
    all_off(check, &proxies)
}

fn all_off(check: &Check<'_, '_>, proxies: &[Proxy<'_>]) -> Option<Vec<Untraced>> {
    let off = proxies
        .iter()
        .map(|proxy| match tracing_outward(check.view, proxy) {
            Tracing::Off(off) => Some(off),
            Tracing::On | Tracing::Unknown => None,
        });
    off.collect()
}

/// A cause, as the end of a sentence.
fn reason(cause: &Untraced) -> String {
    let object = &cause.object;
    match &cause.why {
        WhyUntraced::NoSpans => format!("{object} switches tracing off (`disableSpanReporting`)"),
        WhyUntraced::NoContext => format!("{object} keeps trace ids back (`disableContextPropagation`)"),
        WhyUntraced::NoneNamed => {
            format!("{object} names no provider, and the mesh configuration has no default one")
        }
        WhyUntraced::NoProvider(name) => {
            format!("the mesh configuration has no provider `{name}`, which {object} names")
        }
        WhyUntraced::NoTracer(name) => format!("the provider `{name}`, which {object} names, does not trace"),
        WhyUntraced::MeshDisabled => format!("{object} has `enableTracing: false`"),
        WhyUntraced::MeshSilent => {
            format!("no Telemetry names a provider, and {object} has neither a default one nor a tracer")
        }
    }
}

/// What is to be seen in the field of a cause.
fn note(why: &WhyUntraced) -> &'static str {
    match why {
        WhyUntraced::NoSpans | WhyUntraced::NoContext | WhyUntraced::MeshDisabled => {
            "it is switched off here"
        }
        WhyUntraced::NoneNamed => "no provider",
        WhyUntraced::NoProvider(_) | WhyUntraced::NoTracer(_) => "the provider",
        WhyUntraced::MeshSilent => "no tracer",
    }
}
