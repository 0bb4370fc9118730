//! `lanekeeper decisions` on the log of a real `serve`, and on whatever else it is given; and that log where there is no room.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

#[path = "support/command.rs"]
mod command;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use command::{Run, await_line, folder, lines, run};
use server::Server;

/// A route that sends the requests of a lane to another one's subset.
const DENIED: &str = "examples/cars-broken/lane-crossed.yaml";
fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(name)
        .display()
        .to_string()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    command
        .env("NO_COLOR", "1")
        .arg("decisions")
        .args(args)
        .stdin(Stdio::null());
    command
}

/// `decisions` in a folder.
fn decisions(folder: &TempDir, args: &[&str]) -> Run {
    run(command(args).current_dir(folder))
}

/// `decisions -` on this text.
fn of_text(text: &[u8], args: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("input");
    fs::write(&file, text).expect("the folder can be written");
    let input = fs::File::open(&file).expect("the file is there");
    run(command(&["-"]).args(args).stdin(input))
}

/// A line as `serve` writes it; `more` stands over its fields.
fn line(time: &str, more: &Value) -> String {
    let mut line = json!({
        "time": time, "decision": "1a22-0", "uid": "u-1", "user": "alice", "groups": [], "webhook": "validate",
        "mode": "enforce", "operation": "UPDATE", "kind": "VirtualService", "namespace": "cars", "name": "portal",
        "dryRun": false, "allowed": true, "codes": [], "warned": [], "patch": null, "allowReason": null,
        "message": null, "durationMicros": 1000, "indexVersion": 3,
    });
    let fields = line.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    line.to_string()
}

/// The names of the objects that a run has printed with `-o json`.
fn names(run: &Run) -> Vec<String> {
    let name = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        line["name"].as_str().expect("a name").to_owned()
    };
    run.stdout.lines().map(name).collect()
}

fn serve(folder: &TempDir, more: &[&str]) -> Server {
    let manifests = format!("--manifests={}", example("examples/cars"));
    let args = [&[&manifests, "--audit-log=log"], more].concat();
    Server::start(folder.path(), &args)
}

#[test]
fn the_log_of_a_server_is_a_table_and_a_summary() {
    let folder = folder(&[]);
    let mut server = serve(&folder, &[]);
    server.submit(&[&example(DENIED)]).ends_with(1);
    server.submit(&["--dry-run", &example(DENIED)]).ends_with(1);
    server
        .submit(&["--mode=warn", &example("examples/cars-broken")])
        .ends_with(0);
    server.kill();
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");

    let table = decisions(&folder, &["--denied", "log"]).ends_with(0);
    assert_eq!(table.stderr, "");
    let rows: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 3, "{}", table.stdout);
    assert_eq!(
        rows[0],
        [
            "TIME",
            "DECISION",
            "CODES",
            "OPERATION",
            "KIND",
            "NAMESPACE",
            "NAME",
            "USER"
        ]
    );
    assert_eq!(
        rows[1][1..],
        [
            "denied",
            "LK303",
            "CREATE",
            "VirtualService",
            "cars-aswatson-dev",
            "cars-aggregator",
            "lanekeeper-submit"
        ]
    );
    assert_eq!(rows[2][3], "CREATE,dry-run");
    decisions(&folder, &["--denied", "-o", "wide", "log"])
        .ends_with(0)
        .prints("[LK303 lane-crossed] VirtualService");

    let all = decisions(&folder, &["-o", "json", "log"]).ends_with(0);
    assert_eq!(all.stdout, log, "the lines are as they were written");

    let total = log.lines().count() as u64;
    let summary = decisions(&folder, &["--summary", "-o", "json", "log"])
        .ends_with(0)
        .json();
    assert_eq!(summary["total"]["decisions"], total);
    let outcomes = ["denied", "warned", "patched", "allowed"].map(|name| {
        let count = summary["total"][name].as_u64().expect("a count");
        let by_filter = match name {
            "allowed" => None,
            name => Some(decisions(&folder, &[&format!("--{name}"), "-o", "json", "log"])),
        };
        let counted = by_filter.map(|run| run.ends_with(0).stdout.lines().count() as u64);
        assert_eq!(counted.unwrap_or(count), count, "{name}");
        count
    });
    assert_eq!(outcomes.iter().sum::<u64>(), total);
    assert_eq!(outcomes[0], 2);
    assert_eq!(summary["codes"]["LK303"], json!({"denied": 2, "warned": 1}));
    assert_eq!(summary["namespaces"]["cars-aswatson-dev"]["decisions"], total);
    assert_eq!(summary["users"]["lanekeeper-submit"]["denied"], 2);
    let micros = |name: &str| summary["durationMicros"][name].as_u64().expect("a duration");
    assert!(0 < micros("median") && micros("median") <= micros("p99") && micros("p99") <= micros("max"));
    assert_eq!(summary["slowest"]["durationMicros"], micros("max"));
    decisions(&folder, &["--summary", "log"])
        .ends_with(0)
        .prints(&format!("{total} decisions from "))
        .prints("\nLK303             2        1\n");
}

