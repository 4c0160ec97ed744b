//! Bodies that are on their way: of too many, or too large ones all together, the oldest makes way for the newest.
//!
//! Each body has bounds of its own; this bounds what all of them hold at once. Whoever sends a body without dawdling is
//! never the oldest for long.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// All bodies that are being read.
#[derive(Debug)]
pub(crate) struct Uploads {
    limits: UploadLimits,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct UploadLimits {
    pub(crate) bodies: usize,
    /// Of all of them together.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    bytes: usize,
    /// By the order in which they began.
    under_way: BTreeMap<u64, Upload>,
}

#[derive(Debug)]
struct Upload {
    bytes: usize,
    leave: CancellationToken,
}

/// Others came while this body was still on its way.
#[derive(Debug, thiserror::Error)]
#[error("the server has too many requests whose bodies are still on their way, and this was the oldest")]
pub(crate) struct MadeWay;

impl Uploads {
    pub(crate) fn new(limits: UploadLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// The same body, counted from the first look at it until it is whole or dropped.
    pub(crate) fn counted(self: &Arc<Self>, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Counted { body, uploads: self.clone(), seat: None })
    }

    fn begin(self: &Arc<Self>) -> Seat {
        let mut state = self.lock();
        if state.under_way.len() >= self.limits.bodies {
            state.oldest_leaves();
        }
        let number = state.next;
        state.next += 1;
        let leave = CancellationToken::new();
        state.under_way.insert(number, Upload { bytes: 0, leave: leave.clone() });
        Seat { uploads: self.clone(), number, told: Box::pin(leave.cancelled_owned()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn oldest_leaves(&mut self) {
        if let Some((_, oldest)) = self.under_way.pop_first() {
            self.bytes -= oldest.bytes;
            oldest.leave.cancel();
        }
    }
}

/// A body counts for as long as this is kept.
struct Seat {
    uploads: Arc<Uploads>,
    number: u64,
    /// Comes when it has to leave.
    told: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Seat {
    fn grow(&self, by: usize) {
        let mut state = self.uploads.lock();
        let Some(upload) = state.under_way.get_mut(&self.number) else { return };
        upload.bytes += by;
        state.bytes += by;
        while state.bytes > self.uploads.limits.bytes && !state.under_way.is_empty() {
            state.oldest_leaves();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.uploads.lock();
        if let Some(upload) = state.under_way.remove(&self.number) {
            state.bytes -= upload.bytes;
        }
    }
}

struct Counted {
    body: Body,
    uploads: Arc<Uploads>,
    seat: Option<Seat>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let seat = this.seat.get_or_insert_with(|| this.uploads.begin());
        if seat.told.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(axum::Error::new(MadeWay))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => seat.grow(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) | None => this.seat = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a body broke off because others came.
pub(crate) fn made_way(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<MadeWay>())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::BodyExt;
    use tokio::{sync::mpsc, task::JoinHandle};

    use super::*;

    type Piece = Result<Bytes, Infallible>;
    type Sent = (mpsc::UnboundedSender<Piece>, JoinHandle<Result<usize, axum::Error>>);

    /// A body that is being read, and what goes on sending it.
    async fn sent(uploads: &Arc<Uploads>, bytes: usize) -> Sent {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Piece>();
        let body = Body::from_stream(stream::poll_fn(move |context| pieces.poll_recv(context)));
        let body = uploads.counted(body);
        let reader = tokio::spawn(async move { Ok(body.collect().await?.to_bytes().len()) });
        sender.send(Ok(Bytes::from(vec![0; bytes]))).unwrap();
        tokio::task::yield_now().await;
        (sender, reader)
    }

    async fn left((_sender, reader): Sent) -> bool {
        made_way(&reader.await.unwrap().unwrap_err())
    }

    async fn arrived((sender, reader): Sent) -> usize {
        drop(sender);
        reader.await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_oldest_body_makes_way() {
        let uploads = Uploads::new(UploadLimits { bodies: 2, bytes: 100 });
        let (first, second) = (sent(&uploads, 10).await, sent(&uploads, 10).await);
        let third = sent(&uploads, 10).await;
        assert!(left(first).await);
        assert_eq!(arrived(second).await, 10);
        // Bytes of all together: 10 + 90 are as many as there may be.
        let fourth = sent(&uploads, 90).await;
        fourth.0.send(Ok(Bytes::from_static(b"x"))).unwrap();
        assert!(left(third).await);
        assert_eq!(arrived(fourth).await, 91);
        let state = uploads.lock();
        assert_eq!((state.bytes, state.under_way.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_has_no_body_counts_for_nothing() {
        let uploads = Uploads::new(UploadLimits { bodies: 1, bytes: 1 });
        let (one, empty) = (sent(&uploads, 1).await, uploads.counted(Body::empty()));
        assert_eq!(empty.collect().await.unwrap().to_bytes().len(), 0);
        assert_eq!(arrived(one).await, 1);
    }
}
