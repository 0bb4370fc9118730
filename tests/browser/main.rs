//! The dashboard in a real browser, headless Chromium, on a running `serve`.
//!
//! `LANEKEEPER_PICTURES=DIR` has it photographed, for the README and for whoever wants to see.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic that says why"
)]

#[path = "../support/command.rs"]
mod command;
mod driver;
#[path = "../support/server.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver::Browser;
use fantoccini::key::Key;
use serde_json::Value;
use server::Server;

/// The query of the request of the examples, from hop to hop.
const REQUEST: &str =
    "?url=http://cars.example/&header=buid:+wicph&via=cars-rti-adapter:20885,cars-aggregator";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A server on the cars with broken ones over them, and a browser.
struct Seen {
    browser: Browser,
    server: Server,
    folder: tempfile::TempDir,
}

impl Seen {
    async fn cars(broken: &[&str]) -> Self {
        let broken = broken
            .iter()
            .map(|name| examples().join("cars-broken").join(name));
        let manifests: Vec<PathBuf> = [examples().join("cars")].into_iter().chain(broken).collect();
        Self::of(command::folder(&[]), &manifests).await
    }

    async fn of(folder: tempfile::TempDir, manifests: &[PathBuf]) -> Self {
        let manifests: Vec<String> = manifests.iter().map(|path| path.display().to_string()).collect();
        let mut arguments = vec!["--manifests"];
        arguments.extend(manifests.iter().map(String::as_str));
        let server = Server::start(folder.path(), &arguments);
        Self {
            browser: Browser::start().await,
            server,
            folder,
        }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.server.dashboard())
    }

    async fn open(&self, rest: &str) {
        self.browser.open(&self.url(rest)).await;
    }

    /// Waits until new decisions would arrive.
    async fn listens(&self) {
        let listens = "return document.getElementById('live-state').textContent.startsWith('New ones')";
        self.browser.until("it listens", listens).await;
    }

    /// Takes a picture of an element, if pictures are wanted.
    async fn photograph(&self, css: &str, name: &str) {
        if let Some(folder) = pictures() {
            self.browser.run("scrollTo(0, 0)").await;
            let picture = self
                .browser
                .find(css)
                .await
                .screenshot()
                .await
                .expect("a picture");
            fs::write(folder.join(name).with_extension("png"), picture).expect("the picture is written");
        }
    }

    /// That the browser has complained of nothing: no script failed, nothing was against the page's policy.
    async fn is_quiet(&self) {
        let log = self.browser.log().await;
        assert!(log.is_empty(), "{log:#?}");
    }
}

