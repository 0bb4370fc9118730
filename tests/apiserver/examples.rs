//! `examples/cars` and `examples/cars-broken` by every way to apply an object.

use serde_json::Value;

use super::control_plane::{ControlPlane, KubectlOutput};
use super::webhook::Webhook;
use super::{CARS, apply_examples, example_files, get};

/// What the first line of a broken example promises.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Refused(Vec<String>),
    Warned(Vec<String>),
    Rewritten,
}

fn outcome_of(text: &str) -> Outcome {
    let line = text
        .lines()
        .next()
        .expect("a first line")
        .trim_start_matches('#')
        .trim();
    let (what, rest) = line.split_once(':').unwrap_or((line, ""));
    let codes = || {
        let words = rest.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .filter(|word| word.starts_with("LK"))
            .map(ToOwned::to_owned)
            .collect()
    };
    match what.trim() {
        "refused" => Outcome::Refused(codes()),
        "warned" => Outcome::Warned(codes()),
        "rewritten" => Outcome::Rewritten,
        other => panic!("`{other}` is no outcome"),
    }
}

/// `[LK103 …` or `[LK103]` in what kubectl prints.
fn tells(output: &KubectlOutput, code: &str) -> bool {
    output.stderr.contains(&format!("[{code}"))
}

fn check(name: &str, way: &str, output: &KubectlOutput, expected: &Outcome) {
    match expected {
        Outcome::Refused(codes) => {
            assert!(
                !output.status.success(),
                "{name} by {way} was let through:\n{output}"
            );
            assert!(
                output.stderr.contains("denied the request"),
                "{name} by {way}:\n{output}"
            );
            for code in codes {
                assert!(
                    tells(output, code),
                    "{name} by {way} does not tell {code}:\n{output}"
                );
            }
        }
        Outcome::Warned(codes) => {
            assert!(output.status.success(), "{name} by {way} was refused:\n{output}");
            for code in codes {
                assert!(
                    tells(output, code),
                    "{name} by {way} does not tell {code}:\n{output}"
                );
            }
        }
        Outcome::Rewritten => {
            assert!(output.status.success(), "{name} by {way} was refused:\n{output}");
            assert!(
                output.stderr.contains("added spec.http["),
                "{name} by {way} was not rewritten:\n{output}"
            );
        }
    }
}

/// The object of cars that a broken example replaces.
fn original_of(broken: &str) -> String {
    let identity = |document: &str| {
        let line = |start: &str| {
            document
                .lines()
                .find(|line| line.starts_with(start))
                .map(str::to_owned)
        };
        (line("kind: "), line("  name: "))
    };
    let wanted = identity(broken);
    let files = example_files("cars");
    let documents = files.iter().flat_map(|(_, text)| text.split("---\n"));
    let mut originals = documents.filter(|document| identity(document) == wanted);
    originals
        .next()
        .unwrap_or_else(|| panic!("cars has nothing like {wanted:?}"))
        .to_owned()
}

#[test]
fn each_broken_example_comes_out_as_it_says_by_every_way_to_apply_it() {
    let plane = ControlPlane::start();
    let _webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    // Only what an example has replaced: all of cars takes seconds, hundreds of times.
    let restore = |text: &str| {
        let restored = plane
            .kubectl_stdin(&["apply", "-f", "-"], &original_of(text))
            .expect_success();
        assert!(
            !restored.stderr.contains("[LK"),
            "the good examples are warned of:\n{restored}"
        );
    };

    let files = example_files("cars-broken");
    assert!(files.len() >= 8, "only {} broken examples", files.len());
    for (name, text) in files {
        let expected = outcome_of(&text);
        let ways: [(&str, &[&str]); 3] = [
            ("apply", &["apply", "-f", "-"]),
            (
                "apply --server-side",
                &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            ),
            ("replace", &["replace", "-f", "-"]),
        ];
        for (way, args) in ways {
            if way == "apply --server-side" {
                // What another manager owns would stay: the fields have to be this one's first.
                plane
                    .kubectl_stdin(
                        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
                        &original_of(&text),
                    )
                    .expect_success();
            }
            let output = plane.kubectl_stdin(args, &text);
            check(&name, way, &output, &expected);
            if output.status.success() {
                restore(&text);
            }
        }
        // A dry run is only warned of what is missing; what is contradicted it is refused for, too.
        let output = plane.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &text);
        match &expected {
            Outcome::Refused(codes) => {
                for code in codes {
                    assert!(
                        tells(&output, code),
                        "{name} by dry run does not tell {code}:\n{output}"
                    );
                }
            }
            other => check(&name, "dry run", &output, other),
        }
        // Istio serves one object in several versions.
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let lines = text.lines().map(|line| {
                if line.starts_with("apiVersion: networking.istio.io/") {
                    format!("apiVersion: networking.istio.io/{version}\n")
                } else {
                    format!("{line}\n")
                }
            });
            let in_version: String = lines.collect();
            if in_version.contains("networking.istio.io/") {
                let output = plane.kubectl_stdin(&["apply", "-f", "-"], &in_version);
                check(&name, version, &output, &expected);
                if output.status.success() {
                    restore(&text);
                }
            }
        }
    }
}

