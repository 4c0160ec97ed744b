//! Frames over real connections: whole, broken, cancelled.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use dunlin_link::{Close, Lost, ReceiveError, Receiver, SendError, Sender};
use dunlin_protocol::{
    Class, Hello,
    frame::{Message, encoded},
};
use serde::{Deserialize, Serialize};

use crate::world::{Pair, World};

/// Larger than the window of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Large(String);

impl Message for Large {
    const CLASS: Class = Class::Request;
}

fn large(letter: &str) -> Large {
    Large(letter.repeat(600 << 10))
}

fn hello(build: &str) -> Hello {
    Hello::new(&["journal"], build, 7)
}

/// A stream from node to scheduler: what the node writes raw, and what the scheduler receives.
async fn raw(pair: &Pair) -> (quinn::SendStream, Receiver<Hello>) {
    let (mut sender, _) = pair.node.connection().open_bi().await.unwrap();
    // A stream is there once something was sent on it.
    sender.write_all(&encoded(&hello("first")).unwrap()).await.unwrap();
    let (_, mut receiver) = pair.scheduler.accept::<Hello, Hello>().await.unwrap();
    assert_eq!(receiver.receive().await.unwrap(), Some(hello("first")));
    (sender, receiver)
}

/// Polls once and drops the future, as a `select!` does whose other branch was ready.
fn poll_and_cancel<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn messages_arrive_in_order_and_the_end_is_told() {
    let pair = World::new().pair().await;
    let (mut sender, mut answers) = pair.node.open::<Hello, Hello>().await.unwrap();
    for build in ["a", "b", "c"] {
        sender.send(&hello(build)).await.unwrap();
    }
    sender.finish().await.unwrap();
    let (mut back, mut receiver) = pair.scheduler.accept::<Hello, Hello>().await.unwrap();
    for build in ["a", "b", "c"] {
        assert_eq!(receiver.receive().await.unwrap(), Some(hello(build)));
    }
    assert_eq!(receiver.receive().await.unwrap(), None);
    sender.delivered().await.unwrap();
    back.send(&hello("d")).await.unwrap();
    assert_eq!(answers.receive().await.unwrap(), Some(hello("d")));
    back.reset(Close::Overloaded);
    assert!(matches!(answers.receive().await, Err(ReceiveError::Reset(Close::Overloaded))));
    answers.stop(Close::Done);
}

#[tokio::test]
async fn a_stream_goes_on_with_another_type() {
    let pair = World::new().pair().await;
    let (mut sender, _) = pair.node.open::<Hello, Hello>().await.unwrap();
    sender.send(&hello("a")).await.unwrap();
    let mut sender: Sender<Large> = sender.then();
    sender.send(&Large("b".into())).await.unwrap();
    let (_, mut receiver) = pair.scheduler.accept::<Hello, Hello>().await.unwrap();
    assert_eq!(receiver.receive().await.unwrap(), Some(hello("a")));
    let mut receiver: Receiver<Large> = receiver.then();
    assert_eq!(receiver.receive().await.unwrap(), Some(Large("b".into())));
}

#[tokio::test]
async fn receiving_may_be_cancelled_after_every_byte() {
    let pair = World::new().pair().await;
    let (mut sender, mut receiver) = raw(&pair).await;
    let frames = [encoded(&hello("second")).unwrap(), encoded(&hello("third")).unwrap()].concat();
    let mut got = Vec::new();
    for byte in frames {
        let received = pair.scheduler.connection().stats().frame_rx.stream;
        sender.write_all(&[byte]).await.unwrap();
        while pair.scheduler.connection().stats().frame_rx.stream == received {
            tokio::task::yield_now().await;
        }
        if let Poll::Ready(message) = poll_and_cancel(receiver.receive()) {
            got.push(message.unwrap().unwrap());
        }
    }
    sender.finish().unwrap();
    while let Some(message) = receiver.receive().await.unwrap() {
        got.push(message);
    }
    assert_eq!(got, [hello("second"), hello("third")]);
}

