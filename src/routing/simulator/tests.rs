use serde_json::{Value, json};

use super::*;
use crate::resource::{Kind, Resource};
use crate::world::{Settings, World};

fn object(kind: Kind, name: &str, created: u8, rest: Value) -> Resource {
    let mut object = rest;
    object["metadata"]["name"] = json!(name);
    object["metadata"]["creationTimestamp"] = json!(format!("2026-11-01T00:00:{created:02}Z"));
    if object["metadata"]["namespace"].is_null() && kind != Kind::Namespace {
        object["metadata"]["namespace"] = json!("shop");
    }
    Resource::parse(kind, object).unwrap()
}

fn spec(kind: Kind, name: &str, created: u8, spec: &Value) -> Resource {
    object(kind, name, created, json!({"spec": spec}))
}

/// A service `name` with the ports http 80, grpc 81, tcp 82, and a workload in each of the lanes.
fn service(name: &str, lanes: &[&str]) -> Vec<Resource> {
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 81}, {"name": "tcp", "port": 82}]);
    let mut all = vec![spec(
        Kind::Service,
        name,
        0,
        &json!({"selector": {"app": name}, "ports": ports}),
    )];
    all.extend(lanes.iter().map(|lane| {
        let template = json!({"metadata": {"labels": {"app": name, "version": lane}}});
        spec(
            Kind::Deployment,
            &format!("{name}-{lane}"),
            0,
            &json!({"template": template}),
        )
    }));
    all
}

fn rule(name: &str, spec_of: &Value) -> Resource {
    spec(Kind::DestinationRule, name, 0, spec_of)
}

fn subsets(host: &str, lanes: &[&str]) -> Resource {
    let subsets: Vec<Value> = lanes
        .iter()
        .map(|lane| json!({"name": lane, "labels": {"version": lane}}))
        .collect();
    rule(host, &json!({"host": host, "subsets": subsets}))
}

fn vs(name: &str, created: u8, spec_of: &Value) -> Resource {
    spec(Kind::VirtualService, name, created, spec_of)
}

fn to(host: &str, subset: &str) -> Value {
    json!({"destination": {"host": host, "subset": subset}})
}

/// A cart with lanes `a` and `b`, and what more there is.
fn cart(more: Vec<Resource>) -> World {
    let mut all = service("cart", &["a", "b"]);
    all.push(subsets("cart", &["a", "b"]));
    all.extend(more);
    World::of(Settings::default(), all)
}

/// In a few words what becomes of a request.
fn told(simulation: &Simulation<'_>) -> String {
    match &simulation.outcome {
        Outcome::NotFound(what) => format!("404 {what:?}"),
        Outcome::Refused(why) => format!("refused {why:?}"),
        Outcome::Answered { status, location, .. } => match location {
            Some(location) => format!("{status} {location}"),
            None => status.to_string(),
        },
        Outcome::Forwarded(forwarded) => {
            let way = match &forwarded.way {
                Way::Route(taken) => format!("{}[{}]", taken.route.vs.meta.name, taken.route.index),
                other => format!("{other:?}"),
            };
            let branches = forwarded.branches.iter().map(|branch| {
                let names = |carriers: &[Carrier<'_>]| {
                    let mut names: Vec<&str> = carriers
                        .iter()
                        .map(|carrier| carrier.object.map_or("-", |object| object.meta().name.as_str()))
                        .collect();
                    names.sort_unstable();
                    names.join("+")
                };
                match &branch.ending {
                    Ending::Reaches(carriers) => names(carriers),
                    Ending::ByAddress(carriers) => format!("any of {}", names(carriers)),
                    Ending::Outside => "outside".to_owned(),
                    Ending::NoCluster(why) => format!("503 {why:?}"),
                    Ending::NoCarrier => "503".to_owned(),
                    Ending::NotReady(_) => "503 not ready".to_owned(),
                }
            });
            format!("{way} {}", branches.collect::<Vec<_>>().join(" | "))
        }
    }
}

fn ask_as(world: &World, client: &Client, url: &str, headers: &[(&str, &str)]) -> String {
    let (request, port) = Request::get(url).unwrap();
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.with(name, value));
    told(&simulate(&View::new(world), client, &request, port))
}

/// What becomes of a request of a workload of `shop` without labels.
fn ask(world: &World, url: &str, headers: &[(&str, &str)]) -> String {
    ask_as(
        world,
        &Client::in_mesh("shop".into(), Labels::default()),
        url,
        headers,
    )
}

