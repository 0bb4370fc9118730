//! What kube-proxy is to a Service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;

/// How often the replicas are asked whether they are ready.
const POLL: Duration = Duration::from_millis(100);

/// What a client offers in its first message, which is in clear: HTTP/2 before HTTP/1.1 (RFC 7301, 3.1).
const OFFERS_HTTP2: &[u8] = b"\x02h2\x08http/1.1";

/// A replica, as its Service sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) webhook: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The Service's port at which it leads to one replica alone.
pub(crate) fn service_port(replica: usize) -> u16 {
    1001 + u16::try_from(replica).unwrap()
}

/// Gives each new connection to the next replica that is ready. Connections that are made stay where they are.
///
/// It is reached by a port of this machine, or by a socket in the file system as the proxy that the API server asks
/// for every connection to a Service (`EgressSelectorConfiguration`).
pub(crate) struct Balancer {
    port: u16,
    state: Arc<State>,
}

struct State {
    endpoints: Vec<(Endpoint, AtomicBool)>,
    next: AtomicUsize,
    http2: AtomicUsize,
    http1: AtomicUsize,
    nowhere: AtomicUsize,
}

impl Balancer {
    /// Has to be called within a runtime, and ends with it.
    pub(crate) async fn before(endpoints: &[Endpoint], socket: &Path) -> Self {
        let endpoints = endpoints.iter();
        let state = Arc::new(State {
            endpoints: endpoints
                .map(|endpoint| (*endpoint, AtomicBool::new(false)))
                .collect(),
            next: AtomicUsize::new(0),
            http2: AtomicUsize::new(0),
            http1: AtomicUsize::new(0),
            nowhere: AtomicUsize::new(0),
        });
        for at in 0..state.endpoints.len() {
            let state = Arc::clone(&state);
            tokio::spawn(async move { state.follow(at).await });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).ok();
                let state = Arc::clone(&shared);
                tokio::spawn(async move { state.pass_on(client, None, "").await });
            }
        });
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // It says which address it means, and waits.
                    let mut asked = Vec::new();
                    while !asked.ends_with(b"\r\n\r\n") {
                        asked.push(client.read_u8().await?);
                    }
                    let only = (0..state.endpoints.len()).find(|at| {
                        let address = format!(":{} HTTP/1.1\r\n", service_port(*at));
                        String::from_utf8_lossy(&asked).contains(&address)
                    });
                    let welcome = "HTTP/1.1 200 OK\r\n\r\n";
                    state.pass_on(client, only, welcome).await;
                    std::io::Result::Ok(())
                });
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Which replicas get new connections.
    pub(crate) fn ready(&self) -> Vec<bool> {
        let endpoints = self.state.endpoints.iter();
        endpoints.map(|(_, ready)| ready.load(Ordering::SeqCst)).collect()
    }

    /// How many connections have offered HTTP/2 so far, and how many only HTTP/1.1.
    pub(crate) fn offers(&self) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.state.http2), count(&self.state.http1))
    }

    /// How many connections came while no replica was ready, or could not be passed on.
    pub(crate) fn nowhere(&self) -> usize {
        self.state.nowhere.load(Ordering::SeqCst)
    }
}

impl State {
    /// Keeps in mind whether a replica is ready.
    async fn follow(&self, at: usize) {
        let (endpoint, ready) = &self.endpoints[at];
        loop {
            let page = timeout(Duration::from_secs(1), page(endpoint.admin, "/readyz")).await;
            let is_ready = page.is_ok_and(|page| page.starts_with("HTTP/1.1 200 "));
            ready.store(is_ready, Ordering::SeqCst);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Passes a connection on, to `only` one of the replicas or to the next that is ready, once it has said `welcome`.
    async fn pass_on(
        &self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        only: Option<usize>,
        welcome: &str,
    ) {
        let Some(mut server) = self.connect(only).await else {
            self.nowhere.fetch_add(1, Ordering::SeqCst);
            return;
        };
        server.set_nodelay(true).ok();
        let pass = async {
            client.write_all(welcome.as_bytes()).await?;
            let mut first = [0; 4096];
            let length = client.read(&mut first).await?;
            let offers_http2 = first[..length]
                .windows(OFFERS_HTTP2.len())
                .any(|part| part == OFFERS_HTTP2);
            let count = if offers_http2 { &self.http2 } else { &self.http1 };
            count.fetch_add(1, Ordering::SeqCst);
            server.write_all(&first[..length]).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        };
        // Whichever way it ends, both ends learn of it.
        let _ = pass.await;
    }

    async fn connect(&self, only: Option<usize>) -> Option<TcpStream> {
        if let Some(only) = only {
            return TcpStream::connect(self.endpoints[only].0.webhook).await.ok();
        }
        let ready: Vec<&Endpoint> = self
            .endpoints
            .iter()
            .filter(|(_, ready)| ready.load(Ordering::SeqCst))
            .map(|(endpoint, _)| endpoint)
            .collect();
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        let endpoint = ready.get(next % ready.len().max(1))?;
        TcpStream::connect(endpoint.webhook).await.ok()
    }
}

/// What a plain HTTP server answers, its head included; empty where nobody does.
pub(crate) async fn page(address: SocketAddr, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        std::io::Result::Ok(page)
    };
    ask.await.unwrap_or_default()
}
