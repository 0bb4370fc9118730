//! The audit of what runs: what `serve` tells of it in metrics, Events, the log and the status of lane groups.
//!
//! No webhook is registered, so that everything is let through.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control_plane::{ControlPlane, eventually};
use crate::serving::{NAMESPACE, Serve, lease, plane, until};
use crate::{apply, run};

/// How soon something has to be found.
const SOON: Duration = Duration::from_secs(5);

const LOST: &str = r#"lanekeeper_findings{code="LK101",rule="subset-without-workload",level="deny",namespace="cars-aswatson-dev"} 1"#;

/// Relabels what carries lane `wicph` of the aggregator: `wicpj` is a slip, no lane of its own.
fn relabel(plane: &ControlPlane, lane: &str) {
    let patch = format!(r#"{{"spec":{{"template":{{"metadata":{{"labels":{{"version":"{lane}"}}}}}}}}}}"#);
    run(
        plane,
        &format!("patch deployment cars-aggregator-wicph -n {NAMESPACE} --type=merge -p {patch}"),
    );
}

/// The Events with this reason on the aggregator's `DestinationRule`.
fn events(plane: &ControlPlane, reason: &str) -> Vec<Value> {
    let selector =
        format!("involvedObject.name=cars-aggregator,involvedObject.kind=DestinationRule,reason={reason}");
    let events = run(
        plane,
        &format!("get events -n {NAMESPACE} --field-selector={selector} -o json"),
    );
    let events: Value = serde_json::from_str(&events).unwrap();
    events["items"].as_array().unwrap().clone()
}

/// The lines in the log of a serve about the aggregator's `DestinationRule`, as `new LK101`.
fn lines(serve: &Serve) -> Vec<String> {
    let lines = serve.lines("lanekeeper::audit").into_iter();
    let own = lines.filter(|line| line["kind"] == "DestinationRule" && line["name"] == "cars-aggregator");
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    own.map(|line| format!("{} {}", text(&line, "state"), text(&line, "code")))
        .collect()
}

/// Waits until `probe` holds, which has to be soon after `since`.
#[track_caller]
fn soon(what: &str, since: Instant, probe: impl Fn() -> bool) {
    eventually(what, || probe().then_some(()));
    assert!(since.elapsed() < SOON, "{what} took {:?}", since.elapsed());
}

/// Waits until a serve has judged everything.
fn has_judged(serve: &Serve) {
    eventually("the first pass is done", || {
        let metrics = serve.metrics();
        let mut lines = metrics.lines();
        let passes = lines.find_map(|line| line.strip_prefix("lanekeeper_audit_passes_total "))?;
        (passes != "0").then_some(())
    });
}

/// Waits until the serve that runs as `host` has judged everything, and leads.
fn has_begun(serve: &Serve, plane: &ControlPlane, host: &str) {
    has_judged(serve);
    eventually("it leads", || {
        lease(plane, "holderIdentity").starts_with(host).then_some(())
    });
}

/// What its dashboard answers.
fn shown(serve: &Serve, path: &str) -> Value {
    let answer = serve.dashboard(path);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_dashboard_shows_what_breaks_and_what_it_breaks() {
    let plane = plane();
    let listen = "--dashboard-listen=127.0.0.1:0";
    let serve = Serve::with(&plane, "one", &[listen]);
    has_judged(&serve);
    let broken = || shown(&serve, "/api/v1/groups")["groups"][0]["broken"].as_u64();
    let found = || {
        let found = shown(&serve, "/api/v1/findings?level=deny")["findings"].take();
        let codes = found.as_array().unwrap().iter();
        codes
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((broken(), found()), (Some(0), vec![]));
    let since = Instant::now();
    relabel(&plane, "wicpj");
    soon("the finding is shown", since, || {
        found().contains(&"LK101".to_owned())
    });
    soon("the cells are broken", since, || broken() > Some(0));
    let page = serve.dashboard("/");
    for part in [
        "DestinationRule cars-aswatson-dev/cars-aggregator",
        "LK101",
        "mark deny",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    relabel(&plane, "wicph");
    eventually("all is well again", || {
        (broken() == Some(0) && found().is_empty()).then_some(())
    });

    let unaudited = Serve::with(&plane, "two", &[listen, "--no-audit"]);
    eventually("it has read everything", || {
        let groups = shown(&unaudited, "/api/v1/groups");
        (groups["groups"][0]["broken"] == 0).then_some(())
    });
    let answer = unaudited.dashboard("/api/v1/findings");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("--no-audit"),
        "{answer}"
    );
    assert!(unaudited.dashboard("/").contains("What runs is not judged here"));
}

#[test]
fn what_breaks_is_told_at_once_and_once_and_again_when_it_is_mended() {
    let plane = plane();
    let serve = Serve::start(&plane, "one");
    has_begun(&serve, &plane, "one");
    assert!(
        !serve.metrics().contains("lanekeeper_findings{"),
        "{}",
        serve.metrics()
    );
    until(&plane, "RulesHold", "True", "NothingFound");

    let since = Instant::now();
    relabel(&plane, "wicpj");
    soon("the metric", since, || serve.metrics().contains(LOST));
    soon("the line", since, || {
        lines(&serve).contains(&"new LK101".to_owned())
    });
    soon("the Event", since, || !events(&plane, "LK101").is_empty());
    let event = &events(&plane, "LK101")[0];
    assert_eq!(
        (&event["type"], &event["reportingComponent"]),
        (&"Warning".into(), &"lanekeeper".into())
    );
    let note = event["message"].as_str().unwrap();
    assert!(
        note.starts_with(
            "subset-without-workload spec.subsets[1].labels.version: subset `cars-aggregator-wicph`"
        ),
        "{note}"
    );
    let described = run(
        &plane,
        &format!("describe destinationrule cars-aggregator -n {NAMESPACE}"),
    );
    assert!(
        described.contains("Warning  LK101") && described.contains("subset-without-workload"),
        "{described}"
    );
    let status = until(&plane, "RulesHold", "False", "RuleBroken");
    assert!(
        status["status"]
            .to_string()
            .contains("LK101 DestinationRule cars-aggregator"),
        "{status:#}"
    );

    let since = Instant::now();
    relabel(&plane, "wicph");
    soon("the metric goes", since, || {
        !serve.metrics().contains("lanekeeper_findings{")
    });
    soon("the line", since, || {
        lines(&serve).contains(&"resolved LK101".to_owned())
    });
    soon("the Event", since, || !events(&plane, "LK101Resolved").is_empty());
    assert_eq!(events(&plane, "LK101Resolved")[0]["type"], "Normal");
    until(&plane, "RulesHold", "True", "NothingFound");
    assert_eq!(lines(&serve), ["new LK101", "resolved LK101"]);
}

#[test]
fn a_restart_tells_nothing_again_and_what_was_mended_meanwhile_is_resolved() {
    let plane = plane();
    let first = Serve::start(&plane, "one");
    has_begun(&first, &plane, "one");
    relabel(&plane, "wicpj");
    eventually("the Event", || {
        (!events(&plane, "LK101").is_empty()).then_some(())
    });
    first.stop();

    let second = Serve::start(&plane, "two");
    has_begun(&second, &plane, "two");
    assert!(second.metrics().contains(LOST), "{}", second.metrics());
    std::thread::sleep(SOON);
    assert_eq!(events(&plane, "LK101").len(), 1, "it was told");
    assert_eq!(lines(&second), [""; 0]);
    second.stop();

    relabel(&plane, "wicph");
    let third = Serve::start(&plane, "three");
    has_begun(&third, &plane, "three");
    eventually("it is resolved", || {
        (!events(&plane, "LK101Resolved").is_empty()).then_some(())
    });
    assert_eq!(lines(&third), ["resolved LK101"]);
    assert_eq!(events(&plane, "LK101").len(), 1);
}

#[test]
fn of_two_replicas_one_tells_and_both_count() {
    let plane = plane();
    let one = Serve::start(&plane, "one");
    has_begun(&one, &plane, "one");
    let two = Serve::start(&plane, "two");
    has_judged(&two);
    let since = Instant::now();
    relabel(&plane, "wicpj");
    for serve in [&one, &two] {
        soon("the metric", since, || serve.metrics().contains(LOST));
    }
    soon("the Event", since, || !events(&plane, "LK101").is_empty());
    std::thread::sleep(SOON);
    assert_eq!(events(&plane, "LK101").len(), 1);
    assert_eq!((lines(&one).len(), lines(&two).len()), (1, 0));

    // The one that leads ends without a word; the other one tells what comes then, and nothing again.
    drop(one);
    eventually("the other one leads", || {
        lease(&plane, "holderIdentity").starts_with("two").then_some(())
    });
    relabel(&plane, "wicph");
    eventually("it is resolved", || {
        (!events(&plane, "LK101Resolved").is_empty()).then_some(())
    });
    assert_eq!(
        (lines(&two), events(&plane, "LK101").len()),
        (vec!["resolved LK101".to_owned()], 1)
    );
}

#[test]
fn what_two_clients_break_together_is_found_in_whichever_order_they_come() {
    let plane = plane();
    run(&plane, "create namespace shop");
    run(&plane, "label namespace shop lanekeeper.dev/enforcement=enforce");
    let serve = Serve::with(&plane, "one", &["--no-status"]);
    let rule = |subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{namespace: shop, name: cart}}
spec: {{host: cart, subsets: [{{name: {subset}, labels: {{version: green}}}}]}}
"
        )
    };
    let routes = |subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{namespace: shop, name: cart}}
