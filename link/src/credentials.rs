//! A member's key and certificate: in memory, where they are swapped while connections live, and in a folder.

use std::sync::{Arc, PoisonError, RwLock};

use dunlin_protocol::{ByteBuf, CertificateRequest};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;

use crate::{
    certificate::{CertificateError, Leaf},
    verify::Trust,
};

/// Why a key and a certificate are no credentials.
#[derive(Debug, Error)]
pub enum CredentialError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the key cannot be used: {0}")]
    Key(#[from] rustls::Error),
    #[error("the key cannot be made or read: {0}")]
    KeyPair(#[from] rcgen::Error),
    #[error("the certificate of {0} belongs to another key")]
    OtherKey(String),
}

/// A key made here, that has no certificate yet. It never leaves the machine.
#[derive(Debug)]
pub struct NewKey(KeyPair);

impl NewKey {
    /// A new ECDSA P-256 key.
    ///
    /// # Errors
    /// [`CredentialError::KeyPair`]: no randomness.
    pub fn generate() -> Result<Self, CredentialError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The request for a certificate: only the public key counts in it, the authority decides the rest.
    ///
    /// # Errors
    /// [`CredentialError::KeyPair`].
    pub fn request(&self) -> Result<CertificateRequest, CredentialError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0)?;
        Ok(CertificateRequest(ByteBuf::from(request.der().to_vec())))
    }

    /// The key with the certificate that the authority made for it.
    ///
    /// # Errors
    /// [`CredentialError`]: unreadable, or for another key.
    pub fn certified(self, certificate: CertificateDer<'static>) -> Result<Credential, CredentialError> {
        let key = PrivatePkcs8KeyDer::from(self.0.serialize_der());
        Credential::new(key, certificate)
    }
}

/// A key with its certificate.
#[derive(Debug)]
pub struct Credential {
    pub leaf: Leaf,
    pub certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    signer: Arc<CertifiedKey>,
}

impl Credential {
    /// # Errors
    /// [`CredentialError`]: unreadable, or key and certificate are of two pairs.
    pub fn new(
        key: PrivatePkcs8KeyDer<'static>,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, CredentialError> {
        let leaf = Leaf::read(&certificate)?;
        let signing = any_supported_type(&PrivateKeyDer::from(key.clone_key()))?;
        let signer = CertifiedKey::new(vec![certificate.clone()], signing);
        signer.keys_match().map_err(|_| CredentialError::OtherKey(leaf.identity.to_string()))?;
        Ok(Self { leaf, certificate, key, signer: Arc::new(signer) })
    }

    pub(crate) fn key(&self) -> &PrivatePkcs8KeyDer<'static> {
        &self.key
    }
}

/// The credential in force. Handshakes take the one that is there when they begin; live connections keep theirs.
#[derive(Debug)]
pub struct Credentials {
    pub trust: Trust,
    /// With the authority's certificate in the chain, for those who know only its hash.
    chain: Chain,
    current: RwLock<Arc<Credential>>,
}

/// What is shown in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// The certificate: who verifies it has the authority's.
    Leaf,
    /// Also the authority's, for joining members that know only the hash of its key.
    WithAuthority,
}

impl Credentials {
    #[must_use]
    pub fn new(trust: Trust, credential: Credential, chain: Chain) -> Self {
        Self { trust, chain, current: RwLock::new(Arc::new(credential)) }
    }

    #[must_use]
    pub fn current(&self) -> Arc<Credential> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, handshakes show `credential`.
    pub fn swap(&self, credential: Credential) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credential);
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        let current = self.current();
        match self.chain {
            Chain::Leaf => current.signer.clone(),
            Chain::WithAuthority => {
                let chain = vec![current.certificate.clone(), self.trust.authority.clone()];
                Arc::new(CertifiedKey::new(chain, current.signer.key.clone()))
            }
        }
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}
