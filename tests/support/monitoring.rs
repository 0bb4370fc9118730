//! The alerts and the dashboard of `manifests/monitoring`, and promtool.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub struct Alert {
    pub name: String,
    pub expression: String,
    pub severity: String,
    pub annotations: BTreeMap<String, String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn manifest(file: &str) -> String {
    let path = root().join("manifests/monitoring").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The object with the alerts.
pub fn rules() -> Value {
    serde_saphyr::from_str(&manifest("rules.yaml")).expect("the rules are YAML")
}

pub fn alerts() -> Vec<Alert> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rules = rules();
    let groups = rules["spec"]["groups"].as_array().expect("groups of rules");
    let of_groups = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let alert = |rule: &Value| Alert {
        name: text(&rule["alert"]),
        expression: text(&rule["expr"]),
        severity: text(&rule["labels"]["severity"]),
        annotations: rule["annotations"]
            .as_object()
            .expect("annotations")
            .iter()
            .map(|(field, value)| (field.clone(), text(value)))
            .collect(),
    };
    of_groups.map(alert).collect()
}

/// Every query of the dashboard, as Prometheus gets it.
pub fn dashboard_queries() -> Vec<String> {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(query)) = fields.get("expr") {
                    queries.push(query.replace("$__rate_interval", "5m"));
                }
                fields.values().for_each(|value| collect(value, queries));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let dashboard = serde_json::from_str(&manifest("dashboard.json")).expect("the dashboard is JSON");
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    queries
}

/// The names of metrics in a text, Lanekeeper's and `up`.
pub fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("lanekeeper_") || *word == "up")
        .map(str::to_owned)
        .collect()
}

/// Runs promtool in a folder, and gives what it says; it has to be content.
#[track_caller]
pub fn promtool(folder: &Path, words: &[&str], input: &str) -> String {
    let found = Command::new(root().join("tests/monitoring/promtool.sh"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the script that finds promtool");
    assert!(found.status.success(), "there is no promtool, see above");
    let program = String::from_utf8(found.stdout).expect("a path");
    let mut child = Command::new(program.trim())
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {words:?}:\n{said}");
    said.into_owned()
}