spec: {{hosts: [cart], http: [{{route: [{{destination: {{host: cart{subset}}}}}]}}]}}
"
        )
    };
    apply(
        &plane,
        "apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, version: green}}
    spec: {containers: [{name: app, image: app}]}
",
    );
    let found = || {
        serve.metrics().contains(
            r#"lanekeeper_findings{code="LK103",rule="unknown-subset",level="deny",namespace="shop"} 1"#,
        )
    };
    for is_rule_first in [true, false] {
        // Each change is right by itself: the subset has no route yet, and the route a subset.
        apply(&plane, &rule("cart-green"));
        apply(&plane, &routes(""));
        eventually("nothing is wrong", || {
            (!serve.metrics().contains(r#"code="LK103""#)).then_some(())
        });
        let (new_rule, new_routes) = (rule("cart-greens"), routes(", subset: cart-green"));
        let (first, second) = if is_rule_first {
            (&new_rule, &new_routes)
        } else {
            (&new_routes, &new_rule)
        };
        let since = std::thread::scope(|scope| {
            let first = scope.spawn(|| apply(&plane, first));
            let second = scope.spawn(|| apply(&plane, second));
            first.join().unwrap();
            second.join().unwrap();
            Instant::now()
        });
        soon("both together are found", since, found);
    }
}
