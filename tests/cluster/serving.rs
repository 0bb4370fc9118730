//! `serve` as the `ServiceAccount` of the manifests, on an API server with the good examples and a lane group of them.

#![allow(
    unreachable_pub,
    clippy::print_stderr,
    reason = "test support; a failed test shows the log, whose folder goes away with it"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::control_plane::{ControlPlane, eventually};
use crate::{apply, kubectl, run};

pub const NAMESPACE: &str = "cars-aswatson-dev";

/// A file of the manifests.
pub fn base(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manifests/base")
        .join(file)
}

/// An API server with Lanekeeper's rights.
pub fn with_rights() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    plane.install_crds(&base("crd.yaml"));
    run(&plane, "create namespace istio-system");
    for file in ["namespace.yaml", "rbac.yaml"] {
        run(&plane, &format!("apply -f {}", base(file).display()));
    }
    plane
}

/// The same with the good examples, and a group of them.
pub fn plane() -> ControlPlane {
    let plane = with_rights();
    run(&plane, &format!("apply -f {}", example("cars").display()));
    apply(&plane, &group("W3C"));
    plane
}

pub fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

pub fn group(trace: &str) -> String {
    format!(
        "apiVersion: lanekeeper.dev/v1alpha1
kind: LaneGroup
metadata: {{namespace: {NAMESPACE}, name: cars}}
spec:
  header: bu
  entry: {{header: buid, gateways: [cars]}}
  workloads: {{matchLabels: {{app.kubernetes.io/part-of: cars}}}}
  lanes: [wtchk, wicph]
  defaultLane: wtchk
  trace: {trace}
"
    )
}

/// The page at `path` of a plain HTTP server, with its head; empty while nobody answers.
pub fn page(address: &str, path: &str) -> String {
    let mut page = String::new();
    let _ = TcpStream::connect(address).and_then(|mut stream| {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        stream.read_to_string(&mut page)
    });
    page
}

/// A running `serve`; killed when dropped.
pub struct Serve {
    child: Child,
    folder: tempfile::TempDir,
}

impl Serve {
    pub fn start(plane: &ControlPlane, host: &str) -> Self {
        Self::with(plane, host, &[])
    }

    pub fn with(plane: &ControlPlane, host: &str, more: &[&str]) -> Self {
        let token = run(plane, "create token lanekeeper --namespace=lanekeeper-system");
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--shutdown-delay=0",
            ])
            .args(["--ca-file=ca.crt", "--audit-log=decisions.jsonl", "--kubeconfig"])
            .arg(plane.kubeconfig_for_token(token.trim()))
            .args(more)
            .env("HOSTNAME", host)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.child.wait().unwrap().success());
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it has logged with this target.
    pub fn lines(&self, target: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == target).collect()
    }

    /// Where it listens, by what its log says just before that.
    fn address(&self, before: &str) -> String {
        eventually("it says where it serves", || {
            let log = self.log();
            let (_, address) = log.split_once(before)?;
            let end = address.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))?;
            Some(address[..end].to_owned())
        })
    }

    /// What it makes of the objects in a file.
    pub fn submit(&self, file: &Path) -> Output {
        let url = format!("https://{}", self.address("https://"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command.args(["submit", "--server", &url, "--ca-file"]);
        let command = command.arg(self.folder.path().join("ca.crt")).arg(file);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// A page of its dashboard, with its head.
    pub fn dashboard(&self, path: &str) -> String {
        let address = self.address("\"the dashboard is served\",\"url\":\"http://");
        page(&address, path)
    }

    pub fn metrics(&self) -> String {
        let address = self.address("http://");
        let page = page(&address, "/metrics");
        assert!(!page.is_empty(), "nobody answers at {address}");
        page
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- log of serve\n{}\n---", self.log());
        }
    }
}

pub fn object(plane: &ControlPlane) -> Value {
    let object = run(plane, &format!("get lanegroup cars -n {NAMESPACE} -o json"));
    serde_json::from_str(&object).unwrap()
}

pub fn condition(object: &Value, about: &str) -> Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = conditions
        .into_iter()
        .find(|condition| condition["type"] == about);
    of.unwrap_or_default()
}

/// Waits until a condition has this status and reason, and gives the object.
#[track_caller]
pub fn until(plane: &ControlPlane, about: &str, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    let what = format!("{about} is {status}, {reason}");
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(&what, || {
            last = object(plane);
            let found = condition(&last, about);
            (found["status"] == status && found["reason"] == reason).then(|| last.clone())
        })
    }));
    found.unwrap_or_else(|_| panic!("not {what}, but {:#}", last["status"]))
}

pub fn lease(plane: &ControlPlane, field: &str) -> String {
    let line = &format!("get lease lanekeeper -n lanekeeper-system --output=jsonpath={{.spec.{field}}}");
    kubectl(plane, line).stdout
}