fn ask_gateway(world: &World, url: &str, headers: &[(&str, &str)]) -> String {
    let view = View::new(world);
    ask_as(
        world,
        &Client::at_gateway(&view, &"gw".into(), &"shop".into()),
        url,
        headers,
    )
}

fn gateway(servers: &Value) -> Resource {
    spec(
        Kind::Gateway,
        "gw",
        0,
        &json!({"selector": {"istio": "gw"}, "servers": servers}),
    )
}

fn lanes() -> Value {
    let lane =
        |lane: &str| json!({"match": [{"headers": {"bu": {"exact": lane}}}], "route": [to("cart", lane)]});
    json!([lane("a"), lane("b")])
}

#[test]
fn the_first_route_whose_condition_is_met_takes_a_request() {
    let world = cart(vec![vs("cart", 1, &json!({"hosts": ["cart"], "http": lanes()}))]);
    for host in [
        "cart",
        "cart.shop",
        "cart.shop.svc",
        "cart.shop.svc.cluster.local",
        "CART",
        "cart.shop.svc.cluster.local.",
    ] {
        assert_eq!(ask(&world, host, &[("bu", "b")]), "cart[1] cart-b", "{host}");
    }
    assert_eq!(ask(&world, "cart", &[]), "404 Route");
    assert_eq!(ask(&world, "cart:81", &[("bu", "a")]), "cart[0] cart-a");
    let (request, port) = Request::get("cart").unwrap();
    let view = View::new(&world);
    let client = Client::in_mesh("shop".into(), Labels::default());
    let simulation = simulate(&view, &client, &request.with("bu", "b"), port);
    let passed: Vec<_> = simulation
        .passed
        .iter()
        .map(|passed| passed.unmet[0].1.to_string())
        .collect();
    assert_eq!(passed, ["header `bu` has to be `a`, and it is `b`"]);
}

#[test]
fn ports_without_routes_and_ports_that_are_not_for_http_lead_to_every_pod() {
    let http = json!([{"match": [{"port": 81}], "route": [to("cart", "a")]}]);
    let world = cart(vec![vs("cart", 1, &json!({"hosts": ["cart"], "http": http}))]);
    assert_eq!(ask(&world, "cart:81", &[]), "cart[0] cart-a");
    assert_eq!(ask(&world, "cart", &[]), "Default cart-a+cart-b");
    assert_eq!(ask(&world, "cart:82", &[]), "Tcp cart-a+cart-b");
    assert_eq!(ask(&world, "cart:83", &[]), "refused NoPort");
    assert_eq!(ask(&world, "other", &[]), "Unrouted outside");
    assert_eq!(
        ask(&world, "other.shop.svc.cluster.local", &[]),
        "refused NoService"
    );
}

#[test]
fn of_two_for_one_host_the_one_that_only_the_caller_sees_counts_and_then_the_oldest() {
    let leading = |name: &str, created: u8, lane: &str, export: &Value, port: Option<u16>| {
        let condition = port.map(|port| json!([{"port": port}]));
        vs(
            name,
            created,
            &json!({"hosts": ["cart"], "exportTo": export, "http": [{"match": condition.unwrap_or(json!([])), "route": [to("cart", lane)]}]}),
        )
    };
    let all = json!([]);
    let world = cart(vec![
        leading("old", 1, "a", &all, None),
        leading("new", 2, "b", &all, None),
    ]);
    assert_eq!(ask(&world, "cart", &[]), "old[0] cart-a");
    let world = cart(vec![
        leading("old", 1, "a", &all, None),
        leading("private", 2, "b", &json!(["."]), None),
    ]);
    assert_eq!(ask(&world, "cart", &[]), "private[0] cart-b");
    let other = Client::in_mesh("front".into(), Labels::default());
    assert_eq!(ask_as(&world, &other, "cart.shop", &[]), "old[0] cart-a");
    let world = cart(vec![
        leading("old", 1, "a", &all, Some(81)),
        leading("new", 2, "b", &all, None),
    ]);
    assert_eq!(ask(&world, "cart", &[]), "new[0] cart-b");
}

#[test]
fn a_wildcard_counts_only_where_nothing_names_the_host() {
    let all = |name: &str, created: u8, host: &str, lane: &str, port: Value| {
        vs(
            name,
            created,
            &json!({"hosts": [host], "http": [{"match": port, "route": [to("cart.shop.svc.cluster.local", lane)]}]}),
        )
    };
    let wild = all("wild", 1, "*.shop.svc.cluster.local", "a", json!([]));
    let wider = all("wider", 0, "*.cluster.local", "b", json!([]));
    let world = cart(vec![wild.clone(), wider]);
    assert_eq!(ask(&world, "cart", &[]), "wild[0] cart-a");
    let named = all("named", 2, "cart", "b", json!([{"port": 81}]));
    let world = cart(vec![wild, named]);
    assert_eq!(ask(&world, "cart:81", &[]), "named[0] cart-b");
    assert_eq!(ask(&world, "cart", &[]), "Default cart-a+cart-b");
}

