//! What is more than is looked through is not refused: where a bound cuts something off, what rests on the rest is not told.
//!
//! `tests/hostile.rs` has the objects that somebody made to do harm; these are right, and large.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic that says why")]

use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::rule::{Certainty, Check, Finding, Level, RULES};
use lanekeeper::verdict::{self, Admission, Mode, Occasion, Standing, verdict};
use lanekeeper::world::{Settings, View, World};
use serde_json::{Value, json};

fn object(kind: Kind, (namespace, name): (&str, &str), created: u8, spec: &Value) -> Resource {
    let created = format!("2026-11-01T00:00:{created:02}Z");
    let object = json!({"metadata": {"namespace": namespace, "name": name, "creationTimestamp": created}, "spec": spec});
    Resource::parse(kind, object).unwrap()
}

/// A service with a workload and a subset for each of these lanes, the first one the default.
fn group(lanes: &[String], completeness: &str) -> Vec<Resource> {
    let own = |kind, name: &str, spec: Value| object(kind, ("cars", name), 0, &spec);
    let subsets: Vec<Value> = lanes
        .iter()
        .map(|lane| json!({"name": lane, "labels": {"version": lane}}))
        .collect();
    let ports = json!([{"name": "http", "port": 80}, {"name": "http-admin", "port": 8080}]);
    let group = json!({"header": "bu", "workloads": {"matchLabels": {"app": "portal"}}, "lanes": lanes,
        "defaultLane": lanes.first(), "laneLabel": "version", "completeness": completeness});
    let mut objects = vec![
        own(Kind::LaneGroup, "cars", group),
        own(
            Kind::Service,
            "portal",
            json!({"selector": {"app": "portal"}, "ports": ports}),
        ),
        own(
            Kind::DestinationRule,
            "portal",
            json!({"host": "portal", "subsets": subsets}),
        ),
        own(
            Kind::Gateway,
            "gw",
            json!({"selector": {"istio": "gw"}, "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*/*"]}]}),
        ),
    ];
    objects.extend(lanes.iter().map(|lane| {
        let labels = json!({"app": "portal", "version": lane});
        let spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}});
        own(Kind::Deployment, lane, spec)
    }));
    objects
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("lane-of-team{at:04}")).collect()
}

fn abc() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).into()
}

fn vs(spec: &Value) -> Resource {
    object(Kind::VirtualService, ("cars", "portal"), 1, spec)
}

fn to(lane: &str) -> Value {
    json!([{"destination": {"host": "portal", "subset": lane}}])
}

/// The findings of the rule on `cars/portal`.
fn findings(code: &str, objects: impl IntoIterator<Item = Resource>) -> Vec<Finding> {
    let world = World::of(Settings::default(), objects);
    let view = View::new(&world);
    let reference = ObjectRef {
        kind: Kind::VirtualService,
        namespace: "cars".into(),
        name: "portal".into(),
    };
    let mut found = Check::new(&view, None).object(RULES, view.get(&reference).unwrap());
    found.retain(|finding| finding.code == code);
    found
}

/// Each lane by its name, after a first route for what lacks the lanes of the pattern.
fn after_those_without(pattern: &str, lanes: &[String]) -> Vec<Finding> {
    let without = json!({"match": [{"withoutHeaders": {"bu": {"regex": pattern}}}], "route": to(&lanes[0])});
    let each = lanes
        .iter()
        .map(|lane| json!({"match": [{"headers": {"bu": {"exact": lane}}}], "route": to(lane)}));
    let http: Vec<Value> = [without].into_iter().chain(each).collect();
    let own = vs(&json!({"hosts": ["portal"], "http": http}));
    findings("LK305", group(lanes, "Fallback").into_iter().chain([own]))
}

#[test]
fn a_pattern_of_many_lanes_is_read() {
    let lanes = names(70);
    assert_eq!(after_those_without(&lanes.join("|"), &lanes), []);
    // It is looked at: a lane that is not in it gets nothing.
    let found = after_those_without(&lanes[..69].join("|"), &lanes);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].level, Level::Deny);
}

#[test]
fn a_pattern_that_cannot_be_read_takes_no_lane_s_requests() {
    let lanes = abc();
    for pattern in [
        r"\Qa\E|\Qb\E|\Qc\E",
        r"\C",
        "[[abc]",
        "[a-c&&]",
        "(a|b|c){,1}|a|b|c",
    ] {
        assert_eq!(after_those_without(pattern, &lanes), [], "{pattern}");
    }
    let found = after_those_without(&"a|".repeat(40_000), &lanes);
    assert!(is_only_told(&found), "{found:#?}");
    let strict = |regex: &str| {
        let http = json!([
            {"match": [{"headers": {"bu": {"regex": regex}}}], "route": to("b")},
            {"match": [{"headers": {"bu": {"exact": "c"}}}], "route": to("c")},
            {"route": to("a")},
        ]);
        let own = vs(&json!({"hosts": ["portal"], "http": http}));
        findings("LK304", group(&lanes, "Strict").into_iter().chain([own]))
    };
    assert_eq!(strict(r"\Qb\E"), []);
    assert_eq!(strict("x").len(), 1);
}

