//! One `lanekeeper serve`, again and again on the same ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::balancer::Endpoint;
use crate::control_plane::{Component, free_port, mortal};

/// A replica, with a folder for its logs.
pub(crate) struct Replica {
    name: String,
    folder: PathBuf,
    endpoint: Endpoint,
    arguments: Vec<String>,
    process: Mutex<(Component, u32)>,
}

impl Replica {
    /// Starts it, in a folder of its own below `folder`.
    pub(crate) fn start(name: &str, folder: &Path, arguments: Vec<String>) -> Self {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let endpoint = Endpoint {
            webhook: address(),
            admin: address(),
        };
        let process = Mutex::new((run(name, &folder, endpoint, &arguments, 0), 0));
        Self {
            name: name.to_owned(),
            folder,
            endpoint,
            arguments,
            process,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    fn process(&self) -> MutexGuard<'_, (Component, u32)> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it in order by SIGTERM and starts it again.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        process.0.signal("TERM");
        let status = process.0.ended();
        assert!(
            status.success(),
            "{} ended badly: {status}\n{}",
            self.name,
            process.0.log_tail(40)
        );
        let number = process.1 + 1;
        *process = (
            run(&self.name, &self.folder, self.endpoint, &self.arguments, number),
            number,
        );
    }

    /// What it has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.process().0.read_log()
    }

    /// The files of its decision log.
    fn logs(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let is_log = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("decisions.jsonl")
        };
        paths.filter(is_log).collect()
    }

    /// How many files its decision log was rotated to.
    pub(crate) fn rotated_logs(&self) -> usize {
        self.logs().len() - 1
    }

    /// Every decision that it has logged, whichever file they are in by now.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        let mut decisions = Vec::new();
        for path in self.logs() {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let decision = serde_json::from_str(line);
                decisions
                    .push(decision.unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display())));
            }
        }
        decisions
    }
}

fn run(name: &str, folder: &Path, endpoint: Endpoint, arguments: &[String], number: u32) -> Component {
    let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_lanekeeper")));
    command
        .arg("serve")
        .arg(format!("--listen={}", endpoint.webhook))
        .arg(format!("--admin-listen={}", endpoint.admin))
        .arg("--audit-log=decisions.jsonl")
        .args(arguments)
        .env("HOSTNAME", name)
        .env("LANEKEEPER_LOG", "info,lanekeeper::cluster=debug");
    Component::run(&format!("{name}-{number}"), folder, command)
}

/// `lanekeeper check --cluster` of a namespace: whether it ended with no finding that refuses, and what it has printed.
pub(crate) fn check(kubeconfig: &Path, namespace: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args([
            "check",
            "--cluster",
            "-o",
            "oneline",
            "-n",
            namespace,
            "--kubeconfig",
        ])
        .arg(kubeconfig)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => (true, text),
        Some(1) => (false, text),
        code => panic!("check ended with {code:?}: {text}"),
    }
}
