//! Lanekeeper on a real API server: what `kubectl` users see.
//!
//! Each test starts a control plane of its own (about 4 seconds) and runs the webhook in its own process, under
//! the rights of the manifests' `ServiceAccount`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by a panic that says why"
)]

#[path = "../support/control_plane.rs"]
mod control_plane;
#[path = "../support/field_cases.rs"]
mod field_cases;
#[path = "../support/lanes.rs"]
mod lanes;
#[path = "../support/webhook.rs"]
mod webhook;
#[path = "../support/worlds.rs"]
mod worlds;

mod edits;
mod examples;
mod fields;
mod order;
mod robustness;
mod workloads;

use std::fs;
use std::path::PathBuf;

use control_plane::{ControlPlane, KubectlOutput};
use webhook::root;

/// The namespace of the examples.
const CARS: &str = "cars-aswatson-dev";

/// `kubectl apply -f` of a folder of the examples.
fn apply_examples(plane: &ControlPlane, folder: &str) -> KubectlOutput {
    plane.kubectl(&[
        "apply",
        "-f",
        &root().join("examples").join(folder).display().to_string(),
    ])
}

/// The example objects of a folder's YAML files, each file's text with its name, in order.
fn example_files(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("examples").join(folder)).expect("the folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&file).expect("the file"))
    };
    files.into_iter().map(read).collect()
}

/// `kubectl get` of one object as JSON.
fn get(plane: &ControlPlane, kind: &str, name: &str) -> serde_json::Value {
    let found = plane
        .kubectl(&["get", kind, name, "-n", CARS, "-o", "json"])
        .expect_success();
    serde_json::from_str(&found.stdout).expect("JSON")
}
