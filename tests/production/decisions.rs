//! Every decision once: what the API server was given, against what the replicas have written down.
//!
//! The API server keeps the id of a decision as an annotation of the request's line in its audit log. A call is never
//! sent twice by it once a replica may have taken it (Go sends a POST again only if the connection has taken nothing of
//! it), so each id is there once, in one decision log, and no uid has two decisions.
//!
//! It may ask twice for one request, with another uid: an update is tried on the object that its cache has, and again
//! if another one is stored. The annotation then stays that of the first decision, and its own log has the second.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::asking::ASKED;
use crate::control_plane::eventually;
use crate::site::Site;

/// A time in RFC 3339, in UTC, as both logs have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Asserts it of all that has been decided since the site was started. What was decided while the API server was
/// `away` may be missing from its audit log: it died before it wrote that.
pub(crate) fn assert_each_once(site: &Site, away: &[(String, String)]) {
    let mut difference = String::new();
    let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // A line of the audit log is written after the answer.
        eventually("the logs agree", || {
            difference = compare(site, away);
            difference.is_empty().then_some(())
        });
    }));
    assert!(settled.is_ok(), "{difference}");
}

/// What is different, if anything.
fn compare(site: &Site, away: &[(String, String)]) -> String {
    let mut told = Told::default();
    let audit = fs::read_to_string(site.plane.audit_log_path()).unwrap();
    // The last line may be half written.
    for line in audit.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        told.read(line);
    }
    for line in site.plane.api_server_logs().lines() {
        told.read_again(line);
    }
    let decisions = site.decisions();
    let mut made: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut uids: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut wrong = told.failed_open.clone();
    for decision in &decisions {
        let text = |field: &str| decision[field].as_str().unwrap_or_default();
        if text("uid") == ASKED {
            continue;
        }
        if made.insert(text("decision"), decision).is_some() {
            wrong.push(format!("logged twice: {decision}"));
        }
        if uids.insert(text("uid"), decision).is_some() {
            wrong.push(format!("decided twice: {decision}"));
        }
        let is_told = told.times.contains_key(text("decision"));
        let time = text("time");
        let excused = away
            .iter()
            .any(|(from, to)| from.as_str() <= time && time <= to.as_str());
        if !is_told && !excused {
            wrong.push(format!("logged, but not in the audit log: {decision}"));
        }
    }
    for (id, count) in &told.times {
        if *count > 1 {
            wrong.push(format!("{count} times in the audit log: {id}"));
        }
        if !made.contains_key(id.as_str()) {
            wrong.push(format!("in the audit log, but not logged: {id}"));
        }
    }
    if wrong.is_empty() {
        return String::new();
    }
    format!(
        "{} decisions told of, {} logged, {} wrong:\n{}",
        told.times.len(),
        decisions.len(),
        wrong.len(),
        wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    )
}

/// What the API server was told.
#[derive(Default)]
struct Told {
    /// How often each decision's id is there.
    times: BTreeMap<String, usize>,
    /// Calls that failed where a failure lets the change pass.
    failed_open: Vec<String>,
}

impl Told {
    fn read(&mut self, line: &str) {
        // Most lines are of watches and lists, and have none.
        if !line.contains("lanekeeper.dev") {
            return;
        }
        let event: Value = serde_json::from_str(line).unwrap();
        for (key, value) in event["annotations"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            if key.ends_with(".lanekeeper.dev/decision") {
                *self.times.entry(value.to_owned()).or_default() += 1;
            } else if key.starts_with("failed-open.") {
                self.failed_open.push(format!("passed without an answer: {line}"));
            }
        }
    }

    /// Reads a line of the API server's own log, which tells of an annotation that there is already: `Failed to set
    /// annotations["enforce.lanekeeper.dev/decision"] to "18c-1f" for audit:…`.
    fn read_again(&mut self, line: &str) {
        let again = line
            .split_once(".lanekeeper.dev/decision\"] to \"")
            .and_then(|(_, rest)| rest.split_once('"'));
        if let Some((id, _)) = again {
            *self.times.entry(id.to_owned()).or_default() += 1;
        }
    }
}

/// How many decisions the replicas have logged.
pub(crate) fn count(site: &Site) -> usize {
    site.decisions().len()
}
