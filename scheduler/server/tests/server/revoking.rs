//! Members that are denied.

use dunlin_link::{Close, Lost};
use dunlin_protocol::Role;
use expect_test::expect;

use crate::fleet::{DAY, Fleet, echo};

#[tokio::test]
async fn a_denied_member_is_cut_and_stays_out_and_others_go_on() {
    let fleet = Fleet::start().await;
    let (ann, bob) = (fleet.member(Role::Client, "ann").await, fleet.member(Role::Client, "bob").await);
    let links = [fleet.dial(&ann).await.unwrap(), fleet.dial(&ann).await.unwrap()];
    let other = fleet.dial(&bob).await.unwrap();
    for link in links.iter().chain([&other]) {
        assert!(echo(link, "before").await);
    }
    assert_eq!(fleet.authority.live().count(), 3);

    fleet.authority.deny(Role::Client, ann.name()).await.unwrap();
    for link in links {
        let lost = link.closed().await;
        assert!(matches!(lost, Lost::ByPeer { close: Close::Denied, .. }), "{lost:?}");
    }
    assert!(echo(&other, "after").await);
    let refused = fleet.dial(&ann).await.unwrap().closed().await;
    expect![[r"the other end denies this certificate; join again with a new token"]]
        .assert_eq(&refused.to_string());
    // Nor does the name of the denied serve another, until an operator says so.
    let token = fleet.token(Role::Client, None).await;
    assert!(fleet.join(&token, "ann").await.is_err());
    let named = fleet.token(Role::Client, Some("ann")).await;
    let ann = fleet.join(&named, "ann").await.unwrap();
    assert!(echo(&fleet.dial(&ann).await.unwrap(), "back").await);
}

#[tokio::test]
async fn a_denied_member_does_not_come_back_by_a_renewal() {
    let fleet = Fleet::start().await;
    let ann = fleet.member(Role::Client, "ann").await;
    fleet.authority.deny(Role::Client, ann.name()).await.unwrap();
    fleet.clock.advance(8 * DAY);
    assert!(matches!(fleet.dial(&ann).await.unwrap().closed().await, Lost::Denied));
}

#[tokio::test]
async fn nobody_is_denied_by_a_name_that_nobody_has() {
    let fleet = Fleet::start().await;
    let error = fleet.authority.deny(Role::Node, "ghost".parse().unwrap()).await.unwrap_err();
    expect!["the catalog has no node ghost"].assert_eq(&error.to_string());
}
