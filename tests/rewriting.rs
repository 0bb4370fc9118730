//! What the mutating webhook writes into gateway routes, on `examples/cars`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::path::Path;
use std::sync::LazyLock;

use lanekeeper::files;
use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::rewrite::{Edit, apply, edits, is_left_alone};
use lanekeeper::routing::{Context, Route, routes_at};
use lanekeeper::rule::{Check, Finding, Level, RULES};
use lanekeeper::world::{Settings, View, World};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "cars-aswatson-dev";
const TEMPLATE: &str = "{{ request.headers['buid'] }}";

/// The objects of the example but the portal's `VirtualService`.
static CARS: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cars");
    let files = files::load(&[folder], None);
    assert!(files.problems.is_empty(), "{:?}", files.problems);
    let objects = files.objects.into_iter().map(|object| object.resource);
    objects.filter(|object| object.reference() != portal()).collect()
});

fn portal() -> ObjectRef {
    ObjectRef::new(Kind::VirtualService, NAMESPACE, "cars-api-portal")
}

/// The portal's `VirtualService` with these routes.
fn virtual_service(http: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"namespace": NAMESPACE, "name": "cars-api-portal"},
        "spec": {"hosts": ["*"], "gateways": ["cars-aswatson-dev/cars"], "http": http},
    })
}

/// A destination with a lane's subset.
fn to(lane: &str) -> Value {
    json!({"destination": {"host": "cars-api-portal", "subset": format!("cars-api-portal-{lane}")}})
}

/// A route by the entry header.
fn by(condition: &Value, destinations: &[Value]) -> Value {
    json!({"match": [{"headers": {"buid": condition}}], "route": destinations})
}

fn lane_group(completeness: &str) -> Value {
    json!({
        "metadata": {"namespace": NAMESPACE, "name": "cars"},
        "spec": {
            "header": "bu",
            "entry": {"header": "buid", "gateways": ["cars"]},
            "workloads": {"matchLabels": {"app.kubernetes.io/part-of": "cars"}},
            "lanes": ["wtchk", "wicph"],
            "defaultLane": "wtchk",
            "completeness": completeness,
        },
    })
}

/// The example with this `VirtualService` and what else is given.
fn world(vs: &Value, others: &[(Kind, Value)]) -> World {
    let parse =
        |kind: Kind, object: &Value| Resource::parse(kind, object).expect("the object is one of its kind");
    let mut world = World::of(Settings::default(), CARS.iter().cloned());
    world.apply(parse(Kind::VirtualService, vs));
    for (kind, object) in others {
        world.apply(parse(*kind, object));
    }
    world
}

fn edits_in(world: &World) -> Vec<Edit> {
    edits_of(world, &portal())
}

fn edits_of(world: &World, object: &ObjectRef) -> Vec<Edit> {
    match world.get(object) {
        Some(Resource::VirtualService(vs)) => edits(&View::new(world), None, vs),
        other => panic!("the routes are gone: {other:?}"),
    }
}

/// What the rules on header operations find on the portal's routes.
fn findings_in(world: &World) -> Vec<Finding> {
    let view = View::new(world);
    let check = Check::new(&view, None);
    let mut findings = check.objects(RULES, [&portal()]);
    findings.retain(|finding| ("LK401"..="LK406").contains(&finding.code));
    findings
}

/// The edits as they are told to the user.
fn told(http: &[Value], others: &[(Kind, Value)]) -> Vec<String> {
    let world = world(&virtual_service(http), others);
    edits_in(&world).iter().map(ToString::to_string).collect()
}

#[test]
fn a_route_by_the_entry_header_gets_the_lane_that_it_leads_to() {
    let wicph = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    let by_number = by(&json!({"exact": "8001"}), &[to("wicph")]);
    assert_eq!(
        told(&[wicph, by_number, json!({"route": [to("wtchk")]})], &[]),
        [
            "spec.http[0].headers.request.set: {bu: wicph}",
            "spec.http[1].headers.request.set: {bu: wicph}",
            "spec.http[2].headers.request.set: {bu: wtchk}",
        ]
    );
}

