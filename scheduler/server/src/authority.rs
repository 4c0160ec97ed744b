//! The fleet's authority: it makes certificates for those who have a token, and for those who had one before.

mod issuer;

use std::{sync::Arc, time::Duration};

use dunlin_link::{
    Chain, Close, Credential, CredentialError, Credentials, DenyList, NewKey, NoRandomness, Peer, ResetKey,
    Trust,
    certificate::{CertificateError, Fingerprint, pin},
    clock::{Clock, FlooredClock, UnixTime, between, later},
    random,
};
use dunlin_protocol::{
    ByteBuf, CaPin, CertificateDer as WireCertificate, CertificateRequest, Failure, FailureCode, FleetId,
    Identity, Issued, JoinReply, JoinRequest, JoinToken, NodeId, Renewal, Role, Secret, TokenId, VERSIONS,
    negotiate,
};
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use self::issuer::{FleetIssuer, found, public_key};
use crate::{
    catalog::{Catalog, CatalogError, Grant, NewCertificate, Scope, TokenRefusal},
    live::Live,
};

/// How long a token is good where nothing else is asked for, and at most.
pub const TOKEN_LIFE: Duration = Duration::from_mins(15);
pub const MAX_TOKEN_LIFE: Duration = Duration::from_hours(24);
/// A clock that is so far behind the last certificate is not trusted, and said to be wrong.
const SUSPICIOUS_LAG: Duration = Duration::from_mins(5);