/// Where pictures go, if they are wanted.
fn pictures() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("LANEKEEPER_PICTURES")?);
    fs::create_dir_all(&folder).expect("the folder of the pictures");
    Some(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_cell_is_explained_by_mouse_and_by_keyboard() {
    let seen = Seen::cars(&["subset-label-typo.yaml"]).await;
    let browser = &seen.browser;
    seen.open("").await;
    assert_eq!(
        browser.text(".matrix thead").await,
        "request to wicph wtchk no lane"
    );
    assert_eq!(browser.all(".matrix tbody tr").await.len(), 5);
    assert_eq!(browser.all(".matrix td.good").await.len(), 9);
    let broken = browser.find(".matrix td.bad a").await;
    assert!(broken.text().await.expect("text").ends_with("503"));
    assert!(!browser.is_shown(".why").await);

    broken.click().await.expect("a click");
    browser
        .until(
            "it is explained",
            "return document.activeElement.classList.contains('why')",
        )
        .await;
    let why = browser.text(".why:target").await;
    for part in [
        "* at cars-aswatson-dev/cars:80, lane wicph: 503",
        "GET http://any.example/ with buid: wicph",
        "VirtualService cars-aswatson-dev/cars-api-portal spec.http[0]",
        "DestinationRule cars-aswatson-dev/cars-api-portal spec.subsets[1]: version=wtcph",
        "nothing carries it",
    ] {
        assert!(why.contains(part), "no {part} in:\n{why}");
    }
    seen.photograph("#lanes", "lanes").await;
    // Closed again, the focus is where it came from.
    browser.press(&Key::Escape.to_string()).await;
    browser
        .until("it is closed", "return !document.querySelector('.why:target') && document.activeElement.closest('td.bad') !== null")
        .await;
    browser.press(&Key::Enter.to_string()).await;
    browser
        .until(
            "it is open again",
            "return document.querySelector('.why:target') !== null",
        )
        .await;

    // From the object to what is wrong with it.
    browser.click(".why:target .mark.bad").await;
    browser
        .until(
            "the finding is chosen",
            "return document.querySelector('tr:target') !== null",
        )
        .await;
    let finding = browser.text("tr:target").await;
    assert!(
        finding.contains("LK101") && finding.contains("did you mean `version: wicph`?"),
        "{finding}"
    );
    browser.click("tr:target a").await;
    assert!(browser.text("h2").await.contains("LK101"));
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_findings_are_filtered() {
    let seen = Seen::cars(&["subset-label-typo.yaml", "wrong-lane-header.yaml"]).await;
    let browser = &seen.browser;
    seen.open("").await;
    let shown = "return [...document.querySelectorAll('.matrix tbody tr')].filter((row) => row.checkVisibility()).length";
    let all = browser.run(shown).await.as_u64().expect("a number");
    browser.click("#only-broken").await;
    let broken = browser.run(shown).await.as_u64().expect("a number");
    assert!(0 < broken && broken < all, "{broken} of {all}");

    let findings = browser.all(".findings tbody tr").await.len();
    assert!(findings > 1);
    browser.choose("select[name=rule]", "LK101").await;
    browser.click("#findings button").await;
    browser
        .until("it is filtered", "return location.search.includes('rule=LK101')")
        .await;
    let rules = browser
        .run("return [...document.querySelectorAll('.findings td a')].map((a) => a.textContent)")
        .await;
    assert!(
        rules
            .as_array()
            .is_some_and(|rules| !rules.is_empty() && rules.len() < findings),
        "{rules}"
    );
    assert!(
        rules.as_array().into_iter().flatten().all(|rule| rule == "LK101"),
        "{rules}"
    );
    assert_eq!(
        browser
            .run("return document.querySelector('select[name=rule]').value")
            .await,
        "LK101"
    );
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_arrives_while_the_page_is_open() {
    let seen = Seen::cars(&[]).await;
    let browser = &seen.browser;
    seen.open("").await;
    seen.listens().await;
    assert_eq!(browser.all(".decisions tbody tr").await.len(), 0);
    browser.run("window.isTheSamePage = true").await;
    let file = examples().join("cars-broken/subset-name-typo.yaml");
    let file = file.display().to_string();
    seen.server.submit(&[&file]).ends_with(1);
    browser.find(".decisions .mark.denied").await;
    assert_eq!(browser.run("return window.isTheSamePage").await, true);
    let row = browser.text(".decisions tr:has(.denied)").await;
    for part in [
        "CREATE",
        "in enforce",
        "VirtualService cars-aswatson-dev/cars-api-portal",
        "LK103",
    ] {
        assert!(row.contains(part), "no {part} in {row}");
    }
    browser.click(".decisions details summary").await;
    assert!(
        browser
            .text(".decisions details")
            .await
            .contains("did you mean `cars-api-portal-wicph`?")
    );
    let arrived = browser.all(".decisions tbody tr").await.len();
    browser.client.refresh().await.expect("the page again");
    browser.find(".decisions .mark.denied").await;
    assert_eq!(browser.all(".decisions tbody tr").await.len(), arrived);
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_drawn_from_hop_to_hop() {
    let seen = Seen::cars(&["wrong-lane-header.yaml"]).await;
    let browser = &seen.browser;
    seen.open("").await;
    browser.fill("input[name=url]", "http://cars.example/").await;
    browser.fill("textarea[name=header]", "buid: wtchk").await;
    browser
        .fill("input[name=via]", "cars-rti-adapter:20885,cars-aggregator")
        .await;
    browser.click("#trace button").await;
    assert_eq!(
        browser.text("#trace .mark.good").await,
        "The request stays in lane wtchk."
    );
    assert_eq!(browser.all("svg .node").await.len(), 4);
    assert_eq!(browser.all("svg .left").await.len(), 0);
    assert_eq!(
        browser
            .run("return document.querySelector('textarea').value")
            .await,
        "buid: wtchk"
    );

    seen.open(REQUEST).await;
    assert_eq!(
        browser.text("#trace .mark.bad").await,
        "The request does not stay in lane wicph."
    );
    seen.photograph("#trace .scrolls", "trace").await;
    // It falls from one band into the other one.
    let heights = browser
        .run("return [...document.querySelectorAll('svg .node')].map((node) => Math.round(node.cy.baseVal.value))")
        .await;
    let heights: Vec<u64> = heights
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    let [gateway, portal, adapter, aggregator] = heights.as_slice() else {
        panic!("{heights:?}")
    };
    assert!(
        gateway == portal && portal == adapter && adapter < aggregator,
        "{heights:?}"
    );
    assert_eq!(browser.all("svg .node.left").await.len(), 1);
    let words = browser
        .run("return document.querySelector('svg title').textContent")
        .await;
    assert_eq!(
        words,
        "A request in lane wicph: cars-api-portal:8181 (cars-api-portal-wicph), then cars-rti-adapter:20885 \
         (cars-rti-adapter-wicph), then cars-aggregator:8080 (cars-aggregator-wtchk)"
    );
    let hops = browser.text("#trace").await;
    assert!(hops.contains("lane wicph: lane wtchk answers"), "{hops}");

    // From a cell of the matrix.
    seen.open("").await;
    browser.click(".matrix td.bad a").await;
    browser.click(".why:target p a[href*=trace]").await;
    assert_eq!(
        browser.text("#trace .mark.bad").await,
        "The request does not stay in lane wicph."
    );
    seen.open("?url=ftp://x").await;
    assert!(
        browser
            .text("[role=alert]")
            .await
            .contains("`ftp://x` is no URL of a request")
    );
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_tells_who_answers_of_several_and_what_a_proxy_says() {
    let world = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cars-aggregator, namespace: cars-aswatson-dev}
spec:
  hosts: [cars-aggregator]
  http:
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {exact: /gone}}]
    directResponse: {status: 410}
  - match: [{headers: {bu: {exact: wicph}}}]
    route:
    - {weight: 10, destination: {host: cars-aggregator, subset: cars-aggregator-wicph}}
    - {weight: 90, destination: {host: cars-aggregator, subset: cars-aggregator-wtchk}}
  - route: [{destination: {host: cars-aggregator, subset: cars-aggregator-wtchk}}]
";
    let folder = command::folder(&[("world.yaml", world)]);
    let file = folder.path().join("world.yaml");
    let seen = Seen::of(folder, &[examples().join("cars"), file]).await;
    let browser = &seen.browser;
    let asked = "?url=http://cars-aggregator:8080";
    let from = "&from=cars-aswatson-dev/app.kubernetes.io/part-of%3Dcars&header=bu:+wicph";
    let names = "return [...document.querySelectorAll('svg circle.node')].map((node) => {
        const text = node.nextElementSibling;
        return text.querySelector('title').textContent + ' at ' + Math.round(node.cy.baseVal.value); })";
    seen.open(&format!("{asked}/{from}")).await;
    let shown = browser.run(names).await;
    let shown: Vec<&str> = shown
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let [_, most, least] = shown.as_slice() else {
        panic!("{shown:?}")
    };
    assert!(
        most.starts_with("90 % cars-aggregator-wtchk at ")
            && least.starts_with("10 % cars-aggregator-wicph at "),
        "{shown:?}"
    );
    assert_ne!(
        most.rsplit(' ').next(),
        least.rsplit(' ').next(),
        "each is in the band of its lane"
    );
    for (path, said, crosses) in [("/old", "301", 0), ("/gone", "410", 1)] {
        seen.open(&format!("{asked}{path}{from}")).await;
        assert!(browser.text("svg").await.contains(said), "{path}");
        assert_eq!(browser.all("svg .cross").await.len(), crosses, "{path}");
    }
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_text() {
    let attack = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";
    let hostile = format!(
        "
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: {name}, namespace: cars-aswatson-dev}}
spec:
  selector: {{matchLabels: {{app.kubernetes.io/part-of: cars}}}}
  pluginConfig: {{lane_header: bu, traffic_lane: wtchk}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: cars-aswatson-dev}}
