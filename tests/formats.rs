//! Every format of `lanekeeper check`, on every broken example.
//!
//! What comes out is kept in `tests/snapshots/`, a file for each format. After a change that is meant,
//! `INSTA_UPDATE=always cargo test --test formats` writes them anew; the difference is to be read.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, OnceLock};

use lanekeeper::files::Files;
use lanekeeper::report::{
    Look, Related, Report, Reported, write_github, write_json, write_junit, write_oneline, write_sarif,
    write_text,
};
use lanekeeper::resource::{Kind, ObjectRef};
use lanekeeper::rule::{self, Finding, Level};
use serde_json::{Value, json};

/// Names, and what was printed of each.
type Printed = Vec<(String, String)>;

const FORMATS: [&str; 6] = ["text", "json", "sarif", "junit", "github", "oneline"];

/// What cannot be read, in several ways.
const UNREADABLE: &str = "\
kind: a # 一
a:
\tb: 1
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
---
apiVersion: v1
kind: Service
metadata: {name: a, labels: {a: '1', a: '2'}}
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `check` prints for people and programs, run in `directory`.
fn check(directory: &Path, format: &str, paths: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args(["check", "-o", format])
        .args(paths)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some() && !stderr.contains("panicked"),
        "{stderr}"
    );
    String::from_utf8(output.stdout).expect("the program writes UTF-8")
}

/// The broken examples, by name.
fn broken() -> Vec<String> {
    let entries = fs::read_dir(root().join("examples/cars-broken")).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    let names = paths.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// What comes of each broken example, and of files that cannot be read, in one format; each is run once.
fn all_of(format: &str) -> &'static [(String, String)] {
    static KNOWN: LazyLock<Vec<OnceLock<Printed>>> =
        LazyLock::new(|| FORMATS.map(|_| OnceLock::new()).into());
    let at = FORMATS
        .iter()
        .position(|known| *known == format)
        .expect("a format");
    KNOWN[at].get_or_init(|| run_all(format))
}

fn run_all(format: &str) -> Printed {
    let examples = root().join("examples");
    let of_example = |name: String| {
        let path = format!("cars-broken/{name}");
        let printed = check(&examples, format, &["cars", &path]);
        (name, printed)
    };
    let mut all: Printed = broken().into_iter().map(of_example).collect();
    all.push(("nothing wrong".to_owned(), check(&examples, format, &["cars"])));
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a b.yaml"), UNREADABLE).expect("the folder can be written");
    let printed = check(folder.path(), format, &["a b.yaml", "missing.yaml"]);
    all.push(("not readable".to_owned(), printed));
    all
}

/// What changes from release to release, or with the words of a rule's page, is left out.
fn settled(format: &str, printed: &str) -> String {
    if format != "sarif" {
        return printed.to_owned();
    }
    let mut log = parsed(printed);
    let driver = &mut log["runs"][0]["tool"]["driver"];
    driver["version"] = json!("[version]");
    for rule in driver["rules"].as_array_mut().into_iter().flatten() {
        rule["help"] = json!("[page]");
    }
    serde_json::to_string_pretty(&log).unwrap_or_default()
}

fn parsed(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap_or_else(|error| panic!("{error} in:\n{printed}"))
}

#[test]
fn every_broken_example_prints_as_before_in_every_format() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for format in FORMATS {
            let mut whole = String::new();
            for (name, printed) in all_of(format) {
                let _ = writeln!(whole, "==== {name}\n{}", settled(format, printed));
            }
            assert!(
                !whole.contains(&*root().to_string_lossy()),
                "a path of this machine:\n{whole}"
            );
            insta::assert_snapshot!(format, whole);
        }
    });
}

fn schema(path: &str) -> Value {
    let path: PathBuf = root().join(path);
    let text = fs::read_to_string(&path).expect("the schema is there");
    parsed(&text)
}

fn assert_valid(schema: &Value, name: &str, printed: &str) {
    let validator = jsonschema::validator_for(schema).expect("the schema is one");
    let errors: Vec<String> = validator
        .iter_errors(&parsed(printed))
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?} in:\n{printed}");
}

fn sarif_schema() -> Value {
    let mut schema = schema("tests/sarif/sarif-schema-2.1.0.json");
    // Its pattern for languages has a bracket that closes nothing.
    for holder in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][holder]["properties"]["language"];
        assert!(
            language["pattern"]
                .as_str()
                .is_some_and(|pattern| pattern.ends_with("]?$"))
        );
        language["pattern"] = json!("^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    }
    schema
}

#[test]
fn sarif_is_valid_by_its_schema() {
    let schema = sarif_schema();
    for (name, printed) in all_of("sarif") {
        assert_valid(&schema, name, printed);
    }
}

/// The report on an object that is in no file, and neither is what it follows from.
fn without_places() -> Report {
    let rule = rule::find("LK103").expect("the rule");
    let vs = ObjectRef::new(Kind::VirtualService, "cars", "portal");
    let dr = ObjectRef::new(Kind::DestinationRule, "cars", "portal");
    let finding = Finding::new(rule, vs, "spec.http[0]")
        .says("no such subset", "correct it")
        .from_field(dr, "spec.subsets", "its subsets");
    let related = finding.evidence.iter().map(|evidence| Related {
        evidence: evidence.clone(),
        api_version: "networking.istio.io/v1".to_owned(),
        place: None,
    });
    let related = related.collect();
    let reported = Reported {
        finding,
        level: Level::Deny,
        api_version: "networking.istio.io/v1".to_owned(),
        place: None,
        related,
    };
    Report {
        findings: vec![reported],
        objects: 2,
        of_cluster: Some(2),
        ..Report::default()
    }
}

