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
use lanekeeper::rewrite::{Edit, apply, edits};
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
    match world.get(&portal()) {
        Some(Resource::VirtualService(vs)) => edits(&View::new(world), None, vs),
        other => panic!("the portal's routes are gone: {other:?}"),
    }
}

fn findings_in(world: &World) -> Vec<Finding> {
    let view = View::new(world);
    let check = Check::new(&view, None);
    check.objects(RULES, [&portal()])
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
    ];
    let set = option::weighted(0.4, (select(vec!["bu", "Bu"]), select(values)));
    let add = option::weighted(0.1, select(vec!["wtchk", "wicph"]));
    let one = (set, add, prop::bool::weighted(0.2), any::<bool>());
    let one = one.prop_map(|(set, add, removes, others)| {
        let mut request = Map::new();
        if let Some((name, value)) = set {
            request.insert("set".to_owned(), json!({name: value}));
        }
        if let Some(value) = add {
            request.insert("add".to_owned(), json!({"bu": value}));
        }
        if removes {
            request.insert("remove".to_owned(), json!(["x-old", "BU"]));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rewriting_twice_is_rewriting_once_and_leaves_what_somebody_wrote(
        routes in routes(),
        group in select(vec![None, Some("Strict"), Some("Fallback")]),
    ) {
        let others: Vec<_> = group.map(|completeness| (Kind::LaneGroup, lane_group(completeness))).into_iter().collect();
        let object = virtual_service(&routes);
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
        for finding in findings_in(&after) {
            let route = &routes[index_of(&finding)];
            match finding.code {
                "LK401" => prop_assert!(
                    finding.level < Level::Deny || finding.subject.lane.is_none() || removes_last(route),
                    "{finding} after {edits:?}"
                ),
                "LK402" => prop_assert!(!is_template(&finding), "{finding} after {edits:?}"),
                _ => {}
            }
        }

        // What is added is right: it breaks nothing that was whole.
        let wrong = |world: &World| -> Vec<Finding> {
            let findings = findings_in(world).into_iter();
            findings.filter(|found| found.code == "LK403" && !has_template(&routes[index_of(found)])).collect()
        };
        prop_assert_eq!(wrong(&after), wrong(&before));
    }
}
