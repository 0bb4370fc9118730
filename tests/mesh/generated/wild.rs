//! Routes and rules as Istio takes them, whatever they lead to.

use serde_json::{Map, Value, json};

use super::{CARS, Dice, ELSEWHERE, GATEWAY, LANES, SERVICES, Service, routes, rule};

/// The subsets that destinations name; the last is never defined.
const SUBSETS: [&str; 5] = ["wicph", "wtchk", "both", "none", "gone"];

/// A set, its older part first.
pub(super) fn set(dice: &mut Dice) -> (Vec<Value>, Vec<Value>) {
    let (mut older, mut younger) = (Vec::new(), Vec::new());
    let mut put = |dice: &mut Dice, object: Value| {
        let part = if dice.chance(40) { &mut older } else { &mut younger };
        part.push(object);
    };
    for service in SERVICES {
        for at in 0..dice.one(&[0, 1, 1, 1, 1, 1, 2, 2]) {
            let object = subsets(dice, service, at);
            put(dice, object);
        }
    }
    for service in &SERVICES {
        let most = if service.ports.len() > 1 { 2 } else { 1 };
        let least = usize::from(most > 1);
        for at in least..=dice.below(most + 1).max(least) {
            let object = on_mesh(dice, *service, at);
            put(dice, object);
        }
    }
    for at in 0..dice.one(&[1, 1, 2, 3]) {
        let object = at_gateway(dice, at);
        put(dice, object);
    }
    for name in ["delegate-a", "delegate-b"] {
        let home = if dice.chance(85) { CARS } else { ELSEWHERE };
        let service = dice.one(&SERVICES);
        let mut spec = json!({"http": http(dice, service, false)});
        exported(dice, &mut spec, 10);
        put(dice, routes(name, home, spec));
    }
    (older, younger)
}

/// The host of a service as it may be written; of two parts, and with a slip, it is none.
fn host(dice: &mut Dice, service: Service) -> String {
    match dice.below(20) {
        0 => format!("{}.{CARS}", service.name),
        1 => format!("{}s", service.name),
        2..=9 => service.full(),
        _ => service.name.to_owned(),
    }
}

fn exported(dice: &mut Dice, spec: &mut Value, percent: usize) {
    if dice.chance(percent) {
        spec["exportTo"] = dice
            .one(&[&["."][..], &["*"], &[CARS], &[ELSEWHERE, "istio-ingress"]])
            .into();
    }
}

fn subsets(dice: &mut Dice, service: Service, at: usize) -> Value {
    let mut defined = Vec::new();
    for name in &SUBSETS[..4] {
        if dice.chance(15) {
            continue;
        }
        let labels = match *name {
            "both" => json!({"app": service.name}),
            "none" => json!({"version": "wtcph"}),
            lane if dice.chance(90) => json!({"version": lane}),
            _ => json!({"version": dice.one(&LANES)}),
        };
        let mut subset = json!({"name": name, "labels": labels});
        if dice.chance(10) {
            subset["trafficPolicy"] = json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}});
        }
        defined.push(subset);
    }
    let mut spec = json!({"subsets": defined});
    spec["host"] = match dice.below(12) {
        0 => format!("{}.{CARS}", service.name),
        1 => format!("*.{CARS}.svc.cluster.local"),
        2..=6 => service.full(),
        _ => service.name.to_owned(),
    }
    .into();
    exported(dice, &mut spec, 12);
    if dice.chance(8) {
        spec["workloadSelector"] = json!({"matchLabels": {"version": dice.one(&LANES)}});
    }
    if dice.chance(15) {
        spec["trafficPolicy"] = json!({"loadBalancer": {"simple": "LEAST_REQUEST"}});
    }
    let home = dice.one(&[CARS, CARS, CARS, CARS, CARS, CARS, ELSEWHERE, "istio-ingress"]);
    if home != CARS {
        spec["host"] = service.full().into();
    }
    rule(&format!("{}-{at}", service.name), home, spec)
}

