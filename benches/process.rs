//! Webhooks as processes of their own: `lanekeeper serve`, and what is measured beside it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each benchmark uses its own part of it, and fails by a panic that says why"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::control_plane::{Component, free_port, mortal};

/// How often it is asked whether it is ready; times until then are as exact.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// A `lanekeeper serve`, until it is dropped.
pub(crate) struct Served {
    pub(crate) webhook: SocketAddr,
    /// From its start to the first good answer of `/readyz`.
    pub(crate) until_ready: Duration,
    decisions: PathBuf,
    process: Component,
}

impl Served {
    /// Starts it with a certificate that [`certify`] has written to `folder`, and returns when it is ready.
    pub(crate) fn start<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let [webhook, admin] = [free_address(), free_address()];
        let decisions = folder.join("decisions.jsonl");
        let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_lanekeeper")));
        command
            .arg("serve")
            .arg(format!("--listen={webhook}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--tls-cert-dir={}", folder.display()))
            .arg(format!("--audit-log={}", decisions.display()))
            .args(arguments);
        let started = Instant::now();
        let process = Component::run("lanekeeper", folder, command);
        process.until("ready", || {
            // Its own probes are further apart.
            let until = Instant::now() + Duration::from_secs(1);
            while !is_good(admin, "/readyz") && Instant::now() < until {
                sleep(ASK_AGAIN);
            }
            is_good(admin, "/readyz")
        });
        Self {
            webhook,
            until_ready: started.elapsed(),
            decisions,
            process,
        }
    }

    /// The id of its process, for `/proc`.
    pub(crate) fn id(&self) -> String {
        self.process.id().to_string()
    }

    /// How many judgements it has logged. Rewriting is not counted: the API server asks for it again when it finds an
    /// object changed meanwhile.
    pub(crate) fn judgements(&self) -> usize {
        let log = fs::read_to_string(&self.decisions).unwrap_or_default();
        log.matches(r#""webhook":"validate""#).count()
    }
}

/// Writes a certificate for this machine and its key to `folder`; it is its own authority. Returns it as PEM.
pub(crate) fn certify(folder: &Path) -> String {
    let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = made.cert.pem();
    fs::write(folder.join("tls.crt"), &certificate).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    certificate
}

/// An address of this machine where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Whether an HTTP server answers well.
fn is_good(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