#[test]
fn each_filter_takes_what_it_says() {
    let log = [
        line(
            "2026-11-28T01:00:00Z",
            &json!({"name": "a", "allowed": false, "codes": ["LK101"]}),
        ),
        line(
            "2026-11-28T02:00:00Z",
            &json!({"name": "b", "warned": ["LK301"], "namespace": "shop", "decision": "d-2"}),
        ),
        line(
            "2026-11-28T03:00:00Z",
            &json!({"name": "c", "patch": [], "warned": ["LK401"], "webhook": "mutate"}),
        ),
        line(
            "2026-11-28T04:00:00Z",
            &json!({"name": "d", "kind": "Scale", "user": "system:serviceaccount:argocd:server"}),
        ),
        line(
            "2026-11-28T05:00:00Z",
            &json!({"name": "e", "operation": "DELETE", "mode": "protect", "uid": "u-5"}),
        ),
        line(
            "2026-11-28T06:00:00Z",
            &json!({"name": "f", "dryRun": true, "namespace": ""}),
        ),
    ]
    .join("\n");
    for (args, expected) in [
        (&[][..], "abcdef"),
        (&["--denied"], "a"),
        (&["--warned"], "bc"),
        (&["--patched"], "c"),
        (&["--denied", "--patched"], "ac"),
        (&["--code=LK101,LK301"], "ab"),
        (&["--code=lk4"], "c"),
        (&["--code=unknown-lane"], "b"),
        (&["--code=LK301", "--denied"], ""),
        (&["-n", "shop"], "b"),
        (&["--namespace=cars,sh*"], "abcde"),
        (&["--kind=scale"], "d"),
        (&["--name=a,f"], "af"),
        (&["--user=system:serviceaccount:argocd:*"], "d"),
        (&["--user=alice", "--user=bob"], "abcef"),
        (&["--operation=delete"], "e"),
        (&["--mode=protect,warn"], "e"),
        (&["--webhook=mutate"], "c"),
        (&["--id=d-2"], "b"),
        (&["--id=u-5"], "e"),
        (&["--no-dry-run"], "abcde"),
        (
            &["--since=2026-11-28T03:00:00Z", "--until=2026-11-28T05:00:00Z"],
            "cd",
        ),
        (&["--since=2026-11-28T06:00:00+02:00"], "def"),
        (&["--until=2026-11-28"], ""),
        (&["--since=2026-11-28"], "abcdef"),
    ] {
        let run = of_text(log.as_bytes(), &[args, &["-o", "json"]].concat()).ends_with(0);
        assert_eq!(names(&run).concat(), expected, "{args:?}");
        assert_eq!(
            run.stderr.contains("no decision is as asked for"),
            expected.is_empty()
        );
    }
    for (args, says) in [
        (["--code=LK999"], "lanekeeper rules"),
        (["--since=yesterday"], "2026-11-28T04:00:00Z"),
        (["--since=1 month"], "2d"),
        (["--name=[a"], "is no pattern"),
        (["--mode=hard"], "hard"),
    ] {
        let run = of_text(log.as_bytes(), &args).ends_with(2);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_time_can_be_said_as_how_long_ago_it_was() {
    let at = |hours: i64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        line(&time.to_string(), &json!({"name": format!("{hours}h")}))
    };
    let log = [at(50), at(30), at(5), at(0)].join("\n");
    for (args, expected) in [
        (&["--since=6h"][..], &["5h", "0h"][..]),
        (&["--since=2d", "--until=4h 30m"], &["30h", "5h"]),
        (&["--since=3 days"], &["50h", "30h", "5h", "0h"]),
    ] {
        let run = of_text(log.as_bytes(), &[args, &["-o", "json"]].concat()).ends_with(0);
        assert_eq!(names(&run), expected, "{args:?}");
    }
}

#[test]
fn what_was_rotated_is_read_oldest_first_and_each_file_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["log", "log.1", "log.2", "log.10"] {
        let line = line("2026-11-28T01:00:00Z", &json!({"name": file})) + "\n";
        fs::write(folder.path().join(file), line).expect("the folder can be written");
    }
    // What is beside it is not of it.
    for other in ["log.1.gz", "log.01", "log.bak", "other.1", "xlog.1"] {
        fs::write(folder.path().join(other), "x\n").expect("the folder can be written");
    }
    for args in [
        &["log", "--rotated"][..],
        &["log", "log.1", "log.10", "log.2"],
        &["log.2", "log.10", "log.2", "log.1", "log", "./log.1"],
        &["--rotated", "./log", "log"],
    ] {
        let run = decisions(&folder, &[args, &["-o", "json"]].concat()).ends_with(0);
        assert_eq!(names(&run), ["log.10", "log.2", "log.1", "log"], "{args:?}");
        assert_eq!(run.stderr, "");
    }
    let rotated = decisions(&folder, &["log.2", "-o", "json"]).ends_with(0);
    assert_eq!(names(&rotated), ["log.2"]);
    let missing = decisions(&folder, &["gone", "log", "-o", "json"]).ends_with(2);
    assert_eq!(names(&missing), ["log"]);
    assert!(
        missing.stderr.contains("cannot read gone: No such file"),
        "{}",
        missing.stderr
    );
    let compressed = b"\x1f\x8b\x08";
    fs::write(folder.path().join("log.1.gz"), compressed).expect("the folder can be written");
    let compressed = decisions(&folder, &["log.1.gz"]).ends_with(2);
    assert!(compressed.stderr.contains("gunzip -c"), "{}", compressed.stderr);
}

