//! The key of the fleet, and the certificates that it signs.

use std::time::Duration;

use dunlin_link::{
    NoRandomness, ResetKey, Trust,
    certificate::{LIFE, Leaf, pin},
    clock::{Clock, UnixTime, later},
    random,
};
use dunlin_protocol::{CertificateRequest, FleetId, Identity, Role};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::AuthorityError;
use crate::catalog::{CatalogError, FleetRecord, NewCertificate};

/// Serial numbers are random (RFC 5280, 4.1.2.2 allows 20 bytes).
const SERIAL_BYTES: usize = 16;

/// The key of the fleet, which never leaves this and the catalog.
#[derive(Debug)]
pub(super) struct FleetIssuer {
    pub(super) trust: Trust,
    issuer: Issuer<'static, KeyPair>,
}

impl FleetIssuer {
    pub(super) fn new(fleet: FleetRecord) -> Result<Self, AuthorityError> {
        let authority = CertificateDer::from(fleet.authority);
        let key = PrivatePkcs8KeyDer::from(fleet.authority_key);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::from_ca_cert_der(&authority, key)?;
        Ok(Self { trust: Trust { fleet: fleet.name, authority }, issuer })
    }

    pub(super) fn issue(
        &self,
        identity: &Identity,
        public: &PublicKey,
        now: UnixTime,
    ) -> Result<NewCertificate, CatalogError> {
        self.try_issue(identity, public, now).map_err(|error| CatalogError::Making(error.to_string()))
    }

    fn try_issue(
        &self,
        identity: &Identity,
        public: &PublicKey,
        now: UnixTime,
    ) -> Result<NewCertificate, AuthorityError> {
        let mut params = CertificateParams::default();
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(now.as_secs());
        params.not_after = epoch + Duration::from_secs(later(now, LIFE).as_secs());
        params.serial_number = Some(serial()?);
        params.distinguished_name.push(DnType::CommonName, identity.name.as_str());
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match identity.role {
            Role::Scheduler => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Node | Role::Operator | Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(public, &self.issuer)?;
        let leaf = Leaf::read(certificate.der())?;
        Ok(NewCertificate {
            der: certificate.der().to_vec(),
            fingerprint: leaf.fingerprint,
            issued: leaf.not_before,
            expires: leaf.not_after,
        })
    }
}

/// A new fleet: its key never leaves the catalog.
pub(super) fn found(name: Option<FleetId>, clock: &dyn Clock) -> Result<FleetRecord, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Dunlin fleet");
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Its dates are rcgen's, 1975 to 4096: it is trusted because its hash is pinned, for as long as its members want.
    let certificate = params.self_signed(&key)?;
    let name = match name {
        Some(name) => name,
        None => pin(certificate.der())?.fleet(),
    };
    Ok(FleetRecord {
        name,
        authority: certificate.der().to_vec(),
        authority_key: key.serialize_der(),
        reset_key: ResetKey::generate()?,
        floor: UnixTime::since_unix_epoch(clock.wall()),
    })
}

/// The key of a request whose sender has proved that it holds it. All else in the request is ignored.
pub(super) fn public_key(request: &CertificateRequest) -> Result<PublicKey, AuthorityError> {
    let der = request.0.as_slice().into();
    let request = CertificateSigningRequestParams::from_der(&der).map_err(AuthorityError::Request)?;
    if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(AuthorityError::KeyKind);
    }
    Ok(request.public_key)
}

fn serial() -> Result<SerialNumber, NoRandomness> {
    Ok(SerialNumber::from(random::<SERIAL_BYTES>()?.to_vec()))
}
