//! The seed's group: gateway, portal, adapter, aggregator, two lanes, the lane in `buid` outside and in `bu` inside.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::client::{Answer, Call};
use crate::control_plane::eventually;
use crate::mesh::Mesh;
use crate::pods::Pod;
use crate::traffic;
use crate::webhook::root;

/// A test's name, and what it does.
pub type Test = (&'static str, fn(&Mesh));

/// The tests, in the order in which they run.
pub const TESTS: [Test; 8] = [
    (
        "the_virtual_service_in_force_is_the_one_that_the_webhook_made",
        the_virtual_service_in_force_is_the_one_that_the_webhook_made,
    ),
    (
        "without_the_filter_the_next_hop_leaves_the_lane",
        without_the_filter_the_next_hop_leaves_the_lane,
    ),
    (
        "ten_thousand_traces_stay_in_their_lanes_from_the_first_after_the_filter_arrives",
        ten_thousand_traces_stay_in_their_lanes_from_the_first_after_the_filter_arrives,
    ),
    (
        "request_ids_alone_keep_traces_in_their_lanes",
        request_ids_alone_keep_traces_in_their_lanes,
    ),
    (
        "a_request_without_a_lane_goes_by_the_default_lane",
        a_request_without_a_lane_goes_by_the_default_lane,
    ),
    (
        "a_call_that_belongs_to_no_trace_goes_by_the_default_lane",
        a_call_that_belongs_to_no_trace_goes_by_the_default_lane,
    ),
    (
        "a_lane_header_from_outside_does_not_pass_the_gateway",
        a_lane_header_from_outside_does_not_pass_the_gateway,
    ),
    (
        "without_the_rewriting_the_lane_ends_behind_the_gateway",
        without_the_rewriting_the_lane_ends_behind_the_gateway,
    ),
];

/// The lanes, the default one first.
const LANES: [&str; 2] = ["wtchk", "wicph"];

/// The namespace of the examples.
const CARS: &str = "cars-aswatson-dev";

/// The first hop, a Service, and the name of its routes at the gateway.
const PORTAL: &str = "cars-api-portal";

/// The gateway's routes without the lane header; the webhook adds it.
const UNWRITTEN: &str = "examples/cars-broken/rewrite-missing.yaml";

/// Envoy's worker threads in each pod.
const WORKERS: u8 = 4;

/// What callers outside ask for.
const ENTRY: &str = "http://cars.example/";

/// The mesh with the seed's group, whose routes at the gateway were applied without any word of the lane header.
pub fn mesh() -> Mesh {
    let mut mesh = Mesh::start(WORKERS);
    let mut files = [
        "00-namespace",
        "20-gateway",
        "30-cars-aggregator",
        "40-cars-rti-adapter",
        "50-cars-api-portal",
    ]
    .map(|name| objects(&format!("examples/cars/{name}.yaml")))
    .concat();
    files.retain(|object| object["kind"] != "VirtualService" || object["metadata"]["name"] != PORTAL);
    files.extend(filter());
    mesh.apply(&files);
    enter(&mesh);
    mesh.run_pods(&chain());
    mesh
}

/// Applies the routes at the gateway as soon as the webhook adds the lane header to them.
fn enter(mesh: &Mesh) {
    let routes = objects(UNWRITTEN);
    eventually("the webhook knows the group", || {
        let tried = mesh.plane.kubectl_stdin(
            &["apply", "--dry-run=server", "-o", "json", "-f", "-"],
            &routes[0].to_string(),
        );
        tried.stdout.contains("\"bu\"").then_some(())
    });
    mesh.apply(&routes);
}

/// The routes and rules of the group, without those at the gateway.
fn routing() -> Vec<Value> {
    let mut routing = ["30-cars-aggregator", "40-cars-rti-adapter", "50-cars-api-portal"]
        .map(|name| objects(&format!("examples/cars/{name}.yaml")))
        .concat();
    routing.retain(|object| {
        object["kind"] == "DestinationRule"
            || (object["kind"] == "VirtualService" && object["metadata"]["name"] != PORTAL)
    });
    routing
}

/// Takes the filter and the group's routes and rules away, and lets the namespace be told only.
pub fn take_down(mesh: &Mesh) {
    without_filter(mesh);
    enforce(mesh, "warn");
    let mut routing = routing();
    routing.extend(objects(UNWRITTEN));
    mesh.remove(&routing);
}

/// Brings back what [`take_down`] takes away.
pub fn put_up(mesh: &Mesh) {
    mesh.apply(&routing());
    with_filter(mesh);
    enforce(mesh, "enforce");
    enter(mesh);
}

fn enforce(mesh: &Mesh, mode: &str) {
    let label = format!("lanekeeper.dev/enforcement={mode}");
    let labelled = mesh
        .plane
        .kubectl(&["label", "--overwrite", "namespace", CARS, &label]);
    labelled.expect_success();
    let broken = objects("examples/cars-broken/lane-crossed.yaml");
    eventually(&format!("the webhook is asked to {mode}"), || {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": broken});
        let tried = mesh
            .plane
            .kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &list.to_string());
        (tried.status.success() == (mode == "warn")).then_some(())
    });
}

