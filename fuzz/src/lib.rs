//! Objects out of a fuzzer's bytes: of the shape that rules look at, with names that meet, and now and then with a
//! value that does not belong there.

use lanekeeper::resource::Kind;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

/// What a place in an object may hold.
enum Shape {
    /// One of these words.
    Word(&'static [&'static str]),
    Number,
    Flag,
    List(&'static Shape),
    /// Values by one of these keys.
    By(&'static [&'static str], &'static Shape),
    /// Some of these fields.
    Fields(&'static [(&'static str, Shape)]),
}

use Shape::{By, Fields, Flag, List, Number, Word};

const NAMES: &[&str] = &["portal", "api", "blue", "green", "cars", "gren"];
const NAMESPACES: &[&str] = &["cars", "shop", "istio-system"];
const HOSTS: &[&str] = &[
    "portal", "api", "portal.cars", "portal.cars.svc.cluster.local", "*.cars.svc.cluster.local", "*",
    "portal.example", "*.example", "10.0.0.1", "",
];
const LANES: &[&str] = &["blue", "green", "gren", "", "*", ".*", "b.*", "[", "(a|b)?", "%REQ(buid)%", "a\r\nb", "%"];
const PATHS: &[&str] = &["/", "/a", "/a/b", "", "/a.*", "*", "(", "%"];
const HEADERS: &[&str] = &["bu", "buid", "Bu", "cookie", "x", ":path", "baggage"];
const LABELS: &[&str] = &["app", "version", "istio", "istio-injection", "sidecar.istio.io/inject"];
const GATEWAYS: &[&str] = &["mesh", "cars", "shop/cars", "cars/cars", "istio-system/cars", ""];
const EXPORTS: &[&str] = &[".", "*", "cars", "shop", "~"];
const PORTS: &[&str] = &["http", "http-web", "grpc", "tcp", "https", "", "auto"];

const LANE: Shape = Word(LANES);
const TEXT: Shape = Fields(&[("exact", LANE), ("prefix", LANE), ("regex", LANE)]);
const PATH: Shape = Fields(&[("exact", Word(PATHS)), ("prefix", Word(PATHS)), ("regex", Word(PATHS))]);
const PAIRS: Shape = By(LABELS, &Word(NAMES));
const SELECTOR: Shape = Fields(&[("matchLabels", PAIRS), ("labels", PAIRS)]);
const PORT: Shape = Fields(&[("number", Number), ("name", Word(PORTS))]);
const DESTINATION: Shape = Fields(&[("host", Word(HOSTS)), ("subset", Word(NAMES)), ("port", PORT)]);
const OPERATIONS: Shape = Fields(&[
    ("set", By(HEADERS, &LANE)),
    ("add", By(HEADERS, &LANE)),
    ("remove", List(&Word(HEADERS))),
]);
const CHANGES: Shape = Fields(&[("request", OPERATIONS), ("response", OPERATIONS)]);
const MATCH: Shape = Fields(&[
    ("uri", PATH),
    ("headers", By(HEADERS, &TEXT)),
    ("withoutHeaders", By(HEADERS, &TEXT)),
    ("queryParams", By(HEADERS, &TEXT)),
    ("method", TEXT),
    ("authority", TEXT),
    ("sourceLabels", PAIRS),
    ("sourceNamespace", Word(NAMESPACES)),
    ("gateways", List(&Word(GATEWAYS))),
    ("port", Number),
    ("ignoreUriCase", Flag),
]);
const ROUTE: Shape = Fields(&[
    ("name", Word(NAMES)),
    ("match", List(&MATCH)),
    ("route", List(&Fields(&[("destination", DESTINATION), ("weight", Number), ("headers", CHANGES)]))),
    ("headers", CHANGES),
    ("delegate", Fields(&[("name", Word(NAMES)), ("namespace", Word(NAMESPACES))])),
    ("redirect", Fields(&[("uri", Word(PATHS)), ("authority", Word(HOSTS)), ("redirectCode", Number)])),
    ("rewrite", Fields(&[
        ("uri", Word(PATHS)),
        ("authority", Word(HOSTS)),
        ("uriRegexRewrite", Fields(&[("match", Word(PATHS)), ("rewrite", Word(&["/\\1", "$0", "\\"]))])),
    ])),
    ("directResponse", Fields(&[("status", Number)])),
    ("fault", Fields(&[("abort", Fields(&[("httpStatus", Number)]))])),
    ("mirror", DESTINATION),
]);
const CONTAINERS: Shape = List(&Fields(&[
    ("name", Word(&["istio-proxy", "a"])),
    ("ports", List(&Fields(&[("name", Word(PORTS)), ("containerPort", Number)]))),
]));
const POD_SPEC: Shape = Fields(&[("containers", CONTAINERS), ("hostNetwork", Flag)]);
const TEMPLATE: Shape = Fields(&[("metadata", Fields(&[("labels", PAIRS), ("annotations", PAIRS)])), ("spec", POD_SPEC)]);
const WORKLOAD: Shape = Fields(&[("replicas", Number), ("selector", SELECTOR), ("template", TEMPLATE)]);
const SERVICE_PORT: Shape = Fields(&[
    ("name", Word(PORTS)),
    ("number", Number),
    ("port", Number),
    ("protocol", Word(&["HTTP", "TCP", "GRPC", "TLS"])),
    ("targetPort", Number),
    ("appProtocol", Word(PORTS)),
]);
const SUBSET: Shape = Fields(&[
    ("name", Word(NAMES)),
    ("labels", PAIRS),
    ("trafficPolicy", Fields(&[("tls", Fields(&[("mode", Word(&["DISABLE", "ISTIO_MUTUAL"]))]))])),
]);
const PLUGIN: Shape = Fields(&[
    ("lane_header", Word(HEADERS)),
    ("default_lane", LANE),
    ("lanes", List(&LANE)),
    ("type", Word(&["W3C", "B3", "AUTO", "CUSTOM", "x"])),
    ("cache_size", Number),
]);

