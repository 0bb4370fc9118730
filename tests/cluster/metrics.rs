//! The metrics of a `serve` on a cluster: well formed, and all that alerts, dashboard and pages ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::control_plane::eventually;
use crate::monitoring::{alerts, dashboard_queries, metrics_in, promtool};
use crate::run;
use crate::serving::{NAMESPACE, Serve, example, plane};

/// What Prometheus and the kubelet add, or have themselves.
const OF_TARGETS: [&str; 7] = [
    "cluster",
    "pod",
    "job",
    "namespace",
    "container",
    "le",
    "instance",
];

/// What is there only while a finding waits to count.
const AT_TIMES: &str = "lanekeeper_findings_waiting";

/// The label names of each metric on a page.
fn labels_of(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("lanekeeper_")) {
        let end = line.find(['{', ' ']).unwrap();
        let names = of.entry(line[..end].to_owned()).or_default();
        if let Some((labels, _)) = line[end..]
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
        {
            let labels = labels.split("\",").filter_map(|label| label.split_once('='));
            names.extend(labels.map(|(name, _)| name.to_owned()));
        }
    }
    of
}

/// The label names in a query: of matchers and of `by`.
fn labels_in(query: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (open, close) in [('{', '}'), ('(', ')')] {
        for (at, _) in query.match_indices(open) {
            let inside = &query[at + 1..];
            let inside = &inside[..inside.find(close).unwrap()];
            if open == '(' && !query[..at].ends_with("by ") {
                continue;
            }
            let names_inside = inside
                .split(',')
                .map(|part| part.split(['=', '!', '~']).next().unwrap().trim());
            names.extend(names_inside.map(str::to_owned));
        }
    }
    names
}

#[test]
fn what_alerts_and_dashboard_ask_for_is_there() {
    let plane = plane();
    run(
        &plane,
        &format!("label namespace {NAMESPACE} lanekeeper.dev/enforcement=enforce --overwrite"),
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lanekeeper.yaml");
    fs::write(&config, "").unwrap();
    let serve = Serve::with(&plane, "one", &["--config", config.to_str().unwrap()]);
    let has = |what: &str, text: &str| {
        eventually(what, || serve.metrics().contains(text).then_some(()));
    };
    has("it leads", "lanekeeper_leader 1\n");

    // Something has to be wrong: in what runs, and in what is asked.
    let lost = "{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"version\":\"wicpj\"}}}}}";
    run(
        &plane,
        &format!("patch deployment cars-aggregator-wicph -n {NAMESPACE} --type=merge -p {lost}"),
    );
    has("a finding", "lanekeeper_findings{");
    let denied = serve.submit(&example("cars-broken/subset-name-typo.yaml"));
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    has(
        "the denial is confirmed",
        "lanekeeper_confirmations_total{outcome=\"upheld\"} 1\n",
    );

    let answer = serve.metrics();
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    let said = promtool(folder.path(), &["check", "metrics"], page);
    assert_eq!(said, "", "promtool has something to say");

    let known = labels_of(page);
    let queries = alerts()
        .into_iter()
        .map(|alert| alert.expression)
        .chain(dashboard_queries());
    let mut asked = BTreeSet::new();
    for query in queries {
        let metrics = metrics_in(&query);
        let mut labels: BTreeSet<&str> = OF_TARGETS.into();
        for metric in metrics.iter().filter(|metric| *metric != "up") {
            let of = known.get(metric);
            let of = of.unwrap_or_else(|| panic!("`{query}` asks for {metric}, which is not in:\n{page}"));
            labels.extend(of.iter().map(String::as_str));
            asked.insert(metric.clone());
        }
        for label in labels_in(&query) {
            assert!(
                labels.contains(label.as_str()),
                "`{query}` asks for the label {label}"
            );
        }
    }
    // What is counted is shown.
    let base = |name: &String| {
        let parts = ["_bucket", "_count", "_sum"];
        parts
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name)
            .to_owned()
    };
    let (mut known, asked): (BTreeSet<_>, BTreeSet<_>) =
        (known.keys().map(base).collect(), asked.iter().map(base).collect());
    known.remove(AT_TIMES);
    assert_eq!(known, asked);

    known.insert(AT_TIMES.to_owned());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for page in ["operations.md", "configuration.md", "architecture.md"] {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        for metric in metrics_in(&text).iter().filter(|metric| *metric != "up") {
            assert!(known.contains(&base(metric)), "docs/{page} names {metric}");
        }
    }
}
