//! What all answers are made of.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use dunlin_scheduler::Front;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{DoorOptions, events::Hub, limits::MAX_REQUESTS};

/// Shared by all requests.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) front: Front,
    pub(crate) options: DoorOptions,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    pub(crate) closing: CancellationToken,
    pub(crate) places: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(
        options: DoorOptions,
        address: SocketAddr,
        front: Front,
        closing: CancellationToken,
    ) -> Self {
        let hub = Hub::new(front.clone(), closing.clone());
        let places = Arc::new(Semaphore::new(MAX_REQUESTS));
        Self { front, options, address, hub, closing, places }
    }

    /// Nobody but this machine can connect.
    pub(crate) fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

/// The body of an answer, which has its place until it is sent.
#[derive(Debug)]
pub(crate) struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl Placed {
    pub(crate) fn new(body: Body, place: OwnedSemaphorePermit) -> Self {
        Self { body, _place: place }
    }
}

impl hyper::body::Body for Placed {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