#[test]
fn a_finding_without_a_place_is_whole_in_every_format() {
    let report = without_places();
    let mut printed: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let files = Files::default();
    write_text(
        &report,
        &files,
        Look::default(),
        printed.entry("text").or_default(),
    )
    .expect("memory");
    write_json(&report, printed.entry("json").or_default()).expect("memory");
    write_sarif(&report, printed.entry("sarif").or_default()).expect("memory");
    write_junit(&report, Level::Deny, printed.entry("junit").or_default()).expect("memory");
    write_github(&report, printed.entry("github").or_default()).expect("memory");
    write_oneline(&report, printed.entry("oneline").or_default()).expect("memory");
    let text = |format: &str| String::from_utf8_lossy(&printed[format]).into_owned();
    assert_eq!(
        text("text"),
        "\
deny[LK103 unknown-subset]: no such subset
 |
 = see: DestinationRule cars/portal, spec.subsets: its subsets
 = object: VirtualService cars/portal, spec.http[0]
 = help: correct it

2 objects of the cluster: 1 deny, 0 warn
"
    );
    assert_eq!(
        text("oneline"),
        "VirtualService cars/portal, spec.http[0]: deny[LK103] no such subset; correct it\n"
    );
    assert_eq!(
        text("github"),
        "::error title=LK103 unknown-subset::VirtualService cars/portal, spec.http[0]: no such subset%0Ahelp: correct it\n"
    );
    let mut checked = schema("docs/schema/check.json");
    close(&mut checked);
    assert_valid(&checked, "json", &text("json"));
    assert_eq!(parsed(&text("json"))["findings"][0]["file"], Value::Null);
    assert_valid(&sarif_schema(), "sarif", &text("sarif"));
    let junit = text("junit");
    let document = roxmltree::Document::parse(&junit).expect("XML");
    let case = document.descendants().find(|node| node.has_tag_name("testcase"));
    assert_eq!(case.and_then(|case| case.attribute("file")), None, "{junit}");
}

/// A route to a subset whose name clears the screen, rings, ends the line and turns the text round.
const HOSTILE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  selector: {app: cart}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - route: [{destination: {host: cart, subset: "a\e[2J\a\r\n::b]]>\u202E\x9Bc"}}]
"#;

#[test]
fn hostile_text_is_replaced_or_escaped_in_every_format() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.yaml"), HOSTILE).expect("the folder can be written");
    let of = |format: &str| check(folder.path(), format, &["a.yaml"]);
    for format in ["text", "oneline", "github", "junit"] {
        let printed = of(format);
        assert!(
            printed.contains("LK103") && printed.contains("[2J"),
            "{format}: {printed}"
        );
        // XML is no terminal's, and may end a line in both ways.
        let is_hostile = |c: char| {
            (c.is_control() && c != '\n' && (c != '\r' || format != "junit"))
                || (c == '\u{202e}' && format != "junit")
        };
        assert!(!printed.contains(is_hostile), "{format}: {printed:?}");
    }
    for format in ["oneline", "github"] {
        let printed = of(format);
        let lines = printed.lines().filter(|line| line.contains("LK103"));
        assert!(
            lines.count() == 1 && !printed.contains("\n::b"),
            "{format}: {printed}"
        );
    }
    let junit = of("junit");
    let document = roxmltree::Document::parse(&junit).expect("XML");
    assert!(
        document.descendants().any(|node| node
            .attribute("message")
            .is_some_and(|text| text.contains("::b]]>"))),
        "{junit}"
    );
    for format in ["json", "sarif"] {
        let printed = of(format);
        assert!(
            !printed.contains(|c: char| c.is_ascii_control() && c != '\n'),
            "{printed:?}"
        );
        let text = parsed(&printed).to_string();
        let as_it_was = json!("a\u{1b}[2J\u{7}\r\n::b]]>\u{202e}\u{9b}c").to_string();
        assert!(text.contains(as_it_was.trim_matches('"')), "{format}: {text}");
    }
}

#[test]
fn json_is_valid_by_its_schema_which_knows_every_field() {
    let mut schema = schema("docs/schema/check.json");
    close(&mut schema);
    for (name, printed) in all_of("json") {
        assert_valid(&schema, name, printed);
    }
}

/// Lets no object have fields that the schema does not describe.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) && fields.contains_key("type") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn junit_is_well_formed_and_counts_its_cases() {
    for (name, printed) in all_of("junit") {
        let document = roxmltree::Document::parse(printed)
            .unwrap_or_else(|error| panic!("{name}: {error} in:\n{printed}"));
        let all = document.descendants().filter(roxmltree::Node::is_element);
        for suite in all.filter(|node| node.tag_name().name().starts_with("testsuite")) {
            let of = |name: &str| suite.descendants().filter(|node| node.has_tag_name(name)).count();
            let counts = [
                ("tests", "testcase"),
                ("failures", "failure"),
                ("errors", "error"),
                ("skipped", "skipped"),
            ];
            for (attribute, element) in counts {
                let counted = suite.attribute(attribute).and_then(|count| count.parse().ok());
                assert_eq!(counted, Some(of(element)), "{name}: {attribute} in:\n{printed}");
            }
            assert!(of("testcase") > 0, "{name}:\n{printed}");
        }
    }
}
