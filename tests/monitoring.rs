//! Alerts and dashboard: what makes the alerts fire, that each query can be read, and that `docs/operations.md` says the same.
//!
//! `tests/cluster/metrics.rs` holds the queries against the metrics of a running `serve`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/monitoring.rs"]
mod monitoring;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use monitoring::{alerts, dashboard_queries, metrics_in, promtool, rules};
use serde_json::json;

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let of_tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitoring/alerts.yaml");
    let tests = fs::read_to_string(of_tests).expect("the tests of the alerts");
    for alert in alerts() {
        assert!(
            tests.contains(&format!(
                "alertname=\"{}\",alertstate=\"firing\",severity",
                alert.name
            )) || tests.contains(&format!("alertname: {}\n", alert.name)),
            "tests/monitoring/alerts.yaml never sees {} fire",
            alert.name
        );
    }
    fs::write(folder.path().join("rules.yaml"), rules()["spec"].to_string()).expect("the rules");
    fs::write(folder.path().join("alerts.yaml"), tests).expect("their tests");
    promtool(
        folder.path(),
        &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"],
        "",
    );
    promtool(folder.path(), &["test", "rules", "alerts.yaml"], "");
}

/// Prometheus takes a Service's name for the job unless it is told otherwise, and a Helm release gives it another one.
#[test]
fn the_job_of_the_alerts_is_that_of_a_service_of_any_name() {
    let manifest = |file: &str| -> serde_json::Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(file);
        serde_saphyr::from_str(&fs::read_to_string(path).expect("a manifest")).expect("YAML")
    };
    let monitor = manifest("monitoring/service-monitor.yaml");
    let label = monitor["spec"]["jobLabel"].as_str().expect("a label for the job");
    let service = manifest("base/service.yaml");
    assert_eq!(service["metadata"]["labels"][label], "lanekeeper");
    assert_eq!(monitor["spec"]["selector"]["matchLabels"][label], "lanekeeper");
}

#[test]
fn each_query_of_the_dashboard_can_be_read() {
    let queries = dashboard_queries();
    assert!(queries.len() > 20, "{} queries", queries.len());
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(at, query)| json!({"record": format!("query:{at}"), "expr": query}))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let text = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(folder.path().join("queries.yaml"), text).expect("the queries");
    promtool(
        folder.path(),
        &["check", "rules", "--lint=none", "queries.yaml"],
        "",
    );
}

#[test]
fn the_page_for_operators_has_every_alert_with_its_metrics() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, table) = page
        .split_once("| alert | metric |")
        .expect("the table of alerts");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let rows = table.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), metrics_in(cells[2]))
    });
    let told: BTreeMap<String, BTreeSet<String>> = rows.collect();
    let rules = alerts()
        .into_iter()
        .map(|alert| (alert.name, metrics_in(&alert.expression)));
    assert_eq!(told, rules.collect());
}

#[test]
fn each_alert_says_what_is_wrong_and_where_to_read_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for alert in alerts() {
        for field in ["summary", "description", "runbook_url"] {
            assert!(
                alert.annotations.contains_key(field),
                "{} has no {field}",
                alert.name
            );
        }
        assert!(
            ["critical", "warning"].contains(&alert.severity.as_str()),
            "{}",
            alert.name
        );
        let (_, link) = alert.annotations["runbook_url"]
            .split_once("/blob/main/")
            .expect("a link into the repository");
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let page = fs::read_to_string(root.join(file.replace("{{ $labels.code }}", "LK101")))
            .unwrap_or_else(|error| panic!("{}: {file}: {error}", alert.name));
        let is_linked = |line: &str| {
            let anchor = line.trim_start_matches('#').trim().to_lowercase();
            line.starts_with('#') && anchor.replace(' ', "-").replace(',', "") == heading
        };
        assert!(
            heading.is_empty() || page.lines().any(is_linked),
            "{}: {file} has no heading #{heading}",
            alert.name
        );
    }
}
