//! Tokens: good, used, expired, forged, raced for; servers that are not the fleet's.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use dunlin_link::{
    Applicant, Chain, Credential, Credentials, Folder, JoinError, Link, ResetKey, Stranger, Trust,
    clock::ManualClock, join, listen_for_joining,
};
use dunlin_protocol::{
    ByteBuf, CaPin, CertificateRequest, Failure, FailureCode, JoinReply, JoinRequest, JoinToken, Role,
    Secret, TokenId, VERSIONS, Version, VersionRange,
};
use dunlin_scheduler::{
    Catalog,
    authority::MAX_TOKEN_LIFE,
    catalog::{Labels, Scope},
};
use expect_test::{Expect, expect};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use crate::fleet::{Fleet, Member, NOW, echo, floored};

#[tokio::test]
async fn a_good_token_makes_a_member() {
    let fleet = Fleet::start().await;
    let token = fleet.token(Role::Client, None).await;
    let ann = fleet.join(&token, "ann").await.unwrap();
    let link = fleet.dial(&ann).await.unwrap();
    assert!(echo(&link, "hello").await);
    assert_eq!(link.peer().role(), Role::Scheduler);

    let identity = ann.credentials.current().leaf.identity.to_string();
    expect!["dunlin://f7/client/ann"].assert_eq(&identity);
    let tokens = fleet.authority.catalog().tokens().await.unwrap();
    assert_eq!(tokens[0].used_by.as_ref().map(ToString::to_string).as_deref(), Some("ann"));
    let members = fleet.authority.catalog().members().await.unwrap();
    assert_eq!(members.len(), 1);
}

#[tokio::test]
async fn a_token_can_name_its_member_and_label_it() {
    let fleet = Fleet::start().await;
    let labels = Labels::from([("room".to_owned(), "kitchen".to_owned())]);
    let scope = Scope { role: Role::Node, name: Some("pi-7".parse().unwrap()), labels: labels.clone() };
    let token = fleet.authority.new_token(scope, Duration::from_mins(1)).await.unwrap();
    let node = fleet.join(&token, "i-would-rather-be").await.unwrap();
    assert_eq!(node.name().as_str(), "pi-7");
    assert_eq!(fleet.authority.catalog().members().await.unwrap()[0].labels, labels);
}

#[tokio::test]
async fn what_a_member_is_lasts_in_its_folder() {
    let fleet = Fleet::start().await;
    let ann = fleet.member(Role::Client, "ann").await;
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::open(home.path().join("identity")).unwrap();
    assert!(folder.identity().unwrap().is_none());
    folder.keep_identity(&ann.credentials.trust, &ann.credentials.current()).unwrap();
    folder.keep_floor(ann.clock.floor()).unwrap();

    let folder = Folder::open(home.path().join("identity")).unwrap();
    let (trust, credential) = folder.identity().unwrap().unwrap();
    assert_eq!(folder.floor().unwrap().as_secs(), NOW.as_secs());
    let again = Member::new(trust, credential, floored(fleet.clock.clone()));
    assert!(echo(&fleet.dial(&again).await.unwrap(), "again").await);
}

/// How a token is refused.
async fn check(fleet: &Fleet, token: &JoinToken, expected: &Expect) {
    expected.assert_eq(&fleet.refusal(token, "late").await);
}

