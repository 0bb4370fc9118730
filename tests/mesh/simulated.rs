//! What the simulator says of requests, and what the rules say of routes, beside what a real mesh does with them.
//!
//! Each generated set takes the place of the group's routes and rules. When every proxy has it, the API server's objects
//! make the world that is simulated, each request is sent, and both answers have to be the same.
//!
//! `LANEKEEPER_SEED` makes other sets, `LANEKEEPER_SETS` more of them, and `LANEKEEPER_SET` only the one of a number.

mod judged;
mod predicted;

use std::collections::BTreeMap;
use std::env;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::resource::{Kind, Resource};
use lanekeeper::routing::{Client, Simulation, simulate};
use lanekeeper::world::{Settings, View, World};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::generated::{Ask, CARS, ELSEWHERE, GATEWAY, LANES, Sender, Set};
use crate::mesh::Mesh;
use crate::seed::{self, Test};
use judged::Judged;
use predicted::Predicted;

/// The test.
pub const TEST: Test = (
    "the_simulator_and_the_rules_say_what_the_mesh_does",
    the_simulator_and_the_rules_say_what_the_mesh_does,
);

/// The seed of the sets that are always tried, and how many there are.
const SEED: u64 = 20_260_728;
const SETS: u64 = 50;

/// How often a request is sent that may go several ways.
const TIMES: usize = 12;

/// The objects that decide where a request goes.
const KINDS: &str = "namespaces,services,deployments,replicasets,pods,destinationrules.networking.istio.io,\
    envoyfilters.networking.istio.io,gateways.networking.istio.io,serviceentries.networking.istio.io,\
    sidecars.networking.istio.io,virtualservices.networking.istio.io,workloadentries.networking.istio.io";

/// What a set has to say somewhere, in this seed's sets.
const SAID: [&str; 28] = [
    "\"delegate\"",
    "\"withoutHeaders\"",
    "\"regex\"",
    "\"prefix\"",
    "\"port\"",
    "\"sourceLabels\"",
    "\"sourceNamespace\"",
    "\"method\"",
    "\"authority\"",
    "\"queryParams\"",
    "\"ignoreUriCase\"",
    "\"rewrite\"",
    "\"uriRegexRewrite\"",
    "\"redirect\"",
    "\"directResponse\"",
    "\"abort\"",
    "\"mirror\"",
    "\"mirrors\"",
    "\"exportTo\"",
    "\"workloadSelector\"",
    "\"set\"",
    "\"add\"",
    "\"remove\"",
    "%REQ(",
    "\"weight\":0",
    "\"number\":9999",
    "\"h2UpgradePolicy\"",
    "\"gateways\":[\"mesh\",\"cars-aswatson-dev/cars\"]",
];

/// A number of the environment.
fn number<T: FromStr>(name: &str, otherwise: T) -> T {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

fn the_simulator_and_the_rules_say_what_the_mesh_does(mesh: &Mesh) {
    let (seed, sets) = (number("LANEKEEPER_SEED", SEED), number("LANEKEEPER_SETS", SETS));
    let started = Instant::now();
    seed::take_down(mesh);
    let elsewhere = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ELSEWHERE}});
    mesh.kubectl("apply", &[elsewhere]).expect_success();

    let only: Option<u64> = env::var("LANEKEEPER_SET")
        .ok()
        .and_then(|number| number.parse().ok());
    let mut trial = Trial::default();
    let mut said = String::new();
    for number in 0..sets {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let set = Set::new(seed, number);
        said.push_str(&set.to_string());
        trial.of(mesh, &set);
    }
    seed::put_up(mesh);

    eprintln!(
        "seed {seed}: {sets} sets, {} requests, {} differing, {} misjudged, {:.0} s; {:?}",
        trial.requests,
        trial.differing.len(),
        trial.misjudged.len(),
        started.elapsed().as_secs_f64(),
        trial.outcomes,
    );
    let wrong = [trial.differing, trial.misjudged].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    if seed == SEED && sets >= SETS && only.is_none() {
        assert!(sets >= 30 && trial.requests >= 300);
        for what in SAID {
            assert!(said.contains(what), "no set says {what}");
        }
        for outcome in predicted::OUTCOMES {
            assert!(
                trial.outcomes.contains_key(outcome),
                "no request comes to `{outcome}`"
            );
        }
    }
}

