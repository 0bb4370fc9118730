//! `docs/guide.md`, followed as it is written, on the services and workloads of the cars without their lanes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[path = "support/command.rs"]
mod command;

use command::{Run, run};

/// The blocks of the guide in one language, in order.
fn blocks<'g>(guide: &'g str, language: &str) -> Vec<&'g str> {
    let opening = format!("```{language}\n");
    let after = guide.split(opening.as_str()).skip(1);
    after.filter_map(|rest| rest.split("```").next()).collect()
}

/// Services, workloads and the gateway of the cars: what is there before there are lanes.
fn without_lanes(folder: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cars");
    for entry in fs::read_dir(from).expect("the example is there") {
        let path = entry.expect("a folder's entry").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file of the example");
        let is_kept = |document: &&str| {
            let mut kinds = document.lines().filter_map(|line| line.strip_prefix("kind: "));
            let kind = kinds.next().unwrap_or_default();
            ["Namespace", "Gateway", "Service", "Deployment"].contains(&kind)
        };
        let kept: Vec<&str> = text.split("---\n").filter(is_kept).collect();
        let name = path.file_name().expect("a file's name");
        fs::write(folder.join(name), kept.join("---\n")).expect("the folder can be written");
    }
}

fn follow(line: &str, folder: &Path) -> Run {
    let program = env!("CARGO_BIN_EXE_lanekeeper");
    let line = line.replacen("lanekeeper", program, 1);
    run(Command::new("sh")
        .args(["-c", &line])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .current_dir(folder))
}

const GUIDES: [&str; 2] = ["guide.md", "guide.zh-CN.md"];

#[test]
fn each_guide_leads_to_two_working_lanes() {
    for guide in GUIDES {
        leads_to_two_working_lanes(guide);
    }
}

fn leads_to_two_working_lanes(name: &str) {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let guide = fs::read_to_string(guide).expect("a guide");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = folder.path().join("k8s");
    fs::create_dir(&files).expect("a folder");
    without_lanes(&files);
    fs::write(files.join("lanes.yaml"), blocks(&guide, "yaml")[0]).expect("the folder can be written");

    let lines = blocks(&guide, "console").into_iter().flat_map(str::lines);
    let lines = lines.filter_map(|line| line.strip_prefix("$ "));
    let on_files: Vec<&str> = lines
        .filter(|line| line.starts_with("lanekeeper") && line.contains("k8s/") && !line.contains("--cluster"))
        .collect();
    let mut steps = on_files.into_iter();
    let first = steps.next().expect("a first check");
    assert!(first.contains("check"), "{first}");
    assert_ne!(follow(first, folder.path()).code, Some(2), "{first}");
    let mut matrix = None;
    let mut seen = 0;
    for line in steps {
        let run = follow(line, folder.path());
        assert_eq!(run.code, Some(0), "{line}:\n{}{}", run.stdout, run.stderr);
        seen += 1;
        if line.contains("trace") {
            assert!(run.stdout.contains("\n3  "), "three hops:\n{}", run.stdout);
        }
        if line.contains("matrix") {
            matrix = Some(run.stdout);
        }
    }
    assert_eq!(seen, 5, "every step is followed");
    let shown = blocks(&guide, "text");
    let shown = shown
        .iter()
        .find(|block| block.starts_with("LaneGroup"))
        .expect("a matrix");
    assert_eq!(matrix.as_deref(), Some(*shown));
}

#[test]
fn each_page_that_the_guide_names_is_there() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for name in GUIDES {
        let text = fs::read_to_string(docs.join(name)).expect("a guide");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            assert!(docs.join(path).exists(), "{name}: {link}");
        }
    }
}