#[test]
fn sources_are_told_apart_by_labels_and_namespace() {
    let http = json!([
        {"match": [{"sourceLabels": {"app": "portal"}}], "route": [to("cart", "a")]},
        {"match": [{"sourceNamespace": "front"}], "route": [to("cart", "b")]},
    ]);
    let world = cart(vec![vs("cart", 1, &json!({"hosts": ["cart"], "http": http}))]);
    let portal = Labels::new([("app".into(), "portal".into()), ("x".into(), "y".into())]);
    assert_eq!(
        ask_as(&world, &Client::in_mesh("shop".into(), portal), "cart", &[]),
        "cart[0] cart-a"
    );
    let front = Client::in_mesh("front".into(), Labels::default());
    assert_eq!(ask_as(&world, &front, "cart.shop", &[]), "cart[1] cart-b");
    assert_eq!(ask(&world, "cart", &[]), "Default cart-a+cart-b");
}

#[test]
fn a_destination_without_a_cluster_is_503() {
    let leading = |destination: &Value| {
        let world = cart(vec![vs(
            "cart",
            1,
            &json!({"hosts": ["cart"], "http": [{"route": [{"destination": destination}]}]}),
        )]);
        ask(&world, "cart", &[])
    };
    assert_eq!(
        leading(&json!({"host": "cart", "subset": "c"})),
        "cart[0] 503 Subset"
    );
    assert_eq!(
        leading(&json!({"host": "cart", "port": {"number": 83}})),
        "cart[0] 503 Port"
    );
    assert_eq!(leading(&json!({"host": "pay"})), "cart[0] 503 Host");
    assert_eq!(leading(&json!({"host": "cart.shop"})), "cart[0] 503 Host");
    assert_eq!(leading(&json!({"host": "cart"})), "cart[0] cart-a+cart-b");
}

#[test]
fn weights_share_requests_and_zero_gets_none() {
    let share = |subset: &str, weight: i32| json!({"destination": {"host": "cart", "subset": subset}, "weight": weight});
    let http = json!([{"route": [share("a", 30), share("b", 70), share("c", 0)]}]);
    let world = cart(vec![vs("cart", 1, &json!({"hosts": ["cart"], "http": http}))]);
    assert_eq!(ask(&world, "cart", &[]), "cart[0] cart-a | cart-b");
    let view = View::new(&world);
    let (request, port) = Request::get("cart").unwrap();
    let client = Client::in_mesh("shop".into(), Labels::default());
    let Outcome::Forwarded(forwarded) = simulate(&view, &client, &request, port).outcome else {
        panic!("it is sent on");
    };
    let shares: Vec<f64> = forwarded
        .branches
        .iter()
        .map(|branch| branch.weight / branch.of)
        .collect();
    assert_eq!(shares, [0.3, 0.7]);
}

