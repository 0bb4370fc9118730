//! Every rule on small whole worlds: `tests/rules/<CODE>/{bad,good}-….yaml`.
//!
//! A file is one world. Its first lines are a comment that says what it shows; in a bad one, lines like
//! `# expect: LK101 deny spec.subsets[1].labels` list every finding that `check` has on it, of whatever rule. A
//! good one has none.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "rules/judge.rs"]
mod judge;

use std::fs;
use std::path::{Path, PathBuf};

use lanekeeper::rule::RULES;

use judge::{Found, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

/// The worlds of a rule: `bad` or `good`.
fn worlds(code: &str, which: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join(code)).expect("each rule has a folder");
    let paths = entries.map(|entry| entry.expect("a folder's entry").path());
    let is_one = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        name.starts_with(which) && path.extension().is_some_and(|end| end == "yaml")
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_one).collect();
    paths.sort();
    paths
}

/// The findings that a file says it has.
fn expected(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# expect: "));
    let mut lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// What is wrong with a world's findings, by what the file says.
fn judged(path: &Path, code: &str, is_bad: bool) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a fixture is text");
    let (files, world) = load(&[path.to_owned()]);
    let found = judge::judge(&files, &world);
    let mut faults = Vec::new();

    if !text.starts_with("# ") || text.starts_with("# expect") {
        faults.push("does not start with what it shows".to_owned());
    }
    let expected = expected(&text);
    let mut lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    lines.sort();
    if lines != expected {
        let said: Vec<String> = found
            .iter()
            .map(|found| format!("{found}: {}; {}", found.finding.message, found.finding.help))
            .collect();
        faults.push(format!("expects {expected:#?} and has {said:#?}"));
    }
    if is_bad != expected.iter().any(|line| line.starts_with(code)) {
        faults.push(format!(
            "is {} with findings {expected:?}",
            if is_bad { "bad" } else { "good" }
        ));
    }
    faults.extend(found.iter().filter_map(|found| misplaced(&text, found)));
    faults
}

/// What is wrong with a finding's place: its line is to hold the last written field of its path, and its value.
fn misplaced(text: &str, found: &Found) -> Option<String> {
    let place = &found.place;
    let at = usize::try_from(place.line).expect("a line number is small");
    let Some(line) = at.checked_sub(1).and_then(|at| text.lines().nth(at)) else {
        return Some(format!("{found} is on line {at}, which is not in the file"));
    };
    let last = found.written.last().map(String::as_str).unwrap_or_default();
    let is_item = last.parse::<usize>().is_ok();
    let has_field = if is_item {
        line.contains("- ") || line.contains('[')
    } else {
        line.contains(&format!("{last}:"))
    };
    let has_value = found
        .value
        .as_ref()
        .is_none_or(|value| line.contains(value.as_str()));
    let is_range = (place.line, place.column) < (place.end_line, place.end_column);
    (!has_field || !has_value || !is_range)
        .then(|| format!("{found} is placed at {place}, on the line `{line}` without `{last}`"))
}

fn run(code: &str) {
    let mut faults = Vec::new();
    for (which, is_bad) in [("bad", true), ("good", false)] {
        let worlds = worlds(code, which);
        assert!(
            worlds.len() >= 2,
            "{code} has {} {which} worlds, and needs two",
            worlds.len()
        );
        for path in worlds {
            let of_path = judged(&path, code, is_bad);
            let name = path.strip_prefix(folder()).unwrap_or(&path).display();
            faults.extend(of_path.iter().map(|fault| format!("{name} {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A test for each rule.
macro_rules! rules {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(&stringify!($name).to_ascii_uppercase());
        })*

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

rules! {
    lk101 lk102 lk103 lk104 lk105 lk106 lk107 lk108 lk109 lk201 lk202 lk203 lk204 lk205 lk206 lk301 lk302 lk303 lk304 lk305 lk306 lk307 lk308 lk401 lk402 lk403 lk404 lk405 lk406 lk407 lk408 lk501 lk502 lk503 lk504 lk601 lk602
}

#[test]
fn every_rule_has_its_fixtures_and_every_fixture_its_rule() {
    let codes: Vec<String> = RULES.iter().map(|rule| rule.code.to_ascii_lowercase()).collect();
    assert_eq!(codes, TESTED);
    for entry in fs::read_dir(folder()).expect("the fixtures' folder") {
        let entry = entry.expect("a folder's entry");
        if !entry.path().is_dir() {
            continue;
        }
        let code = entry.file_name().to_string_lossy().into_owned();
        assert!(RULES.iter().any(|rule| rule.code == code), "{code} is no rule");
        for file in fs::read_dir(entry.path()).expect("a rule's folder") {
            let path = file.expect("a folder's entry").path();
            let is_run = ["bad", "good"]
                .iter()
                .any(|which| worlds(&code, which).contains(&path));
            assert!(
                is_run,
                "{} is never run: name it bad-….yaml or good-….yaml",
                path.display()
            );
        }
    }
}
