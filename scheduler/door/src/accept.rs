//! Connections: taken, bounded in number and in time, and handed to the router.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    crowd::{Crowd, CrowdLimits, Guest},
    limits::{FIRST_BYTE_TIME, HEAD_TIME, MAX_CONNECTIONS, MAX_HEAD, MAX_STREAMS, MAX_UNPROVEN},
    metrics::Metrics,
};

/// After an accept that failed, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(50);

/// Between pings on HTTP/2, and how long one may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME: Duration = Duration::from_secs(20);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Until `closing`; then what is being answered is waited for.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    closing: CancellationToken,
    metrics: Arc<Metrics>,
) {
    raise_limit();
    let limits = CrowdLimits { connections: MAX_CONNECTIONS, unproven: MAX_UNPROVEN };
    let crowd = Arc::new(Crowd::new(limits));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => {
                metrics.connections(connections.len());
                continue;
            }
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Who is turned away sees its connection closed.
                let Some(guest) = crowd.enter() else { continue };
                let visit =
                    Visit { peer, tls: tls.clone(), router: router.clone(), closing: closing.clone() };
                connections.spawn(serve(stream, visit, guest));
                metrics.connections(connections.len());
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, and what is to come of it.
struct Visit {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    closing: CancellationToken,
}

async fn serve(stream: TcpStream, visit: Visit, guest: Guest) {
    let (leave, peer) = (guest.leave.clone(), visit.peer);
    tokio::select! {
        () = greet(stream, visit, guest) => {}
        () = leave.cancelled() => tracing::debug!(%peer, "made way for others"),
    }
}

async fn greet(stream: TcpStream, visit: Visit, guest: Guest) {
    let peer = visit.peer;
    if !matches!(timeout(FIRST_BYTE_TIME, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    // A token is a small packet, and is not to wait for the next.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let Some(tls) = visit.tls.clone() else { return converse(stream, visit, guest).await };
    match timeout(HEAD_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, visit, guest).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "the handshake of TLS took too long"),
    }
}

async fn converse<S>(stream: S, visit: Visit, guest: Guest)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Visit { peer, router, closing, .. } = visit;
    let guest = Arc::new(guest);
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        guest.proves_itself();
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move { tower::ServiceExt::oneshot(router, request.map(axum::body::Body::new)).await }
    });
    let builder = builder();
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME);
    builder
}

/// Each connection is a file descriptor, and by default a process may have 1024.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = (2 * MAX_CONNECTIONS) as u64;
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "fewer connections than there might be: the limit of open files stays");
        }
    }
}
