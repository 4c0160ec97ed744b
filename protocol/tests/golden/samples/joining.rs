//! Of connections and of those who join.

use dunlin_protocol::*;

use super::{Samples, bytes, failure, node, samples, text};

pub(crate) fn hello() -> Samples<Hello> {
    let mut hello = Hello::new(&["journal"], "0.1.0", 1_790_000_000);
    hello.versions.newest = Version(3);
    vec![(text("Hello"), hello)]
}

pub(crate) fn hello_reply() -> Samples<HelloReply> {
    samples!(HelloReply {
        Welcome => HelloReply::Welcome(Welcome {
            version: Version(1),
            features: vec![Feature(text("journal"))],
            build: text("0.1.0"),
            epoch: Epoch(7),
            unix_seconds: 1_790_000_000,
            lease_ms: 3500,
            report_every_ms: 500,
        });
        Refused => HelloReply::Refused(failure());
    })
}

pub(super) fn issued() -> Issued {
    Issued {
        fleet: "ljnfuws2ljnfuws2".parse().unwrap(),
        name: node("pi-1"),
        chain: vec![CertificateDer(bytes(&[0x30, 0x01])), CertificateDer(bytes(&[0x30, 0x02]))],
        unix_seconds: 1_790_000_000,
    }
}

pub(crate) fn join_request() -> Samples<JoinRequest> {
    let request = JoinRequest {
        versions: VERSIONS,
        token: TokenId(77),
        secret: Secret([0xc3; 16]),
        name: Some(node("pi-1")),
        request: CertificateRequest(bytes(&[0x30, 0x82])),
        build: text("0.1.0"),
        unix_seconds: 12,
    };
    vec![(text("JoinRequest"), request)]
}

pub(crate) fn join_reply() -> Samples<JoinReply> {
    samples!(JoinReply {
        Joined => JoinReply::Joined(issued());
        Refused => JoinReply::Refused(failure());
    })
}

pub(crate) fn renewal() -> Samples<Renewal> {
    samples!(Renewal {
        Issued => Renewal::Issued(issued());
        Refused => Renewal::Refused(failure());
    })
}
