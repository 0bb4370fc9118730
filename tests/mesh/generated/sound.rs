//! Lanes as they should be, in many ways of writing.

use serde_json::{Value, json};

use super::{CARS, Dice, GATEWAY, LANES, SERVICES, Service, routes, rule};

/// How a set calls the subset of a lane.
#[derive(Debug, Clone, Copy)]
struct Naming {
    is_long: bool,
}

impl Naming {
    fn subset(self, service: Service, lane: &str) -> String {
        if self.is_long {
            format!("{}-{lane}", service.name)
        } else {
            lane.to_owned()
        }
    }
}

/// A set, its older part first.
pub(super) fn set(dice: &mut Dice) -> (Vec<Value>, Vec<Value>) {
    let naming = Naming {
        is_long: dice.chance(50),
    };
    let (mut older, mut younger) = (Vec::new(), Vec::new());
    for service in SERVICES {
        older.push(subsets(dice, service, naming));
    }
    for service in &SERVICES[1..] {
        younger.extend(on_mesh(dice, *service, naming));
    }
    at_gateway(dice, naming, &mut older, &mut younger);
    (older, younger)
}

/// The subsets of a service.
fn subsets(dice: &mut Dice, service: Service, naming: Naming) -> Value {
    let of_lane = |lane: &&str| {
        let mut subset = json!({"name": naming.subset(service, lane), "labels": {"version": lane}});
        if dice.chance(25) {
            subset["labels"]["app"] = service.name.into();
        }
        if dice.chance(25) {
            subset["trafficPolicy"] = json!({"loadBalancer": {"simple": "ROUND_ROBIN"}});
        }
        subset
    };
    let subsets: Vec<Value> = LANES.iter().map(of_lane).collect();
    let mut spec = json!({"host": host(dice, service), "subsets": subsets});
    exported(dice, &mut spec);
    rule(service.name, CARS, spec)
}

/// A service's name as objects of its namespace may write it.
fn host(dice: &mut Dice, service: Service) -> String {
    if dice.chance(50) {
        service.full()
    } else {
        service.name.to_owned()
    }
}

/// The namespaces that see an object, where it says so.
fn exported(dice: &mut Dice, spec: &mut Value) {
    match dice.below(6) {
        0 => spec["exportTo"] = json!(["*"]),
        // The pods of the gateway are in a namespace of their own.
        1 => spec["exportTo"] = json!([".", "istio-ingress"]),
        _ => {}
    }
}

/// A destination.
fn to(dice: &mut Dice, service: Service, subset: &str, port: Option<u32>) -> Value {
    let mut destination = json!({"host": host(dice, service), "subset": subset});
    if let Some(port) = port {
        destination["port"] = json!({"number": port});
    }
    let mut to = json!({"destination": destination});
    if dice.chance(20) {
        to["weight"] = 100.into();
    }
    to
}

/// What changes nothing about where a request goes.
fn adorn(dice: &mut Dice, route: &mut Value) {
    match dice.below(8) {
        0 => route["timeout"] = "10s".into(),
        1 => route["retries"] = json!({"attempts": 1, "perTryTimeout": "5s"}),
        2 => route["headers"]["response"]["set"]["x-answered"] = "yes".into(),
        3 => route["headers"]["request"]["set"]["x-mark"] = "v1".into(),
        4 => route["headers"]["request"]["remove"] = json!(["x-copy"]),
        5 => {
            let copied = route["route"][0]["destination"].clone();
            route["mirror"] = copied;
        }
        _ => {}
    }
}