#[test]
fn a_gateway_route_is_stored_with_the_lane_header_and_a_second_apply_changes_nothing() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    apply_examples(&plane, "cars").expect_success();
    let files = example_files("cars-broken");
    let rewritten: Vec<_> = files
        .iter()
        .filter(|(_, text)| outcome_of(text) == Outcome::Rewritten)
        .collect();
    assert!(!rewritten.is_empty(), "no example is rewritten");
    for (name, text) in rewritten {
        let object: Value = serde_saphyr::from_str(text).expect("YAML");
        let object_name = object["metadata"]["name"].as_str().expect("a name");
        plane
            .kubectl(&["delete", "virtualservice", object_name, "-n", CARS])
            .expect_success();
        plane.kubectl_stdin(&["apply", "-f", "-"], text).expect_success();
        let stored = get(&plane, "virtualservice", object_name);
        let routes = stored["spec"]["http"].as_array().expect("routes");
        let lane_of = |value: &str| {
            let of_value = routes
                .iter()
                .find(|route| route["match"][0]["headers"]["buid"]["exact"] == value);
            of_value.map(|route| route["headers"]["request"]["set"]["bu"].clone())
        };
        if let Some(lane) = lane_of("wicph") {
            assert!(lane == "wicph" || lane == "%REQ(buid)%", "{name}: {stored:#}");
        }
        let annotations = webhook.last_decision("mutate", object_name);
        assert!(annotations["patch"].is_array(), "{annotations:#}");

        let version = &stored["metadata"]["resourceVersion"];
        plane.kubectl_stdin(&["apply", "-f", "-"], text).expect_success();
        let again = get(&plane, "virtualservice", object_name);
        assert_eq!(
            &again["metadata"]["resourceVersion"], version,
            "{name} changed by a second apply"
        );
        assert_eq!(
            again["metadata"]["generation"], stored["metadata"]["generation"],
            "{name}"
        );
    }
}

/// How often the examples are applied and deleted; more by the environment variable `LANEKEEPER_ROUNDS`.
const ROUNDS: usize = 50;

#[test]
fn rounds_of_apply_and_delete_are_never_refused_for_what_the_cache_has_not_seen_yet() {
    let plane = ControlPlane::start();
    let webhook = Webhook::start(&plane);
    let rounds = std::env::var("LANEKEEPER_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let files = example_files("cars");
    let is_namespace = |text: &str| text.contains("\nkind: Namespace") || text.starts_with("kind: Namespace");
    let (namespace, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, text)| is_namespace(text));
    for (_, text) in &namespace {
        plane.kubectl_stdin(&["apply", "-f", "-"], text).expect_success();
    }
    let all = others
        .iter()
        .map(|(_, text)| text.as_str())
        .collect::<Vec<_>>()
        .join("\n---\n");
    for round in 0..rounds {
        let applied = plane.kubectl_stdin(&["apply", "-f", "-"], &all);
        assert!(applied.status.success(), "round {round}:\n{applied}");
        let deleted = plane.kubectl_stdin(&["delete", "--wait=false", "-f", "-"], &all);
        assert!(deleted.status.success(), "round {round}:\n{deleted}");
    }
    let denied = webhook
        .decisions()
        .iter()
        .filter(|decision| decision["allowed"] == false)
        .count();
    assert_eq!(denied, 0);
}
