//! What becomes of a member that has connected.

use std::{net::UdpSocket, sync::Arc};

use dunlin_link::{
    Close, Credentials, EndpointError, Link, ReceiveError,
    certificate::Standing,
    limits::HANDSHAKE_TIMEOUT,
    listen_for_members,
    quinn::{Connection, Endpoint},
};
use dunlin_protocol::{Opening, Renewal, Role};
use tokio::time::timeout;

use super::{Serve, door::Behind, verifier};
use crate::{Authority, gate::GateLimits};

/// Where members come in.
#[derive(Debug)]
pub(super) struct Hall<S> {
    pub(super) authority: Arc<Authority>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) serve: Arc<S>,
}

impl<S: Serve> Behind for Hall<S> {
    const NAME: &'static str = "members";
    const GATE: GateLimits = GateLimits { per_second: 50, waiting: 128 };
    const MAX_CONNECTIONS: usize = 4_096;

    fn open(&self, socket: UdpSocket) -> Result<Endpoint, EndpointError> {
        let verifier = verifier(&self.authority)?;
        listen_for_members(socket, self.credentials.clone(), verifier, self.authority.reset_key())
    }

    async fn receive(self: Arc<Self>, connection: Connection) {
        let link = match Link::new(connection.clone(), self.authority.clock().now()) {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(address = %connection.remote_address(), %error, "a connection without a member");
                return connection.close(Close::Forbidden.code(), b"");
            }
        };
        let Some(_admitted) = self.authority.live().admit(&link) else {
            return link.close(Close::Overloaded, "this member has too many connections");
        };
        // It may have been denied between its handshake and now, when nobody could cut it.
        if self.authority.denied().contains(&link.peer().fingerprint) {
            return link.close(Close::Denied, "");
        }
        match link.peer().standing {
            Standing::Current => self.serve(&link).await,
            Standing::RenewOnly => self.renew_only(&link).await,
            Standing::Expired => link.close(Close::Expired, ""),
        }
    }
}

impl<S: Serve> Hall<S> {
    /// Whatever becomes of the handler, the connection is closed after it.
    async fn serve(&self, link: &Link) {
        let (serve, handed) = (self.serve.clone(), link.clone());
        let served = tokio::spawn(async move {
            match handed.peer().role() {
                Role::Node => serve.node(handed).await,
                Role::Operator => serve.operator(handed).await,
                Role::Client => serve.client(handed).await,
                // The verifier lets none in.
                Role::Scheduler => {}
            }
        });
        let close = match served.await {
            Ok(()) => Close::Done,
            Err(error) => {
                tracing::error!(peer = %link.peer().identity, %error, "the handler of a connection failed");
                Close::Internal
            }
        };
        link.close(close, "");
    }

    /// A certificate that has run out is good for a new one, with which the member comes again.
    async fn renew_only(&self, link: &Link) {
        let identity = &link.peer().identity;
        match timeout(HANDSHAKE_TIMEOUT, self.answer_renewal(link)).await {
            Ok(Ok(true)) => tracing::info!(member = %identity, "an expired certificate was renewed"),
            Ok(Ok(false)) => link.close(Close::Expired, "only a renewal is possible with it"),
            Ok(Err(error)) => tracing::info!(member = %identity, %error, "a renewal broke off"),
            Err(_) => {
                link.close(Close::Expired, "only a renewal is possible with it, and none was asked for")
            }
        }
        link.close(Close::Done, "");
    }

    /// False where something else was asked for.
    async fn answer_renewal(&self, link: &Link) -> Result<bool, ReceiveError> {
        let (mut sender, mut receiver) = link.accept::<Opening, Renewal>().await?;
        let Some(Opening::Renew(request)) = receiver.receive().await? else {
            return Ok(false);
        };
        let reply = self.authority.renew(link.peer(), &request).await;
        // Once the peer has it, or has gone, the connection may end.
        if sender.send(&reply).await.is_ok() && sender.finish().await.is_ok() {
            let _ = sender.delivered().await;
        }
        Ok(true)
    }
}