#[test]
fn a_pattern_on_the_entry_header_is_copied_and_the_callers_own_lane_header_goes() {
    let exact = by(&json!({"exact": "wtchk"}), &[to("wtchk")]);
    for pattern in [json!({"prefix": "wi"}), json!({"regex": "wi.*"}), json!({})] {
        assert_eq!(
            told(&[exact.clone(), by(&pattern, &[to("wicph")])], &[]),
            [
                "spec.http[0].headers.request.set: {bu: wtchk}",
                "spec.http[1].headers.request.set: {bu: \"%REQ(buid)%\"}",
                "spec.http[1].headers.request.remove: [bu]",
            ],
            "{pattern}"
        );
    }
    // Where the header is gone by then, there is nothing to copy.
    let mut removed = by(&json!({"prefix": "wi"}), &[to("wicph")]);
    removed["headers"] = json!({"request": {"remove": ["BuId"]}});
    assert_eq!(
        told(&[exact.clone(), removed], &[])[1..],
        ["spec.http[1].headers.request.set: {bu: wicph}"]
    );
    // A value that fits the pattern would not be the lane.
    let other = by(&json!({"prefix": "80"}), &[to("wicph")]);
    assert_eq!(
        told(&[exact, other], &[])[1..],
        ["spec.http[1].headers.request.set: {bu: wicph}"]
    );
}

#[test]
fn destinations_of_several_lanes_get_each_their_own() {
    let several = by(&json!({"exact": "wicph"}), &[to("wicph"), to("wtchk")]);
    assert_eq!(
        told(&[several], &[]),
        [
            "spec.http[0].route[0].headers.request.set: {bu: wicph}",
            "spec.http[0].route[1].headers.request.set: {bu: wtchk}",
        ]
    );
}

#[test]
fn a_template_on_one_destination_leaves_nothing_for_a_second_time() {
    let mut template = to("wicph");
    template["headers"]["request"]["set"]["Bu"] = json!(TEMPLATE);
    let route = by(&json!({"exact": "wicph"}), &[template, to("wicph")]);
    assert_eq!(
        told(&[route], &[]),
        [
            "spec.http[0].route[0].headers.request.set: {Bu: \"%REQ(buid)%\"}",
            "spec.http[0].route[1].headers.request.set: {bu: wicph}",
        ]
    );
}

#[test]
fn where_the_lane_header_is_removed_it_is_set_where_the_removal_does_not_spoil_it() {
    let removal = json!({"request": {"remove": ["BU"]}});
    let mut on_route = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    on_route["headers"] = removal.clone();
    let mut on_destination = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    on_destination["route"][0]["headers"] = removal.clone();
    let mut pattern = by(&json!({"prefix": "wi"}), &[to("wicph")]);
    pattern["headers"] = removal.clone();
    // Of several destinations the route's removal comes last.
    let mut several = by(&json!({"exact": "wicph"}), &[to("wicph"), to("wtchk")]);
    several["headers"] = removal;
    assert_eq!(
        told(&[on_route, on_destination, pattern, several], &[]),
        [
            "spec.http[0].headers.request.set: {bu: wicph}",
            "spec.http[1].route[0].headers.request.set: {bu: wicph}",
            "spec.http[2].headers.request.set: {bu: \"%REQ(buid)%\"}",
        ]
    );
}

#[test]
fn the_default_lane_is_set_only_behind_a_lane_route() {
    let default = json!({"route": [to("wtchk")]});
    let by_path = json!({"match": [{"uri": {"prefix": "/old"}}], "route": [to("wtchk")]});
    let wicph = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    assert_eq!(
        told(&[by_path, wicph, default], &[]),
        [
            "spec.http[1].headers.request.set: {bu: wicph}",
            "spec.http[2].headers.request.set: {bu: wtchk}",
        ]
    );
}

/// Another `VirtualService` of the gateway, created on this second.
fn neighbour(name: &str, hosts: &[&str], second: u8, http: &[Value]) -> (Kind, Value) {
    let mut vs = virtual_service(http);
    vs["metadata"]["name"] = json!(name);
    vs["metadata"]["creationTimestamp"] = json!(format!("2026-11-01T00:00:{second:02}Z"));
    vs["spec"]["hosts"] = json!(hosts);
    (Kind::VirtualService, vs)
}