#[test]
fn what_kubectl_and_runtimes_put_before_a_decision_is_taken_off() {
    let of = |name: &str| line("2026-11-28T01:00:00Z", &json!({"name": name}));
    let (huge, crossing) = (of(&"l".repeat(40_000)), of("crossing"));
    let (first, rest) = huge.split_at(16_384);
    let (second, third) = rest.split_at(16_384);
    let rescued = json!({"timestamp": "2026-11-28T01:00:00Z", "level": "ERROR", "message": of("rescued"), "target": "lanekeeper::decision"});
    let program = json!({"timestamp": "2026-11-28T01:00:00Z", "level": "INFO", "message": "of target \"lanekeeper::decision\"", "target": "lanekeeper"});
    let log = [
        of("alone"),
        format!("2026-11-28T04:00:00.123456789Z stdout F {}", of("cri")),
        format!("2026-11-28T04:00:00Z {}", of("timestamps")),
        format!("[pod/lanekeeper-7d9/lanekeeper] {}", of("prefix")),
        format!("2026-11-28T04:00:00Z stdout P {first}"),
        format!("2026-11-28T04:00:00Z stderr P {}", &crossing[..9]),
        format!("2026-11-28T04:00:00Z stdout P {second}"),
        format!("2026-11-28T04:00:00Z stderr F {}", &crossing[9..]),
        format!("2026-11-28T04:00:00Z stdout F {third}"),
        rescued.to_string(),
        program.to_string(),
        format!("2026-11-28T04:00:00Z stderr F {program}"),
        String::new(),
        of("windows") + "\r",
    ]
    .join("\n");

    let run = of_text(log.as_bytes(), &["-o", "json"]).ends_with(0);

    let seen = names(&run);
    let short: Vec<&str> = seen.iter().map(|name| &name[..name.len().min(10)]).collect();
    assert_eq!(
        short,
        [
            "alone",
            "cri",
            "timestamps",
            "prefix",
            "crossing",
            "llllllllll",
            "rescued",
            "windows"
        ]
    );
    assert_eq!(seen[5].len(), 40_000);
    assert_eq!(
        run.stderr,
        "lanekeeper: note: standard input:11: 2 lines of the program's own log passed over, this the first\n"
    );
}