spec:
  hosts: [cars-aggregator]
  http:
  - name: {name}
    match: [{{headers: {{bu: {{exact: wicph}}}}, uri: {{exact: {name}}}}}]
    route: [{{destination: {{host: cars-aggregator, subset: {name}}}}}]
",
        name = serde_json::to_string(attack).expect("JSON")
    );
    let folder = command::folder(&[("hostile.yaml", &hostile)]);
    let file = folder.path().join("hostile.yaml");
    let seen = Seen::of(folder, &[examples().join("cars"), file.clone()]).await;
    let browser = &seen.browser;
    let arrives = serde_json::json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": attack, "namespace": "cars-aswatson-dev"},
        "spec": {"hosts": ["cars-aggregator"], "http": [{"name": attack, "route": [
            {"destination": {"host": "cars-aggregator", "subset": attack}}]}]}});
    let arriving = seen.folder.path().join("arriving.json");
    fs::write(&arriving, arrives.to_string()).expect("a file");
    let arriving = arriving.display().to_string();

    let query = format!("?url=http://cars-aggregator:8080{attack}&from=cars-aswatson-dev&header=x:{attack}")
        .replace(' ', "+");
    for rest in [
        "",
        &query,
        &format!("?rule={attack}&url={attack}").replace(' ', "+"),
    ] {
        seen.open(rest).await;
        seen.listens().await;
        seen.server.submit(&[&arriving]);
        browser.find(".decisions tbody tr").await;
        assert_eq!(
            browser.run("return window.hacked === undefined").await,
            true,
            "{rest}"
        );
        let made = "return document.querySelectorAll('main img, main script').length";
        assert_eq!(browser.run(made).await, 0, "{rest}");
        assert!(
            browser
                .text("main")
                .await
                .contains("<script>window.hacked=1</script>"),
            "{rest}"
        );
    }
    // Should something get through all the same, the page's policy stops it.
    browser
        .run("const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);")
        .await;
    assert_eq!(browser.run("return window.hacked === undefined").await, true);
    let log = browser.log().await;
    assert!(
        log.iter().any(|line| line.contains("Content Security Policy")),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_matrix_is_the_same_page_without_a_server() {
    let seen = Seen::cars(&["subset-label-typo.yaml"]).await;
    let browser = &seen.browser;
    seen.open("").await;
    let cells = "return [...document.querySelectorAll('.matrix td')].map((cell) => cell.textContent)";
    let served = browser.run(cells).await;
    let run = command::run(
        Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args([
                "matrix",
                "-o",
                "html",
                "cars",
                "cars-broken/subset-label-typo.yaml",
            ])
            .current_dir(examples()),
    );
    let file = seen.folder.path().join("lanes.html");
    fs::write(&file, run.ends_with(0).stdout).expect("the page");
    browser.open(&format!("file://{}", file.display())).await;
    assert_eq!(browser.run(cells).await, served);
    browser.click(".matrix td.bad a").await;
    assert!(browser.text(".why:target").await.contains("version=wtcph"));
    browser.press(&Key::Escape.to_string()).await;
    browser
        .until("it is closed", "return !document.querySelector('.why:target')")
        .await;
    seen.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_dark_light_narrow_and_readable_by_machine() {
    let seen = Seen::cars(&["wrong-lane-header.yaml"]).await;
    let browser = &seen.browser;
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for (scheme, width, height) in [("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844)] {
        browser.prefers(scheme).await;
        browser.is_sized(width, height).await;
        seen.open(REQUEST).await;
        grounds.push(browser.run(ground).await);
        // Tables and the picture scroll by themselves; the page does not, from side to side.
        let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.run(overflow).await, 0, "{scheme} {width}");
        assert!(browser.lowest_contrast().await >= 4.5, "{scheme} {width}");
        if let Some(folder) = pictures() {
            for (name, at) in [("lanes", ""), ("trace", "trace")] {
                browser
                    .run(&format!(
                        "location.hash = '#{at}'; window.scrollBy(0, {})",
                        if at.is_empty() { -99_999 } else { 0 }
                    ))
                    .await;
                browser
                    .photograph(&folder.join(format!("{name}-{scheme}-{width}.png")))
                    .await;
            }
        }
    }
    assert_ne!(grounds[0], grounds[1]);
    assert_eq!(grounds[0], grounds[2]);

    // Whatever can be used has a name, for those who do not see it.
    let tree = browser
        .chrome("Accessibility.getFullAXTree", serde_json::json!({}))
        .await;
    let nodes = tree["nodes"].as_array().expect("nodes");
    let mut used = 0;
    for node in nodes.iter().filter(|node| node["ignored"] == false) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if matches!(
            role,
            "link" | "button" | "textbox" | "combobox" | "checkbox" | "image" | "region" | "table"
        ) {
            used += 1;
            // A table is named by the region around it.
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(
                !name.is_empty() || role == "table",
                "a {role} without a name: {node:#}"
            );
        }
    }
    assert!(used > 25, "{used}");
    let heads = "return [...document.querySelectorAll('th')].every((head) => head.scope !== '')";
    assert_eq!(browser.run(heads).await, true);
    // The first stop of the keyboard leads past the header.
    seen.open("").await;
    browser.press(&Key::Tab.to_string()).await;
    assert_eq!(
        browser.run("return document.activeElement.textContent").await,
        "Skip to the content"
    );
    browser.press(&Key::Enter.to_string()).await;
    browser
        .until(
            "the content has the focus",
            "return document.activeElement.id === 'main'",
        )
        .await;
    seen.is_quiet().await;
}
