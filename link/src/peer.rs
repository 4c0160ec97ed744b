//! The other end of a connection, as its certificate shows it, and the connection itself.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use dunlin_protocol::{FleetId, Identity, NodeId, Role, frame::Message};
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::{
    certificate::{CertificateError, Fingerprint, Leaf, Standing},
    clock::UnixTime,
    close::{Close, Lost},
    limits::MAX_PARSE_ERRORS,
    stream::{Receiver, Sender},
};

/// Who is at the other end; the handshake has proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub identity: Identity,
    pub fingerprint: Fingerprint,
    /// The end of the certificate that was shown.
    pub not_after: UnixTime,
    /// What the certificate was good for when the connection was made.
    pub standing: Standing,
}

/// Why a connection has no peer that one could name.
#[derive(Debug, Error)]
pub enum PeerError {
    #[error("the other end showed no certificate")]
    Anonymous,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A peer spoke for somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{peer} may not speak for {claimed}; it may speak for itself alone")]
pub struct NotItself {
    pub peer: Box<Identity>,
    pub claimed: NodeId,
}

impl Peer {
    fn of(connection: &Connection, now: UnixTime) -> Result<Self, PeerError> {
        let shown = connection.peer_identity().ok_or(PeerError::Anonymous)?;
        let chain = shown.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| PeerError::Anonymous)?;
        let leaf = Leaf::read(chain.first().ok_or(PeerError::Anonymous)?)?;
        let standing = leaf.standing(now);
        let Leaf { identity, fingerprint, not_after, .. } = leaf;
        Ok(Self { identity, fingerprint, not_after, standing })
    }

    #[must_use]
    pub fn role(&self) -> Role {
        self.identity.role
    }

    #[must_use]
    pub fn name(&self) -> &NodeId {
        &self.identity.name
    }

    #[must_use]
    pub fn fleet(&self) -> &FleetId {
        &self.identity.fleet
    }

    /// To be asked of every message that names a node: a node speaks only for itself.
    ///
    /// # Errors
    /// [`NotItself`]: the peer is no node, or another one.
    pub fn speaks_for(&self, node: &NodeId) -> Result<(), NotItself> {
        if self.role() == Role::Node && self.name() == node {
            return Ok(());
        }
        Err(NotItself { peer: Box::new(self.identity.clone()), claimed: node.clone() })
    }
}

/// A connection with a peer that is known. Clones are handles of the same connection.
#[derive(Debug, Clone)]
pub struct Link {
    streams: Streams,
    peer: Arc<Peer>,
}

impl Link {
    /// Of a connection whose handshake is over.
    ///
    /// # Errors
    /// [`PeerError`]: there was no certificate, as on the endpoint for joining.
    pub fn new(connection: Connection, now: UnixTime) -> Result<Self, PeerError> {
        let peer = Arc::new(Peer::of(&connection, now)?);
        Ok(Self { streams: Streams::new(connection), peer })
    }

    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// For its counters, its round trip time and its addresses.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.streams.connection
    }

    /// Opens a stream on which `S` is sent and `R` received. The peer learns of it by the first message.
    ///
    /// Waits while the peer has as many streams open as it allows.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn open<S: Message, R: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        self.streams.open().await
    }

    /// Waits for a stream that the peer opens. Cancel-safe.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn accept<R: Message, S: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        self.streams.accept().await
    }

    /// Ends the connection and all of its streams at once; what was not delivered is lost.
    pub fn close(&self, close: Close, text: &str) {
        self.streams.close(close, text);
    }

    /// Waits until the connection has ended, by whomever.
    pub async fn closed(&self) -> Lost {
        self.streams.connection.closed().await.into()
    }
}

/// A connection with somebody who has no certificate yet.
#[derive(Debug)]
pub struct Stranger(Streams);

impl Stranger {
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self(Streams::new(connection))
    }

    /// As [`Link::open`].
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn open<S: Message, R: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        self.0.open().await
    }

    /// As [`Link::accept`].
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn accept<R: Message, S: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        self.0.accept().await
    }

    /// As [`Link::close`].
    pub fn close(&self, close: Close, text: &str) {
        self.0.close(close, text);
    }
}

#[derive(Debug, Clone)]
struct Streams {
    connection: Connection,
    errors: ErrorBudget,
}

impl Streams {
    fn new(connection: Connection) -> Self {
        let errors = ErrorBudget { connection: connection.clone(), errors: Arc::default() };
        Self { connection, errors }
    }

    async fn open<S: Message, R: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        let (sender, receiver) = self.connection.open_bi().await?;
        Ok((Sender::new(sender), Receiver::new(receiver, self.errors.clone())))
    }

    async fn accept<R: Message, S: Message>(&self) -> Result<(Sender<S>, Receiver<R>), Lost> {
        let (sender, receiver) = self.connection.accept_bi().await?;
        Ok((Sender::new(sender), Receiver::new(receiver, self.errors.clone())))
    }

    fn close(&self, close: Close, text: &str) {
        self.connection.close(close.code(), text.as_bytes());
    }
}

/// Counts what one peer sent and could not be read, on all of its streams.
#[derive(Debug, Clone)]
pub(crate) struct ErrorBudget {
    connection: Connection,
    errors: Arc<AtomicU32>,
}

impl ErrorBudget {
    /// One more; the connection is closed when there were too many.
    pub(crate) fn spend(&self) {
        let errors = self.errors.fetch_add(1, Ordering::Relaxed) + 1;
        if errors >= MAX_PARSE_ERRORS {
            let text = format!("{errors} frames could not be read");
            self.connection.close(Close::Malformed.code(), text.as_bytes());
        }
    }
}
