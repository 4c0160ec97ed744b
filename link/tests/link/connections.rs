//! Who is let in, what each end learns of an end, and clocks that are wrong.

use std::{sync::Arc, thread, time::Duration};

use dunlin_link::{
    Close, DenyList, DialError, Dialer, Link, Liveness, Lost, ResetKey, Verifier,
    certificate::Standing,
    clock::{FlooredClock, ManualClock},
};
use dunlin_protocol::{Hello, Role};
use expect_test::{Expect, expect};
use rustls::pki_types::CertificateDer;

use crate::world::{ANY, DAY, NODE, NOW, SCHEDULER, Says, World, clock, socket, time};

/// What a scheduler of `world` says to the certificate of `says`, at `now` by its clock.
fn check(world: &World, says: Says, now: u64, expected: &Expect) {
    let verifier = Verifier::new(world.trust.clone(), &[Role::Node], clock(now), Arc::default()).unwrap();
    let verdict = verifier.vouch(&world.credential(says).certificate);
    expected.assert_eq(
        &verdict.map_or_else(|refusal| refusal.to_string(), |leaf| format!("{:?}", leaf.standing(time(now)))),
    );
}

#[test]
fn certificates_are_let_in_by_fleet_role_and_time() {
    let world = World::new();
    check(&world, NODE, NOW, &expect!["Current"]);
    check(
        &world,
        Says { identity: "dunlin://f8/node/pi-1", ..NODE },
        NOW,
        &expect![[r"dunlin://f8/node/pi-1 belongs to another fleet; this one is f7"]],
    );
    check(
        &world,
        Says { identity: "dunlin://f7/client/ann", ..NODE },
        NOW,
        &expect!["dunlin://f7/client/ann may not connect here; only a node may"],
    );
    check(
        &world,
        SCHEDULER,
        NOW,
        &expect![[r"dunlin://f7/scheduler/one may not connect here; only a node may"]],
    );
    // Of a board that lay in a drawer.
    check(&world, NODE, NOW + 36 * DAY, &expect!["RenewOnly"]);
    check(
        &world,
        NODE,
        NOW + 37 * DAY,
        &expect![[
            r"the certificate of dunlin://f7/node/pi-1 ran out 31 days ago; if clocks are right, join again with a new token"
        ]],
    );
    // At a scheduler that woke in 1970.
    check(&world, NODE, 0, &expect!["Current"]);
    let impostor = World::new().pretending_to_be(&world);
    check(
        &impostor,
        NODE,
        NOW,
        &expect![[
            r"the certificate of dunlin://f7/node/pi-1 was not issued by this fleet: invalid peer certificate: BadSignature"
        ]],
    );
}

#[test]
fn a_denied_certificate_stays_denied_when_its_signature_is_rewritten() {
    let world = World::new();
    let credential = world.credential(NODE);
    let denied = Arc::new(DenyList::new([credential.leaf.fingerprint]));
    let verifier = |denied| Verifier::new(world.trust.clone(), &[Role::Node], clock(NOW), denied).unwrap();
    let rewritten = rewrite_signature(&credential.certificate);
    assert_ne!(rewritten, credential.certificate);
    assert!(verifier(Arc::default()).vouch(&rewritten).is_ok());
    let refusal = verifier(denied).vouch(&rewritten).unwrap_err();
    expect![[
        r"dunlin://f7/node/pi-1 was denied by an operator; join again with a new token if that was a mistake"
    ]]
    .assert_eq(&refusal.to_string());
}

