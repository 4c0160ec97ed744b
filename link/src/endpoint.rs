//! Endpoints of quinn as the fleet uses them: TLS 1.3 with certificates on both ends, no 0-RTT, no datagrams, small limits.

use std::{io, net::UdpSocket, sync::Arc};

use dunlin_protocol::{ALPN, ALPN_JOIN};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig},
};
use ring::hmac;
use rustls::{
    client::{Resumption, danger::ServerCertVerifier},
    server::{NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
};
use thiserror::Error;

use crate::{
    credentials::Credentials,
    limits::{
        CONNECTION_WINDOW, IDLE_TIMEOUT, INCOMING_BYTES, INCOMING_BYTES_TOTAL, INITIAL_RTT, JOINING_WINDOW,
        MAX_BIDIRECTIONAL, MAX_INCOMING, MAX_UNIDIRECTIONAL, STREAM_WINDOW,
    },
    liveness::PULSE,
    random::{NoRandomness, random},
    verify::Verifier,
};

/// Why an endpoint cannot be set up.
#[derive(Debug, Error)]
pub enum EndpointError {
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS lacks the cipher that QUIC begins with: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
    #[error("UDP cannot be used: {0}")]
    Socket(#[from] io::Error),
}

/// The secret by which a server, restarted, tells peers that it knows their connections no more (a stateless reset, RFC
/// 9000 10.3): they learn it by their next packet instead of a timeout. Keep it as the key of a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetKey(pub [u8; Self::BYTES]);

impl ResetKey {
    pub const BYTES: usize = 40;

    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    fn endpoint_config(&self) -> EndpointConfig {
        let (ids, resets) = self.0.split_at(8);
        let ids = u64::from_le_bytes(ids.try_into().unwrap_or_default());
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, resets)));
        config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(ids)));
        config
    }
}

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey(..)")
    }
}

/// An endpoint that accepts members.
///
/// # Errors
/// [`EndpointError`].
pub fn listen_for_members(
    socket: UdpSocket,
    credentials: Arc<Credentials>,
    verifier: Verifier,
    key: &ResetKey,
) -> Result<Endpoint, EndpointError> {
    let tls = server_tls(credentials, Some(Arc::new(verifier)), ALPN)?;
    listen(socket, tls, transport(), key)
}

/// An endpoint that accepts whoever has no certificate yet.
///
/// # Errors
/// [`EndpointError`].
pub fn listen_for_joining(
    socket: UdpSocket,
    credentials: Arc<Credentials>,
    key: &ResetKey,
) -> Result<Endpoint, EndpointError> {
    let tls = server_tls(credentials, None, ALPN_JOIN)?;
    listen(socket, tls, joining_transport(), key)
}

fn listen(
    socket: UdpSocket,
    tls: rustls::ServerConfig,
    transport: TransportConfig,
    key: &ResetKey,
) -> Result<Endpoint, EndpointError> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL)
        .transport_config(Arc::new(transport));
    Ok(Endpoint::new(key.endpoint_config(), Some(config), socket, Arc::new(TokioRuntime))?)
}

/// For connections that begin here.
pub(crate) fn client_config(tls: rustls::ClientConfig) -> Result<ClientConfig, EndpointError> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// Without resumption: a resumed session would skip the verifier, and so the deny list and the clock.
fn server_tls(
    credentials: Arc<dyn ResolvesServerCert>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    alpn: &[u8],
) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut tls = builder.with_cert_resolver(credentials);
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// For a client with a certificate, or one that joins.
pub(crate) fn client_tls(
    credentials: Option<Arc<Credentials>>,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut tls = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    // Members are known by their certificates, not by the names of hosts.
    tls.enable_sni = false;
    Ok(tls)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_BIDIRECTIONAL))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_UNIDIRECTIONAL))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32))))
        .keep_alive_interval(Some(PULSE))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None);
    transport
}

/// For strangers: one question, one answer.
fn joining_transport() -> TransportConfig {
    let mut transport = transport();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(JOINING_WINDOW))
        .receive_window(VarInt::from_u32(JOINING_WINDOW))
        .keep_alive_interval(None);
    transport
}
