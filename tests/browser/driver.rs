//! A headless Chromium, driven by chromedriver as `WebDriver` (W3C) says.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one window.
pub(crate) struct Browser {
    pub(crate) client: Client,
    // Ended after its client.
    driver: Child,
}

/// A command of Chrome's own protocol (`goog/cdp/execute` of chromedriver).
#[derive(Debug)]
struct Chrome(&'static str, Value);

impl WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({"cmd": self.0, "params": self.1});
        (http::Method::POST, Some(body.to_string()))
    }
}

/// The browser's console, as chromedriver gives it.
#[derive(Debug)]
struct Log;

impl WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}

impl Browser {
    /// Starts one; what it needs is found or installed by `tests/browser/install.sh`.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: tests/browser/install.sh installs it");
        let mut lines = BufReader::new(driver.stdout.take().expect("its words")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver starts");
        // It goes on to write, and would be ended by a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut capabilities = Capabilities::new();
        // As root there is no sandbox of its own, and a container has a small /dev/shm.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,900",
            "--force-device-scale-factor=1",
        ];
        capabilities.insert("goog:chromeOptions".to_owned(), json!({"args": arguments}));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session of the browser");
        Self { client, driver }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    /// The first element of a selector, once it is there.
    pub(crate) async fn find(&self, css: &str) -> Element {
        let waited = self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(css))
            .await;
        waited.unwrap_or_else(|error| panic!("no {css}: {error}"))
    }

    /// All elements of a selector that are there now.
    pub(crate) async fn all(&self, css: &str) -> Vec<Element> {
        self.client.find_all(Locator::Css(css)).await.expect("a selector")
    }

    /// The text of an element, as it is to be seen.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("text")
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client
            .execute(script, Vec::new())
            .await
            .expect("the script runs")
    }

    /// Waits until a script returns true.
    pub(crate) async fn until(&self, what: &str, script: &str) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while self.run(script).await != true {
            assert!(tokio::time::Instant::now() < end, "{what}: {script}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types keys into whatever has the focus.
    pub(crate) async fn press(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("a focus");
        focused.send_keys(keys).await.expect("keys");
    }

    /// Prefers dark or light.
    pub(crate) async fn prefers(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.chrome("Emulation.setEmulatedMedia", features).await;
    }

    /// Is so wide and high.
    pub(crate) async fn is_sized(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.chrome("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Whether any element of a selector is to be seen.
    pub(crate) async fn is_shown(&self, css: &str) -> bool {
        for element in self.all(css).await {
            if element.is_displayed().await.expect("an element") {
                return true;
            }
        }
        false
    }

    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("a click");
    }

    /// Types text into a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        self.find(css).await.send_keys(text).await.expect("keys");
    }

    /// Chooses an option of a list by its value.
    pub(crate) async fn choose(&self, css: &str, value: &str) {
        self.find(css)
            .await
            .select_by_value(value)
            .await
            .expect("the option is there");
    }

    /// What the browser has complained of since it was asked last.
    pub(crate) async fn log(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Log).await.expect("the browser's log");
        let entries = log.as_array().into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry["message"].as_str()?.to_owned()))
            .collect()
    }

    /// The lowest contrast of text with what is behind it (WCAG 2.2, 1.4.3, asks for 4.5).
    pub(crate) async fn lowest_contrast(&self) -> f64 {
        let lowest = self.run(include_str!("contrast.js")).await;
        lowest.as_f64().expect("a number")
    }

    pub(crate) async fn chrome(&self, command: &'static str, parameters: Value) -> Value {
        let done = self.client.issue_cmd(Chrome(command, parameters)).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Puts what is to be seen into a file.
    pub(crate) async fn photograph(&self, file: &Path) {
        let picture = self.client.screenshot().await.expect("a picture");
        std::fs::write(file, picture).expect("the picture is written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Only a session that is ended ends its browser; the driver by itself leaves it running.
        let client = self.client.clone();
        let ended =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(client.close()));
        if let Err(error) = ended {
            eprintln!("the browser may still run: {error}");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