#[test]
fn the_lane_route_before_the_default_lane_may_be_of_another_virtual_service_of_the_host() {
    let lane = || {
        let mut route = by(&json!({"exact": "wicph"}), &[to("wicph")]);
        route["headers"] = json!({"request": {"set": {"bu": "wicph"}}});
        route
    };
    // What takes every request is tried last, however old it is; a path stands where its VirtualService does.
    let default = json!({"route": [to("wtchk")]});
    let by_path = json!({"match": [{"uri": {"prefix": "/old"}}], "route": [to("wtchk")]});
    let told_beside = |other: (Kind, Value)| {
        let (_, own) = neighbour("cars-api-portal", &["*"], 30, &[by_path.clone(), default.clone()]);
        let edits = edits_in(&world(&own, &[other]));
        edits.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let set = |at: usize| format!("spec.http[{at}].headers.request.set: {{bu: wtchk}}");
    assert_eq!(
        told_beside(neighbour("older", &["*"], 1, &[lane()])),
        [set(0), set(1)]
    );
    assert_eq!(told_beside(neighbour("younger", &["*"], 59, &[lane()])), [set(1)]);
    assert_eq!(
        told_beside(neighbour("elsewhere", &["x.example.com"], 1, &[lane()])),
        [""; 0]
    );
    let by_host = json!({"route": [to("wicph")]});
    assert_eq!(told_beside(neighbour("older", &["*"], 1, &[by_host])), [""; 0]);
}

#[test]
fn where_the_default_lane_does_not_follow_a_lane_route_on_each_host_it_is_not_set() {
    let lane = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    let others = [neighbour("older", &["a.example.com"], 1, &[lane])];
    let told_on = |hosts: &[&str]| {
        let (_, own) = neighbour("cars-api-portal", hosts, 30, &[json!({"route": [to("wtchk")]})]);
        edits_in(&world(&own, &others)).len()
    };
    assert_eq!(told_on(&["a.example.com"]), 1);
    assert_eq!(told_on(&["a.example.com", "b.example.com"]), 0);
}

#[test]
fn the_default_lane_is_not_set_where_a_share_goes_to_another_or_out_of_the_group() {
    let lane = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    let share = |mut to: Value, weight: u8| {
        to["weight"] = json!(weight);
        to
    };
    let split = |other: Value, weight: u8| {
        let default = json!({"route": [share(to("wtchk"), 90), share(other, weight)]});
        told(&[lane.clone(), default], &[])[1..].to_vec()
    };
    assert_eq!(split(to("wicph"), 10), [""; 0]);
    assert_eq!(
        split(json!({"destination": {"host": "elsewhere.example.com"}}), 10),
        [""; 0]
    );
    // What gets no request does not count.
    assert_eq!(
        split(to("wicph"), 0),
        ["spec.http[1].headers.request.set: {bu: wtchk}"]
    );
}

#[test]
fn weighted_lane_routes_are_rewritten_per_destination() {
    let share = |lane: &str, weight: u8, request: Value| {
        let mut to = to(lane);
        to["weight"] = json!(weight);
        if !request.is_null() {
            to["headers"] = json!({"request": request});
        }
        to
    };
    let none = Value::Null;
    let split = by(
        &json!({"exact": "8001"}),
        &[share("wicph", 80, none.clone()), share("wtchk", 20, none.clone())],
    );
    // A destination that names the lane header keeps what it says, and the route level is not touched.
    let named = by(
        &json!({"exact": "8001"}),
        &[
            share("wicph", 80, none.clone()),
            share("wicph", 20, json!({"set": {"BU": "wicph"}})),
        ],
    );
    let removed = by(
        &json!({"exact": "8001"}),
        &[
            share("wicph", 80, none),
            share("wicph", 20, json!({"remove": ["bu"]})),
        ],
    );
    let group = (Kind::LaneGroup, lane_group("Strict"));
    assert_eq!(
        told(&[split, named, removed], &[group]),
        [
            "spec.http[0].route[0].headers.request.set: {bu: wicph}",
            "spec.http[0].route[1].headers.request.set: {bu: wtchk}",
            "spec.http[1].route[0].headers.request.set: {bu: wicph}",
            "spec.http[2].route[0].headers.request.set: {bu: wicph}",
            "spec.http[2].route[1].headers.request.set: {bu: wicph}",
        ]
    );
}

#[test]
fn what_somebody_tried_to_set_is_left_alone_even_if_it_sets_nothing() {
    let with = |request: Value| {
        let mut route = by(&json!({"exact": "wicph"}), &[to("wicph")]);
        route["headers"] = json!({"request": request});
        route
    };
    let tried = [
        with(json!({"remove": ["buid"], "set": {"bu": "%REQ(buid)%"}})),
        with(json!({"set": {"bu": ""}})),
        with(json!({"add": {"Bu": "%REQ(bu)%"}})),
    ];
    assert_eq!(told(&tried, &[]), [""; 0]);
}

/// The routes as those of a delegate: it has neither hosts nor gateways.
fn as_delegate(http: &[Value]) -> Value {
    let mut vs = virtual_service(http);
    if let Some(spec) = vs["spec"].as_object_mut() {
        spec.retain(|key, _| key == "http");
    }
    vs
}

/// A `VirtualService` whose first route, with these fields, delegates to the portal's.
fn root(name: &str, mut route: Value) -> (Kind, Value) {
    route["delegate"] = json!({"name": "cars-api-portal"});
    let host = format!("{name}.example.com");
    neighbour(name, &[&host], 1, &[route])
}

fn told_of_delegate(http: &[Value], roots: &[(Kind, Value)]) -> Vec<String> {
    let group = [(Kind::LaneGroup, lane_group("Strict"))];
    let edits = edits_in(&world(&as_delegate(http), &[roots, &group].concat()));
    edits.iter().map(ToString::to_string).collect()
}

#[test]
fn a_delegates_routes_are_rewritten_by_what_they_are_under_the_route_that_delegates() {
    let by_lane = json!({"match": [{"headers": {"buid": {"exact": "8001"}}}]});
    let own = [
        json!({"match": [{"uri": {"prefix": "/beta"}}], "route": [to("wicph")]}),
        json!({"route": [to("wicph")]}),
    ];
    let set = [
        "spec.http[0].headers.request.set: {bu: wicph}",
        "spec.http[1].headers.request.set: {bu: wicph}",
    ];
    assert_eq!(told_of_delegate(&own, &[root("a", by_lane.clone())]), set);
    assert_eq!(told_of_delegate(&own, &[root("a", json!({}))]), [""; 0]);
    assert_eq!(told_of_delegate(&own, &[]), [""; 0]);
    // Two that agree are as good as one; where they do not, nothing is sure.
    let two = |other: Value| told_of_delegate(&own, &[root("a", by_lane.clone()), root("b", other)]);
    assert_eq!(
        two(json!({"match": [{"headers": {"buid": {"exact": "8002"}}}]})),
        set
    );
    assert_eq!(two(json!({})), [""; 0]);
}

#[test]
fn a_delegate_without_headers_keeps_those_of_the_route_that_delegates() {
    let own = json!({"route": [to("wicph")]});
    let under = |request: Value, own: &Value| {
        let by_lane =
            json!({"match": [{"headers": {"buid": {"prefix": "wi"}}}], "headers": {"request": request}});
        told_of_delegate(std::slice::from_ref(own), &[root("a", by_lane)])
    };
    let on_destination = ["spec.http[0].route[0].headers.request.set: {bu: wicph}"];
    assert_eq!(under(json!({"set": {"x-by": "edge"}}), &own), on_destination);
    assert_eq!(under(json!({"remove": ["bu"]}), &own), on_destination);
    assert_eq!(under(json!({"set": {"bu": "wicph"}}), &own), [""; 0]);
    // Of two destinations, the route's removal comes after what they set.
    let two = json!({"route": [to("wicph"), to("wtchk")]});
    assert_eq!(under(json!({"set": {"x-by": "edge"}}), &two).len(), 2);
    assert_eq!(under(json!({"remove": ["bu"]}), &two), [""; 0]);
    // A block of its own has replaced the other one already.
    let with_headers = json!({"headers": {"request": {"remove": ["x-old"]}}, "route": [to("wicph")]});
    assert_eq!(
        under(json!({"set": {"bu": "wicph"}}), &with_headers),
        [
            "spec.http[0].headers.request.set: {bu: \"%REQ(buid)%\"}",
            "spec.http[0].headers.request.remove: [bu]"
        ]
    );
}

#[test]
fn a_template_becomes_envoys_in_the_object_that_has_it() {
    let template = json!({"request": {"set": {"bu": TEMPLATE}}});
    let delegating = root("a", json!({"headers": template}));
    let own = [
        json!({"route": [to("wicph")]}),
        json!({"match": [{"uri": {"prefix": "/x"}}], "route": [to("wicph")]}),
    ];
    let world = world(&as_delegate(&own), &[delegating]);
    assert_eq!(edits_in(&world), []);
    let of_root = edits_of(&world, &ObjectRef::new(Kind::VirtualService, NAMESPACE, "a"));
    let of_root: Vec<String> = of_root.iter().map(ToString::to_string).collect();
    assert_eq!(
        of_root,
        [
            "spec.http[0].headers.request.set: {bu: \"%REQ(buid)%\"}",
            "spec.http[0].headers.request.remove: [bu]"
        ]
    );
}

#[test]
fn what_argo_cd_tracks_is_left_alone_and_what_helm_installs_is_not() {
    let marked = |field: &str, key: &str, value: &str| {
        let mut vs = virtual_service(&[]);
        vs["metadata"][field] = json!({key: value});
        match Resource::parse(Kind::VirtualService, &vs) {
            Ok(Resource::VirtualService(vs)) => is_left_alone(&vs),
            other => panic!("{other:?}"),
        }
    };
    assert!(marked("labels", "argocd.argoproj.io/instance", "cars"));
    assert!(marked(
        "annotations",
        "argocd.argoproj.io/tracking-id",
        "cars:networking.istio.io/VirtualService:a/b"
    ));
    assert!(marked("annotations", "lanekeeper.dev/rewrite", "false"));
    assert!(!marked("annotations", "lanekeeper.dev/rewrite", "true"));
    assert!(!marked("labels", "app.kubernetes.io/instance", "cars"));
}

#[test]
fn the_default_lane_is_not_set_where_the_gateway_trusts_the_lane_header() {
    let wicph = by(&json!({"exact": "wicph"}), &[to("wicph")]);
    let routes = [wicph, json!({"route": [to("wtchk")]})];
    assert_eq!(told(&routes, &[]).len(), 2);
    // Other routes on the same gateway count: it may have another gateway in front.
    let mut trusting = virtual_service(&[
        json!({"match": [{"headers": {"Bu": {"exact": "wicph"}}}], "route": [to("wicph")]}),
    ]);
    trusting["metadata"]["name"] = json!("from-the-front");
    trusting["spec"]["hosts"] = json!(["front.example.com"]);
    assert_eq!(
        told(&routes, &[(Kind::VirtualService, trusting.clone())]),
        ["spec.http[0].headers.request.set: {bu: wicph}"]
    );
    trusting["spec"]["gateways"] = json!(["another"]);
    assert_eq!(told(&routes, &[(Kind::VirtualService, trusting)]).len(), 2);
}

#[test]
fn in_a_fallback_group_the_lane_stays_although_the_default_one_stands_in() {
    let object = |kind: Kind, spec: Value| {
        (
            kind,
            json!({"metadata": {"namespace": NAMESPACE, "name": "web"}, "spec": spec}),
        )
    };
    let labels = json!({"app": "web", "version": "wtchk", "app.kubernetes.io/part-of": "cars"});
    let mut others = vec![
        object(
            Kind::Service,
            json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}),
        ),
        object(
            Kind::Deployment,
            json!({"template": {"metadata": {"labels": labels}}}),
        ),
        object(
            Kind::DestinationRule,
            json!({"host": "web", "subsets": [{"name": "wtchk", "labels": {"version": "wtchk"}}]}),
        ),
    ];
    let web = by(
        &json!({"exact": "wicph"}),
        &[json!({"destination": {"host": "web", "subset": "wtchk"}})],
    );
    let portal = by(&json!({"exact": "wicph"}), &[to("wtchk")]);
    let told_in = |others: &[(Kind, Value)]| told(&[web.clone(), portal.clone()], others);

    others.push((Kind::LaneGroup, lane_group("Fallback")));
    // The portal has a version for the lane: nothing stands in for it.
    let expected = [
        "spec.http[0].headers.request.set: {bu: wicph}",
        "spec.http[1].headers.request.set: {bu: wtchk}",
    ];
    assert_eq!(told_in(&others), expected);
    others.pop();
    others.push((Kind::LaneGroup, lane_group("Strict")));
    assert_eq!(
        told_in(&others)[0],
        "spec.http[0].headers.request.set: {bu: wtchk}"
    );
}

