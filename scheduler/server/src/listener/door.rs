//! The loop that accepts on one endpoint, and opens it anew when it has died.

use std::{
    collections::VecDeque,
    future::{Future, IntoFuture},
    io,
    net::UdpSocket,
    sync::Arc,
    time::Duration,
};

use dunlin_link::{
    Close, EndpointError,
    limits::HANDSHAKE_TIMEOUT,
    quinn::{Connection, Endpoint, Incoming},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use crate::gate::{Gate, GateLimits, Verdict};

/// Pause before an endpoint that died, or cannot be opened, is opened again.
const REOPEN: Duration = Duration::from_millis(200);

/// What lies behind a door.
pub(super) trait Behind: Send + Sync + 'static {
    /// For the log.
    const NAME: &'static str;
    const GATE: GateLimits;
    /// Connections at once, those in their handshake included.
    const MAX_CONNECTIONS: usize;

    /// An endpoint on this socket.
    fn open(&self, socket: UdpSocket) -> Result<Endpoint, EndpointError>;

    /// Takes a connection whose handshake is over, until it has ended.
    fn receive(self: Arc<Self>, connection: Connection) -> impl Future<Output = ()> + Send;
}

enum End {
    Left,
    Died,
}

/// Serves one endpoint until it is told to leave. An endpoint whose socket fails takes its connections with it, and is
/// opened anew. (A panic inside of quinn is not survived: it panics again when it drops what is poisoned, and the process
/// ends. Whatever supervises the process starts it again.)
pub(super) async fn keep_open<B: Behind>(socket: UdpSocket, behind: B, mut left: watch::Receiver<bool>) {
    let behind = Arc::new(behind);
    loop {
        match open(&socket, behind.as_ref()) {
            Ok(endpoint) => match accept(&endpoint, &behind, &mut left).await {
                End::Left => return close(&endpoint).await,
                End::Died => tracing::error!(door = B::NAME, "the endpoint died and is opened anew"),
            },
            Err(error) => tracing::error!(door = B::NAME, %error, "the endpoint cannot be opened"),
        }
        tokio::select! {
            () = sleep(REOPEN) => {}
            _ = left.wait_for(|left| *left) => return,
        }
    }
}

/// The socket stays open in between, so that nobody else takes its port.
fn open<B: Behind>(socket: &UdpSocket, behind: &B) -> Result<Endpoint, EndpointError> {
    let socket: io::Result<UdpSocket> = socket.try_clone();
    behind.open(socket?)
}

async fn close(endpoint: &Endpoint) {
    endpoint.close(Close::Leaving.code(), b"");
    endpoint.wait_idle().await;
}

async fn accept<B: Behind>(endpoint: &Endpoint, behind: &Arc<B>, left: &mut watch::Receiver<bool>) -> End {
    let start = Instant::now();
    let mut gate = Gate::new(B::GATE, Duration::ZERO);
    let mut waiting = VecDeque::new();
    let room = Arc::new(Semaphore::new(B::MAX_CONNECTIONS));
    loop {
        tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => return End::Left,
            () = sleep(gate.next_in()), if !waiting.is_empty() => {
                if gate.take(start.elapsed()) && let Some(incoming) = waiting.pop_front() {
                    admit(incoming, behind, &room);
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { return End::Died };
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
    }
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

#[cfg(test)]
mod tests {
    use std::{
        io::IoSliceMut,
        net::SocketAddr,
        pin::Pin,
        sync::atomic::{AtomicU32, Ordering},
        task::{Context, Poll},
    };

    use dunlin_link::{
        Applicant,
        clock::{FlooredClock, ManualClock, UnixTime},
        join,
        quinn::{
            AsyncUdpSocket, EndpointConfig, Runtime, TokioRuntime, UdpPoller,
            udp::{RecvMeta, Transmit},
        },
    };
    use dunlin_protocol::Role;

    use super::*;
    use crate::{
        Authority, Catalog,
        authority::TOKEN_LIFE,
        catalog::{Labels, Scope},
        listener::joining::Porch,
    };

    /// A socket that fails when the first packet comes.
    #[derive(Debug)]
    struct Failing(Arc<dyn AsyncUdpSocket>);

    impl AsyncUdpSocket for Failing {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            self.0.clone().create_io_poller()
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            self.0.try_send(transmit)
        }

        fn poll_recv(
            &self,
            context: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let received = self.0.poll_recv(context, buffers, meta);
            received.map(|_| Err(io::Error::from(io::ErrorKind::NetworkDown)))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }
    }

    struct Rickety {
        porch: Arc<Porch>,
        opened: Arc<AtomicU32>,
    }

    impl Behind for Rickety {
        const NAME: &'static str = "rickety";
        const GATE: GateLimits = Porch::GATE;
        const MAX_CONNECTIONS: usize = Porch::MAX_CONNECTIONS;

        fn open(&self, socket: UdpSocket) -> Result<Endpoint, EndpointError> {
            if self.opened.fetch_add(1, Ordering::Relaxed) > 0 {
                return self.porch.open(socket);
            }
            let socket = Arc::new(Failing(TokioRuntime.wrap_udp_socket(socket)?));
            let config = EndpointConfig::default();
            Ok(Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?)
        }

        async fn receive(self: Arc<Self>, connection: Connection) {
            self.porch.clone().receive(connection).await;
        }
    }

    #[tokio::test]
    async fn an_endpoint_whose_socket_fails_is_opened_anew() {
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_800_000_000)));
        let catalog = Catalog::in_memory().unwrap();
        let authority = Arc::new(Authority::open(catalog, None, clock.clone()).await.unwrap());
        let credentials = Arc::new(authority.own_credentials("one".parse().unwrap()).await.unwrap());
        let porch = Arc::new(Porch { authority: authority.clone(), credentials });
        let opened = Arc::new(AtomicU32::new(0));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (leave, left) = watch::channel(false);
        let door = tokio::spawn(keep_open(socket, Rickety { porch, opened: opened.clone() }, left));

        let scope = Scope { role: Role::Node, name: None, labels: Labels::new() };
        let token = authority.new_token(scope, TOKEN_LIFE).await.unwrap();
        let clock = Arc::new(FlooredClock::new(clock, UnixTime::since_unix_epoch(Duration::ZERO)));
        let applicant = Applicant { name: None, build: String::new() };
        join(address, &token, applicant, &clock).await.unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 2);
        leave.send_replace(true);
        door.await.unwrap();
    }
}