#[test]
fn a_default_route_by_a_pattern_that_cannot_be_read_may_be_one() {
    let lanes = abc();
    let found = |pattern: &str| {
        let http = json!([
            {"match": [{"headers": {"bu": {"exact": "b"}}}], "route": to("b")},
            {"match": [{"withoutHeaders": {"bu": {"regex": pattern}}}], "route": to("a")},
        ]);
        let own = vs(&json!({"hosts": ["portal"], "http": http}));
        findings("LK306", group(&lanes, "Fallback").into_iter().chain([own]))
    };
    assert_eq!(found(r"\Qb\E"), []);
    assert_eq!(found("b?").len(), 1);
}

/// On the mesh one route takes all; at the gateway, whose lists come after those of the mesh, the lanes are told apart.
fn on_mesh_and_at_gateway(hosts: usize, paths: usize) -> Vec<Finding> {
    let hosts: Vec<String> = (0..hosts).map(|at| format!("h{at:03}.example.com")).collect();
    let lanes = (0..paths).map(|at| {
        json!({"match": [{"uri": {"exact": format!("/p{at}")}, "headers": {"bu": {"exact": "b"}}}], "route": to("b")})
    });
    let all = json!({"match": [{"uri": {"prefix": "/"}, "gateways": ["mesh"]}], "route": to("a")});
    let last = json!({"route": to("a")});
    let http: Vec<Value> = [all].into_iter().chain(lanes).chain([last]).collect();
    let own = vs(&json!({"hosts": hosts, "gateways": ["mesh", "gw"], "http": http}));
    findings("LK305", group(&abc(), "Fallback").into_iter().chain([own]))
}

/// Whether it is only told that something was not judged.
fn is_only_told(found: &[Finding]) -> bool {
    let [one] = found else { return false };
    one.certainty == Certainty::Unjudged && one.level == Level::Warn && !one.message.is_empty()
}

#[test]
fn a_list_that_is_cut_off_may_be_the_one_that_reaches_a_lane() {
    assert_eq!(on_mesh_and_at_gateway(3, 100), []);
    for (hosts, paths) in [(130, 1000), (350, 300)] {
        let found = on_mesh_and_at_gateway(hosts, paths);
        assert!(is_only_told(&found), "{found:#?}");
    }
}

#[test]
fn what_is_not_judged_never_refuses() {
    let found = on_mesh_and_at_gateway(350, 300);
    let mut settings = verdict::Settings::default();
    settings.levels.everywhere.insert("LK305", Level::Deny);
    let admission = Admission {
        mode: Mode::Enforce,
        is_delete: false,
        is_dry_run: false,
        by_set_applier: false,
        is_automatic_scaling: false,
    };
    let standing = Standing {
        mode: Some(Mode::Enforce),
        allows: Vec::new(),
    };
    let level = verdict(&found[0], &standing, &Occasion::Admission(&admission), &settings);
    assert_eq!(level, Level::Warn);
}

#[test]
fn a_port_that_a_listener_not_looked_at_may_have_is_not_surely_missing() {
    let found = |hosts: usize| {
        let hosts: Vec<String> = ["portal".to_owned()]
            .into_iter()
            .chain((0..hosts).map(|at| format!("z{at:04}.example.com")))
            .collect();
        let each =
            (0..400).map(|at| json!({"match": [{"uri": {"exact": format!("/{at}")}}], "route": to("a")}));
        let page =
            json!({"match": [{"uri": {"exact": "/page"}}], "route": [{"destination": {"host": "one"}}]});
        let http: Vec<Value> = [page].into_iter().chain(each).collect();
        let one = object(
            Kind::Service,
            ("cars", "one"),
            0,
            &json!({"selector": {"app": "one"}, "ports": [{"name": "http", "port": 8081}]}),
        );
        let own = vs(&json!({"hosts": hosts, "http": http}));
        let mut found = findings("LK203", group(&abc(), "Fallback").into_iter().chain([one, own]));
        found.retain(|finding| finding.path.starts_with("spec.http[0]"));
        found.iter().map(|finding| finding.level).collect::<Vec<_>>()
    };
    assert_eq!(found(0), [Level::Deny]);
    assert_eq!(found(1000), [Level::Warn]);
}

