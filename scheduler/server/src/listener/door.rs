//! The loop that accepts on one endpoint, and opens it anew when it has died.

use std::{
    collections::VecDeque,
    future::{Future, IntoFuture},
    io, mem,
    net::UdpSocket,
    sync::Arc,
    time::Duration,
};

use dunlin_link::{
    Close, EndpointError, Fallen,
    limits::HANDSHAKE_TIMEOUT,
    quinn::{Connection, Endpoint, Incoming},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use crate::gate::{Gate, GateLimits, Verdict};

/// Pause before an endpoint that cannot be opened is tried again.
const REOPEN: Duration = Duration::from_secs(1);

/// What lies behind a door.
pub(super) trait Behind: Send + Sync + 'static {
    /// For the log.
    const NAME: &'static str;
    const GATE: GateLimits;
    /// Connections at once, those in their handshake included.
    const MAX_CONNECTIONS: usize;

    /// An endpoint on this socket.
    fn open(&self, socket: UdpSocket) -> Result<(Endpoint, Fallen), EndpointError>;

    /// The endpoint has died; its connections hear nothing any more.
    fn fallen(&self) {}

    /// Takes a connection whose handshake is over, until it has ended.
    fn receive(self: Arc<Self>, connection: Connection) -> impl Future<Output = ()> + Send;
}

enum End {
    Left,
    Fallen,
}

/// Serves one endpoint until it is told to leave. A panic inside of QUIC costs the connections, not the service.
pub(super) async fn keep_open<B: Behind>(socket: UdpSocket, behind: B, mut left: watch::Receiver<bool>) {
    let behind = Arc::new(behind);
    loop {
        match open(&socket, behind.as_ref()) {
            Ok((endpoint, fallen)) => match accept(&endpoint, fallen, &behind, &mut left).await {
                End::Left => return close(&endpoint).await,
                End::Fallen => {
                    tracing::error!(door = B::NAME, "the endpoint died and is opened anew");
                    // What a panic has poisoned must not be dropped; see `Fallen`.
                    mem::forget(endpoint);
                    behind.fallen();
                }
            },
            Err(error) => {
                tracing::error!(door = B::NAME, %error, "the endpoint cannot be opened");
                tokio::select! {
                    () = sleep(REOPEN) => {}
                    _ = left.wait_for(|left| *left) => return,
                }
            }
        }
    }
}

/// The socket stays open in between, so that nobody else takes its port.
fn open<B: Behind>(socket: &UdpSocket, behind: &B) -> Result<(Endpoint, Fallen), EndpointError> {
    let socket: io::Result<UdpSocket> = socket.try_clone();
    behind.open(socket?)
}

async fn close(endpoint: &Endpoint) {
    endpoint.close(Close::Leaving.code(), b"");
    endpoint.wait_idle().await;
}

async fn accept<B: Behind>(
    endpoint: &Endpoint,
    mut fallen: Fallen,
    behind: &Arc<B>,
    left: &mut watch::Receiver<bool>,
) -> End {
    let start = Instant::now();
    let mut gate = Gate::new(B::GATE, Duration::ZERO);
    let mut waiting = VecDeque::new();
    let room = Arc::new(Semaphore::new(B::MAX_CONNECTIONS));
    let end = loop {
        tokio::select! {
            biased;
            () = fallen.wait() => break End::Fallen,
            _ = left.wait_for(|left| *left) => break End::Left,
            () = sleep(gate.next_in()), if !waiting.is_empty() => {
                if gate.take(start.elapsed()) && let Some(incoming) = waiting.pop_front() {
                    admit(incoming, behind, &room);
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break End::Fallen };
                let validated = incoming.remote_address_validated();
                match gate.knock(start.elapsed(), validated, waiting.len()) {
                    Verdict::Admit => admit(incoming, behind, &room),
                    // Those who are validated are never told to retry, which is the only error.
                    Verdict::Retry => drop(incoming.retry()),
                    Verdict::Wait => waiting.push_back(incoming),
                    Verdict::Refuse => incoming.refuse(),
                }
            }
        }
    };
    if matches!(end, End::Fallen) {
        mem::forget(waiting);
    }
    end
}

fn admit<B: Behind>(incoming: Incoming, behind: &Arc<B>, room: &Arc<Semaphore>) {
    match room.clone().try_acquire_owned() {
        Ok(place) => drop(tokio::spawn(shake_hands(incoming, behind.clone(), place))),
        Err(_) => {
            tracing::warn!(door = B::NAME, "there are too many connections; one was refused");
            incoming.refuse();
        }
    }
}

async fn shake_hands<B: Behind>(incoming: Incoming, behind: Arc<B>, place: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    match timeout(HANDSHAKE_TIMEOUT, incoming.into_future()).await {
        Ok(Ok(connection)) => behind.receive(connection).await,
        Ok(Err(error)) => tracing::info!(door = B::NAME, %address, %error, "a handshake failed"),
        Err(_) => tracing::info!(door = B::NAME, %address, "a handshake took too long"),
    }
    drop(place);
}
