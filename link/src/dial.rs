//! Connecting to a scheduler as a member.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dunlin_protocol::{ALPN, Role};
use quinn::{ClientConfig, ConnectError, Connection, Endpoint};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    clock::FlooredClock,
    close::Lost,
    credentials::Credentials,
    endpoint::{EndpointError, client_config, client_tls},
    limits::HANDSHAKE_TIMEOUT,
    peer::{Link, PeerError},
    verify::Verifier,
};

/// What TLS wants for a name; members are known by the identity in their certificate.
const SERVER_NAME: &str = "scheduler";

/// Time for the other end to hear that a connection is over.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why no connection came about.
#[derive(Debug, Error)]
pub enum DialError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("{address} cannot be dialled: {source}")]
    Address { address: SocketAddr, source: ConnectError },
    #[error("{address} does not answer; is a scheduler running there, and does UDP get through?")]
    NoAnswer { address: SocketAddr },
    #[error("no connection with {address}: {source}")]
    Lost { address: SocketAddr, source: Lost },
    #[error("{address}: {source}")]
    Peer { address: SocketAddr, source: PeerError },
}

/// Connects with the credential that is in force at the time.
#[derive(Debug)]
pub struct Dialer {
    local: SocketAddr,
    endpoint: Mutex<Endpoint>,
    config: ClientConfig,
    clock: Arc<FlooredClock>,
}

impl Dialer {
    /// `local`: usually an unspecified address with port 0.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn new(
        local: SocketAddr,
        credentials: Arc<Credentials>,
        clock: Arc<FlooredClock>,
    ) -> Result<Self, EndpointError> {
        let trust = credentials.trust.clone();
        let verifier = Verifier::new(trust, &[Role::Scheduler], clock.clone(), Arc::default())?;
        let tls = client_tls(Some(credentials), Arc::new(verifier), ALPN)?;
        let endpoint = Mutex::new(client_endpoint(local)?);
        Ok(Self { local, endpoint, config: client_config(tls)?, clock })
    }

    /// A connection with the scheduler at `address`, which has proved that it is one.
    ///
    /// Whether it lets this member in shows later, as TLS 1.3 is: by its first message, or by [`Link::closed`].
    /// The floor of the clock has risen to what the scheduler's certificate proves; keep it ([`crate::Folder::keep_floor`]).
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, address: SocketAddr) -> Result<Link, DialError> {
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = match connect(&endpoint, self.config.clone(), address).await {
            // Its socket has failed.
            Err(DialError::Address { source: ConnectError::EndpointStopping, .. }) => {
                connect(&self.reopen()?, self.config.clone(), address).await?
            }
            outcome => outcome?,
        };
        Link::new(connection, self.clock.now()).map_err(|source| DialError::Peer { address, source })
    }

    /// Waits until the ends of all closed connections have been told, for a moment at most.
    pub async fn leave(&self) {
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Who does not hear it notices by the silence.
        drop(timeout(FAREWELL, endpoint.wait_idle()).await);
    }

    fn reopen(&self) -> Result<Endpoint, EndpointError> {
        let endpoint = client_endpoint(self.local)?;
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = endpoint.clone();
        Ok(endpoint)
    }
}

pub(crate) fn client_endpoint(local: SocketAddr) -> Result<Endpoint, EndpointError> {
    Ok(Endpoint::client(local)?)
}

pub(crate) async fn connect(
    endpoint: &Endpoint,
    config: ClientConfig,
    address: SocketAddr,
) -> Result<Connection, DialError> {
    let connecting = endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|source| DialError::Address { address, source })?;
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(DialError::Lost { address, source: error.into() }),
        Err(_) => Err(DialError::NoAnswer { address }),
    }
}