#[tokio::test]
async fn a_message_whose_sending_was_cancelled_arrives_whole() {
    let pair = World::new().pair().await;
    let (mut sender, _answers) = pair.node.open::<Large, Hello>().await.unwrap();
    assert!(poll_and_cancel(sender.send(&large("a"))).is_pending());
    let (_, mut receiver) = pair.scheduler.accept::<Large, Hello>().await.unwrap();
    let send = async {
        sender.send(&large("b")).await.unwrap();
        sender.finish().await.unwrap();
    };
    let receive = async {
        assert!(receiver.receive().await.unwrap() == Some(large("a")));
        assert!(receiver.receive().await.unwrap() == Some(large("b")));
        assert!(receiver.receive().await.unwrap().is_none());
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn half_a_message_is_no_orderly_end() {
    let pair = World::new().pair().await;
    let (mut sender, _answers) = pair.node.open::<Large, Hello>().await.unwrap();
    assert!(poll_and_cancel(sender.send(&large("a"))).is_pending());
    let (_, mut receiver) = pair.scheduler.accept::<Large, Hello>().await.unwrap();
    drop(sender);
    assert!(matches!(receiver.receive().await, Err(ReceiveError::Reset(Close::Internal))));

    let (mut sender, mut receiver) = raw(&pair).await;
    sender.write_all(&[7, 0, 0]).await.unwrap();
    sender.finish().unwrap();
    assert!(matches!(receiver.receive().await, Err(ReceiveError::Truncated)));
}

#[tokio::test]
async fn who_is_stopped_learns_why() {
    let pair = World::new().pair().await;
    let (mut sender, _answers) = pair.node.open::<Large, Hello>().await.unwrap();
    assert!(poll_and_cancel(sender.send(&large("a"))).is_pending());
    let (_, receiver) = pair.scheduler.accept::<Large, Hello>().await.unwrap();
    receiver.stop(Close::Forbidden);
    assert!(matches!(sender.flush().await, Err(SendError::Stopped(Close::Forbidden))));
}

/// Frames that are whole, and wrong inside.
fn wrong_inside() -> Vec<Vec<u8>> {
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat();
    let mut trailing = encoded(&hello("x")).unwrap()[4..].to_vec();
    trailing.push(0xc0);
    vec![framed(&[0x91; 700]), framed(&trailing), framed(&[0xc1]), framed(b"\xa5hello")]
}

#[tokio::test]
async fn a_frame_that_is_wrong_inside_costs_only_itself() {
    for frame in wrong_inside() {
        let pair = World::new().pair().await;
        let (mut sender, mut receiver) = raw(&pair).await;
        sender.write_all(&frame).await.unwrap();
        sender.write_all(&encoded(&hello("after")).unwrap()).await.unwrap();
        assert!(matches!(receiver.receive().await, Err(ReceiveError::Frame(_))), "{frame:?}");
        assert_eq!(receiver.receive().await.unwrap(), Some(hello("after")));
        assert!(pair.node.connection().close_reason().is_none());
    }
}

#[tokio::test]
async fn a_length_that_lies_ends_its_stream_alone() {
    let pair = World::new().pair().await;
    let (mut sender, mut receiver) = raw(&pair).await;
    sender.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    assert!(matches!(receiver.receive().await, Err(ReceiveError::Frame(_))));
    assert!(matches!(receiver.receive().await, Err(ReceiveError::Ended)));
    assert_eq!(sender.stopped().await.unwrap(), Some(Close::Malformed.code()));
    let (_, mut other) = raw(&pair).await;
    drop(sender);
    assert!(poll_and_cancel(other.receive()).is_pending());
}

#[tokio::test]
async fn after_three_bad_frames_the_connection_is_closed_and_others_go_on() {
    let world = World::new();
    let liar = world.pair().await;
    let other = world.connect(liar.endpoint.clone()).await;
    let (mut whole, mut whole_receiver) = raw(&other).await;
    for number in 0..3 {
        let (mut sender, mut receiver) = raw(&liar).await;
        sender.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(matches!(receiver.receive().await, Err(ReceiveError::Frame(_))), "frame {number}");
    }
    let lost = liar.node.closed().await;
    assert!(matches!(lost, Lost::ByPeer { close: Close::Malformed, .. }), "{lost:?}");
    assert!(!lost.may_retry());
    whole.write_all(&encoded(&hello("on")).unwrap()).await.unwrap();
    assert_eq!(whole_receiver.receive().await.unwrap(), Some(hello("on")));
}
