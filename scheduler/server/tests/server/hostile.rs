//! Peers that mean no good, beside one that does.

use std::net::UdpSocket;

use dunlin_link::{Close, Link, Lost};
use dunlin_protocol::{FailureCode, JoinReply, JoinRequest, Role};

use crate::fleet::{Fleet, echo};

async fn client(fleet: &Fleet, name: &str) -> Link {
    let member = fleet.member(Role::Client, name).await;
    fleet.dial(&member).await.unwrap()
}

#[tokio::test]
async fn frames_that_lie_cost_their_sender_its_connection_and_nobody_else_anything() {
    let fleet = Fleet::start().await;
    let honest = client(&fleet, "ann").await;
    assert!(echo(&honest, "before").await);
    let lies: [&[u8]; 3] = [
        &u32::MAX.to_le_bytes(),
        // 700 lists, each in the one before.
        &[&700_u32.to_le_bytes(), &[0x91; 700][..]].concat(),
        // A text where a map should be, and a type that does not exist.
        b"\x06\0\0\0\xa5hello",
    ];
    for lie in lies {
        let liar = client(&fleet, &format!("liar-{}", lie.len())).await;
        for _ in 0..3 {
            let Ok((mut sender, _receiver)) = liar.connection().open_bi().await else { break };
            // The connection may be closed by then.
            let _ = sender.write_all(lie).await;
        }
        let lost = liar.closed().await;
        assert!(matches!(lost, Lost::ByPeer { close: Close::Malformed, .. }), "{lost:?}");
        assert!(echo(&honest, "after").await);
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_connection_alone() {
    let fleet = Fleet::start().await;
    let honest = client(&fleet, "ann").await;
    let operator = fleet.member(Role::Operator, "oscar").await;
    let lost = fleet.dial(&operator).await.unwrap().closed().await;
    assert!(matches!(lost, Lost::ByPeer { close: Close::Internal, .. }), "{lost:?}");
    assert!(echo(&honest, "after").await);
}

/// Bytes that are no QUIC, or almost: an Initial packet (RFC 9000, 17.2.2) with nonsense in it.
fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(1..1_400)];
    random.fill(&mut bytes);
    if random.bool() && bytes.len() > 8 {
        bytes[..6].copy_from_slice(&[0xc0 | random.u8(0..16), 0, 0, 0, 1, random.u8(0..24)]);
        bytes.resize(1_200, 0);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_disturbs_nobody() {
    let fleet = Fleet::start().await;
    let honest = client(&fleet, "ann").await;
    let vandal = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = fastrand::Rng::with_seed(20);
    for round in 0..20 {
        for _ in 0..500 {
            for door in [fleet.listener.members(), fleet.listener.joining()] {
                // A full buffer is as good.
                let _ = vandal.send_to(&garbage(&mut random), door);
            }
        }
        assert!(echo(&honest, &round.to_string()).await);
    }
    // And whoever is new still gets in.
    assert!(echo(&client(&fleet, "bob").await, "hello").await);
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate() {
    let fleet = Fleet::start().await;
    let member = fleet.member(Role::Client, "ann").await;
    // At the endpoint for joining there is nothing but joining, whoever comes.
    let joining = member.dialer.dial(fleet.listener.joining()).await;
    assert!(joining.is_err(), "{joining:?}");
    // A board with a token that knocks at the wrong door does not get through TLS.
    let token = fleet.token(Role::Node, None).await;
    let applicant = dunlin_link::Applicant { name: None, build: String::new() };
    let wrong = dunlin_link::join(fleet.listener.members(), &token, applicant, &member.clock).await;
    assert!(wrong.is_err());
}

#[tokio::test]
async fn nonsense_at_the_door_for_joining_is_answered_by_a_close() {
    let fleet = Fleet::start().await;
    let token = fleet.token(Role::Node, None).await;
    let reply = fleet
        .authority
        .join(JoinRequest {
            versions: dunlin_protocol::VERSIONS,
            token: token.id,
            secret: token.secret.clone(),
            name: None,
            request: dunlin_protocol::CertificateRequest(dunlin_protocol::ByteBuf::from(vec![0x30; 8_000])),
            build: String::new(),
            unix_seconds: u64::MAX,
        })
        .await;
    let JoinReply::Refused(failure) = reply else { panic!("{reply:?}") };
    assert_eq!(failure.code, FailureCode::Malformed);
    fleet.join(&token, "pi-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_comes_back_at_once_gets_in_in_turn() {
    /// More than may shake hands at once.
    const MEMBERS: usize = 70;

    let fleet = Fleet::start().await;
    let ann = std::sync::Arc::new(fleet.member(Role::Client, "ann").await);
    let address = fleet.listener.members();
    let mut dials = tokio::task::JoinSet::new();
    for number in 0..MEMBERS {
        let ann = ann.clone();
        dials.spawn(async move {
            let link = ann.dialer.dial(address).await.unwrap();
            echo(&link, &number.to_string()).await
        });
    }
    let heard = dials.join_all().await;
    assert_eq!(heard.iter().filter(|heard| **heard).count(), MEMBERS);
}
