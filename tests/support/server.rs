//! `lanekeeper serve` as a process of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::command::{Run, lines, run};

/// A server on a world from files, and where it listens.
pub(crate) struct Server {
    child: Child,
    webhook: String,
    admin: String,
    dashboard: String,
    ca: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

/// What an HTTP server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// Sends a request that has no body: `GET /metrics`, with more lines of headers.
pub(crate) fn ask(address: &str, request: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the listener");
    let mut lines = vec![format!("{request} HTTP/1.1")];
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        lines.push("Host: localhost".to_owned());
    }
    lines.extend(headers.iter().map(|&header| header.to_owned()));
    write!(stream, "{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).expect("a request");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("an answer");
    let text = String::from_utf8(text).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Server {
    /// Starts one in a folder, with these arguments beside those that say where it listens.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_lanekeeper")), folder, args)
    }

    /// The same by a command that becomes the server: its arguments come after the command's own.
    pub(crate) fn start_by(mut command: Command, folder: &Path, args: &[&str]) -> Self {
        let ca = folder.join("ca.crt");
        let mut child = command
            .args(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .arg("--dashboard-listen=127.0.0.1:0")
            .args(["--shutdown-delay=0", "--ca-file"])
            .arg(&ca)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let said = lines(child.stderr.take().expect("its log"));
        let after = |line: &str, scheme: &str| {
            let address = line.split_once(scheme)?.1;
            let end = address.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')));
            Some(address[..end.unwrap_or(address.len())].to_owned())
        };
        let (mut webhook, mut admin, mut dashboard) = (None, None, None);
        while dashboard.is_none() {
            let line = said
                .recv_timeout(Duration::from_secs(30))
                .expect("it says where it serves");
            let found = if line.contains("the dashboard is served") {
                &mut dashboard
            } else {
                &mut admin
            };
            *found = found.take().or_else(|| after(&line, "http://"));
            webhook = webhook.or_else(|| after(&line, "https://"));
        }
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        // Whoever writes to a closed pipe is ended by it.
        thread::spawn(move || {
            for line in said {
                lines.lock().expect("the log").push(line);
            }
        });
        Self {
            child,
            webhook: webhook.unwrap_or_default(),
            admin: admin.unwrap_or_default(),
            dashboard: dashboard.unwrap_or_default(),
            ca,
            log,
        }
    }

    /// What it has logged since it said where it serves, or since this was asked last.
    pub(crate) fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().expect("the log"))
    }

    /// What the server makes of these objects: arguments of `submit`.
    pub(crate) fn submit(&self, args: &[&str]) -> Run {
        run(&mut self.submission(args))
    }

    /// The command that asks it.
    pub(crate) fn submission(&self, args: &[&str]) -> Command {
        let url = format!("https://{}", self.webhook);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command
            .env("NO_COLOR", "1")
            .args(["submit", "--server", &url, "--ca-file"])
            .arg(&self.ca)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// The metrics page.
    pub(crate) fn metrics(&self) -> String {
        ask(&self.admin, "GET /metrics", &[]).body
    }

    /// Where the dashboard is.
    pub(crate) fn dashboard(&self) -> &str {
        &self.dashboard
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