#[test]
fn each_lane_of_a_group_may_have_a_caller_of_its_own() {
    let by_callers = |count: usize, more: usize| {
        let lanes = names(count);
        let others =
            (0..more).map(|at| json!({"sourceLabels": {"app": format!("c{at}")}, "uri": {"exact": "/"}}));
        let others = json!({"match": others.collect::<Vec<_>>(), "route": to(&lanes[0])});
        let each = lanes.iter().map(|lane| {
            json!({"match": [{"headers": {"bu": {"exact": lane}}, "sourceLabels": {"version": lane}}], "route": to(lane)})
        });
        let last = json!({"route": to(&lanes[0])});
        let others = (more > 0).then_some(others);
        let http: Vec<Value> = others.into_iter().chain(each).chain([last]).collect();
        let own = vs(&json!({"hosts": ["portal"], "http": http}));
        findings("LK304", group(&lanes, "Strict").into_iter().chain([own]))
    };
    assert_eq!(by_callers(100, 0), []);
    assert_eq!(by_callers(256, 0), []);
    // More callers than are told apart: those of the lanes are not known.
    assert_eq!(by_callers(10, 400), []);
}

#[test]
fn a_port_that_only_a_caller_not_looked_at_calls_is_not_surely_without_a_route() {
    let unrouted = |callers: usize, is_called: bool| {
        let others = (0..callers).map(|at| json!({"match": [{"sourceLabels": {"app": format!("c{at}")}, "port": 80}], "route": to("a")}));
        let console =
            json!({"match": [{"sourceLabels": {"app": "console"}, "port": 8080}], "route": to("a")});
        let last = json!({"match": [{"port": 80}], "route": to("a")});
        let http: Vec<Value> = others.chain(is_called.then_some(console)).chain([last]).collect();
        let own = vs(&json!({"hosts": ["portal"], "http": http}));
        findings("LK308", group(&abc(), "Fallback").into_iter().chain([own]))
    };
    assert_eq!(unrouted(10, false).len(), 1);
    for callers in [63, 300, 400] {
        assert_eq!(unrouted(callers, true), [], "{callers}");
    }
}

#[test]
fn what_others_have_at_a_shared_gateway_hides_nothing() {
    for count in [998, 1000, 5000] {
        let others: Vec<Value> = (0..count)
            .map(|at| json!({"uri": {"exact": format!("/other{at}")}}))
            .collect();
        let other = json!({"hosts": ["api.example.com"], "gateways": ["cars/gw"],
            "http": [{"match": others, "route": [{"destination": {"host": "x.other.svc.cluster.local"}}]}]});
        let own = json!({"hosts": ["api.example.com"], "gateways": ["gw"], "http": [
            {"match": [{"uri": {"prefix": "/"}}], "route": to("a")},
            {"match": [{"headers": {"bu": {"exact": "b"}}}], "route": to("b")}]});
        let other = object(Kind::VirtualService, ("other", "other"), 0, &other);
        let found = findings(
            "LK305",
            group(&abc(), "Fallback").into_iter().chain([other, vs(&own)]),
        );
        assert_eq!(found.len(), 1, "{count}: {found:#?}");
        assert_eq!(found[0].level, Level::Deny);
    }
}

#[test]
fn what_cannot_take_a_lane_s_requests_hides_nothing_and_what_is_not_compared_is_told() {
    let found = |narrow: &Value| {
        let patterns: Vec<Value> = (0..600)
            .map(|at| json!({"uri": {"regex": format!("/u{at}/[0-9]+")}}))
            .collect();
        let http = json!([
            {"match": patterns, "route": to("a")},
            {"match": [{"headers": {"bu": {"prefix": ""}}, "uri": {"prefix": "/x"}}, {"headers": {"bu": {"prefix": "b"}}, "method": {"exact": "GET"}}], "route": to("a")},
            {"match": [narrow], "route": to("b")},
            {"route": to("a")},
        ]);
        let own = vs(&json!({"hosts": ["portal"], "http": http}));
        findings("LK305", group(&abc(), "Fallback").into_iter().chain([own]))
    };
    let by_method = found(&json!({"headers": {"bu": {"exact": "b"}}, "method": {"exact": "GET"}}));
    assert_eq!(by_method.len(), 1, "{by_method:#?}");
    assert_eq!(by_method[0].level, Level::Deny);
    assert_eq!(found(&json!({"headers": {"bu": {"exact": "b"}}})), []);
    // Any of the patterns could take it, and not all of them are read.
    let by_path = found(&json!({"headers": {"bu": {"exact": "b"}}, "uri": {"exact": "/y"}}));
    assert!(is_only_told(&by_path), "{by_path:#?}");
    assert!(
        by_path[0].message.contains("2 of 3 matches"),
        "{}",
        by_path[0].message
    );
}