#[test]
fn a_route_whose_lane_is_not_known_is_left_alone() {
    let whole = json!({"destination": {"host": "cars-api-portal"}});
    let undefined = json!({"destination": {"host": "cars-api-portal", "subset": "nowhere"}});
    let group = (Kind::LaneGroup, lane_group("Strict"));
    let wicph = json!({"exact": "wicph"});
    assert!(told(&[by(&wicph, &[whole]), by(&wicph, &[undefined])], &[group]).is_empty());
}

/// How a generated route takes its requests.
fn matches() -> impl Strategy<Value = Value> {
    let header = |name: &str, condition: &Value| json!({"headers": {name: condition}});
    let values = select(vec!["wtchk", "wicph", "8001"]);
    let exact = (select(vec!["buid", "BuId"]), values.clone())
        .prop_map(move |(name, value)| json!([header(name, &json!({"exact": value}))]));
    let two = (values.clone(), values.clone()).prop_map(move |(a, b)| {
        json!([
            header("buid", &json!({"exact": a})),
            header("buid", &json!({"exact": b}))
        ])
    });
    let patterns = vec![
        json!({"prefix": "wi"}),
        json!({"prefix": "x"}),
        json!({"regex": "w.*"}),
        json!({"regex": "["}),
        json!({}),
    ];
    let pattern = select(patterns).prop_map(move |pattern| json!([header("buid", &pattern)]));
    let path = || json!({"uri": {"prefix": "/beta"}});
    let mixed = values.prop_map(move |value| json!([header("buid", &json!({"exact": value})), path()]));
    let other = select(vec![
        json!([path()]),
        json!([header("x-user", &json!({"exact": "me"}))]),
    ]);
    let lane_header = json!([header("bu", &json!({"exact": "wicph"}))]);
    let either = json!([
        header("bu", &json!({"exact": "wicph"})),
        header("buid", &json!({"exact": "wicph"}))
    ]);
    let lane_header = select(vec![lane_header, either]);
    prop_oneof![4 => exact, 1 => two, 3 => pattern, 2 => mixed, 2 => other, 1 => lane_header]
}