#[test]
fn what_is_no_decision_is_told_with_its_place_and_nothing_is_lost_for_it() {
    let whole = line("2026-11-28T01:00:00Z", &json!({"name": "whole"}));
    let half = &whole[..whole.len() / 2];
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = whole.replace("\"patch\":null", &format!("\"patch\":{nested}"));
    let endless = "x".repeat(17 * 1024 * 1024);
    let other: &[&[u8]] = &[
        b"no JSON at all",
        b"{\"a\":1}",
        b"[1,2]",
        b"\xff\xfe{\"time\"",
        b"\0\0\0\0",
        half.as_bytes(),
        endless.as_bytes(),
        b"2026-11-28T04:00:00Z stdout P {\"time\"",
    ];
    let mut log = Vec::new();
    for other in other {
        log.extend_from_slice(whole.as_bytes());
        log.push(b'\n');
        log.extend_from_slice(other);
        log.push(b'\n');
    }
    // One that is hostile in what nobody looks at, and the end that a kill has left.
    log.extend_from_slice(deep.as_bytes());
    log.push(b'\n');
    log.extend_from_slice(half.as_bytes());

    let run = of_text(&log, &["-o", "json"]).ends_with(0);
    assert_eq!(run.stdout.lines().count(), other.len() + 1);
    assert_eq!(
        run.stderr,
        "lanekeeper: note: standard input:2: 9 lines passed over, for no decision is in it, this the first\n"
    );

    for text in [&b"no JSON\n"[..], b"{\"level\":\"INFO\"}", b"\xff"] {
        let run = of_text(text, &[]).ends_with(2);
        assert!(run.stderr.contains("there is no decision"), "{}", run.stderr);
    }
    for text in ["", "\n\n"] {
        of_text(text.as_bytes(), &[]).ends_with(0);
        of_text(text.as_bytes(), &["--summary"])
            .ends_with(0)
            .prints("0 decisions\n");
    }
}

#[test]
fn what_is_hostile_in_a_name_does_not_reach_the_terminal() {
    let evil = "a\u{1b}[2J\u{7}\r\nb\u{202e}c\u{0}\u{9b}";
    let fields = [
        "user",
        "namespace",
        "name",
        "kind",
        "operation",
        "message",
        "mode",
        "webhook",
        "decision",
    ];
    let mut more: serde_json::Map<String, Value> = fields
        .into_iter()
        .map(|field| (field.to_owned(), json!(evil)))
        .collect();
    more.insert("codes".to_owned(), json!([evil]));
    let log = line("2026-11-28T01:00:00Z", &Value::Object(more));
    for args in [&[][..], &["-o", "wide"], &["--summary"]] {
        let run = of_text(log.as_bytes(), args).ends_with(0);
        let is_hostile = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(
            run.stdout.chars().find(is_hostile),
            None,
            "{args:?}: {:?}",
            run.stdout
        );
        if args.is_empty() || args.len() == 2 {
            assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
        }
    }
    // JSON escapes it by itself.
    let run = of_text(log.as_bytes(), &["-o", "json"]).ends_with(0);
    assert!(run.stdout.contains("\\u001b[2J"), "{}", run.stdout);
    let summary = of_text(log.as_bytes(), &["--summary", "-o", "json"]).ends_with(0);
    assert!(!summary.stdout.contains('\u{1b}'), "{}", summary.stdout);
}

