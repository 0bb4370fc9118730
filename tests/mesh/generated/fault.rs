//! One thing that is wrong with a set that is sound.

use serde_json::{Value, json};

use super::{CARS, LANES, SERVICES, routes, rule};

/// What is wrong, and how it is made so, in the older and the younger part of a set.
type Fault = (&'static str, fn(&mut Vec<Value>, &mut Vec<Value>));

/// Every fault.
const FAULTS: [Fault; 20] = [
    ("a route to a subset that nobody defines", |_, all| {
        let (_, to) = destination(all);
        to["destination"]["subset"] = "wtcph".into();
    }),
    ("a subset that nothing carries", |all, _| {
        let subset = &mut rule_of(all, SERVICES[1].name)["spec"]["subsets"][1];
        subset["labels"] = json!({"version": "wtcph"});
    }),
    ("a subset of the other lane's pods", |all, _| {
        let subset = &mut rule_of(all, SERVICES[1].name)["spec"]["subsets"][1];
        subset["labels"]["version"] = LANES[0].into();
    }),
    ("a subset that is gone", |all, _| {
        let subsets = rule_of(all, SERVICES[1].name)["spec"]["subsets"].as_array_mut();
        subsets.expect("subsets").remove(1);
    }),
    ("an earlier route takes all requests", |_, all| {
        let catching = on_mesh(all);
        let last = catching.last().expect("routes").clone();
        catching.insert(0, last);
    }),
    (
        "an earlier route takes the lane's requests by a prefix",
        |_, all| {
            let catching = on_mesh(all);
            let mut last = catching.last().expect("routes").clone();
            last["match"] = json!([{"headers": {"bu": {"prefix": "w"}}}]);
            catching.insert(0, last);
        },
    ),
    (
        "an earlier route takes the lane's requests by a pattern",
        |_, all| {
            let catching = on_mesh(all);
            let mut last = catching.last().expect("routes").clone();
            last["match"] = json!([{"headers": {"bu": {"regex": "w(ic|tc).*"}}}]);
            catching.insert(0, last);
        },
    ),
    ("a port that the service has not", |_, all| {
        let (_, to) = destination(all);
        to["destination"]["port"] = json!({"number": 9999});
    }),
    ("a host that nobody knows", |_, all| {
        let (_, to) = destination(all);
        to["destination"]["host"] = "cars-agregator".into();
    }),
    ("a host of two parts", |_, all| {
        let (service, to) = destination(all);
        to["destination"]["host"] = format!("{service}.{CARS}").into();
    }),
    ("no default route", |_, all| {
        let http = on_mesh(all);
        http.retain(|route| route["match"][0]["headers"].is_object());
        http.truncate(2);
    }),
    ("a route for a port that nobody calls", |_, all| {
        let first = &mut on_mesh(all)[0];
        let conditions = first["match"].as_array_mut();
        for condition in conditions.into_iter().flatten() {
            condition["port"] = 8081.into();
        }
    }),
    ("a delegate that is not there", |_, all| {
        on_mesh(all).insert(0, json!({"delegate": {"name": "nobody"}}));
        on_mesh(all).truncate(1);
    }),
    ("lanes that are crossed", |_, all| {
        let http = on_mesh(all);
        let (first, last) = (http[0]["route"].clone(), http[http.len() - 1]["route"].clone());
        let end = http.len() - 1;
        http[0]["route"] = last;
        http[end]["route"] = first;
    }),
    ("a header that nobody sends", |_, all| {
        for route in on_mesh(all) {
            let conditions = route["match"].as_array_mut();
            for condition in conditions.into_iter().flatten() {
                if condition["headers"].is_object() {
                    let asked = condition["headers"]["bu"].take();
                    condition["headers"] = json!({"bv": asked});
                }
            }
        }
    }),
    ("the routes of somebody older", |all, _| {
        let host = SERVICES[2].full();
        let http = json!([{"route": [{"destination": {"host": host, "port": {"number": 8080}}}]}]);
        all.push(routes("zz-older", CARS, json!({"hosts": [host], "http": http})));
    }),
    ("a rule of the callers' own", |_, all| {
        let host = SERVICES[2].full();
        let subsets = json!([{"name": "v1", "labels": {"version": LANES[0]}}]);
        all.push(rule("another", CARS, json!({"host": host, "subsets": subsets})));
    }),
    ("withoutHeaders that any request misses", |_, all| {
        let last = on_mesh(all).last_mut().expect("routes");
        last["match"] = json!([{"withoutHeaders": {"bu": {"regex": ".*"}}}]);
    }),
    ("routes that are not exported", |_, all| {
        let at = all
            .iter()
            .position(|vs| vs["metadata"]["name"] == "portal")
            .expect("the portal's");
        all[at]["spec"]["exportTo"] = json!(["."]);
    }),
    ("half of a lane's requests leave it", |_, all| {
        let http = on_mesh(all);
        let mut both = [
            http[0]["route"][0].clone(),
            http[http.len() - 1]["route"][0].clone(),
        ];
        for to in &mut both {
            to["weight"] = 50.into();
        }
        http[0]["route"] = json!(both);
    }),
];

/// Puts the fault whose turn it is into a set, and says which one.
pub(super) fn put(turn: u64, older: &mut Vec<Value>, younger: &mut Vec<Value>) -> &'static str {
    let turn = usize::try_from(turn).unwrap_or_default();
    let (name, put) = FAULTS[turn % FAULTS.len()];
    put(older, younger);
    name
}

/// The routes of the adapter in the mesh, wherever they are.
fn on_mesh(all: &mut [Value]) -> &mut Vec<Value> {
    let service = SERVICES[1].name;
    let delegate = format!("{service}-lanes");
    let names = |name: &str| all.iter().position(|vs| vs["metadata"]["name"] == *name);
    let at = names(&delegate)
        .or_else(|| names(service))
        .expect("routes on the mesh");
    all[at]["spec"]["http"].as_array_mut().expect("routes")
}

/// A destination of the first route in the mesh, with its service.
fn destination(all: &mut [Value]) -> (&'static str, &mut Value) {
    (SERVICES[1].name, &mut on_mesh(all)[0]["route"][0])
}

fn rule_of<'s>(all: &'s mut [Value], service: &str) -> &'s mut Value {
    let is_it =
        |object: &&mut Value| object["kind"] == "DestinationRule" && object["metadata"]["name"] == *service;
    all.iter_mut().find(is_it).expect("the service's rule")
}