/// Header operations that somebody wrote.
fn operations() -> impl Strategy<Value = Option<Value>> {
    let values = vec![
        "wtchk",
        "wicph",
        "nowhere",
        "%REQ(buid)%",
        TEMPLATE,
        "{{ .lane }}",
        "",
        "%REQ(bu)%",
    ];
    let set = option::weighted(0.4, (select(vec!["bu", "Bu"]), select(values)));
    let add = option::weighted(0.1, select(vec!["wtchk", "wicph"]));
    let removed = select(vec![
        json!(["x-old", "BU"]),
        json!(["BuId"]),
        json!(["BU", "buid"]),
    ]);
    let one = (set, add, option::weighted(0.2, removed), any::<bool>());
    let one = one.prop_map(|(set, add, removed, others)| {
        let mut request = Map::new();
        if let Some((name, value)) = set {
            request.insert("set".to_owned(), json!({name: value}));
        }
        if let Some(value) = add {
            request.insert("add".to_owned(), json!({"bu": value}));
        }
        if let Some(removed) = removed {
            request.insert("remove".to_owned(), removed);
        }
        if others {
            request.entry("set").or_insert_with(|| json!({}))["x-by"] = json!("{{ me }}");
        }
        json!({"request": request, "response": {"set": {"bu": "seen"}}})
    });
    option::weighted(0.4, one)
}

