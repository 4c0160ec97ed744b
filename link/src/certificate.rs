//! What a certificate of the fleet says: who its holder is, and until when.

use std::{fmt, time::Duration};

use dunlin_protocol::{CaPin, Identity, IdentityError};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time};

use crate::clock::{UnixTime, between, later};

/// How long a certificate lives.
pub const LIFE: Duration = Duration::from_hours(7 * 24);
/// How long after its end a certificate is still good for a renewal: boards lie in drawers.
pub const RENEWABLE: Duration = Duration::from_hours(30 * 24);

/// A certificate that cannot be one of a fleet.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CertificateError {
    #[error("the certificate is no X.509: {0}")]
    Malformed(String),
    #[error("the certificate names no member of a fleet; it needs one URI, and has {0} names")]
    Names(usize),
    #[error("the certificate names no member of a fleet: {0}")]
    Identity(#[from] IdentityError),
}

/// SHA-256 of what the authority signed (the TBSCertificate of RFC 5280), by which certificates are denied.
///
/// The signature is left out: whoever holds an ECDSA signature can rewrite it into another that is good (s into n - s).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A leaf certificate, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub identity: Identity,
    pub fingerprint: Fingerprint,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
}

impl Leaf {
    /// # Errors
    /// [`CertificateError`]: not X.509, or not exactly one name, or a name that is no identity.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| CertificateError::Malformed(error.to_string()))?
            .map_or(&[][..], |names| &names.value.general_names);
        let [GeneralName::URI(uri)] = names else {
            return Err(CertificateError::Names(names.len()));
        };
        Ok(Self {
            identity: uri.parse()?,
            fingerprint: Fingerprint(Sha256::digest(certificate.tbs_certificate.as_ref()).into()),
            not_before: unix(certificate.validity().not_before),
            not_after: unix(certificate.validity().not_after),
        })
    }

    /// Renewed at two thirds of the life, so that a board may be off for two days.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        later(self.not_before, between(self.not_before, self.not_after) * 2 / 3)
    }

    /// Where in its life the certificate is.
    #[must_use]
    pub fn standing(&self, now: UnixTime) -> Standing {
        if now <= self.not_after {
            Standing::Current
        } else if now <= later(self.not_after, RENEWABLE) {
            Standing::RenewOnly
        } else {
            Standing::Expired
        }
    }
}

/// What a certificate is good for at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// Past its end by at most [`RENEWABLE`]: for a new certificate, and nothing else.
    RenewOnly,
    Expired,
}

/// What join tokens pin: the hash of the public key of the authority's certificate.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn pin(authority: &CertificateDer<'_>) -> Result<CaPin, CertificateError> {
    Ok(CaPin(Sha256::digest(parse(authority)?.public_key().raw).into()))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(CertificateError::Malformed(format!("{} bytes follow it", rest.len()))),
        Err(error) => Err(CertificateError::Malformed(error.to_string())),
    }
}

fn unix(time: ASN1Time) -> UnixTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