/// What has been tried so far.
#[derive(Default)]
struct Trial {
    requests: usize,
    /// How often what was foretold.
    outcomes: BTreeMap<&'static str, usize>,
    /// The requests of which the mesh made something else than the simulator.
    differing: Vec<String>,
    /// The sets of which the rules say something else than the mesh shows.
    misjudged: Vec<String>,
}

impl Trial {
    /// Tries a set.
    fn of(&mut self, mesh: &Mesh, set: &Set) {
        if !set.older.is_empty() {
            mesh.kubectl("apply", &set.older).expect_success();
            // Ages are in seconds.
            thread::sleep(Duration::from_millis(1050));
        }
        mesh.apply(&set.younger);
        let world = world(mesh);
        let view = View::new(&world);
        let mut judged = Judged::default();
        let mut differing = Vec::new();
        for ask in &set.asks {
            let simulation = simulate_ask(mesh, &view, ask);
            let predicted = Predicted::of(&simulation, ask);
            for outcome in &predicted.outcomes {
                *self.outcomes.entry(outcome).or_default() += 1;
            }
            let times = if predicted.is_by_chance() { TIMES } else { 1 };
            for _ in 0..times {
                self.requests += 1;
                let answer = match send(mesh, ask) {
                    Ok(answer) => answer,
                    Err(error) => {
                        differing.push(format!("{ask}\n  {error}\n{}", predicted::told(&simulation)));
                        break;
                    }
                };
                judged.see(ask, &simulation, &answer);
                if let Some(difference) = predicted.difference(&answer) {
                    differing.push(format!("{ask}\n  {difference}\n{}", predicted::told(&simulation)));
                    break;
                }
            }
        }
        if !differing.is_empty() {
            self.differing.push(format!("{set}{}", differing.join("\n")));
        }
        let faults = judged.faults(&view, set);
        if !faults.is_empty() {
            self.misjudged.push(format!("{set}{}", faults.join("\n")));
        }
        let objects: Vec<Value> = set.objects().cloned().collect();
        mesh.kubectl("delete", &objects).expect_success();
    }
}

/// All that the API server has, and the group that the rules go by: the mesh has no lane filter now, which would tell it.
fn world(mesh: &Mesh) -> World {
    let group = json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup",
        "metadata": {"name": "cars", "namespace": CARS},
        "spec": {"header": "bu", "entry": {"header": "buid", "gateways": [GATEWAY]},
            "workloads": {"matchLabels": {"app.kubernetes.io/part-of": "cars"}},
            "lanes": LANES, "defaultLane": LANES[0], "completeness": "Fallback"}});
    let objects = mesh.list(KINDS).into_iter().chain([group]);
    let parsed = objects.map(|object| {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let kind = Kind::of(text("apiVersion"), text("kind"));
        let kind = kind.unwrap_or_else(|| panic!("{} is of no kind that is known", text("kind")));
        Resource::parse(kind, &object).unwrap_or_else(|error| panic!("{object}: {error}"))
    });
    World::of(Settings::default(), parsed)
}

fn simulate_ask<'w>(mesh: &Mesh, view: &View<'w>, ask: &Ask) -> Simulation<'w> {
    let client = match &ask.from {
        Sender::Outside => Client::at_gateway(view, &GATEWAY.into(), &CARS.into()),
        Sender::Workload(name) => {
            let labels = serde_json::from_value(json!(mesh.pod(name).labels));
            Client::in_mesh(CARS.into(), labels.expect("labels"))
        }
    };
    simulate(view, &client, &predicted::request(ask), ask.port)
}

fn send(mesh: &Mesh, ask: &Ask) -> Result<Answer, String> {
    match &ask.from {
        Sender::Outside => mesh.send_to_gateway(&ask.call),
        Sender::Workload(name) => mesh.send_from_pod(name, &ask.call),
    }
}