/// The routes of a service for its callers in the mesh.
fn on_mesh(dice: &mut Dice, service: Service, naming: Naming) -> Vec<Value> {
    let mut spec = json!({"hosts": [host(dice, service)]});
    if dice.chance(60) {
        spec["gateways"] = json!(["mesh"]);
    }
    exported(dice, &mut spec);
    let style = dice.below(8);
    let http: Vec<Value> = match style {
        0 => service
            .ports
            .iter()
            .flat_map(|port| lanes(dice, service, naming, Some(*port), &json!({"port": port})))
            .collect(),
        1 => {
            let mut callers = lanes(
                dice,
                service,
                naming,
                None,
                &json!({"sourceLabels": {"app": SERVICES[0].name}}),
            );
            callers.extend(lanes(dice, service, naming, None, &json!({})));
            callers
        }
        2 => {
            let mut all = lanes(dice, service, naming, None, &json!({"uri": {"prefix": "/a"}}));
            for route in &mut all {
                route["rewrite"] = json!({"uri": "/a"});
            }
            all.extend(lanes(dice, service, naming, None, &json!({})));
            all
        }
        3 => {
            let without = json!({"withoutHeaders": {"bu": {"exact": LANES[1]}}});
            let usual = naming.subset(service, LANES[0]);
            vec![
                json!({"match": [without], "route": [to(dice, service, &usual, None)]}),
                json!({"route": [to(dice, service, &naming.subset(service, LANES[1]), None)]}),
            ]
        }
        _ => lanes(dice, service, naming, None, &json!({})),
    };
    if style != 4 {
        spec["http"] = http.into();
        return vec![routes(service.name, CARS, spec)];
    }
    // Another object has the routes.
    let delegate = format!("{}-lanes", service.name);
    let mut root = json!({"delegate": {"name": delegate}});
    if dice.chance(50) {
        root["match"] = json!([{"uri": {"prefix": "/"}}]);
    }
    spec["http"] = json!([root]);
    vec![
        routes(service.name, CARS, spec),
        routes(&delegate, CARS, json!({"http": http})),
    ]
}

/// A route for each lane, the default lane's last, of which all are for `common`.
fn lanes(dice: &mut Dice, service: Service, naming: Naming, port: Option<u32>, common: &Value) -> Vec<Value> {
    let mut made = Vec::new();
    for lane in [LANES[1], LANES[0]] {
        let asked = match dice.below(4) {
            0 => json!({"regex": lane}),
            _ => json!({"exact": lane}),
        };
        let mut condition = common.clone();
        condition["headers"] = json!({"bu": asked});
        let mut conditions = vec![condition.clone()];
        if dice.chance(20) {
            condition["method"] = json!({"exact": "GET"});
            conditions.insert(0, condition);
        }
        let subset = naming.subset(service, lane);
        let mut route = json!({"match": conditions, "route": [to(dice, service, &subset, port)]});
        adorn(dice, &mut route);
        made.push(route);
    }
    let usual = naming.subset(service, LANES[0]);
    let mut last = json!({"route": [to(dice, service, &usual, port)]});
    if common.as_object().is_some_and(|common| !common.is_empty()) {
        last["match"] = json!([common]);
    }
    adorn(dice, &mut last);
    made.push(last);
    made
}

/// The routes of the portal for callers outside.
fn at_gateway(dice: &mut Dice, naming: Naming, older: &mut Vec<Value>, younger: &mut Vec<Value>) {
    let portal = SERVICES[0];
    let mut made = Vec::new();
    let by_template = dice.chance(30);
    let at_destination = dice.chance(30);
    for lane in [Some(LANES[1]), Some(LANES[0]), None] {
        let leads = lane.unwrap_or(LANES[0]);
        let port = if dice.chance(70) { Some(8181) } else { None };
        let subset = naming.subset(portal, leads);
        let mut route = json!({"route": [to(dice, portal, &subset, port)]});
        let value = match lane {
            Some(_) if by_template => "%REQ(buid)%",
            _ => leads,
        };
        if at_destination {
            route["route"][0]["headers"]["request"]["set"]["bu"] = value.into();
        } else {
            route["headers"]["request"]["set"]["bu"] = value.into();
        }
        if let Some(lane) = lane {
            route["match"] = json!([{"headers": {"buid": {"exact": lane}}}]);
        }
        adorn(dice, &mut route);
        made.push(route);
    }
    let hosts = match dice.below(3) {
        0 => json!(["cars.example", "*.cars.example"]),
        _ => json!(["*"]),
    };
    let bound = |http: Value| json!({"hosts": hosts, "gateways": [GATEWAY], "http": http});
    match dice.below(4) {
        0 => {
            // Two objects of one host are put together, the older one's routes first.
            let rest = made.split_off(1);
            older.push(routes("zz-portal", CARS, bound(made.into())));
            younger.push(routes("portal", CARS, bound(rest.into())));
        }
        1 => {
            let root = json!([{"match": [{"uri": {"prefix": "/"}}], "delegate": {"name": "portal-lanes"}}]);
            younger.push(routes("portal", CARS, bound(root)));
            younger.push(routes("portal-lanes", CARS, json!({"http": made})));
        }
        _ => younger.push(routes("portal", CARS, bound(made.into()))),
    }
}