#[test]
fn a_subset_that_chooses_nothing_or_nothing_ready_is_503() {
    let empty = rule(
        "cart",
        &json!({"host": "cart", "subsets": [{"name": "a", "labels": {"version": "none"}}]}),
    );
    let route = vs(
        "cart",
        1,
        &json!({"hosts": ["cart"], "http": [{"route": [to("cart", "a")]}]}),
    );
    let mut all = service("cart", &["a"]);
    all.extend([empty, route.clone()]);
    assert_eq!(
        ask(&World::of(Settings::default(), all), "cart", &[]),
        "cart[0] 503"
    );

    let pod = |ready: &str| {
        let labels = json!({"app": "cart", "version": "a"});
        object(
            Kind::Pod,
            "cart-a-0",
            0,
            json!({"metadata": {"labels": labels}, "spec": {"containers": []},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    };
    let world = |ready: &str| {
        let mut all = service("cart", &[]);
        all.extend([subsets("cart", &["a"]), route.clone(), pod(ready)]);
        World::of(Settings::default(), all)
    };
    assert_eq!(ask(&world("False"), "cart", &[]), "cart[0] 503 not ready");
    assert_eq!(ask(&world("True"), "cart", &[]), "cart[0] cart-a-0");
}

#[test]
fn a_carrier_without_the_named_port_gets_nothing() {
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web"}]);
    let template = |lane: &str, port: &str| {
        json!({"template": {"metadata": {"labels": {"app": "cart", "version": lane}},
            "spec": {"containers": [{"ports": [{"name": port, "containerPort": 1}]}]}}})
    };
    let world = World::of(
        Settings::default(),
        [
            spec(
                Kind::Service,
                "cart",
                0,
                &json!({"selector": {"app": "cart"}, "ports": ports}),
            ),
            spec(Kind::Deployment, "cart-a", 0, &template("a", "web")),
            spec(Kind::Deployment, "cart-b", 0, &template("b", "http")),
            subsets("cart", &["a", "b"]),
            vs("cart", 1, &json!({"hosts": ["cart"], "http": lanes()})),
        ],
    );
    assert_eq!(ask(&world, "cart", &[("bu", "a")]), "cart[0] cart-a");
    assert_eq!(ask(&world, "cart", &[("bu", "b")]), "cart[1] 503");
}

#[test]
fn pods_that_the_caller_looks_up_are_chosen_by_no_subset() {
    let headless = object(
        Kind::Service,
        "cart",
        0,
        json!({"spec": {"clusterIP": "None", "selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}}),
    );
    let route = vs(
        "cart",
        1,
        &json!({"hosts": ["cart"], "gateways": ["mesh", "gw"], "http": [{"route": [to("cart", "a")]}]}),
    );
    let world = cart(vec![
        headless,
        route,
        gateway(&json!([{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}])),
    ]);
    assert_eq!(ask(&world, "cart", &[]), "cart[0] any of cart-a+cart-b");
    assert_eq!(
        ask_gateway(&world, "cart.shop.svc.cluster.local", &[]),
        "cart[0] cart-a"
    );
}

#[test]
fn a_rule_for_some_workloads_counts_for_those() {
    let own = rule(
        "own",
        &json!({"host": "cart", "workloadSelector": {"matchLabels": {"app": "portal"}}, "subsets": [{"name": "a", "labels": {"version": "b"}}]}),
    );
    let route = vs(
        "cart",
        1,
        &json!({"hosts": ["cart"], "http": [{"route": [to("cart", "a")]}]}),
    );
    let world = cart(vec![own, route]);
    let portal = Client::in_mesh("shop".into(), Labels::new([("app".into(), "portal".into())]));
    assert_eq!(ask_as(&world, &portal, "cart", &[]), "cart[0] cart-b");
    assert_eq!(ask(&world, "cart", &[]), "cart[0] cart-a");
}

#[test]
fn what_is_not_imported_or_not_exported_is_not_routed() {
    let route = || {
        vs(
            "cart",
            1,
            &json!({"hosts": ["cart"], "http": [{"route": [to("cart", "a")]}]}),
        )
    };
    let sidecar = object(
        Kind::Sidecar,
        "default",
        0,
        json!({"metadata": {"namespace": "front"}, "spec": {"egress": [{"hosts": ["./*"]}]}}),
    );
    let front = Client::in_mesh("front".into(), Labels::default());
    let world = cart(vec![route(), sidecar]);
    assert_eq!(ask_as(&world, &front, "cart.shop", &[]), "Unrouted cart-a+cart-b");
    assert_eq!(ask(&world, "cart", &[]), "cart[0] cart-a");
    let private = object(
        Kind::Service,
        "cart",
        0,
        json!({"metadata": {"annotations": {"networking.istio.io/exportTo": "."}},
            "spec": {"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}}),
    );
    let config = object(
        Kind::ConfigMap,
        "istio",
        0,
        json!({"metadata": {"namespace": "istio-system"}, "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}}),
    );
    let world = cart(vec![route(), private.clone()]);
    assert_eq!(ask_as(&world, &front, "cart.shop", &[]), "Unrouted cart-a+cart-b");
    let world = cart(vec![route(), private, config]);
    assert_eq!(ask_as(&world, &front, "cart.shop", &[]), "refused RegistryOnly");
}

#[test]
fn hosts_of_service_entries_are_called_as_they_are_written() {
    let entry = |host: &str| {
        spec(
            Kind::ServiceEntry,
            "pay",
            0,
            &json!({"hosts": [host], "resolution": "STATIC", "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "endpoints": [{"address": "10.0.0.1", "labels": {"version": "a"}}, {"address": "10.0.0.2", "labels": {"version": "b"}}]}),
        )
    };
    let rule = rule(
        "pay",
        &json!({"host": "pay.example", "subsets": [{"name": "a", "labels": {"version": "a"}}]}),
    );
    let route = vs(
        "pay",
        1,
        &json!({"hosts": ["pay.example"], "http": [{"route": [to("pay.example", "a")]}]}),
    );
    let world = cart(vec![entry("pay.example"), rule, route]);
    assert_eq!(ask(&world, "pay.example", &[]), "pay[0] -");
    assert_eq!(ask(&world, "pay.example:81", &[]), "refused NoPort");
    let world = cart(vec![entry("*.example")]);
    assert_eq!(ask(&world, "pay.example", &[]), "Default -+-");
}

#[test]
fn an_alias_becomes_its_target_where_it_has_the_port() {
    let alias = |port: u16| {
        spec(
            Kind::Service,
            "basket",
            0,
            &json!({"type": "ExternalName", "externalName": "cart.shop.svc.cluster.local", "ports": [{"name": "http", "port": port}]}),
        )
    };
    let route = || {
        vs(
            "cart",
            1,
            &json!({"hosts": ["cart"], "http": [{"route": [to("basket", "a")]}]}),
        )
    };
    assert_eq!(
        ask(&cart(vec![alias(80), route()]), "cart", &[]),
        "cart[0] cart-a"
    );
    assert_eq!(
        ask(&cart(vec![alias(81), route()]), "cart", &[]),
        "cart[0] 503 Alias"
    );
}

#[test]
fn a_gateway_takes_the_most_specific_host_and_never_falls_through() {
    let http = |condition: &Value, lane: &str| json!([{"match": condition, "route": [to("cart", lane)]}]);
    let bound = |name: &str, host: &str, http: &Value| {
        vs(
            name,
            1,
            &json!({"hosts": [host], "gateways": ["gw"], "http": http}),
        )
    };
    let any = json!([]);
    let lane = json!([{"headers": {"buid": {"exact": "b"}}}]);
    let servers = json!([{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}]);
    let world = cart(vec![
        gateway(&servers),
        bound("wide", "*", &http(&any, "a")),
        bound("narrow", "x.com", &http(&lane, "b")),
        bound("middle", "*.com", &http(&any, "b")),
    ]);
    assert_eq!(ask_gateway(&world, "y.org", &[]), "wide[0] cart-a");
    assert_eq!(ask_gateway(&world, "y.com", &[]), "middle[0] cart-b");
    assert_eq!(ask_gateway(&world, "X.com", &[("buid", "b")]), "narrow[0] cart-b");
    assert_eq!(ask_gateway(&world, "x.com", &[]), "404 Route");
    assert_eq!(ask_gateway(&world, "x.com:81", &[]), "refused NoServer");
    let alone = cart(vec![
        gateway(&servers),
        bound("narrow", "x.com", &http(&lane, "b")),
    ]);
    assert_eq!(ask_gateway(&alone, "y.com", &[]), "404 Host");
}

#[test]
fn a_gateways_server_may_answer_or_end_tls() {
    let servers = json!([
        {"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"], "tls": {"httpsRedirect": true}},
        {"port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["*.x.com"], "tls": {"mode": "SIMPLE"}},
        {"port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["a.x.com"], "tls": {"mode": "SIMPLE"}},
    ]);
    let bound = vs(
        "all",
        1,
        &json!({"hosts": ["*"], "gateways": ["gw"], "http": [{"route": [
            {"destination": {"host": "cart", "subset": "a", "port": {"number": 80}}}]}]}),
    );
    let world = cart(vec![gateway(&servers), bound]);
    assert_eq!(
        ask_gateway(&world, "http://a.x.com/p", &[]),
        "301 https://a.x.com/p"
    );
    assert_eq!(ask_gateway(&world, "https://a.x.com/p", &[]), "all[0] cart-a");
    assert_eq!(ask_gateway(&world, "https://y.com/", &[]), "refused NoServer");
}

#[test]
fn a_route_may_answer_by_itself() {
    let world = |route: &Value| cart(vec![vs("cart", 1, &json!({"hosts": ["cart"], "http": [route]}))]);
    assert_eq!(
        ask(&world(&json!({"directResponse": {"status": 418}})), "cart", &[]),
        "418"
    );
    assert_eq!(
        ask(
            &world(&json!({"redirect": {"uri": "/b", "redirectCode": 302}})),
            "cart/a",
            &[]
        ),
        "302 http://cart/b"
    );
    let fault = |share: f64| json!({"fault": {"abort": {"httpStatus": 500, "percentage": {"value": share}}}, "route": [to("cart", "a")]});
    assert_eq!(ask(&world(&fault(100.0)), "cart", &[]), "500");
    assert_eq!(ask(&world(&fault(50.0)), "cart", &[]), "cart[0] cart-a");
}
