//! What the program says of itself, and what it is for a shell and for kubectl.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/programs.rs"]
mod programs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use command::{Run, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lanekeeper");

fn lanekeeper(arguments: &[&str]) -> Run {
    run(Command::new(PROGRAM).args(arguments))
}

#[test]
fn the_version_has_the_commit() {
    let commit = option_env!("LANEKEEPER_COMMIT").filter(|commit| !commit.is_empty());
    let line = format!(
        "lanekeeper {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or("unknown")
    );
    assert_eq!(lanekeeper(&["--version"]).ends_with(0).stdout, line);
}

/// The build script by itself: what it would tell the compiler.
#[test]
fn a_release_is_told_its_commit_by_git_or_by_whoever_builds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(compiler);
    compile
        .args(["--edition=2024", "-o"])
        .arg(&script)
        .arg(root.join("build.rs"));
    run(&mut compile).ends_with(0);

    let sources = folder.path().join("sources");
    fs::create_dir_all(sources.join("src")).unwrap();
    fs::write(sources.join("src/main.rs"), "fn main() {}").unwrap();
    let told = |profile: &str, given: &str, at: &Path| {
        let mut command = Command::new(&script);
        command
            .env("PROFILE", profile)
            .env("LANEKEEPER_COMMIT", given)
            .current_dir(at);
        // Not the repository that this folder may lie in.
        command.env("GIT_CEILING_DIRECTORIES", folder.path());
        let said = run(&mut command).ends_with(0).stdout;
        let (_, commit) = said
            .split_once("cargo::rustc-env=LANEKEEPER_COMMIT=")
            .expect(&said);
        (commit.trim().to_owned(), said)
    };
    // A tarball.
    assert_eq!(told("release", "", &sources).0, "unknown");
    assert_eq!(told("release", "given", &sources).0, "given");

    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        run(Command::new("git")
            .args(who)
            .args(arguments)
            .current_dir(&sources))
        .ends_with(0)
        .stdout
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=first"]);
    let head = git(&["rev-parse", "--short=12", "HEAD"]);
    let head = head.trim();
    let (commit, said) = told("release", "", &sources);
    assert_eq!(commit, head);
    // A commit that is checked out later has the script run again.
    assert!(said.contains("cargo::rerun-if-changed=.git/HEAD"), "{said}");
    assert_eq!(told("debug", "", &sources).0, "unknown");
    assert_eq!(told("release", "given", &sources).0, "given");
    fs::write(sources.join("src/main.rs"), "fn main() { }").unwrap();
    assert_eq!(told("release", "", &sources).0, format!("{head}-dirty"));
    // Sources that lie in another project's repository are not of its commit.
    assert_eq!(told("release", "", &sources.join("src")).0, "unknown");
}

#[test]
fn completions_are_what_the_shells_take() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("lanekeeper.bash");
    let bash = lanekeeper(&["completions", "bash"]).ends_with(0).stdout;
    fs::write(&script, bash).unwrap();
    let completed = |words: &str| {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _lanekeeper lanekeeper \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        run(Command::new("bash").args(["--norc", "-c", &line]))
            .ends_with(0)
            .stdout
    };
    assert_eq!(completed("lanekeeper gen").trim(), "generate");
    assert_eq!(
        completed("lanekeeper check --clus").trim(),
        "--cluster-domain --cluster"
    );
    assert_eq!(completed("lanekeeper completions z").trim(), "zsh");

    lanekeeper(&["completions", "zsh"])
        .ends_with(0)
        .prints("#compdef lanekeeper");
    lanekeeper(&["completions", "fish"])
        .ends_with(0)
        .prints("complete -c lanekeeper");
    let unknown = lanekeeper(&["completions", "csh"]).ends_with(2);
    assert!(
        unknown.stderr.contains("possible values: bash"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn kubectl_runs_it_as_a_plugin_and_its_help_says_so() {
    let folder = tempfile::tempdir().unwrap();
    symlink(PROGRAM, folder.path().join("kubectl-lanekeeper")).unwrap();
    let kubectl = |arguments: &[&str]| {
        let installed = std::env::split_paths(&programs::path()).collect::<Vec<_>>();
        let path = std::env::join_paths([folder.path().to_owned()].into_iter().chain(installed)).unwrap();
        run(Command::new("kubectl")
            .args(arguments)
            .env("PATH", path)
            .env("HOME", folder.path()))
    };
    let listed = kubectl(&["plugin", "list"]).ends_with(0);
    assert!(listed.stdout.contains("/kubectl-lanekeeper"), "{}", listed.stdout);
    kubectl(&["lanekeeper", "rules", "LK101"])
        .ends_with(0)
        .prints("subset-without-workload");
    let checked = kubectl(&[
        "lanekeeper",
        "check",
        "examples/cars",
        "examples/cars-broken/subset-name-typo.yaml",
    ]);
    checked.ends_with(1).prints("LK103");

    let help = kubectl(&["lanekeeper", "--help"]).ends_with(0);
    let help = help
        .prints("Usage: kubectl lanekeeper [OPTIONS]")
        .prints("  kubectl lanekeeper check k8s/ ");
    assert!(
        !help
            .stdout
            .replace("kubectl lanekeeper", "")
            .contains("lanekeeper check"),
        "{}",
        help.stdout
    );
    kubectl(&["lanekeeper", "trace", "--help"])
        .ends_with(0)
        .prints("Usage: kubectl lanekeeper trace [OPTIONS]");
    let mistyped = kubectl(&["lanekeeper", "chekc"]).ends_with(2);
    assert!(
        mistyped.stderr.contains("Usage: kubectl lanekeeper"),
        "{}",
        mistyped.stderr
    );
    // By its own name it has its own name.
    lanekeeper(&["check", "--help"])
        .ends_with(0)
        .prints("Usage: lanekeeper check");
}

#[test]
fn the_notes_of_a_release_are_those_of_the_changelog() {
    let folder = command::folder(&[(
        "CHANGELOG.md",
        "# Changelog\n\n## [Unreleased]\n\n- Not yet.\n\n## [1.1.0] - 2027-01-01\n\n### Added\n- One.\n\n## [1.1.0-rc.1] - 2026-12-01\n\n- Less.\n",
    )]);
    let notes = |version: &str| {
        let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile");
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "-f"])
            .arg(makefile)
            .arg("release-notes");
        run(make.arg(format!("VERSION={version}")).current_dir(folder.path()))
    };
    assert_eq!(notes("1.1.0").ends_with(0).stdout, "### Added\n- One.\n");
    assert_eq!(notes("1.1.0-rc.1").ends_with(0).stdout, "- Less.\n");
    let unknown = notes("1.2.0").ends_with(2);
    assert!(unknown.stderr.contains("no version 1.2.0"), "{}", unknown.stderr);
}
