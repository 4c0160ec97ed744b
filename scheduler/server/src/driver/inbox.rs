//! What waits for the driver, and how much of it may.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Event;

/// Events that may wait. What finds no room waits where it is, and its stream is read no further meanwhile: so whoever says
/// too much is slowed down by the windows of QUIC, and nothing is dropped.
const MAX_EVENTS: usize = 4096;

/// Tells the driver what happens. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    to: mpsc::UnboundedSender<Told>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) event: Event,
    /// Given back once the event is dealt with.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// The driver is there no more: the process is about to end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Events {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (to, inbox) = mpsc::unbounded_channel();
        (Self { to, room: Arc::new(Semaphore::new(MAX_EVENTS)) }, inbox)
    }

    /// Waits for room. Cancelled before it has any, it tells nothing.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Gone> {
        let room = self.room.clone().acquire_owned().await.map_err(|_| Gone)?;
        self.to.send(Told { event, room: Some(room) }).map_err(|_| Gone)
    }

    /// Takes no room: for what comes once of each stream, connection or file, which have limits of their own.
    pub(crate) fn send(&self, event: Event) -> Result<(), Gone> {
        self.to.send(Told { event, room: None }).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::InvocationId;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_waits_and_what_ends_does_not() {
        let (events, mut inbox) = Events::new();
        for number in 0..MAX_EVENTS as u128 {
            events.tell(Event::Cancel(InvocationId(number))).await.unwrap();
        }
        let late = tokio::spawn({
            let events = events.clone();
            async move { events.tell(Event::Cancel(InvocationId(7))).await }
        });
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        events.send(Event::Cancel(InvocationId(8))).unwrap();
        // Room is given back with the event that took it.
        drop(inbox.recv().await);
        late.await.unwrap().unwrap();
        let rest = std::iter::from_fn(|| inbox.try_recv().ok()).count();
        assert_eq!((rest, inbox.try_recv().err()), (MAX_EVENTS + 1, Some(TryRecvError::Empty)));
        drop(inbox);
        assert_eq!(events.send(Event::Cancel(InvocationId(9))), Err(Gone));
    }
}