fn on_mesh(dice: &mut Dice, service: Service, at: usize) -> Value {
    let home = if dice.chance(88) { CARS } else { ELSEWHERE };
    let mut hosts = vec![match dice.below(14) {
        0 => format!("{}.{CARS}", service.name),
        1 => format!("*.{CARS}.svc.cluster.local"),
        2..=7 => service.full(),
        _ if home != CARS && dice.chance(70) => service.full(),
        _ => service.name.to_owned(),
    }];
    if dice.chance(10) {
        hosts.push(dice.one(&SERVICES).full());
        hosts.dedup();
    }
    let mut spec = json!({"hosts": hosts, "http": http(dice, service, true)});
    match dice.below(10) {
        0..=4 => spec["gateways"] = json!(["mesh"]),
        5 => spec["gateways"] = json!(["mesh", GATEWAY]),
        _ => {}
    }
    exported(dice, &mut spec, 8);
    routes(&format!("{}-{at}", service.name), home, spec)
}

fn at_gateway(dice: &mut Dice, at: usize) -> Value {
    let hosts = dice.one(&[
        &["*"][..],
        &["*"],
        &["cars.example"],
        &["cars.example", "*.cars.example"],
        &["*.example"],
        &["shop.cars.example", "*"],
    ]);
    let service = if dice.chance(80) {
        SERVICES[0]
    } else {
        dice.one(&SERVICES)
    };
    let mut spec = json!({"hosts": hosts, "gateways": [GATEWAY], "http": http(dice, service, true)});
    if dice.chance(10) && hosts != ["*"] {
        spec["gateways"] = json!([GATEWAY, "mesh"]);
        if let Some(hosts) = spec["hosts"].as_array_mut() {
            // On the mesh a wildcard for all is not allowed.
            hosts.retain(|host| host != "*");
        }
    }
    exported(dice, &mut spec, 8);
    routes(&format!("entry-{at}"), CARS, spec)
}

/// Some routes, of which those of a root may delegate.
fn http(dice: &mut Dice, service: Service, is_root: bool) -> Vec<Value> {
    let count = 2 + dice.below(4);
    let mut all: Vec<Value> = (0..count).map(|_| route(dice, service, is_root)).collect();
    if dice.chance(60) {
        let mut last = json!({"route": [to(dice, service)]});
        if dice.chance(30) {
            let (how, what) = dice.one(&[("prefix", "/"), ("regex", ".*"), ("exact", "/")]);
            last["match"] = json!([{"uri": {how: what}}]);
        }
        all.push(last);
    }
    all
}