/// Why the authority did not do what it was asked.
#[derive(Debug, Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the request for a certificate cannot be read: {0}")]
    Request(rcgen::Error),
    #[error("the request for a certificate is for a key of another kind; ECDSA P-256 it must be")]
    KeyKind,
    #[error("no certificate could be made: {0}")]
    Making(#[from] rcgen::Error),
    #[error("the authority's own certificate is of no use: {0}")]
    Own(#[from] CertificateError),
    #[error("the scheduler's own certificate is of no use: {0}")]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("a token is good for {} hours at most", MAX_TOKEN_LIFE.as_secs() / 3600)]
    TokenLife,
    #[error("schedulers do not join by tokens")]
    TokenRole,
}

/// Makes and denies certificates. One for a scheduler.
#[derive(Debug)]
pub struct Authority {
    catalog: Catalog,
    issuer: Arc<FleetIssuer>,
    pin: CaPin,
    reset_key: ResetKey,
    clock: Arc<FlooredClock>,
    denied: Arc<DenyList>,
    live: Arc<Live>,
}

impl Authority {
    /// The authority of the fleet in `catalog`; makes it at the first start, named `name` or by its hash.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn open(
        catalog: Catalog,
        name: Option<FleetId>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        let fleet = match catalog.fleet().await? {
            Some(fleet) => fleet,
            None => catalog.found_fleet(found(name, clock.as_ref())?).await?,
        };
        let (floor, reset_key) = (fleet.floor, fleet.reset_key.clone());
        let issuer = FleetIssuer::new(fleet)?;
        let lag = between(UnixTime::since_unix_epoch(clock.wall()), floor);
        if lag > SUSPICIOUS_LAG {
            tracing::warn!(?lag, "the clock is behind the last certificate that was issued; is it set?");
        }
        let denied = Arc::new(DenyList::new(catalog.denied().await?));
        Ok(Self {
            catalog,
            pin: pin(&issuer.trust.authority)?,
            issuer: Arc::new(issuer),
            reset_key,
            clock: Arc::new(FlooredClock::new(clock, floor)),
            denied,
            live: Arc::default(),
        })
    }

    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.issuer.trust
    }

    /// What tokens pin.
    #[must_use]
    pub fn pin(&self) -> CaPin {
        self.pin
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<FlooredClock> {
        &self.clock
    }

    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The connections that there are now.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(crate) fn denied(&self) -> &Arc<DenyList> {
        &self.denied
    }

    pub(crate) fn reset_key(&self) -> &ResetKey {
        &self.reset_key
    }

    /// A key and a certificate for the scheduler itself; it is kept nowhere.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn own_credential(&self, name: NodeId) -> Result<Credential, AuthorityError> {
        let key = NewKey::generate()?;
        let identity = Identity { fleet: self.trust().fleet.clone(), role: Role::Scheduler, name };
        let public = public_key(&key.request()?)?;
        let certificate = self.issuer.issue(&identity, &public, self.clock.now())?;
        self.catalog.raise_floor(certificate.issued).await?;
        Ok(key.certified(CertificateDer::from(certificate.der))?)
    }

    /// What the scheduler shows to members and to those who join.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn own_credentials(&self, name: NodeId) -> Result<Credentials, AuthorityError> {
        let credential = self.own_credential(name).await?;
        Ok(Credentials::new(self.trust().clone(), credential, Chain::WithAuthority))
    }

    /// A token by which one member can join within `life`.
    ///
    /// # Errors
    /// [`AuthorityError`]: for longer than [`MAX_TOKEN_LIFE`], for a scheduler, or of the catalog.
    pub async fn new_token(&self, scope: Scope, life: Duration) -> Result<JoinToken, AuthorityError> {
        if life > MAX_TOKEN_LIFE {
            return Err(AuthorityError::TokenLife);
        }
        if scope.role == Role::Scheduler {
            return Err(AuthorityError::TokenRole);
        }
        let id = TokenId(u64::from_be_bytes(random()?));
        let secret = Secret(random()?);
        let created = self.clock.now();
        let expires = later(created, life);
        self.catalog.grant_token(Grant { id, secret: secret.clone(), scope, created, expires }).await?;
        Ok(JoinToken { ca: self.pin, id, secret })
    }

    /// Answers somebody who has no certificate yet.
    pub async fn join(&self, request: JoinRequest) -> JoinReply {
        match self.try_join(request).await {
            Ok(issued) => JoinReply::Joined(issued),
            Err(failure) => JoinReply::Refused(failure),
        }
    }

    async fn try_join(&self, request: JoinRequest) -> Result<Issued, Failure> {
        negotiate(VERSIONS, request.versions)
            .map_err(|error| Failure::new(FailureCode::Version, error.to_string()))?;
        let public = public_key(&request.request)?;
        let (issuer, now) = (self.issuer.clone(), self.clock.now());
        let make = move |identity: &Identity| issuer.issue(identity, &public, now);
        let fleet = self.trust().fleet.clone();
        let token = (request.token, request.secret);
        let redeemed = self.catalog.redeem(fleet, token, request.name, now, make, self.cut()).await.map_err(
            |refusal| {
                tracing::warn!(token = %request.token, %refusal, "a join was refused");
                Failure::from(refusal)
            },
        )?;
        tracing::info!(member = %redeemed.identity, build = request.build, "joined");
        Ok(self.issued(redeemed.identity.name, redeemed.certificate))
    }

    /// Answers a member that asks for a new certificate.
    pub async fn renew(&self, peer: &Peer, request: &CertificateRequest) -> Renewal {
        match self.try_renew(peer, request).await {
            Ok(issued) => Renewal::Issued(issued),
            Err(failure) => Renewal::Refused(failure),
        }
    }

    async fn try_renew(&self, peer: &Peer, request: &CertificateRequest) -> Result<Issued, Failure> {
        let public = public_key(request)?;
        let (issuer, now, identity) = (self.issuer.clone(), self.clock.now(), peer.identity.clone());
        let make = move || issuer.issue(&identity, &public, now);
        let name = peer.name().clone();
        let newest = self.live.newest(peer);
        let certificate = self.catalog.renew(newest, make).await.map_err(|error| {
            tracing::error!(member = %peer.identity, %error, "a renewal failed");
            Failure::from(TokenRefusal::Catalog(error))
        })?;
        let certificate = certificate.ok_or_else(|| {
            let text = format!("{} was denied or removed; join again with a new token", peer.identity);
            Failure::new(FailureCode::Forbidden, text)
        })?;
        self.live.renewed(peer, &certificate);
        Ok(self.issued(name, certificate))
    }

    /// Denies a member: from now on none of its certificates is good, and its connections are closed.
    ///
    /// # Errors
    /// [`CatalogError::Missing`]: there is no such member.
    pub async fn deny(&self, role: Role, name: NodeId) -> Result<(), CatalogError> {
        self.catalog.deny(role, name, self.clock.now(), self.cut()).await
    }

    /// First the list, then the connections: one that slips in between finds itself on the list.
    fn cut(&self) -> impl FnOnce(&[Fingerprint]) + Send + 'static {
        let (denied, live) = (self.denied.clone(), self.live.clone());
        move |fingerprints| {
            denied.deny(fingerprints.iter().copied());
            live.cut(fingerprints, Close::Denied);
        }
    }

    fn issued(&self, name: NodeId, certificate: NewCertificate) -> Issued {
        let wire = |der: Vec<u8>| WireCertificate(ByteBuf::from(der));
        Issued {
            fleet: self.trust().fleet.clone(),
            name,
            chain: vec![wire(certificate.der), wire(self.trust().authority.to_vec())],
            unix_seconds: self.clock.now().as_secs(),
        }
    }
}

impl From<TokenRefusal> for Failure {
    fn from(refusal: TokenRefusal) -> Self {
        let code = match &refusal {
            TokenRefusal::Unknown => FailureCode::Forbidden,
            TokenRefusal::Used | TokenRefusal::Expired { .. } => FailureCode::TokenSpent,
            TokenRefusal::NameTaken { .. } => FailureCode::Conflict,
            TokenRefusal::Catalog(CatalogError::DiskFull) => FailureCode::DiskFull,
            TokenRefusal::Catalog(CatalogError::TooMany { .. }) => FailureCode::Overloaded,
            TokenRefusal::Catalog(_) => FailureCode::Internal,
        };
        let text = match refusal {
            TokenRefusal::Catalog(error) => format!("the scheduler could not keep the certificate: {error}"),
            refusal => refusal.to_string(),
        };
        Self::new(code, text)
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let code = match &error {
            AuthorityError::Request(_) => FailureCode::Malformed,
            AuthorityError::KeyKind => FailureCode::Invalid,
            _ => FailureCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
