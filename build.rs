//! Tells the program which commit it is built from: `LANEKEEPER_COMMIT`, or what git says of a release build.
//!
//! Other builds do not ask git, because whatever a commit changes for the package builds all of it again, and all of its
//! tests. Where there is neither, as in a tarball, the program says that the commit is unknown.

#![allow(clippy::print_stdout, reason = "it is how a build script speaks to cargo")]

use std::env;
use std::path::Path;
use std::process::Command;

const GIVEN: &str = "LANEKEEPER_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={GIVEN}");
    let given = env::var(GIVEN).ok().filter(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_git).flatten());
    println!(
        "cargo::rustc-env={GIVEN}={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

/// The commit that is checked out, with `-dirty` where files differ from it.
fn of_git() -> Option<String> {
    // A tarball that is unpacked within another repository is not of its commit.
    let own = git(&["rev-parse", "--show-prefix"])?;
    if !own.is_empty() {
        return None;
    }
    // Of a work tree, too, whose `.git` is a file.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // Whatever makes it dirty.
    for path in ["Cargo.toml", "Cargo.lock", "src", "wasm/core"] {
        println!("cargo::rerun-if-changed={path}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .filter(|commit| !commit.is_empty())
}

/// What git prints, in the folder of the package; nothing where it cannot.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
