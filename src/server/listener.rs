//! A listener that stops accepting before its connections are told to end.

use std::{
    future::{self, Future},
    io,
    net::SocketAddr,
    sync::Arc,
};

use axum_server::{AddrListener, Address};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// An address of this machine, as `axum-server` wants its own kinds of listener to have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local(pub(super) SocketAddr);

impl Address for Local {
    type Stream = TcpStream;
    type Listener = Listener;
}

/// A listener that can be closed while its server goes on.
///
/// `axum-server` by itself stops accepting, drops every handshake and ends idle connections in one moment, and
/// a client whose handshake is dropped has its request fail.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Mutex<Option<Arc<TcpListener>>>,
    address: SocketAddr,
    closing: watch::Receiver<bool>,
}

/// Closes a [`Listener`].
#[derive(Debug)]
pub(super) struct Closer(watch::Sender<bool>);

impl Closer {
    /// Accepts who is already waiting, and then nobody any more.
    pub(super) fn close(&self) {
        self.0.send_replace(true);
    }
}

impl Listener {
    /// Listens on `address`.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<(Self, Closer)> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (closer, closing) = watch::channel(false);
        let socket = Mutex::new(Some(Arc::new(socket)));
        Ok((
            Self {
                socket,
                address,
                closing,
            },
            Closer(closer),
        ))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn closing(&self) {
        if self.closing.clone().wait_for(|closing| *closing).await.is_err() {
            // Nobody is left to close it.
            future::pending::<()>().await;
        }
    }
}

impl AddrListener<TcpStream, Local> for Listener {
    async fn bind_to(Local(address): Local) -> io::Result<Self> {
        Self::bind(address).await.map(|(listener, _)| listener)
    }

    fn accept_stream(&self) -> impl Future<Output = io::Result<(TcpStream, Local)>> + Send {
        let socket = self.socket.lock().clone();
        async move {
            if let Some(socket) = socket {
                tokio::select! {
                    biased;
                    accepted = socket.accept() => {
                        return accepted.map(|(stream, peer)| (stream, Local(peer)));
                    }
                    () = self.closing() => {}
                }
                self.socket.lock().take();
            }
            // The server goes on with the connections that it has.
            future::pending().await
        }
    }

    fn get_local_addr(&self) -> io::Result<Local> {
        Ok(Local(self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_accepted_before_the_listener_closes() {
        let (listener, closer) = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let waiting = TcpStream::connect(listener.address()).await.unwrap();
        closer.close();

        let (_, Local(peer)) = listener.accept_stream().await.unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());

        let mut next = Box::pin(listener.accept_stream());
        assert!(futures::poll!(next.as_mut()).is_pending());
        assert!(TcpStream::connect(listener.address()).await.is_err());
        assert_eq!(listener.get_local_addr().unwrap(), Local(listener.address()));
    }
}