/// Another signature of the same content that is as good: s becomes n - s.
fn rewrite_signature(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    /// The order of P-256 (FIPS 186-5).
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let signature = parsed.signature_value.data.to_vec();
    let head = certificate.len() - signature.len();
    let r_end = 4 + usize::from(signature[3]);
    let (r, s) = (&signature[4..r_end], &signature[r_end + 2..]);
    let mut n: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&ORDER[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut borrow = 0;
    let s: Vec<u8> = [vec![0; 33 - s.len()], s.to_vec()].concat()[1..].to_vec();
    for (digit, s) in n.iter_mut().zip(&s).rev() {
        let difference = i16::from(*digit) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *digit = difference.rem_euclid(256) as u8;
    }
    let integer = |bytes: &[u8]| {
        let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let pad = usize::from(bytes[0] >= 0x80);
        [vec![2, (bytes.len() + pad) as u8], vec![0; pad], bytes].concat()
    };
    let numbers = [integer(r), integer(&n)].concat();
    let body = [vec![0x30, numbers.len() as u8], numbers].concat();
    // The lengths before it: of the bit string, and of the whole.
    let mut whole = certificate[..head].to_vec();
    whole[head - 2] = (body.len() + 1) as u8;
    let length = u16::try_from(head - 4 + body.len()).unwrap();
    whole[2..4].copy_from_slice(&length.to_be_bytes());
    CertificateDer::from([whole, body].concat())
}

/// Connects with a certificate; what the scheduler took it for, or what the node learned.
async fn knock(world: &World, says: Says, denied: Arc<DenyList>) -> Result<Standing, Lost> {
    let verifier = Verifier::new(world.trust.clone(), &[Role::Node], clock(NOW), denied).unwrap();
    let endpoint = dunlin_link::listen_for_members(
        socket(),
        world.credentials(SCHEDULER),
        verifier,
        &ResetKey::generate().unwrap(),
    )
    .unwrap();
    let credentials = world.credentials(says);
    let dialer = Dialer::new(ANY.parse().unwrap(), credentials, clock(NOW)).unwrap();
    let address = endpoint.local_addr().unwrap();
    let accept = async { endpoint.accept().await.unwrap().await };
    let (dialled, accepted) = tokio::join!(dialer.dial(address), accept);
    match accepted {
        Ok(connection) => Ok(Link::new(connection, time(NOW)).unwrap().peer().standing),
        Err(_) => Err(dialled.unwrap().closed().await),
    }
}

#[tokio::test]
async fn each_end_learns_why_it_is_not_let_in() {
    let world = World::new();
    let expired = |days: u64| Says { to: NOW - days * DAY, from: NOW - 60 * DAY, ..NODE };
    assert_eq!(knock(&world, NODE, Arc::default()).await.unwrap(), Standing::Current);
    assert_eq!(knock(&world, expired(29), Arc::default()).await.unwrap(), Standing::RenewOnly);
    let lost = knock(&world, expired(31), Arc::default()).await.unwrap_err();
    assert!(matches!(lost, Lost::Expired), "{lost:?}");
    let client = Says { identity: "dunlin://f7/client/ann", ..NODE };
    let lost = knock(&world, client, Arc::default()).await.unwrap_err();
    expect![[r"the other end does not let this one in: dunlin://f7/client/ann may not connect here; only a node may"]]
    .assert_eq(&lost.to_string());
    assert!(!lost.may_retry());
}

#[tokio::test]
async fn a_denied_member_learns_that_it_is_denied() {
    let world = World::new();
    let credential = world.credential(NODE);
    let denied = Arc::new(DenyList::new([credential.leaf.fingerprint]));
    let verifier = Verifier::new(world.trust.clone(), &[Role::Node], clock(NOW), denied).unwrap();
    let key = ResetKey::generate().unwrap();
    let endpoint =
        dunlin_link::listen_for_members(socket(), world.credentials(SCHEDULER), verifier, &key).unwrap();
    let credentials =
        dunlin_link::Credentials::new(world.trust.clone(), credential, dunlin_link::Chain::Leaf);
    let dialer = Dialer::new(ANY.parse().unwrap(), Arc::new(credentials), clock(NOW)).unwrap();
    let address = endpoint.local_addr().unwrap();
    let (link, _) = tokio::join!(dialer.dial(address), async { endpoint.accept().await.unwrap().await });
    assert!(matches!(link.unwrap().closed().await, Lost::Denied));
}

/// What a node says of a server that shows the certificate of `says`.
async fn dial(node: &World, server: &World, says: Says) -> DialError {
    let verifier = Verifier::new(server.trust.clone(), &[Role::Node], clock(NOW), Arc::default()).unwrap();
    let key = ResetKey::generate().unwrap();
    let endpoint =
        dunlin_link::listen_for_members(socket(), server.credentials(says), verifier, &key).unwrap();
    let address = endpoint.local_addr().unwrap();
    let dialer = node.dialer(NODE);
    let accept = async { endpoint.accept().await.unwrap().await };
    let (dialled, _) = tokio::join!(dialer.dial(address), accept);
    dialled.unwrap_err()
}

#[tokio::test]
async fn a_node_talks_to_schedulers_of_its_fleet_alone() {
    let (world, other) = (World::new(), World::new());
    let reason = |error: DialError| match error {
        DialError::Lost { source: Lost::Untrusted(reason), .. } => reason,
        other => panic!("{other:?}"),
    };
    expect!["BadSignature"].assert_eq(&reason(dial(&world, &other, SCHEDULER).await));
    expect![[r"dunlin://f7/node/pi-1 may not connect here; only a scheduler may"]]
        .assert_eq(&reason(dial(&world, &world, NODE).await));
    let expired = Says { to: NOW - 1, ..SCHEDULER };
    expect![[r"certificate expired: verification time 1800000000 (UNIX), but certificate is not valid after 1799999999 (1 seconds ago)"]].assert_eq(&reason(dial(&world, &world, expired).await));
}

#[tokio::test]
async fn a_board_that_wakes_in_1970_connects_and_learns_the_time() {
    let world = World::new();
    let endpoint = world.listen(socket(), &ResetKey::generate().unwrap());
    let board = Arc::new(FlooredClock::new(Arc::new(ManualClock::default()), time(0)));
    let dialer = Dialer::new(ANY.parse().unwrap(), world.credentials(NODE), board.clone()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let accept = async { endpoint.accept().await.unwrap().await };
    let (dialled, accepted) = tokio::join!(dialer.dial(address), accept);
    assert_eq!(dialled.unwrap().peer().role(), Role::Scheduler);
    accepted.unwrap();
    assert_eq!(board.now().as_secs(), SCHEDULER.from);
}

#[tokio::test]
async fn a_connection_takes_the_credential_that_is_in_force_when_it_begins() {
    let world = World::new();
    let endpoint = world.listen(socket(), &ResetKey::generate().unwrap());
    let credentials = world.credentials(NODE);
    let dialer = Dialer::new(ANY.parse().unwrap(), credentials.clone(), clock(NOW)).unwrap();
    let address = endpoint.local_addr().unwrap();
    let mut seen = Vec::new();
    let mut links = Vec::new();
    for _ in 0..2 {
        let accept = async { endpoint.accept().await.unwrap().await.unwrap() };
        let (dialled, accepted) = tokio::join!(dialer.dial(address), accept);
        let link = Link::new(accepted, time(NOW)).unwrap();
        seen.push(link.peer().fingerprint == credentials.current().leaf.fingerprint);
        credentials.swap(world.credential(NODE));
        links.push((dialled.unwrap(), link));
    }
    assert_eq!(seen, [true, true]);
    // The first connection lives on.
    let (mut sender, _answers) = links[0].0.open::<Hello, Hello>().await.unwrap();
    sender.send(&Hello::new(&[], "", 0)).await.unwrap();
    let (_, mut receiver) = links[0].1.accept::<Hello, Hello>().await.unwrap();
    assert!(receiver.receive().await.unwrap().is_some());
}

#[tokio::test]
async fn a_packet_that_came_is_a_sign_of_life() {
    let pair = World::new().pair().await;
    let mut liveness = Liveness::new(Duration::ZERO);
    liveness.observe(Duration::ZERO, pair.scheduler.connection());
    let (mut sender, _answers) = pair.node.open::<Hello, Hello>().await.unwrap();
    sender.send(&Hello::new(&[], "", 0)).await.unwrap();
    let (_, mut receiver) = pair.scheduler.accept::<Hello, Hello>().await.unwrap();
    receiver.receive().await.unwrap();
    let later = Duration::from_secs(2);
    assert_eq!(liveness.silence(later), later);
    assert!(liveness.observe(later, pair.scheduler.connection()));
    assert_eq!(liveness.silence(later), Duration::ZERO);
}

#[tokio::test]
async fn a_scheduler_that_was_killed_and_restarted_tells_so_at_the_next_packet() {
    let world = Arc::new(World::new());
    let key = ResetKey::generate().unwrap();
    let first = socket();
    let address = first.local_addr().unwrap();
    let second = first.try_clone().unwrap();
    let dialer = world.dialer(NODE);

    let (accepted, has_accepted) = std::sync::mpsc::channel();
    let (kill, killed) = std::sync::mpsc::channel::<()>();
    let server = thread::spawn({
        let (world, key) = (world.clone(), key.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let connection = runtime.block_on(async {
                let endpoint = world.listen(first, &key);
                let connection = endpoint.accept().await.unwrap().await.unwrap();
                accepted.send(()).unwrap();
                (endpoint, connection)
            });
            // From here on nothing of it runs: no word of farewell is sent.
            killed.recv().unwrap();
            drop(runtime);
            std::mem::forget(connection);
        }
    });
    let link = dialer.dial(address).await.unwrap();
    has_accepted.recv().unwrap();
    kill.send(()).unwrap();
    server.join().unwrap();

    let _endpoint = world.listen(second, &key);
    assert!(matches!(link.closed().await, Lost::Reset));
}

#[tokio::test]
async fn a_close_says_why() {
    let pair = World::new().pair().await;
    pair.scheduler.close(Close::Replaced, "pi-1 has restarted");
    let lost = pair.node.closed().await;
    expect![[r"the other end closed the connection: a newer connection of the same member took over (pi-1 has restarted)"]].assert_eq(&lost.to_string());
    assert!(matches!(pair.scheduler.closed().await, Lost::Here));
}

#[test]
fn a_node_speaks_for_itself_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pair = runtime.block_on(async { World::new().pair().await });
    let peer = pair.scheduler.peer();
    assert!(peer.speaks_for(&"pi-1".parse().unwrap()).is_ok());
    expect![[r"dunlin://f7/node/pi-1 may not speak for pi-2; it may speak for itself alone"]]
        .assert_eq(&peer.speaks_for(&"pi-2".parse().unwrap()).unwrap_err().to_string());
    expect![[r"dunlin://f7/scheduler/one may not speak for pi-1; it may speak for itself alone"]]
        .assert_eq(&pair.node.peer().speaks_for(&"pi-1".parse().unwrap()).unwrap_err().to_string());
}
