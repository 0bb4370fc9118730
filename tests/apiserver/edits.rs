//! Edits of objects that are already broken, and what surrounds a decision.

use serde_json::{Value, json};

use super::control_plane::{ControlPlane, FLUX, eventually};
use super::webhook::Webhook;
use super::{CARS, apply_examples, get};

/// An adapter's `VirtualService` whose second route leads to a subset that no rule defines.
fn broken() -> Value {
    let route = |lane: &str, subset: &str| {
        json!({"match": [{"headers": {"bu": {"exact": lane}}}],
            "route": [{"destination": {"host": "cars-rti-adapter", "port": {"number": 20885}, "subset": subset}}]})
    };
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cars-rti-adapter", "namespace": CARS},
        "spec": {"hosts": ["cars-rti-adapter"], "http": [
            route("wtchk", "cars-rti-adapter-wtchk"), route("wicph", "cars-rti-adapter-nowhere")]}})
}

/// Stores the broken object while the namespace has not opted in.
fn with_an_old_fault(plane: &ControlPlane) {
    apply_examples(plane, "cars").expect_success();
    plane
        .kubectl(&["label", "namespace", CARS, "lanekeeper.dev/enforcement-"])
        .expect_success();
    eventually("the object is stored while nobody looks", || {
        plane
            .kubectl_stdin(&["replace", "-f", "-"], &broken().to_string())
            .status
            .success()
            .then_some(())
    });
    plane
        .kubectl(&["label", "namespace", CARS, "lanekeeper.dev/enforcement=enforce"])
        .expect_success();
    eventually("the namespace is judged again", || {
        let output = plane.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"generateName": "probe-", "namespace": CARS},
            "spec": {"hosts": ["probe"], "http": [{"route": [{"destination": {"host": "cars-rti-adapter", "port": {"number": 1}}}]}]}
        }).to_string());
        output.stderr.contains("[LK105").then_some(())
    });
}

#[test]
fn an_old_fault_does_not_block_what_has_nothing_to_do_with_it() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    with_an_old_fault(&plane);

    let labelled = plane
        .kubectl(&[
            "label",
            "virtualservice",
            "cars-rti-adapter",
            "-n",
            CARS,
            "team=cars",
        ])
        .expect_success();
    assert!(
        labelled.stderr.contains("[LK103]"),
        "the old fault comes back as a warning:\n{labelled}"
    );

    let mut inserted = broken();
    let routes = inserted["spec"]["http"].as_array_mut().expect("routes");
    let mut first = routes.first().expect("a route").clone();
    first["match"][0]["uri"] = json!({"prefix": "/v2"});
    routes.insert(0, first);
    let output = plane
        .kubectl_stdin(&["apply", "-f", "-"], &inserted.to_string())
        .expect_success();
    assert!(output.stderr.contains("[LK103]"), "{output}");

    // A second fault of the same kind is new.
    let mut worse = inserted.clone();
    let routes = worse["spec"]["http"].as_array_mut().expect("routes");
    let mut last = routes.last().expect("a route").clone();
    last["match"][0]["uri"] = json!({"prefix": "/v3"});
    routes.push(last);
    let output = plane
        .kubectl_stdin(&["apply", "-f", "-"], &worse.to_string())
        .expect_failure();
    assert!(output.stderr.contains("[LK103"), "{output}");

    // What the decision rested on stands in the API server's own audit log.
    let decision = webhook.last_decision("validate", "cars-rti-adapter");
    let id = decision["decision"].as_str().expect("an id").to_owned();
    let line = plane.audit_line("the decision's id", |line| line.contains(&id));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let annotations = line["annotations"].as_object().expect("annotations");
    assert_eq!(annotations["enforce.lanekeeper.dev/decision"], id.as_str());
    assert_eq!(annotations["enforce.lanekeeper.dev/codes"], "LK103");
    assert_eq!(annotations["enforce.lanekeeper.dev/mode"], "enforce");
    assert!(annotations.contains_key("enforce.lanekeeper.dev/index-version"));
}

#[test]
fn an_allowed_code_passes_with_its_reason_in_the_decision_log() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    let mut allowed = broken();
    plane
        .kubectl_stdin(&["apply", "-f", "-"], &allowed.to_string())
        .expect_failure();
    allowed["metadata"]["annotations"] =
        json!({"lanekeeper.dev/allow": "LK103", "lanekeeper.dev/allow-reason": "the subset comes on Monday"});
    plane
        .kubectl_stdin(&["apply", "-f", "-"], &allowed.to_string())
        .expect_success();
    let decision = webhook.last_decision("validate", "cars-rti-adapter");
    assert_eq!(decision["allowReason"], "the subset comes on Monday");
}