/// What each application asks: the adapter's callers use its gRPC port.
fn chain() -> BTreeMap<String, Call> {
    BTreeMap::from([
        (
            PORTAL.to_owned(),
            Call::get("http://cars-rti-adapter:20885/adapt").http2(),
        ),
        (
            "cars-rti-adapter".to_owned(),
            Call::get("http://cars-aggregator:8080/aggregate"),
        ),
    ])
}

/// The objects of a file.
fn objects(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(path)).expect("a file of the repository");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// The plugin of the manifests with the module that `make wasm` built.
fn filter() -> Vec<Value> {
    let module = root().join("target/wasm/lanekeeper.wasm");
    assert!(
        module.is_file(),
        "{} is missing: run `make wasm`",
        module.display()
    );
    let mut objects = objects("manifests/wasm/plugin.yaml");
    objects[0]["spec"]["url"] = format!("file://{}", module.display()).into();
    objects
}

/// The mesh with the filter in every sidecar of the group.
fn with_filter(mesh: &Mesh) {
    mesh.apply(&filter());
    mesh.until("the filter", in_group, |dump| dump.contains("lanekeeper.wasm"));
    mesh.settle();
}

/// The mesh without the filter.
fn without_filter(mesh: &Mesh) {
    mesh.remove(&filter());
    mesh.until("no filter", in_group, |dump| {
        !dump.is_empty() && !dump.contains("cars-traffic-lane")
    });
    mesh.settle();
}

fn in_group(pod: &Pod) -> bool {
    pod.namespace == CARS
}

/// A request for a lane from outside.
fn entering(lane: &str) -> Call {
    Call::get(ENTRY)
        .header("buid", lane)
        .header("traceparent", &traffic::traceparent())
}

/// The workloads of a lane, in the order of the chain.
fn carriers(lanes: [&str; 3]) -> [String; 3] {
    let services = [PORTAL, "cars-rti-adapter", "cars-aggregator"];
    std::array::from_fn(|at| format!("{}-{}", services[at], lanes[at]))
}

/// What is wrong with an answer that should have kept to a lane, if anything is.
fn left(lane: &str, answer: &Answer) -> Option<String> {
    let is_right =
        answer.status == 200 && answer.workloads() == carriers([lane; 3]) && answer.seen("bu") == [lane; 3];
    (!is_right).then(|| {
        let (status, text) = (answer.status, &answer.text);
        let next: Vec<_> = answer.hops.iter().map(|hop| &hop.next).collect();
        let (workloads, seen) = (answer.workloads(), answer.seen("bu"));
        format!("sent to {lane}, answered {status} by {workloads:?}, `bu` {seen:?}, next {next:?} {text}")
    })
}

#[track_caller]
fn assert_in_lane(lane: &str, answer: &Answer) {
    assert_eq!(left(lane, answer), None);
}

/// The routes of the gateway as the API server has them.
fn stored(mesh: &Mesh) -> Value {
    let found = mesh
        .plane
        .kubectl(&["get", "virtualservice", PORTAL, "-n", CARS, "-o", "json"])
        .expect_success();
    serde_json::from_str(&found.stdout).expect("JSON")
}

fn the_virtual_service_in_force_is_the_one_that_the_webhook_made(mesh: &Mesh) {
    mesh.apply(&objects(UNWRITTEN));
    let applied = &objects(UNWRITTEN)[0]["spec"];
    assert!(
        !applied.to_string().contains("\"bu\""),
        "the file says nothing of the lane header"
    );
    let stored = stored(mesh);
    for (at, lane) in ["wicph", "wtchk", "wtchk"].iter().enumerate() {
        assert_eq!(
            stored["spec"]["http"][at]["headers"]["request"]["set"]["bu"], *lane,
            "route {at}"
        );
    }
    let decision = mesh.webhook.last_decision("mutate", PORTAL);
    assert!(decision["patch"].is_array(), "{decision}");

    without_filter(mesh);
    for lane in LANES {
        let first = &mesh.ask_at_gateway(&entering(lane)).hops[0];
        assert_eq!(
            (first.workload.as_str(), first.header("bu").as_deref()),
            (format!("{PORTAL}-{lane}").as_str(), Some(lane))
        );
    }
}

