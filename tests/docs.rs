//! The pages under `docs/` that are made from the code say what the code says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lanekeeper::config::Config;
use lanekeeper::rule::{RULES, index};
use lanekeeper::yaml::documents;
use serde::Deserialize as _;

#[test]
fn the_rules_pages_are_the_ones_that_the_code_prints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules");
    let pages = RULES
        .iter()
        .map(|rule| (format!("{}.md", rule.code), rule.page()));
    let expected: BTreeMap<String, String> = pages.chain([("README.md".to_owned(), index())]).collect();
    let entries = fs::read_dir(&folder).expect("the folder of the pages");
    let found: BTreeMap<String, String> = entries
        .map(|entry| {
            let entry = entry.expect("a folder's entry");
            let text = fs::read_to_string(entry.path()).expect("a page is text");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&found),
        names(&expected),
        "docs/rules is out of date: make generate"
    );
    for (name, page) in expected {
        assert!(
            found[&name] == page,
            "docs/rules/{name} is out of date: make generate"
        );
    }
}

#[test]
fn the_schema_of_the_configuration_is_that_of_the_code_and_takes_the_page_s_example() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let file = docs.join("schema/lanekeeper.json");
    let schema = Config::schema();
    let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
    if std::env::var_os("LANEKEEPER_WRITE").is_some() {
        fs::write(&file, &text).expect("the schema can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "docs/schema/lanekeeper.json is out of date: make generate"
    );

    let page = fs::read_to_string(docs.join("configuration.md")).expect("the page");
    let (_, example) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    Config::of("configuration.md", example.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let documents = documents(example);
    let node = documents[0].decode().expect("the example is YAML");
    let json = serde_json::Value::deserialize(&node).expect("and JSON");
    let schema = jsonschema::validator_for(schema.as_value()).expect("a schema");
    let errors: Vec<String> = schema.iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn each_rules_page_says_what_istio_and_kiali_make_of_it() {
    for rule in RULES {
        let page = rule.page();
        let (_, references) = page
            .split_once("## References")
            .expect("a page has its references");
        let names_istio = references.contains("analy") || references.contains("IST0");
        assert!(
            names_istio && references.contains("Kiali"),
            "{} does not name its counterpart in istioctl analyze and in Kiali, or that there is none:\n{references}",
            rule.code
        );
    }
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().to_lowercase();
    let kept = letters
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

/// The anchors of the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let mut is_code = false;
    let headings = page.lines().filter_map(|line| {
        is_code ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        (!is_code && heading.len() < line.len())
            .then(|| heading.strip_prefix(' '))
            .flatten()
    });
    headings
        .map(|heading| anchor(&heading.replace('`', "")))
        .collect()
}

#[test]
fn each_link_from_page_to_page_leads_somewhere() {
    fn collect(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_ours = !(path.ends_with("target") || path.ends_with(".git") || path.ends_with(".cache"));
            if path.is_dir() && is_ours {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    collect(root, &mut pages);
    let (mut links, mut wrong) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a folder").join(file)
            };
            let leads = to.exists()
                && (fragment.is_empty()
                    || anchors(&fs::read_to_string(&to).unwrap_or_default()).contains(&fragment.to_owned()));
            if !leads {
                wrong.push(format!(
                    "{}: {target}",
                    page.strip_prefix(root).unwrap_or(&page).display()
                ));
            }
        }
    }
    assert!(links > 100, "{links} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