#[test]
fn what_applies_sets_of_objects_is_warned_of_what_may_be_on_its_way() {
    let plane = ControlPlane::start();
    let _webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    plane
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "flux",
            "--clusterrole=cluster-admin",
            &format!("--user={FLUX}"),
        ])
        .expect_success();
    let flux = plane.user(FLUX, &[]);
    let by_flux = eventually("the binding is seen", || {
        let output = plane.kubectl_as(&flux, &["apply", "-f", "-"], Some(&broken().to_string()));
        output.status.success().then_some(output)
    });
    assert!(by_flux.stderr.contains("[LK103]"), "{by_flux}");
    // A near miss does not come right by waiting.
    let mut slip = broken();
    slip["spec"]["http"][1]["route"][0]["destination"]["subset"] = json!("cars-rti-adapter-wtcph");
    slip["spec"]["http"][1]["match"][0]["headers"]["bu"]["exact"] = json!("wicph");
    let by_flux = plane
        .kubectl_as(&flux, &["apply", "-f", "-"], Some(&slip.to_string()))
        .expect_failure();
    assert!(
        by_flux.stderr.contains("did you mean `cars-rti-adapter-wicph`?"),
        "{by_flux}"
    );
}

#[test]
fn a_lane_group_that_is_written_down_decides_what_a_lane_is() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    let group = |default: &str| {
        json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup", "metadata": {"name": "cars", "namespace": CARS},
            "spec": {"header": "bu", "entry": {"header": "buid", "gateways": ["cars"]},
                "workloads": {"matchLabels": {"app.kubernetes.io/part-of": "cars"}},
                "lanes": ["wtchk", "wicph"], "defaultLane": default}})
        .to_string()
    };
    let wrong = plane
        .kubectl_stdin(&["apply", "-f", "-"], &group("nowhere"))
        .expect_failure();
    assert!(wrong.stderr.contains("spec.defaultLane"), "{wrong}");
    plane
        .kubectl_stdin(&["apply", "-f", "-"], &group("wtchk"))
        .expect_success();
    let reference = lanekeeper::resource::ObjectRef::new(lanekeeper::resource::Kind::LaneGroup, CARS, "cars");
    webhook.world_until("the group is known", |world| world.get(&reference).is_some());
    let mut unknown = get(&plane, "virtualservice", "cars-rti-adapter");
    unknown["metadata"] = json!({"name": "cars-rti-adapter", "namespace": CARS});
    unknown["spec"]["http"][0]["match"] = json!([{"headers": {"bu": {"exact": "blue"}}}]);
    let output = plane
        .kubectl_stdin(&["apply", "-f", "-"], &unknown.to_string())
        .expect_failure();
    assert!(
        output.stderr.contains("[LK301") && output.stderr.contains("LaneGroup"),
        "{output}"
    );
}

/// A `VirtualService` of this name, with other fields in its spec.
fn named(name: &str, spec: &Value) -> Value {
    let mut object = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": CARS},
        "spec": {"http": [{"route": [{"destination": {"host": "cars-rti-adapter", "port": {"number": 20885}}}]}]}});
    match spec {
        Value::Object(fields) => object["spec"]
            .as_object_mut()
            .expect("a spec")
            .extend(fields.clone()),
        other => object["spec"] = other.clone(),
    }
    object
}

#[test]
fn only_routes_that_may_be_a_gateways_are_sent_to_be_completed() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    let asked = |name: &str, spec: &Value| {
        let object = named(name, spec).to_string();
        let output = plane.kubectl_stdin(
            &["create", "--dry-run=server", "--validate=false", "-f", "-"],
            &object,
        );
        let decisions = webhook
            .decisions()
            .into_iter()
            .filter(|decision| decision["name"] == name);
        let webhooks: Vec<String> = decisions
            .map(|decision| decision["webhook"].as_str().expect("a name").to_owned())
            .collect();
        (webhooks, output.stderr)
    };
    for (name, spec) in [
        ("mesh", json!({"hosts": ["mesh.example.com"]})),
        (
            "mesh-by-name",
            json!({"hosts": ["mesh.example.com"], "gateways": ["mesh"]}),
        ),
        (
            "of-no-gateway",
            json!({"hosts": ["mesh.example.com"], "gateways": []}),
        ),
    ] {
        assert_eq!(asked(name, &spec).0, ["validate"], "{name}");
    }
    for (name, spec) in [
        (
            "gateway",
            json!({"hosts": ["cars.example.com"], "gateways": ["mesh", "public"]}),
        ),
        ("delegate", json!({})),
        ("delegate-too", json!({"hosts": []})),
    ] {
        assert_eq!(asked(name, &spec).0, ["mutate", "validate"], "{name}");
    }
    // What has another shape is refused for that.
    for (name, spec) in [
        ("no-map", json!("a")),
        ("no-list", json!({"hosts": "mesh.example.com"})),
        (
            "no-gateways",
            json!({"hosts": ["mesh.example.com"], "gateways": "mesh"}),
        ),
        ("no-text", json!({"hosts": ["mesh.example.com"], "gateways": [1]})),
        ("null", json!({"hosts": null, "gateways": null})),
    ] {
        let (_, told) = asked(name, &spec);
        assert!(
            !told.contains("condition") && !told.contains("webhook"),
            "{name}: {told}"
        );
    }
}