fn destination() -> impl Strategy<Value = Value> {
    let subsets = [
        Some("cars-api-portal-wtchk"),
        Some("cars-api-portal-wicph"),
        Some("nowhere"),
        None,
    ];
    let subset = prop_oneof![8 => select(subsets[..2].to_vec()), 1 => select(subsets[2..].to_vec())];
    let host = prop_oneof![9 => Just("cars-api-portal"), 1 => Just("elsewhere.example.com")];
    (host, subset, option::of(select(vec![0, 10, 90])), operations()).prop_map(
        |(host, subset, weight, headers)| {
            let mut to = json!({"destination": {"host": host, "port": {"number": 8181}}});
            if let Some(subset) = subset {
                to["destination"]["subset"] = json!(subset);
            }
            if let Some(weight) = weight {
                to["weight"] = json!(weight);
            }
            if let Some(headers) = headers {
                to["headers"] = headers;
            }
            to
        },
    )
}

fn route() -> impl Strategy<Value = Value> {
    let destinations = prop_oneof![3 => prop::collection::vec(destination(), 1), 1 => prop::collection::vec(destination(), 2..4)];
    (matches(), destinations, operations()).prop_map(|(matches, destinations, headers)| {
        let mut route = json!({"match": matches, "route": destinations});
        if let Some(headers) = headers {
            route["headers"] = headers;
        }
        route
    })
}

