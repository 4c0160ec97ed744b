//! Joining a fleet with a token: the server proves that it is the fleet's before it hears the secret.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dunlin_protocol::{
    ALPN_JOIN, CaPin, Failure, Issued, JoinReply, JoinRequest, JoinToken, NodeId, Role, VERSIONS,
};
use rustls::{
    DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    certificate::{Leaf, pin},
    clock::FlooredClock,
    close::Close,
    credentials::{Credential, CredentialError, NewKey},
    dial::{DialError, client_endpoint, connect},
    endpoint::{EndpointError, client_config, client_tls},
    limits::HANDSHAKE_TIMEOUT,
    peer::Stranger,
    stream::{ReceiveError, SendError},
    verify::{Refusal, Trust, Verifier, in_words},
};

/// Certificates of a chain that are looked at.
const MAX_CHAIN: usize = 4;

/// Why a board could not join.
#[derive(Debug, Error)]
pub enum JoinError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{address} is not of the fleet that the token is for; the secret was not sent: {source}")]
    OtherFleet { address: SocketAddr, source: NotPinned },
    #[error(transparent)]
    Key(#[from] CredentialError),
    #[error("{address} went away while joining: {source}")]
    Send { address: SocketAddr, source: SendError },
    #[error("{address} went away while joining: {source}")]
    Receive { address: SocketAddr, source: ReceiveError },
    #[error("{address} does not answer the request to join")]
    NoAnswer { address: SocketAddr },
    #[error("{0}")]
    Refused(Failure),
    #[error(transparent)]
    Certificate(#[from] NotUsable),
}

/// Why a certificate that was issued is of no use here.
#[derive(Debug, Error)]
pub enum NotUsable {
    #[error("no certificate was issued")]
    Missing,
    #[error("the certificate that was issued is of no use: {0}")]
    Refused(#[from] Refusal),
    #[error("the certificate that was issued is of no use: {0}")]
    Credential(#[from] CredentialError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
}

/// Why a server's certificates do not lead to the authority of a token.
#[derive(Debug, Error)]
pub enum NotPinned {
    #[error("its certificates do not lead to the authority with the hash {0}")]
    Authority(CaPin),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Who joins, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// A wish; the token may name another.
    pub name: Option<NodeId>,
    /// For people: the version of the program.
    pub build: String,
}

/// Gets a certificate at `address`, an endpoint for joining, for a key that is made here. Raises the floor of `clock`.
///
/// # Errors
/// [`JoinError`]. Up to [`JoinError::Key`] the secret was not sent.
pub async fn join(
    address: SocketAddr,
    token: &JoinToken,
    applicant: Applicant,
    clock: &Arc<FlooredClock>,
) -> Result<(Trust, Credential), JoinError> {
    let pinned = Arc::new(PinnedVerifier::new(token.ca, clock.clone()));
    let tls = client_tls(None, pinned.clone(), ALPN_JOIN).map_err(EndpointError::from)?;
    let any = SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let endpoint = client_endpoint(any)?;
    let connection = match connect(&endpoint, client_config(tls)?, address).await {
        Ok(connection) => connection,
        Err(error) => return Err(pinned.explain(address, error)),
    };
    let Some(trust) = pinned.trust() else {
        return Err(JoinError::OtherFleet { address, source: NotPinned::Authority(token.ca) });
    };
    let key = NewKey::generate()?;
    let message = JoinRequest {
        versions: VERSIONS,
        token: token.id,
        secret: token.secret.clone(),
        name: applicant.name,
        request: key.request()?,
        build: applicant.build,
        unix_seconds: clock.now().as_secs(),
    };
    let server = Stranger::new(connection);
    let asked = timeout(HANDSHAKE_TIMEOUT, ask(address, &server, &message)).await;
    server.close(Close::Done, "");
    let issued = asked.map_err(|_| JoinError::NoAnswer { address })??;
    let credential = accept(key, issued, &trust, clock)?;
    Ok((trust, credential))
}

async fn ask(address: SocketAddr, server: &Stranger, message: &JoinRequest) -> Result<Issued, JoinError> {
    let lost = |source| JoinError::Dial(DialError::Lost { address, source });
    let (mut sender, mut receiver) = server.open::<JoinRequest, JoinReply>().await.map_err(lost)?;
    sender.send(message).await.map_err(|source| JoinError::Send { address, source })?;
    match receiver.receive().await.map_err(|source| JoinError::Receive { address, source })? {
        Some(JoinReply::Joined(issued)) => Ok(issued),
        Some(JoinReply::Refused(failure)) => Err(JoinError::Refused(failure)),
        None => Err(JoinError::Receive { address, source: ReceiveError::Ended }),
    }
}

/// Checks what was issued as one would check a peer's: nothing is kept that would be refused later.
pub(crate) fn accept(
    key: NewKey,
    issued: Issued,
    trust: &Trust,
    clock: &Arc<FlooredClock>,
) -> Result<Credential, NotUsable> {
    clock.raise(UnixTime::since_unix_epoch(Duration::from_secs(issued.unix_seconds)));
    let certificate = issued.chain.into_iter().next().ok_or(NotUsable::Missing)?;
    let certificate = CertificateDer::from(certificate.0.into_vec());
    let verifier = Verifier::new(trust.clone(), &Role::ALL, clock.clone(), Arc::default())?;
    verifier.vouch(&certificate)?;
    Ok(key.certified(certificate)?)
}

/// Trusts a scheduler whose certificates lead to the authority of a token.
#[derive(Debug)]
struct PinnedVerifier {
    pin: CaPin,
    clock: Arc<FlooredClock>,
    outcome: Mutex<Option<Result<Trust, NotPinned>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedVerifier {
    fn new(pin: CaPin, clock: Arc<FlooredClock>) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { pin, clock, outcome: Mutex::new(None), algorithms }
    }

    fn find(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<Trust, NotPinned> {
        let authority = others
            .iter()
            .take(MAX_CHAIN)
            .find(|certificate| pin(certificate).is_ok_and(|pin| pin == self.pin))
            .ok_or(NotPinned::Authority(self.pin))?;
        let fleet = Leaf::read(leaf).map_err(Refusal::from)?.identity.fleet;
        let trust = Trust { fleet, authority: authority.clone().into_owned() };
        let verifier = Verifier::new(trust.clone(), &[Role::Scheduler], self.clock.clone(), Arc::default())?;
        verifier.check_server(leaf)?;
        Ok(trust)
    }

    fn trust(&self) -> Option<Trust> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.as_ref().and_then(|outcome| outcome.as_ref().ok()).cloned()
    }

    /// Why the handshake failed, where it was this verifier's doing.
    fn explain(&self, address: SocketAddr, error: DialError) -> JoinError {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome {
            Some(Err(source)) => JoinError::OtherFleet { address, source },
            _ => JoinError::Dial(error),
        }
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let outcome = self.find(end_entity, intermediates);
        let verdict = match &outcome {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(in_words(error)),
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
