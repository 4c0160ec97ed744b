//! Who may be on the other end: the chain, the fleet, the role, the time, the deny list.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use dunlin_protocol::{FleetId, Identity, Role};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError,
    OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use thiserror::Error;

use crate::{
    certificate::{CertificateError, Fingerprint, Leaf, Standing},
    clock::{FlooredClock, UnixTime},
};

/// Why a certificate is not let in.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate of {peer} was not issued by this fleet: {reason}")]
    Foreign { peer: Box<Identity>, reason: TlsError },
    #[error("{peer} belongs to another fleet; this one is {fleet}")]
    OtherFleet { peer: Box<Identity>, fleet: FleetId },
    #[error("{peer} may not connect here; only a {} may", names(roles))]
    Role { peer: Box<Identity>, roles: &'static [Role] },
    #[error(
        "the certificate of {peer} ran out {days} days ago; if clocks are right, join again with a new token"
    )]
    Expired { peer: Box<Identity>, days: u64, at: UnixTime, end: UnixTime },
    #[error("{peer} was denied by an operator; join again with a new token if that was a mistake")]
    Denied { peer: Box<Identity> },
}

impl From<Refusal> for TlsError {
    /// The alert tells the peer the kind, so that it knows what to do; the text stays here.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Expired { at, end, .. } => {
                TlsCertificateError::ExpiredContext { time: at, not_after: end }.into()
            }
            Refusal::Denied { .. } => TlsCertificateError::Revoked.into(),
            Refusal::Foreign { reason, .. } => reason,
            other => in_words(&other),
        }
    }
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or ")
}

/// An error of TLS that says what `refusal` says, to both ends. rustls writes such errors by `Debug`; see `Lost`.
pub(crate) fn in_words(refusal: &dyn std::error::Error) -> TlsError {
    TlsCertificateError::Other(OtherError(Arc::new(Words(refusal.to_string())))).into()
}

#[derive(Error)]
#[error("{0}")]
struct Words(String);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Certificates that are let in no more, though they are good.
#[derive(Debug, Default)]
pub struct DenyList(RwLock<BTreeSet<Fingerprint>>);

impl DenyList {
    #[must_use]
    pub fn new(denied: impl IntoIterator<Item = Fingerprint>) -> Self {
        Self(RwLock::new(denied.into_iter().collect()))
    }

    pub fn deny(&self, fingerprints: impl IntoIterator<Item = Fingerprint>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(fingerprints);
    }

    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(fingerprint)
    }
}

/// The fleet that a member belongs to: the authority's certificate, and the fleet's name.
#[derive(Debug, Clone)]
pub struct Trust {
    pub fleet: FleetId,
    pub authority: CertificateDer<'static>,
}

/// Verifies peers of one endpoint.
///
/// A certificate that the authority signed is proof that its first second has passed; so `now` is never before it, and a
/// board without a clock does not call a good certificate "not yet valid".
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    roots: Arc<RootCertStore>,
    members: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    roles: &'static [Role],
    clock: Arc<FlooredClock>,
    denied: Arc<DenyList>,
}

impl Verifier {
    /// Lets peers in that are of `roles`.
    ///
    /// # Errors
    /// If the authority's certificate cannot be a root.
    pub fn new(
        trust: Trust,
        roles: &'static [Role],
        clock: Arc<FlooredClock>,
        denied: Arc<DenyList>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(trust.authority.clone())?;
        let roots = Arc::new(roots);
        let members = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| TlsError::General(error.to_string()))?;
        Ok(Self { trust, roots, members, provider, roles, clock, denied })
    }

    /// A certificate that was issued to this end: by the authority, for the fleet, and current.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn vouch(&self, certificate: &CertificateDer<'_>) -> Result<Leaf, Refusal> {
        self.check(certificate, Usage::Client)
    }

    pub(crate) fn check_server(&self, certificate: &CertificateDer<'_>) -> Result<Leaf, Refusal> {
        self.check(certificate, Usage::Server)
    }

    /// Checks all but the proof that the peer has the key, which is the handshake's.
    fn check(&self, der: &CertificateDer<'_>, usage: Usage) -> Result<Leaf, Refusal> {
        let leaf = Leaf::read(der)?;
        let peer = Box::new(leaf.identity.clone());
        let now = self.clock.now().max(leaf.not_before);
        if leaf.identity.fleet != self.trust.fleet {
            return Err(Refusal::OtherFleet { peer, fleet: self.trust.fleet.clone() });
        }
        if !self.roles.contains(&leaf.identity.role) {
            return Err(Refusal::Role { peer, roles: self.roles });
        }
        // An expired certificate is checked as of its end; what it is still good for is decided below.
        self.check_chain(der, usage, now.min(leaf.not_after))
            .map_err(|reason| Refusal::Foreign { peer: peer.clone(), reason })?;
        if self.denied.contains(&leaf.fingerprint) {
            return Err(Refusal::Denied { peer });
        }
        match (leaf.standing(now), usage) {
            (Standing::Current, _) | (Standing::RenewOnly, Usage::Client) => {}
            _ => {
                let (at, end) = (now, leaf.not_after);
                let days = (at.as_secs() - end.as_secs()) / (24 * 3600);
                return Err(Refusal::Expired { peer, days, at, end });
            }
        }
        self.clock.raise(leaf.not_before);
        Ok(leaf)
    }

    /// Members hold certificates of the authority itself, so there are no intermediates.
    fn check_chain(&self, der: &CertificateDer<'_>, usage: Usage, now: UnixTime) -> Result<(), TlsError> {
        match usage {
            Usage::Client => self.members.verify_client_cert(der, &[], now).map(drop),
            Usage::Server => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(der)?,
                &self.roots,
                &[],
                now,
                self.provider.signature_verification_algorithms.all,
            ),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Usage {
    Client,
    Server,
}

impl ServerCertVerifier for Verifier {
    /// The name dialled does not matter: a scheduler is whoever holds a certificate with that role.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(end_entity, Usage::Server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(end_entity, Usage::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