fn without_the_filter_the_next_hop_leaves_the_lane(mesh: &Mesh) {
    without_filter(mesh);
    let answer = mesh.ask_at_gateway(&entering("wicph"));
    assert_eq!(answer.workloads(), carriers(["wicph", "wtchk", "wtchk"]));
    assert_eq!(answer.seen("bu"), ["wicph", "-", "-"]);
}

fn ten_thousand_traces_stay_in_their_lanes_from_the_first_after_the_filter_arrives(mesh: &Mesh) {
    without_filter(mesh);
    with_filter(mesh);
    let outcome = traffic::send(
        mesh,
        10_000,
        16,
        |number| entering(LANES[number % 2]),
        |number, answer| left(LANES[number % 2], answer),
    );
    eprintln!("with traceparent: {outcome}");
    outcome.expect_none_wrong();
}

fn request_ids_alone_keep_traces_in_their_lanes(mesh: &Mesh) {
    with_filter(mesh);
    let outcome = traffic::send(
        mesh,
        2_000,
        16,
        |number| Call::get(ENTRY).header("buid", LANES[number % 2]),
        |number, answer| left(LANES[number % 2], answer),
    );
    eprintln!("with x-request-id alone: {outcome}");
    outcome.expect_none_wrong();
}

fn a_request_without_a_lane_goes_by_the_default_lane(mesh: &Mesh) {
    with_filter(mesh);
    let traced = Call::get(ENTRY).header("traceparent", &traffic::traceparent());
    for call in [Call::get(ENTRY), traced] {
        assert_in_lane(LANES[0], &mesh.ask_at_gateway(&call));
    }
    // A lane that nobody has is no lane.
    assert_in_lane(LANES[0], &mesh.ask_at_gateway(&entering("wtcph")));
}

fn a_call_that_belongs_to_no_trace_goes_by_the_default_lane(mesh: &Mesh) {
    with_filter(mesh);
    let call = Call::get("http://cars-rti-adapter:20885/").http2();
    let answer = mesh.ask_from_pod("cars-api-portal-wicph", &call);
    assert_eq!(answer.workloads(), carriers([LANES[0]; 3])[1..]);
    assert_eq!(answer.seen("bu"), [LANES[0]; 2]);

    // An application that says its lane is heard.
    let answer = mesh.ask_from_pod("cars-api-portal-wtchk", &call.header("bu", "wicph"));
    assert_eq!(answer.workloads()[0], "cars-rti-adapter-wicph");
}

fn a_lane_header_from_outside_does_not_pass_the_gateway(mesh: &Mesh) {
    with_filter(mesh);
    for lane in LANES {
        let other = if lane == LANES[0] { LANES[1] } else { LANES[0] };
        assert_in_lane(lane, &mesh.ask_at_gateway(&entering(lane).header("bu", other)));
        assert_in_lane(
            lane,
            &mesh.ask_at_gateway(&entering(lane).header("bu", other).header("bu", "")),
        );
    }
    let bare = Call::get(ENTRY)
        .header("bu", "wicph")
        .header("traceparent", &traffic::traceparent());
    assert_in_lane(LANES[0], &mesh.ask_at_gateway(&bare));
}

fn without_the_rewriting_the_lane_ends_behind_the_gateway(mesh: &Mesh) {
    with_filter(mesh);
    let mut routes = objects(UNWRITTEN);
    routes[0]["metadata"]["annotations"] = json!({"lanekeeper.dev/rewrite": "false",
        "lanekeeper.dev/allow": "LK401", "lanekeeper.dev/allow-reason": "shows what the rewriting is for"});
    mesh.apply(&routes);
    let unwritten = mesh.ask_at_gateway(&entering("wicph"));
    let spoofed = mesh.ask_at_gateway(&entering("wtchk").header("bu", "wicph"));
    mesh.apply(&objects(UNWRITTEN));

    // The sidecar gives what has no lane the default one.
    assert_eq!(unwritten.workloads(), carriers(["wicph", "wtchk", "wtchk"]));
    assert_eq!(spoofed.workloads(), carriers(["wtchk", "wicph", "wicph"]));
    assert_in_lane("wicph", &mesh.ask_at_gateway(&entering("wicph")));
}
