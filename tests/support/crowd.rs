//! Clients that hold connections and send nothing, or next to nothing.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "test support: each user of it uses its own part, and fails by a panic that says why"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The time between two bytes of who sends slowly.
const BETWEEN_BYTES: Duration = Duration::from_millis(100);

/// A crowd around a server, until it is dropped. Who is sent away comes back.
pub struct Crowd {
    tasks: Vec<JoinHandle<()>>,
    there: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Sends nothing.
    Idle,
    /// Sends the head of a request byte by byte.
    SlowHead,
    /// Sends the body of a request byte by byte.
    SlowBody,
}

impl Crowd {
    /// Lets so many connections be idle and so many slow, half of them in the head of a request and half in its body;
    /// returns when all are connected. Has to be called within a runtime.
    pub async fn around(address: SocketAddr, tls: &TlsConnector, idle: usize, slow: usize) -> Self {
        let there = Arc::new(AtomicUsize::new(0));
        let manners = (0..idle + slow).map(|number| match number {
            number if number < idle => Manner::Idle,
            number if number.is_multiple_of(2) => Manner::SlowHead,
            _ => Manner::SlowBody,
        });
        let tasks = manners
            .map(|manner| {
                let (tls, there) = (tls.clone(), Arc::clone(&there));
                tokio::spawn(async move {
                    loop {
                        if let Ok(stream) = connect(address, &tls).await {
                            there.fetch_add(1, Ordering::SeqCst);
                            // Whatever the server says to it.
                            let _ = stay(stream, manner).await;
                            there.fetch_sub(1, Ordering::SeqCst);
                        }
                        tokio::time::sleep(BETWEEN_BYTES).await;
                    }
                })
            })
            .collect();
        let crowd = Self { tasks, there };
        while crowd.size() < idle + slow {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        crowd
    }

    /// How many are connected now.
    pub fn size(&self) -> usize {
        self.there.load(Ordering::SeqCst)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Opens a connection to a server that trusts itself to be `localhost`.
pub async fn connect(address: SocketAddr, tls: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("a name");
    tls.connect(name, stream).await
}

/// What trusts the certificates of these authorities, given as PEM.
pub fn trusting(authorities: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let authority = authority.expect("a certificate");
        roots.add(authority).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Holds a connection until the server ends it.
async fn stay(mut stream: TlsStream<TcpStream>, manner: Manner) -> io::Result<()> {
    let head = "POST /validate/enforce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let slow = match manner {
        Manner::Idle => String::new(),
        Manner::SlowHead => format!("{head}X-Long: {}", "x".repeat(4096)),
        Manner::SlowBody => {
            let length = "Content-Length: 4096\r\n\r\n";
            stream.write_all(format!("{head}{length}").as_bytes()).await?;
            "{".repeat(4095)
        }
    };
    for byte in slow.into_bytes() {
        stream.write_all(&[byte]).await?;
        let mut answer = [0; 1024];
        if let Ok(read) = tokio::time::timeout(BETWEEN_BYTES, stream.read(&mut answer)).await {
            read?;
            return Ok(());
        }
    }
    stream.read(&mut [0; 1024]).await.map(drop)
}