#[test]
fn hostile_text_reaches_neither_the_terminal_of_submit_nor_ends_a_line_of_a_log() {
    let world = "{apiVersion: v1, kind: Service, metadata: {name: cart}, spec: {selector: {app: cart}, ports: [{port: 80}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: cart}, spec: {template: {metadata: {labels: {app: cart}}}}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: cart}, spec: {host: cart}}
";
    let evil = r"a\e[2J\a\r\nb\u202Ec\x9B";
    let route = format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: \"{evil}\"}}, \
         spec: {{hosts: [cart], http: [{{route: [{{destination: {{host: cart, subset: \"{evil}\"}}}}]}}]}}}}"
    );
    let folder = folder(&[("world.yaml", world), ("evil.yaml", &route)]);
    let at = folder.path();
    let evil = at.join("evil.yaml").display().to_string();
    let is_hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for (mode, code) in [("enforce", 1), ("warn", 0)] {
        // What the log does not take goes to the program's own.
        for log in ["decisions.jsonl", "/dev/full"] {
            let server = Server::start(at, &["--manifests=world.yaml", "--audit-log", log]);
            server.logged();
            let run = server.submit(&["--mode", mode, &evil]).ends_with(code);
            for said in [&run.stdout, &run.stderr] {
                assert!(!said.contains(is_hostile), "{said:?}");
            }
            let told = format!("{}{}", run.stdout, run.stderr);
            assert!(told.contains("LK103") && told.contains("[2J"), "{told}");
            let lines = if log == "/dev/full" {
                await_lines(&server)
            } else {
                let text = fs::read_to_string(at.join(log)).expect("the log");
                text.lines().map(str::to_owned).collect()
            };
            let about: Vec<&String> = lines.iter().filter(|line| line.contains("LK103")).collect();
            assert!(!about.is_empty(), "{lines:?}");
            for line in lines {
                assert!(!line.contains(|c: char| c.is_ascii_control()), "{line:?}");
                serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}

/// What a server has logged, once a decision is in it.
fn await_lines(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..100 {
        lines.extend(server.logged());
        if lines.iter().any(|line| line.contains("LK103")) {
            return lines;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("no decision in {lines:?}");
}

#[test]
fn decisions_are_printed_as_they_come_and_whoever_has_seen_enough_may_go() {
    let mut child = command(&["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let printed = lines(child.stdout.take().expect("a pipe from it"));
    let mut input = child.stdin.take().expect("a pipe to it");
    for name in ["first", "second", "third"] {
        let line = line("2026-11-28T01:00:00Z", &json!({"name": name}));
        writeln!(input, "{line}").expect("it reads");
        await_line(&printed, name);
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());

    let text = (line("2026-11-28T01:00:00Z", &json!({})) + "\n").repeat(20_000);
    for args in [&[][..], &["-o", "json"]] {
        let folder = folder(&[("log", &text)]);
        let mut child = command(&["log"])
            .args(args)
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
}

/// A command that becomes the program in a process whose files may grow only so far: a disk that is full in the middle
/// of a line, without root.
fn with_little_room() -> Command {
    let mut command = Command::new("sh");
    // Without the signal a write that goes too far is cut short, and the next one fails.
    command
        .args(["-c", "trap '' XFSZ; ulimit -S -f 16; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_lanekeeper"));
    command
}

/// Submits until the log takes no more; how many decisions were asked for.
fn fill(server: &Server, path: &Path) -> usize {
    for round in 1..500 {
        server.submit(&["--mode=warn", &example(DENIED)]);
        if !server.metrics().contains("lanekeeper_audit_log_errors_total 0\n") {
            return round;
        }
    }
    panic!("{} takes everything", path.display());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_in_the_middle_of_a_line_and_has_room_again_spoils_no_other() {
    let folder = folder(&[]);
    let manifests = format!("--manifests={}", example("examples/cars"));
    let server = Server::start_by(
        with_little_room(),
        folder.path(),
        &[&manifests, "--audit-log=log"],
    );
    let log: PathBuf = folder.path().join("log");
    fill(&server, &log);
    let full = fs::read(&log).expect("a log");
    assert!(!full.ends_with(b"\n"), "the last line is cut short");
    // The answer goes out all the same.
    server.submit(&[&example(DENIED)]).ends_with(1);
    assert_eq!(fs::read(&log).expect("a log").len(), full.len());

    let room = Command::new("prlimit")
        .args(["--pid", &server.id().to_string(), "--fsize=unlimited:"])
        .output()
        .expect("prlimit of util-linux");
    assert!(room.status.success(), "{room:?}");
    server.submit(&[&example(DENIED)]).ends_with(1);

    let run = decisions(&folder, &["-o", "json", "log"]).ends_with(0);
    let whole = String::from_utf8_lossy(&full).matches('\n').count();
    assert_eq!(
        run.stdout.lines().count(),
        whole + 2,
        "both webhooks' decisions are there"
    );
    let cut = format!("log:{}: 1 line passed over", whole + 1);
    assert!(run.stderr.contains(&cut), "no {cut} in {}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn where_the_log_is_required_no_decision_is_given_that_it_did_not_take() {
    let folder = folder(&[]);
    let manifests = format!("--manifests={}", example("examples/cars"));
    let args = [&manifests, "--audit-log=log", "--audit-log-required"];
    let server = Server::start_by(with_little_room(), folder.path(), &args);
    let log = folder.path().join("log");
    fill(&server, &log);

    let run = server.submit(&["--mode=warn", &example(DENIED)]).ends_with(2);
    assert!(
        run.stderr.contains("500") && run.stderr.contains("--audit-log-required"),
        "{}",
        run.stderr
    );
    assert!(
        server.metrics().contains("decision=\"unlogged\""),
        "{}",
        server.metrics()
    );

    // Room again: by rotating it away, as an administrator would.
    fs::rename(&log, folder.path().join("old")).expect("it can be moved");
    server.submit(&["--mode=warn", &example(DENIED)]).ends_with(0);
}

#[test]
fn the_log_rotates_at_the_size_and_keeps_the_number_that_are_asked_for() {
    let folder = folder(&[]);
    let mut server = serve(&folder, &["--audit-log-max-size=2KiB", "--audit-log-keep=3"]);
    for _ in 0..12 {
        server.submit(&[&example(DENIED)]).ends_with(1);
    }
    server.kill();
    let mut files: Vec<String> = fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.starts_with("log"))
        .collect();
    files.sort();
    assert_eq!(files, ["log", "log.1", "log.2", "log.3"]);
    for file in &files[1..] {
        let size = fs::metadata(folder.path().join(file)).expect("it is there").len();
        assert!(size <= 2048, "{file}: {size}");
    }
    let read = decisions(&folder, &["--rotated", "-o", "json", "log"]).ends_with(0);
    assert_eq!(read.stderr, "");
    let times: Vec<Value> = read
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["time"].clone())
        .collect();
    assert!(
        times.len() > 4 && times.is_sorted_by_key(|time| time.as_str().map(str::to_owned)),
        "{times:?}"
    );

    for (args, says) in [
        (&["--audit-log=log", "--audit-log-max-size=0"][..], "100MiB"),
        (&["--audit-log=log", "--audit-log-max-size=lots"], "100MiB"),
        (&["--audit-log=log", "--audit-log-keep=-1"], "--audit-log-keep"),
        (&["--audit-log-keep=3"], "name it with --audit-log"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command
            .args(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(["--manifests", &example("examples/cars")])
            .args(args)
            .current_dir(&folder);
        let refused = run(command.stdin(Stdio::null())).ends_with(2);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
}
