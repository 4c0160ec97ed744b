//! A small HTTP listener for them: one answer to a connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{agent::Agent, node::Node};

/// Connections at once; those that come while there are so many are closed.
const MAX_CONNECTIONS: usize = 16;

/// How long a connection may last: one question, one answer.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Bytes of the head of a request.
const MAX_HEAD: usize = 16 << 10;

/// After an accept that failed, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(50);

/// Why metrics are not shown.
#[derive(Debug, Error)]
#[error("cannot listen for metrics on {address}: {error}; --metrics HOST:PORT names another address")]
pub struct ExposeError {
    pub address: SocketAddr,
    pub error: io::Error,
}

/// Metrics over HTTP, for as long as this is kept.
#[derive(Debug)]
pub struct Exposed {
    address: SocketAddr,
    _closing: DropGuard,
}

impl Exposed {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Agent {
    /// Shows metrics at `/metrics`, to whoever can connect. They name the node and its models, and nothing of what is asked.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub async fn expose(&self, listen: SocketAddr) -> Result<Exposed, ExposeError> {
        let in_vain = |error| ExposeError { address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(in_vain)?;
        let address = listener.local_addr().map_err(in_vain)?;
        let closing = CancellationToken::new();
        tokio::spawn(closing.clone().run_until_cancelled_owned(accept(listener, self.node().clone())));
        Ok(Exposed { address, _closing: closing.drop_guard() })
    }
}

async fn accept(listener: TcpListener, node: Arc<Node>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let node = node.clone();
                tokio::spawn(async move {
                    // Who is slower than that comes again.
                    drop(timeout(CONNECTION_TIME, serve(stream, node)).await);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, node: Arc<Node>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &node);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false).max_buf_size(MAX_HEAD);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for metrics broke off");
    }
}

fn answer(request: &Request<Incoming>, node: &Node) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return say(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => match node.metrics.text(node) {
            Ok(text) => say(StatusCode::OK, prometheus::TEXT_FORMAT, text),
            Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
        },
        path => {
            say(StatusCode::NOT_FOUND, "text/plain", format!("nothing is at {path}; there is /metrics\n"))
        }
    }
}

fn say(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