/// Some routes, and mostly one for all other requests at the end.
fn routes() -> impl Strategy<Value = Vec<Value>> {
    let last = (route(), any::<bool>());
    (prop::collection::vec(route(), 0..5), last).prop_map(|(mut routes, (mut last, has_match))| {
        if !has_match && let Some(last) = last.as_object_mut() {
            last.remove("match");
        }
        routes.push(last);
        routes
    })
}

/// The routes that delegate to the generated ones: none where these have their hosts themselves.
fn roots() -> impl Strategy<Value = Vec<(Kind, Value)>> {
    let conditions = vec![
        json!([{"headers": {"buid": {"exact": "wicph"}}}]),
        json!([{"uri": {"prefix": "/beta"}}]),
    ];
    let one = (option::of(select(conditions)), operations()).prop_map(|(condition, headers)| {
        let mut route = json!({});
        if let Some(condition) = condition {
            route["match"] = condition;
        }
        if let Some(headers) = headers {
            route["headers"] = headers;
        }
        route
    });
    let routes = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(one, 1..3)];
    routes.prop_map(|routes| {
        let names = ["a", "b"].into_iter().zip(routes);
        names.map(|(name, route)| root(name, route)).collect()
    })
}

/// That of what somebody wrote all is kept but templates, and that nothing is added but the lane header.
fn is_kept(before: &Value, after: &Value, place: &str) -> Result<(), TestCaseError> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in after {
                let place = format!("{place}.{key}");
                let allowed = ["headers", "request", "set", "remove", "bu"];
                match before.get(key) {
                    Some(former) => is_kept(former, value, &place)?,
                    None => prop_assert!(allowed.contains(&key.as_str()), "{place} is added: {value}"),
                }
            }
            for key in before.keys() {
                prop_assert!(after.contains_key(key), "{place}.{key} is gone");
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (at, value) in before.iter().enumerate() {
                is_kept(
                    value,
                    after.get(at).unwrap_or(&Value::Null),
                    &format!("{place}[{at}]"),
                )?;
            }
            let added = after.get(before.len()..).unwrap_or_default();
            prop_assert!(
                added.is_empty() || (place.ends_with(".remove") && added == [json!("bu")]),
                "{place}: {added:?}"
            );
        }
        (Value::String(before), Value::String(after)) if before == TEMPLATE && after == "%REQ(buid)%" => {}
        _ => prop_assert_eq!(before, after, "{}", place),
    }
    Ok(())
}

/// Whether the route removes the lane header after all that its several destinations set.
fn removes_last(route: &Value) -> bool {
    let several = route["route"]
        .as_array()
        .is_some_and(|destinations| destinations.len() > 1);
    let removed = route["headers"]["request"]["remove"].as_array();
    several && removed.is_some_and(|removed| removed.contains(&json!("BU")))
}

