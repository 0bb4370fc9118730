//! What the reader of files refuses, the API server refuses, and the other way round.

use std::fs;

use lanekeeper::files;
use lanekeeper::resource::lane_group_rules;

use super::control_plane::ControlPlane;
use super::field_cases::field_cases;
use super::webhook::root;

/// What the reader says of a document, one line each.
fn read(document: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.yaml");
    fs::write(&path, document).expect("the folder can be written");
    let files = files::load(&[path], None);
    let problems = files.errors();
    problems.map(|problem| problem.message.clone()).collect()
}

/// Whether the API server's refusal is of what the message is about: both name the field, or its mapping where Go's
/// decoder names no more, or neither finds such a kind.
fn tells(stderr: &str, message: &str) -> bool {
    let (path, text) = message.split_once(": ").expect("a path");
    if ["apiVersion", "kind"].contains(&path) {
        return ["no matches for kind", "no kind", "not set", "is missing"]
            .iter()
            .any(|told| stderr.contains(told));
    }
    let missing = text
        .strip_prefix("the field `")
        .and_then(|rest| rest.split('`').next());
    let last = missing.or_else(|| path.rsplit('.').next());
    let above = path
        .rsplit('.')
        .nth(1)
        .filter(|above| !["spec", "metadata"].contains(above));
    let names = |segment: &str| stderr.contains(segment.split('[').next().unwrap_or(segment));
    last.is_some_and(names) || above.is_some_and(names)
}

#[test]
fn what_is_refused_in_files_is_refused_by_kubectl_apply_and_nothing_else() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    plane.install_crds(&root().join("manifests/base/crd.yaml"));
    let refused = field_cases("refused.yaml")
        .into_iter()
        .map(|document| (document, false));
    let accepted = field_cases("accepted.yaml")
        .into_iter()
        .map(|document| (document, true));
    let mut differences = Vec::new();
    for (document, is_accepted) in refused.chain(accepted) {
        let verb = if document.contains("generateName") {
            "create"
        } else {
            "apply"
        };
        let output = plane.kubectl_stdin(&[verb, "--dry-run=server", "-f", "-"], &document);
        let said = read(&document);
        let is_same = output.status.success() == is_accepted && said.is_empty() == is_accepted;
        // The definition's own rules say the same in the same words.
        let rules = lane_group_rules();
        let mut broken = rules
            .iter()
            .filter(|rule| said.iter().any(|message| message.contains(rule.message)));
        let in_the_same_words = broken.all(|rule| output.stderr.contains(rule.message));
        if !is_same || !in_the_same_words || !said.iter().all(|message| tells(&output.stderr, message)) {
            differences.push(format!(
                "{document}the API server: {output}\nthe reader: {said:#?}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
