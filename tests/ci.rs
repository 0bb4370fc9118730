//! What `docs/ci.md` tells people to write for pre-commit, GitHub and GitLab does what it says: its commands are run, as
//! they stand there and in `.pre-commit-hooks.yaml` and `action.yml`. Only the builds are left out.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use lanekeeper::yaml::documents;
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;

use command::{Run, folder, run};

const PORTAL: &str = "k8s/50-cars-api-portal.yaml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn decoded(text: &str) -> Value {
    let documents = documents(text);
    let node = documents.first().expect("a document").decode();
    Value::deserialize(&node.expect("it is YAML")).expect("it is like JSON")
}

fn file(name: &str) -> Value {
    decoded(&fs::read_to_string(root().join(name)).expect("the file"))
}

/// The block of the page that begins with this line.
fn block(first: &str) -> Value {
    let page = fs::read_to_string(root().join("docs/ci.md")).expect("the page");
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.starts_with(first));
    let block = block.and_then(|block| block.split("```").next());
    decoded(block.unwrap_or_else(|| panic!("no block begins with {first}")))
}

fn words(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    let text = |item: &Value| item.as_str().expect("a text").to_owned();
    items.map(text).collect()
}

/// A repository of a team with the cars in `k8s`, whose main branch is `origin/main`; the program is in `bin`.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let folder = folder(&[]);
        for name in ["k8s", "bin", ".lanekeeper"] {
            fs::create_dir(folder.path().join(name)).expect("the folder can be written");
        }
        for entry in fs::read_dir(root().join("examples/cars")).expect("the examples") {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_name().expect("a file");
            fs::copy(&path, folder.path().join("k8s").join(name)).expect("the folder can be written");
        }
        let program = folder.path().join("bin/lanekeeper");
        symlink(env!("CARGO_BIN_EXE_lanekeeper"), program).expect("a link can be made");
        symlink("../bin", folder.path().join(".lanekeeper/bin")).expect("a link can be made");
        let repository = Self(folder);
        let commit = "git init -q && git add k8s && git -c user.name=a -c user.email=a@b commit -qm one \
                      && git update-ref refs/remotes/origin/main HEAD";
        repository.bash(commit, &[]).ends_with(0);
        repository
    }

    fn break_portal(&self) {
        let path = self.0.path().join(PORTAL);
        let text = fs::read_to_string(&path).expect("the portal");
        let broken = text.replace("subset: cars-api-portal-wicph", "subset: cars-api-portal-wtcph");
        assert_ne!(text, broken);
        fs::write(path, broken).expect("the folder can be written");
    }

    /// Runs a script as GitHub and GitLab do.
    fn bash(&self, script: &str, variables: &[(&str, &str)]) -> Run {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").expect("a PATH");
        let bin = self.0.path().join("bin");
        run(command
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .env("PATH", format!("{}:{path}", bin.display()))
            .envs(variables.iter().copied())
            .current_dir(self.0.path()))
    }
}

/// What pre-commit runs for a hook of the page: its entry, and the arguments that the page gives it.
fn hook(id: &str) -> String {
    let of_id = |list: &Value| -> Value {
        let mut items = list.as_array().expect("a list").iter();
        items.find(|item| item["id"] == id).expect("the hook").clone()
    };
    let defined = of_id(&file(".pre-commit-hooks.yaml"));
    assert_eq!(defined["pass_filenames"], false);
    let used = of_id(&block("# .pre-commit-config.yaml")["repos"][0]["hooks"]);
    let entry = defined["entry"].as_str().expect("an entry");
    format!("{entry} {}", words(&used["args"]).join(" "))
}

#[test]
fn the_hook_that_checks_stops_a_commit_that_breaks_a_lane() {
    let repository = Repository::new();
    repository.bash(&hook("lanekeeper-check"), &[]).ends_with(0);
    repository.break_portal();
    let run = repository.bash(&hook("lanekeeper-check"), &[]);
    run.ends_with(1).prints("LK103");
}

#[test]
fn the_hook_that_fixes_writes_what_the_webhook_would_set() {
    let repository = Repository::new();
    let path = repository.0.path().join("k8s/entry.yaml");
    let broken = root().join("examples/cars-broken/rewrite-missing.yaml");
    fs::copy(broken, &path).expect("the folder can be written");
    let before = fs::read_to_string(&path).expect("the file");
    repository
        .bash(&hook("lanekeeper-fix"), &[])
        .ends_with(0)
        .prints("fixed");
    assert_ne!(fs::read_to_string(&path).expect("the file"), before);
    repository.bash(&hook("lanekeeper-check"), &[]).ends_with(0);
}

#[test]
fn the_github_action_annotates_what_the_change_makes_wrong() {
    let used = block("# .github/workflows/lanes.yaml");
    let steps = used["jobs"]["lanes"]["steps"].as_array().expect("steps").clone();
    let with = &steps.last().expect("a step")["with"];
    let defined = file("action.yml");
    let steps = defined["runs"]["steps"].as_array().expect("steps").clone();
    let check = steps.last().expect("a step");
    let repository = Repository::new();
    let root = repository.0.path().display().to_string();
    let variable = |name: &str| -> String {
        let value = check["env"][name].as_str().expect("a variable");
        let input = value
            .strip_prefix("${{ inputs.")
            .and_then(|rest| rest.strip_suffix(" }}"));
        let input = input.expect("it is an input");
        assert!(!defined["inputs"][input].is_null(), "no input {input}");
        let given = with[input].as_str().expect("the page gives it");
        given.replace("${{ github.base_ref }}", "main")
    };
    let variables = [("PATHS", variable("PATHS")), ("ARGUMENTS", variable("ARGUMENTS"))];
    let mut variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    variables.push(("ROOT", &root));
    let script = check["run"].as_str().expect("a script");
    repository.bash(script, &variables).ends_with(0);
    repository.break_portal();
    let run = repository.bash(script, &variables).ends_with(1);
    run.prints(&format!("::error file={PORTAL},line="));
    // A run without inputs checks everything.
    variables[1].1 = "";
    repository.bash(script, &variables).ends_with(1).prints("LK103");
}

#[test]
fn the_gitlab_job_writes_what_the_change_makes_wrong_as_junit() {
    let job = block("# .gitlab-ci.yml")["lanes"].clone();
    let script = words(&job["script"]);
    let (install, check) = script.split_first().expect("commands");
    assert!(install.starts_with("cargo install --locked "), "{install}");
    let repository = Repository::new();
    let base = [("CI_MERGE_REQUEST_DIFF_BASE_SHA", "origin/main")];
    let report = repository
        .0
        .path()
        .join(job["artifacts"]["reports"]["junit"].as_str().expect("a file"));
    repository.bash(&check.join("\n"), &base).ends_with(0);
    let whole = fs::read_to_string(&report).expect("the report");
    assert!(
        roxmltree::Document::parse(&whole).is_ok() && !whole.contains("<failure"),
        "{whole}"
    );
    repository.break_portal();
    repository.bash(&check.join("\n"), &base).ends_with(1);
    let broken = fs::read_to_string(&report).expect("the report");
    assert!(
        broken.contains("<failure") && broken.contains("LK103"),
        "{broken}"
    );
}