/// The kinds that are made, each with what is in it beside its metadata.
const KINDS: &[(Kind, &str, Shape)] = &[
    (Kind::VirtualService, "spec", Fields(&[
        ("hosts", List(&Word(HOSTS))),
        ("gateways", List(&Word(GATEWAYS))),
        ("exportTo", List(&Word(EXPORTS))),
        ("http", List(&ROUTE)),
        ("tcp", List(&Fields(&[]))),
    ])),
    (Kind::DestinationRule, "spec", Fields(&[
        ("host", Word(HOSTS)),
        ("subsets", List(&SUBSET)),
        ("exportTo", List(&Word(EXPORTS))),
        ("workloadSelector", SELECTOR),
    ])),
    (Kind::Service, "spec", Fields(&[
        ("selector", PAIRS),
        ("ports", List(&SERVICE_PORT)),
        ("type", Word(&["ClusterIP", "ExternalName"])),
        ("externalName", Word(HOSTS)),
        ("clusterIP", Word(&["None", "10.0.0.1"])),
    ])),
    (Kind::Deployment, "spec", WORKLOAD),
    (Kind::StatefulSet, "spec", WORKLOAD),
    (Kind::DaemonSet, "spec", WORKLOAD),
    (Kind::Pod, "spec", POD_SPEC),
    (Kind::Gateway, "spec", Fields(&[
        ("selector", PAIRS),
        ("servers", List(&Fields(&[("port", SERVICE_PORT), ("hosts", List(&Word(HOSTS)))]))),
    ])),
    (Kind::LaneGroup, "spec", Fields(&[
        ("header", Word(HEADERS)),
        ("entry", Fields(&[("header", Word(HEADERS)), ("gateways", List(&Word(GATEWAYS)))])),
        ("workloads", SELECTOR),
        ("laneLabel", Word(LABELS)),
        ("lanes", List(&LANE)),
        ("defaultLane", LANE),
        ("completeness", Word(&["Strict", "Fallback"])),
        ("withoutHeader", Word(&["DefaultLane", "Reject"])),
        ("chain", List(&Word(HOSTS))),
    ])),
    (Kind::WasmPlugin, "spec", Fields(&[
        ("selector", SELECTOR),
        ("pluginConfig", PLUGIN),
        ("url", Word(&["http://lanekeeper/wasm/lane-0.wasm", "oci://a"])),
        ("phase", Word(&["AUTHN", "STATS"])),
    ])),
    (Kind::Namespace, "spec", Fields(&[])),
    (Kind::ServiceEntry, "spec", Fields(&[
        ("hosts", List(&Word(HOSTS))),
        ("ports", List(&SERVICE_PORT)),
        ("workloadSelector", SELECTOR),
        ("resolution", Word(&["STATIC", "DNS", "NONE"])),
        ("location", Word(&["MESH_INTERNAL", "MESH_EXTERNAL"])),
    ])),
    (Kind::Sidecar, "spec", Fields(&[
        ("workloadSelector", SELECTOR),
        ("egress", List(&Fields(&[("hosts", List(&Word(&["*/*", "./*", "cars/*", "~/*", "cars/portal", ""])))]))),
    ])),
    (Kind::Telemetry, "spec", Fields(&[
        ("selector", SELECTOR),
        ("tracing", List(&Fields(&[("disableSpanReporting", Flag), ("randomSamplingPercentage", Number)]))),
    ])),
    (Kind::ConfigMap, "data", Fields(&[("mesh", Word(&[
        "rootNamespace: shop", "enableTracing: true", "defaultConfig: {proxyMetadata: {}}", "a: [", "",
    ]))])),
];