fn route(dice: &mut Dice, service: Service, is_root: bool) -> Value {
    let mut route = json!({});
    let conditions = dice.one(&[0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
    if conditions > 0 {
        let all: Vec<Value> = (0..conditions).map(|_| condition(dice)).collect();
        route["match"] = all.into();
    }
    if dice.chance(35) {
        route["headers"]["request"] = operations(dice);
    }
    match dice.below(if is_root { 24 } else { 21 }) {
        0 => {
            route["redirect"] = redirect(dice);
            return route;
        }
        1 => {
            let status = dice.one(&[200, 404, 418, 503]);
            route["directResponse"] = json!({"status": status, "body": {"string": "answered here"}});
            return route;
        }
        2 => {
            let share = dice.one(&[100, 100, 50, 0]);
            route["fault"] =
                json!({"abort": {"httpStatus": dice.one(&[429, 503]), "percentage": {"value": share}}});
        }
        3 | 4 => {
            let (pattern, new) = dice.one(&[("^/a/(.*)$", "/x/\\1"), ("a", "b"), ("/$", "/end")]);
            route["rewrite"] = match dice.below(4) {
                0 => json!({"uri": dice.one(&["/", "/new", "/new/"])}),
                1 => json!({"authority": "rewritten.example"}),
                2 => json!({"uri": "/new", "authority": "rewritten.example"}),
                _ => json!({"uriRegexRewrite": {"match": pattern, "rewrite": new}}),
            };
        }
        5 | 6 => {
            let destination = to(dice, service)["destination"].take();
            if dice.chance(50) {
                route["mirror"] = destination;
            } else {
                let share = dice.one(&[100.0, 50.0, 0.0]);
                route["mirrors"] = json!([{"destination": destination, "percentage": {"value": share}}]);
            }
        }
        21.. => {
            let home = dice.one(&[None, None, Some(CARS), Some(ELSEWHERE)]);
            route["delegate"] = json!({"name": dice.one(&["delegate-a", "delegate-b", "nobody"])});
            if let Some(home) = home {
                route["delegate"]["namespace"] = home.into();
            }
            return route;
        }
        _ => {}
    }
    route["route"] = destinations(dice, service).into();
    if dice.chance(25) {
        at_both_levels(dice, &mut route);
    }
    route
}

/// Operations on one header by the route and by its destinations: which of them come first shows.
fn at_both_levels(dice: &mut Dice, route: &mut Value) {
    let name = dice.one(&["bu", "x-lane", "x-mark"]);
    let mut operate = |block: &mut Value, value: &str| {
        block["request"] = match dice.below(4) {
            0 => json!({"add": {name: value}}),
            1 => json!({"remove": [name]}),
            _ => json!({"set": {name: value}}),
        };
    };
    operate(&mut route["headers"], "of the route");
    for to in route["route"].as_array_mut().into_iter().flatten() {
        operate(&mut to["headers"], "of the destination");
    }
}

fn destinations(dice: &mut Dice, service: Service) -> Vec<Value> {
    if dice.chance(75) {
        let mut only = to(dice, service);
        if dice.chance(15) {
            only["weight"] = dice.one(&[100, 1, 0]).into();
        }
        return vec![only];
    }
    let weights = dice.one(&[
        &[50, 50][..],
        &[100, 0],
        &[0, 100],
        &[1, 1],
        &[30, 70],
        &[0, 0, 5],
        &[40, 30, 30],
    ]);
    let weighted = weights.iter().map(|weight| {
        let mut to = to(dice, service);
        to["weight"] = (*weight).into();
        to
    });
    weighted.collect()
}

fn to(dice: &mut Dice, service: Service) -> Value {
    let service = if dice.chance(90) {
        service
    } else {
        dice.one(&SERVICES)
    };
    let mut destination = json!({"host": host(dice, service)});
    if dice.chance(85) {
        let subset = dice.one(&[
            "wicph", "wicph", "wicph", "wtchk", "wtchk", "wtchk", "both", "none", "gone",
        ]);
        destination["subset"] = subset.into();
    }
    if dice.chance(45) {
        let own = dice.one(service.ports);
        let port = dice.one(&[own, own, own, own, own, own, own, 8080, 9999]);
        destination["port"] = json!({"number": port});
    }
    let mut to = json!({"destination": destination});
    if dice.chance(20) {
        to["headers"]["request"] = operations(dice);
    }
    to
}

fn redirect(dice: &mut Dice) -> Value {
    let mut redirect = match dice.below(3) {
        0 => json!({"uri": "/moved"}),
        1 => json!({"authority": "moved.example"}),
        _ => json!({"uri": "/moved", "authority": "moved.example"}),
    };
    match dice.below(5) {
        0 => redirect["redirectCode"] = dice.one(&[302, 307, 308]).into(),
        1 => redirect["scheme"] = "https".into(),
        2 => redirect["port"] = 8443.into(),
        3 => redirect["derivePort"] = "FROM_REQUEST_PORT".into(),
        _ => {}
    }
    redirect
}

/// Operations on the headers of requests.
fn operations(dice: &mut Dice) -> Value {
    let mut all = json!({});
    for verb in ["set", "add"] {
        if dice.chance(55) {
            let mut pairs = Map::new();
            for _ in 0..=dice.below(2) {
                let name = dice.one(&[
                    "bu",
                    "bu",
                    "x-lane",
                    "x-mark",
                    "X-Lane",
                    "x-copy",
                    ":authority",
                    "host",
                ]);
                let value = if name == ":authority" || name == "host" {
                    "set.example"
                } else {
                    dice.one(&[
                        "wicph",
                        "wtchk",
                        "%REQ(buid)%",
                        "%REQ(x-lane?buid)%",
                        "%REQ(bu):2%",
                        "<%REQ(:path)%>",
                        "half a %% sign",
                        "%REQ(x-nothing)%",
                    ])
                };
                pairs.insert(name.to_owned(), value.into());
            }
            all[verb] = pairs.into();
        }
    }
    if dice.chance(35) {
        all["remove"] = json!([dice.one(&["bu", "buid", "x-lane", "x-mark"])]);
    }
    all
}

/// A condition with one to three parts.
fn condition(dice: &mut Dice) -> Value {
    let mut condition = json!({});
    for _ in 0..=dice.below(2) {
        match dice.below(21) {
            0..=6 => {
                let name = dice.one(&[
                    "bu", "bu", "bu", "buid", "buid", "buid", "x-lane", "x-mark", "BU", "host",
                ]);
                condition["headers"][name] = text(dice);
            }
            7 | 8 => {
                let name = dice.one(&["bu", "buid", "x-lane", "Buid", ":path"]);
                condition["withoutHeaders"][name] = text(dice);
            }
            9..=12 => {
                let (how, what) = dice.one(&[
                    ("prefix", "/"),
                    ("prefix", "/a"),
                    ("prefix", "/a/"),
                    ("prefix", "/A"),
                    ("exact", "/a"),
                    ("exact", "/"),
                    ("regex", "/a.*"),
                    ("regex", "/[ab]+"),
                    ("regex", ".*"),
                ]);
                condition["uri"] = json!({how: what});
                if how != "regex" && dice.chance(25) {
                    condition["ignoreUriCase"] = true.into();
                }
            }
            13 => condition["method"] = json!({dice.one(&["exact", "prefix"]): "GET"}),
            14 => {
                let (how, what) = dice.one(&[
                    ("prefix", "cars"),
                    ("exact", "cars.example"),
                    ("regex", ".*:8080"),
                    ("exact", "cars-aggregator:8080"),
                ]);
                condition["authority"] = json!({how: what});
            }
            15 => {
                let name = dice.one(&["lane", "x"]);
                let (how, what) = dice.one(&[
                    ("exact", "wicph"),
                    ("prefix", "w"),
                    ("regex", ".*"),
                    ("exact", "1"),
                    ("exact", ""),
                ]);
                condition["queryParams"][name] = json!({how: what});
            }
            16 => condition["port"] = dice.one(&[8080, 20885, 80, 8181]).into(),
            17 => {
                let (key, value) = dice.one(&[
                    ("app", SERVICES[0].name),
                    ("app", SERVICES[1].name),
                    ("version", LANES[1]),
                ]);
                condition["sourceLabels"][key] = value.into();
            }
            18 => condition["scheme"] = json!({"exact": dice.one(&["http", "http", "https"])}),
            19 => condition["sourceNamespace"] = dice.one(&[CARS, ELSEWHERE, "istio-ingress"]).into(),
            _ => condition["gateways"] = json!([dice.one(&["mesh", GATEWAY])]),
        }
    }
    condition
}

/// A condition on a text.
fn text(dice: &mut Dice) -> Value {
    let (how, what) = dice.one(&[
        ("exact", "wicph"),
        ("exact", "wicph"),
        ("exact", "wtchk"),
        ("prefix", "w"),
        ("prefix", "wi"),
        ("regex", "w.*"),
        ("regex", ".*"),
        ("regex", "wicph|wtchk"),
        ("regex", "(?i)WICPH"),
        ("", ""),
    ]);
    if how.is_empty() {
        json!({})
    } else {
        json!({how: what})
    }
}
