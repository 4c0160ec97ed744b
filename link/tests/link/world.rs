//! A fleet of two on this machine, made by a certificate authority of the test.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use dunlin_link::{
    Chain, Credential, Credentials, Dialer, Link, NewKey, ResetKey, Trust, Verifier,
    clock::{FlooredClock, ManualClock, UnixTime},
    listen_for_members, quinn,
};
use dunlin_protocol::{Identity, Role};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

/// When the tests take place, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 3_600;
pub(crate) const ANY: &str = "127.0.0.1:0";

pub(crate) struct World {
    pub(crate) trust: Trust,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate says, if it is not as usual.
#[derive(Clone, Copy)]
pub(crate) struct Says {
    pub(crate) identity: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

pub(crate) const NODE: Says = Says { identity: "dunlin://f7/node/pi-1", from: NOW - DAY, to: NOW + 6 * DAY };
pub(crate) const SCHEDULER: Says = Says { identity: "dunlin://f7/scheduler/one", ..NODE };

impl World {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { trust: Trust { fleet: "f7".parse().unwrap(), authority }, issuer }
    }

    /// The same fleet and authority by name, another key.
    pub(crate) fn pretending_to_be(self, other: &Self) -> Self {
        Self { trust: other.trust.clone(), ..self }
    }

    pub(crate) fn credential(&self, says: Says) -> Credential {
        let key = NewKey::generate().unwrap();
        let request = key.request().unwrap();
        let request = CertificateSigningRequestParams::from_der(&request.0.as_slice().into()).unwrap();
        let identity: Identity = says.identity.parse().unwrap();
        let mut params = CertificateParams::default();
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(says.from);
        params.not_after = epoch + Duration::from_secs(says.to);
        params.subject_alt_names = vec![SanType::URI(says.identity.try_into().unwrap())];
        params.extended_key_usages = vec![match identity.role {
            Role::Scheduler => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let certificate = params.signed_by(&request.public_key, &self.issuer).unwrap();
        key.certified(CertificateDer::from(certificate.der().to_vec())).unwrap()
    }

    pub(crate) fn credentials(&self, says: Says) -> Arc<Credentials> {
        Arc::new(Credentials::new(self.trust.clone(), self.credential(says), Chain::WithAuthority))
    }

    pub(crate) fn listen(&self, socket: UdpSocket, key: &ResetKey) -> quinn::Endpoint {
        let verifier = Verifier::new(self.trust.clone(), &[Role::Node], clock(NOW), Arc::default()).unwrap();
        listen_for_members(socket, self.credentials(SCHEDULER), verifier, key).unwrap()
    }

    pub(crate) fn dialer(&self, says: Says) -> Dialer {
        Dialer::new(ANY.parse().unwrap(), self.credentials(says), clock(NOW)).unwrap()
    }

    /// A connection: the node's end and the scheduler's.
    pub(crate) async fn pair(&self) -> Pair {
        let endpoint = self.listen(socket(), &ResetKey::generate().unwrap());
        self.connect(endpoint).await
    }

    pub(crate) async fn connect(&self, endpoint: quinn::Endpoint) -> Pair {
        let address = endpoint.local_addr().unwrap();
        let dialer = self.dialer(NODE);
        let accept = async {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            Link::new(connection, time(NOW)).unwrap()
        };
        let (node, scheduler) = tokio::join!(dialer.dial(address), accept);
        Pair { node: node.unwrap(), scheduler, endpoint }
    }
}

pub(crate) struct Pair {
    pub(crate) node: Link,
    pub(crate) scheduler: Link,
    pub(crate) endpoint: quinn::Endpoint,
}

pub(crate) fn clock(now: u64) -> Arc<FlooredClock> {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(now)));
    Arc::new(FlooredClock::new(clock, time(0)))
}

pub(crate) fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind(ANY.parse::<SocketAddr>().unwrap()).unwrap()
}