/// Objects, until the bytes are used up.
pub fn objects(bytes: &mut Unstructured<'_>) -> Vec<(Kind, Value)> {
    let mut objects = Vec::new();
    while !bytes.is_empty() && objects.len() < 40 {
        match object(bytes) {
            Ok(object) => objects.push(object),
            Err(_) => break,
        }
    }
    objects
}

fn object(bytes: &mut Unstructured<'_>) -> Result<(Kind, Value)> {
    let (kind, field, shape) = bytes.choose(KINDS)?;
    let mut metadata = json!({"name": bytes.choose(NAMES)?});
    if kind.is_namespaced() {
        metadata["namespace"] = (*bytes.choose(NAMESPACES)?).into();
    }
    if bytes.ratio(1, 2)? {
        metadata["labels"] = value(&PAIRS, bytes)?;
    }
    if *kind == Kind::Namespace {
        metadata["labels"] = json!({"lanekeeper.dev/enforcement": "enforce", "istio-injection": "enabled"});
    }
    Ok((*kind, json!({"metadata": metadata, *field: value(shape, bytes)?})))
}

fn value(shape: &Shape, bytes: &mut Unstructured<'_>) -> Result<Value> {
    if bytes.ratio(1, 64)? {
        return Ok(match bytes.int_in_range(0..=5)? {
            0 => Value::Null,
            1 => json!([]),
            2 => json!({"": [null]}),
            3 => json!(-1),
            4 => json!("\u{1b}[2J\u{202e}"),
            _ => json!(1e300),
        });
    }
    Ok(match shape {
        Word(words) => json!(bytes.choose(words)?),
        Number => json!(bytes.choose(&[0_u32, 1, 80, 8080, 15021, 100, 65_535, u32::MAX])?),
        Flag => json!(bytes.ratio(1, 2)?),
        List(of) => {
            let length = bytes.int_in_range(0..=3)?;
            let items: Result<Vec<Value>> = (0..length).map(|_| value(of, bytes)).collect();
            json!(items?)
        }
        By(keys, of) => {
            let mut pairs = Map::new();
            for _ in 0..bytes.int_in_range(0..=2)? {
                let key = bytes.choose(keys)?;
                pairs.insert((*key).to_owned(), value(of, bytes)?);
            }
            Value::Object(pairs)
        }
        Fields(fields) => {
            let mut some = Map::new();
            for (name, of) in *fields {
                if bytes.ratio(1, 2)? {
                    some.insert((*name).to_owned(), value(of, bytes)?);
                }
            }
            Value::Object(some)
        }
    })
}
