//! Certificates that grow old: renewed in time, late, too late.

use std::time::Duration;

use dunlin_link::{Close, Lost, RenewError, clock::Clock, renew};
use dunlin_protocol::{FailureCode, Role};
use expect_test::expect;

use crate::fleet::{DAY, Fleet, Member, NOW, echo};

/// Renews over a connection that is made for it.
async fn renew_now(fleet: &Fleet, member: &Member) -> Result<(), RenewError> {
    let link = fleet.dial(member).await.unwrap();
    let credential = renew(&link, &member.credentials, &member.clock).await?;
    member.credentials.swap(credential);
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_live_connection_which_goes_on() {
    let fleet = Fleet::start().await;
    let node = fleet.member(Role::Node, "pi-1").await;
    let link = fleet.dial(&node).await.unwrap();
    let old = node.credentials.current();
    let day = |days: u64| old.leaf.not_before.as_secs() + days * DAY.as_secs();
    assert_eq!(old.leaf.not_after.as_secs(), day(7));
    assert_eq!(old.leaf.renew_at().as_secs(), day(7) - 7 * DAY.as_secs() / 3);

    fleet.clock.advance(5 * DAY);
    let new = renew(&link, &node.credentials, &node.clock).await.unwrap();
    assert_eq!(new.leaf.not_after.as_secs(), day(12));
    assert_eq!(new.leaf.identity, old.leaf.identity);
    node.credentials.swap(new);

    // Past the end of the first certificate the connection still lives, and so does one with the second.
    fleet.clock.advance(3 * DAY);
    fleet.authority.live().sweep(fleet.authority.clock().now());
    assert!(renew(&link, &node.credentials, &node.clock).await.is_ok());
    assert!(fleet.dial(&node).await.is_ok());
}

#[tokio::test]
async fn a_connection_outlives_any_number_of_certificates_and_is_still_cut() {
    let fleet = Fleet::start().await;
    let node = fleet.member(Role::Node, "pi-1").await;
    let link = fleet.dial(&node).await.unwrap();
    for _ in 0..20 {
        fleet.clock.advance(4 * DAY);
        node.credentials.swap(renew(&link, &node.credentials, &node.clock).await.unwrap());
    }
    // The certificate that was shown is forgotten by now.
    fleet.authority.deny(Role::Node, node.name()).await.unwrap();
    assert!(matches!(link.closed().await, Lost::ByPeer { close: Close::Denied, .. }));
}

#[tokio::test]
async fn certificates_are_not_to_be_had_without_end() {
    let fleet = Fleet::start().await;
    let node = fleet.member(Role::Node, "pi-1").await;
    let link = fleet.dial(&node).await.unwrap();
    for _ in 1..32 {
        renew(&link, &node.credentials, &node.clock).await.unwrap();
    }
    let refused = renew(&link, &node.credentials, &node.clock).await;
    let Err(RenewError::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.code, FailureCode::Overloaded);
}

#[tokio::test]
async fn a_connection_whose_certificate_ran_out_is_cut() {
    let fleet = Fleet::start().await;
    let ann = fleet.member(Role::Client, "ann").await;
    let link = fleet.dial(&ann).await.unwrap();
    assert!(echo(&link, "here").await);
    fleet.clock.advance(7 * DAY + Duration::from_secs(1));
    let lost = link.closed().await;
    assert!(matches!(lost, Lost::ByPeer { close: Close::Expired, .. }), "{lost:?}");
}

#[tokio::test]
async fn an_expired_certificate_may_renew_and_nothing_else() {
    let fleet = Fleet::start().await;
    let ann = fleet.member(Role::Client, "ann").await;
    fleet.clock.advance(30 * DAY);
    let link = fleet.dial(&ann).await.unwrap();
    assert!(!echo(&link, "let me in").await);
    expect!["the other end closed the connection: done"].assert_eq(&link.closed().await.to_string());

    renew_now(&fleet, &ann).await.unwrap();
    assert!(echo(&fleet.dial(&ann).await.unwrap(), "and now").await);
}

#[tokio::test]
async fn a_board_too_long_in_its_drawer_has_to_join_again() {
    let fleet = Fleet::start().await;
    let ann = fleet.member(Role::Client, "ann").await;
    fleet.clock.advance(37 * DAY + Duration::from_secs(1));
    let link = fleet.dial(&ann).await.unwrap();
    expect![[
        r"the other end finds this certificate expired; if the clocks are right, join again with a new token"
    ]]
    .assert_eq(&link.closed().await.to_string());
}

#[tokio::test]
async fn who_is_denied_or_replaced_gets_no_new_certificate() {
    let fleet = Fleet::start().await;
    let (gone, replaced) = (fleet.member(Role::Node, "gone").await, fleet.member(Role::Node, "old").await);
    let links = [fleet.dial(&gone).await.unwrap(), fleet.dial(&replaced).await.unwrap()];
    let catalog = fleet.authority.catalog();
    // In the catalog alone, as if the renewal had come just before the connections were cut.
    catalog.deny(Role::Node, gone.name(), gone.clock.now(), |_| ()).await.unwrap();
    let token = fleet.token(Role::Node, Some("old")).await;
    fleet.join(&token, "old").await.unwrap();
    let refused = renew(&links[0], &gone.credentials, &gone.clock).await;
    let Err(RenewError::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.code, FailureCode::Forbidden);
    expect![[r"dunlin://f7/node/gone was denied or removed; join again with a new token"]]
        .assert_eq(&failure.text);
    let refused = renew(&links[1], &replaced.credentials, &replaced.clock).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn the_scheduler_renews_its_own_certificate() {
    let fleet = Fleet::start().await;
    fleet.clock.advance(6 * DAY);
    let ann = fleet.member(Role::Client, "ann").await;
    fleet.clock.advance(2 * DAY);
    // Its first certificate has run out.
    let address = fleet.listener.members();
    assert!(fleet.clock.wall() > NOW + 7 * DAY);
    while ann.dialer.dial(address).await.is_err() {}
    assert!(echo(&fleet.dial(&ann).await.unwrap(), "hello").await);
}
