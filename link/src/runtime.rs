//! A runtime for quinn that outlives a panic in it.
//!
//! quinn takes its locks by `unwrap`, also when it drops: a panic in the task of an endpoint, dropped the usual way, would
//! panic again while it unwinds, and so abort the process. Here it is caught, what it left is leaked, and whoever holds
//! [`Fallen`] builds a new endpoint. A panic in the task of a *connection* poisons handles that others hold, and still
//! ends the process; whatever supervises it starts it again.

use std::{
    future::Future,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::sync::watch;

/// Tells that a task of an endpoint panicked. The endpoint must not be used any more, and not be dropped: `mem::forget` it.
#[derive(Debug, Clone)]
pub struct Fallen(watch::Receiver<bool>);

impl Fallen {
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has happened.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|fallen| *fallen).await.is_err() {
            // The runtime is gone, and no task of it can panic.
            std::future::pending().await
        }
    }
}

#[derive(Debug)]
pub(crate) struct GuardedRuntime {
    tokio: TokioRuntime,
    fallen: Arc<watch::Sender<bool>>,
}

impl GuardedRuntime {
    pub(crate) fn new() -> (Self, Fallen) {
        let (sender, receiver) = watch::channel(false);
        (Self { tokio: TokioRuntime, fallen: Arc::new(sender) }, Fallen(receiver))
    }
}

impl Runtime for GuardedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.tokio.new_timer(at)
    }

    fn spawn(&self, future: Task) {
        tokio::spawn(Guarded { future: Some(future), fallen: self.fallen.clone() });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.tokio.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Guarded {
    future: Option<Task>,
    fallen: Arc<watch::Sender<bool>>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            return poll;
        }
        mem::forget(self.future.take());
        self.fallen.send_replace(true);
        tracing::error!("a task of QUIC panicked");
        Poll::Ready(())
    }
}
