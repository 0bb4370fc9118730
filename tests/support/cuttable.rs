//! A line to the API server that a test cuts and mends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::control_plane::ControlPlane;

/// Passes connections on to the API server of a control plane, unless it is cut.
pub(crate) struct Cuttable {
    whole: Arc<watch::Sender<bool>>,
    kubeconfig: PathBuf,
    _dir: TempDir,
}

impl Cuttable {
    /// A line that is whole, for who signs in as a kubeconfig says; what the API server says comes `late`.
    pub(crate) async fn to(plane: &ControlPlane, kubeconfig: &Path, late: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = plane.url().trim_start_matches("https://").to_owned();
        let (whole, state) = watch::channel(true);
        tokio::spawn(pass_on(listener, server, state, late));

        let dir = tempfile::tempdir().unwrap();
        let direct = fs::read_to_string(kubeconfig).unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        fs::write(
            &kubeconfig,
            direct.replace(&plane.url(), &format!("https://127.0.0.1:{port}")),
        )
        .unwrap();
        Self {
            whole: Arc::new(whole),
            kubeconfig,
            _dir: dir,
        }
    }

    /// The kubeconfig, along this line.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Ends every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn pass_on(listener: TcpListener, server: String, state: watch::Receiver<bool>, late: Duration) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (server, mut state) = (server.clone(), state.clone());
        tokio::spawn(async move {
            if !*state.borrow() {
                return;
            }
            let Ok(mut upstream) = TcpStream::connect(server).await else {
                return;
            };
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = upstream.split();
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                _ = copy_late(&mut from_server, &mut to_client, late) => {}
                _ = state.wait_for(|whole| !whole) => {}
            }
        });
    }
}

async fn copy_late(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    late: Duration,
) -> io::Result<()> {
    let mut bytes = vec![0; 256 * 1024];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        tokio::time::sleep(late).await;
        to.write_all(&bytes[..length]).await?;
    }
}
