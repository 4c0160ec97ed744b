//! The listener, from its start to its end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use dunlin_scheduler::Front;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{accept, desk::Desk, limits::MAX_KNOCKING, metrics::Metrics, router, tls};

/// How long answers that are being given may take once the door closes.
const FAREWELL: Duration = Duration::from_secs(2);

/// How the door is kept.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    pub listen: SocketAddr,
    /// Certificate chain and key, both PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Also where only this machine can connect.
    pub needs_key: bool,
    /// Of the program, for people.
    pub build: String,
}

/// Why there is no door.
#[derive(Debug, Error)]
pub enum DoorError {
    #[error("cannot listen for HTTP on {address}: {error}; --http HOST:PORT names another address")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("cannot use {path} for HTTPS: {error}; PEM is expected", path = path.display())]
    Pem { path: PathBuf, error: String },
    #[error("the certificate and the key do not make HTTPS: {0}")]
    Tls(rustls::Error),
    #[error("metrics that cannot be: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// HTTP, for as long as this is kept.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    closing: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Door {
    /// Listens. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn open(options: DoorOptions, front: Front) -> Result<Self, DoorError> {
        let in_vain = |error| DoorError::Listen { address: options.listen, error };
        let tls = options.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key)).transpose()?;
        let listener = listen(options.listen).map_err(in_vain)?;
        let address = listener.local_addr().map_err(in_vain)?;
        if tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(%address, "keys come here unencrypted: speak HTTPS, or stand behind a proxy that does");
            front.hears_keys_unencrypted();
        }
        let closing = CancellationToken::new();
        let metrics = Arc::new(Metrics::new()?);
        front.observe(metrics.clone());
        let desk = Arc::new(Desk::new(options, address, front, closing.clone(), metrics.clone()));
        let router = router::router(desk);
        let accepting = tokio::spawn(accept::accept(listener, tls, router, closing.clone(), metrics));
        Ok(Self { address, closing, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes nothing new, and waits a moment for what is being answered.
    pub async fn close(mut self) {
        self.closing.cancel();
        if tokio::time::timeout(FAREWELL, &mut self.accepting).await.is_err() {
            self.accepting.abort();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Of the connections of whoever was here before, some may still be waiting for their end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_KNOCKING)
}