fn has_template(route: &Value) -> bool {
    route.to_string().contains(TEMPLATE)
}

/// The place in `spec.http` that a finding's path names.
fn index_of(finding: &Finding) -> usize {
    let rest = finding.path.strip_prefix("spec.http[").unwrap_or_default();
    let number = rest.split(']').next().unwrap_or_default();
    number.parse().expect("findings on routes name one")
}

/// Whether somebody tried to set the lane header by what comes out empty.
fn sets_nothing(route: &Value) -> bool {
    let text = route.to_string();
    [r#""bu":"""#, r#""Bu":"""#, "%REQ(bu)%", "%REQ(buid)%"]
        .iter()
        .any(|tried| text.contains(tried))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rewriting_twice_is_rewriting_once_and_leaves_what_somebody_wrote(
        routes in routes(),
        group in select(vec![None, Some("Strict"), Some("Fallback")]),
        roots in roots(),
    ) {
        let mut others: Vec<_> = group.map(|completeness| (Kind::LaneGroup, lane_group(completeness))).into_iter().collect();
        others.extend(roots.clone());
        let object = if roots.is_empty() { virtual_service(&routes) } else { as_delegate(&routes) };
        let before = world(&object, &others);
        let edits = edits_in(&before);
        let rewritten = apply(&object, &edits).expect("the object is shaped like a VirtualService");

        // The patch as it goes over the wire, applied by RFC 6902.
        let patch = serde_json::to_string(&json_patch::diff(&object, &rewritten)).expect("a patch is JSON");
        let patch: json_patch::Patch = serde_json::from_str(&patch).expect("a patch is JSON");
        prop_assert_eq!(patch.is_empty(), edits.is_empty());
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &patch).expect("the patch applies");
        prop_assert_eq!(&patched, &rewritten);

        is_kept(&object, &rewritten, "")?;

        let after = world(&rewritten, &others);
        let again = edits_in(&after);
        prop_assert!(again.is_empty(), "a second time adds {again:?}");
        let is_template = |finding: &Finding| finding.message.contains(TEMPLATE);
        let of_routes = findings_in(&after).into_iter();
        for finding in of_routes.filter(|found| ["LK401", "LK402"].contains(&found.code)) {
            let route = &routes[index_of(&finding)];
            let is_contested = roots.len() > 1;
            match finding.code {
                "LK401" => prop_assert!(
                    finding.level < Level::Deny
                        || finding.subject.lane.is_none()
                        || removes_last(route)
                        || sets_nothing(route)
                        || is_contested,
                    "{finding} after {edits:?}"
                ),
                _ => prop_assert!(!is_template(&finding) || is_contested, "{finding} after {edits:?}"),
            }
        }

        // What is added is right: it breaks nothing that was whole.
        let wrong = |world: &World| -> Vec<Finding> {
            let codes = ["LK403", "LK404", "LK405", "LK406"];
            let findings = findings_in(world).into_iter();
            findings.filter(|found| codes.contains(&found.code) && !has_template(&routes[index_of(found)])).collect()
        };
        prop_assert_eq!(wrong(&after), wrong(&before));

        // Nor does it take anything from what a delegate's routes have from those that delegate to them.
        for (_, root) in &roots {
            let sets = |world: &World| inherited(world, root);
            prop_assert_eq!(sets(&after), sets(&before));
        }
    }
}

/// Which of the portal's routes have their headers from the one that `root` delegates by.
fn inherited(world: &World, root: &Value) -> Vec<usize> {
    let view = View::new(world);
    let name = root["metadata"]["name"].as_str().unwrap_or_default();
    let Some(of_name) = view.virtual_service(&NAMESPACE.into(), &name.into()) else {
        return Vec::new();
    };
    let gateway = "cars-aswatson-dev/cars".into();
    let context = Context {
        gateway: Some(&gateway),
        ..Context::MESH
    };
    let routes = routes_at(&view, of_name, context).into_iter();
    let inheriting = routes.filter(Route::inherits_headers);
    inheriting.map(|route| route.index).collect()
}