#[tokio::test]
async fn tokens_that_are_used_expired_or_forged_are_refused() {
    let fleet = Fleet::start().await;
    let used = fleet.token(Role::Node, None).await;
    fleet.join(&used, "first").await.unwrap();
    check(
        &fleet,
        &used,
        &expect![[r"the token was used before; each is good once: ask an operator for `dunlin token new`"]],
    )
    .await;

    let good = fleet.token(Role::Node, None).await;
    let forged = JoinToken { secret: Secret([7; 16]), ..good.clone() };
    check(
        &fleet,
        &forged,
        &expect![[r"this fleet has no such token; ask an operator for `dunlin token new`"]],
    )
    .await;
    let unknown = JoinToken { id: TokenId(7), ..good.clone() };
    assert_eq!(fleet.refusal(&unknown, "x").await, fleet.refusal(&forged, "x").await);

    fleet.clock.advance(Duration::from_mins(16));
    check(&fleet, &good, &expect![[r"the token ran out 1 min ago; ask an operator for `dunlin token new`"]])
        .await;
    let revoked = fleet.token(Role::Node, None).await;
    fleet.authority.catalog().remove_token(revoked.id).await.unwrap();
    assert_eq!(fleet.refusal(&revoked, "x").await, fleet.refusal(&forged, "x").await);
    assert_eq!(fleet.authority.catalog().members().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_lasts_a_day_at_most_and_makes_no_scheduler() {
    let fleet = Fleet::start().await;
    let scope = |role| Scope { role, name: None, labels: Labels::new() };
    let too_long = MAX_TOKEN_LIFE + Duration::from_secs(1);
    let refusal = fleet.authority.new_token(scope(Role::Node), too_long).await.unwrap_err();
    expect!["a token is good for 24 hours at most"].assert_eq(&refusal.to_string());
    let refusal = fleet.authority.new_token(scope(Role::Scheduler), MAX_TOKEN_LIFE).await.unwrap_err();
    expect!["schedulers do not join by tokens"].assert_eq(&refusal.to_string());
    fleet.authority.new_token(scope(Role::Node), MAX_TOKEN_LIFE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_boards_with_one_token_one_joins() {
    let fleet = Fleet::start().await;
    for round in 0..10 {
        let token = fleet.token(Role::Node, None).await;
        let (left, right) = (format!("left-{round}"), format!("right-{round}"));
        let (left, right) = tokio::join!(fleet.join(&token, &left), fleet.join(&token, &right));
        let (won, lost) = if left.is_ok() { (left, right) } else { (right, left) };
        assert!(won.is_ok());
        let Err(JoinError::Refused(Failure { code, .. })) = lost else { panic!("both joined") };
        assert_eq!(code, FailureCode::TokenSpent);
    }
    assert_eq!(fleet.authority.catalog().members().await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_name_is_taken_over_only_by_a_token_that_names_it() {
    let fleet = Fleet::start().await;
    let old = fleet.member(Role::Client, "ann").await;
    let link = fleet.dial(&old).await.unwrap();
    assert!(echo(&link, "mine").await);
    let token = fleet.token(Role::Client, None).await;
    expect![[r"this fleet has a client ann already; choose another name, or have a token made for this one: `dunlin token new --name ann`"]].assert_eq(&fleet.refusal(&token, "ann").await);
    // The token was not used up by that, nor is the same name in another role the same member.
    fleet.join(&token, "bob").await.unwrap();
    fleet.member(Role::Node, "ann").await;

    let token = fleet.token(Role::Client, Some("ann")).await;
    let new = fleet.join(&token, "whatever").await.unwrap();
    assert_eq!(new.name().as_str(), "ann");
    expect![[
        r"the other end closed the connection: the certificate was denied; join again with a new token"
    ]]
    .assert_eq(&link.closed().await.to_string());
    assert!(echo(&fleet.dial(&new).await.unwrap(), "mine now").await);
}

#[tokio::test]
async fn a_board_that_wakes_in_1970_joins_and_learns_the_time() {
    let fleet = Fleet::start().await;
    let token = fleet.token(Role::Client, None).await;
    let clock = floored(Arc::new(ManualClock::default()));
    let applicant = Applicant { name: None, build: String::new() };
    let (trust, credential) = join(fleet.listener.joining(), &token, applicant, &clock).await.unwrap();
    assert_eq!(clock.now().as_secs(), NOW.as_secs());
    assert_eq!(credential.leaf.identity.name.as_str(), format!("client-{}", token.id));
    let board = Member::new(trust, credential, clock);
    assert!(echo(&fleet.dial(&board).await.unwrap(), "hello").await);
}

/// Tries to join at a server that shows these certificates; whether it got any request, and what the board says.
async fn deceive(token: &JoinToken, credentials: Credentials) -> (bool, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let endpoint = listen_for_joining(socket, Arc::new(credentials), &ResetKey::generate().unwrap()).unwrap();
    let deceiver = async {
        let Ok(connection) = endpoint.accept().await.unwrap().await else { return false };
        Stranger::new(connection).accept::<JoinRequest, JoinReply>().await.is_ok()
    };
    let applicant = Applicant { name: None, build: String::new() };
    let clock = floored(Arc::new(ManualClock::at(NOW)));
    let (heard, joined) = tokio::join!(deceiver, join(address, token, applicant, &clock));
    let said = joined.err().map_or_else(String::new, |error| error.to_string());
    (heard, said.replace(&address.to_string(), "ADDRESS"))
}

#[tokio::test]
async fn a_server_that_is_not_the_fleets_never_hears_the_secret() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let token = fleet.token(Role::Node, None).await;
    let own = || async { other.authority.own_credential("one".parse().unwrap()).await.unwrap() };
    let with = |authority: &Fleet, credential: Credential| {
        let trust: Trust = authority.authority.trust().clone();
        Credentials::new(trust, credential, Chain::WithAuthority)
    };
    let check = async |credentials: Credentials, expected: &Expect| {
        let (heard, said) = deceive(&token, credentials).await;
        assert!(!heard, "the server heard the secret");
        let said = said.replace(&token.ca.to_string(), "HASH");
        expected.assert_eq(&said);
    };
    // Another fleet, that calls itself the same.
    check(with(&other, own().await), &expect![[r"ADDRESS is not of the fleet that the token is for; the secret was not sent: its certificates do not lead to the authority with the hash HASH"]]).await;
    // It shows the certificate of the true authority, which is no secret, beside its own.
    check(with(&fleet, own().await), &expect![[r"ADDRESS is not of the fleet that the token is for; the secret was not sent: the certificate of dunlin://f7/scheduler/one was not issued by this fleet: invalid peer certificate: BadSignature"]]).await;
    // A member that has turned against the fleet.
    let node = fleet.member(Role::Node, "mole").await;
    let (key, certificate) = stolen(&node);
    check(with(&fleet, Credential::new(key, certificate).unwrap()), &expect![[r"ADDRESS is not of the fleet that the token is for; the secret was not sent: dunlin://f7/node/mole may not connect here; only a scheduler may"]]).await;
    // The token is still good where it belongs.
    fleet.join(&token, "pi-1").await.unwrap();
}

/// The key and certificate of a member, from its folder.
fn stolen(
    member: &Member,
) -> (rustls::pki_types::PrivatePkcs8KeyDer<'static>, rustls::pki_types::CertificateDer<'static>) {
    use rustls::pki_types::pem::PemObject;

    let home = tempfile::tempdir().unwrap();
    let folder = Folder::open(home.path()).unwrap();
    folder.keep_identity(&member.credentials.trust, &member.credentials.current()).unwrap();
    let pem = std::fs::read(home.path().join("identity.pem")).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap();
    (key, member.credentials.current().certificate.clone())
}

#[tokio::test]
async fn a_token_of_another_fleet_is_refused_here() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let foreign = other.token(Role::Node, None).await;
    assert!(matches!(fleet.join(&foreign, "pi").await, Err(JoinError::OtherFleet { .. })));
    // With the right hash it is as good as made up.
    let dressed = JoinToken { ca: fleet.authority.pin(), ..foreign };
    assert!(matches!(fleet.join(&dressed, "pi").await, Err(JoinError::Refused(_))));
}

/// What the authority answers to a request that no client of ours would send.
async fn answer(fleet: &Fleet, token: &JoinToken, request: Vec<u8>, versions: VersionRange) -> Failure {
    let request = JoinRequest {
        versions,
        token: token.id,
        secret: token.secret.clone(),
        name: None,
        request: CertificateRequest(ByteBuf::from(request)),
        build: String::new(),
        unix_seconds: 0,
    };
    match fleet.authority.join(request).await {
        JoinReply::Refused(failure) => failure,
        JoinReply::Joined(issued) => panic!("{issued:?}"),
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_met_leaves_the_token_good() {
    let fleet = Fleet::start().await;
    let token = fleet.token(Role::Node, None).await;
    let failure = answer(&fleet, &token, b"not DER".to_vec(), VERSIONS).await;
    assert_eq!(failure.code, FailureCode::Malformed);
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let failure = answer(&fleet, &token, request.der().to_vec(), VERSIONS).await;
    assert_eq!(failure.code, FailureCode::Invalid);
    // One whose signature is not of its key.
    let key = KeyPair::generate().unwrap();
    let mut request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let last = request.len() - 1;
    request[last] ^= 1;
    assert_eq!(answer(&fleet, &token, request, VERSIONS).await.code, FailureCode::Malformed);
    let later = VersionRange { oldest: Version(99), newest: Version(99) };
    assert_eq!(answer(&fleet, &token, Vec::new(), later).await.code, FailureCode::Version);
    fleet.join(&token, "pi-1").await.unwrap();
}

#[tokio::test]
async fn a_fleet_outlives_its_scheduler() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("catalog.db");
    let clock = Arc::new(ManualClock::at(NOW));
    let fleet = Fleet::on(Catalog::open(&file).unwrap(), clock.clone()).await;
    let pin: CaPin = fleet.authority.pin();
    let (ann, bob) = (fleet.member(Role::Client, "ann").await, fleet.member(Role::Client, "bob").await);
    fleet.authority.deny(Role::Client, bob.name()).await.unwrap();
    let epoch = fleet.authority.catalog().next_epoch().await.unwrap();
    let Fleet { authority, listener, .. } = fleet;
    listener.leave().await;
    drop(authority);

    let fleet = loop {
        // The old one lets go of the file once its tasks have ended.
        match Catalog::open(&file) {
            Ok(catalog) => break Fleet::on(catalog, clock).await,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(fleet.authority.pin(), pin);
    assert!(fleet.authority.catalog().next_epoch().await.unwrap() > epoch);
    assert!(echo(&fleet.dial(&ann).await.unwrap(), "still here").await);
    let denied: Link = fleet.dial(&bob).await.unwrap();
    expect![[r"the other end denies this certificate; join again with a new token"]]
        .assert_eq(&denied.closed().await.to_string());
}
