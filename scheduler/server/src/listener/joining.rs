//! Where those come who have a token and no certificate: one question, one answer.

use std::{net::UdpSocket, sync::Arc};

use dunlin_link::{
    Close, Credentials, EndpointError, ReceiveError, Stranger,
    limits::HANDSHAKE_TIMEOUT,
    listen_for_joining,
    quinn::{Connection, Endpoint},
};
use dunlin_protocol::{JoinReply, JoinRequest};
use tokio::time::timeout;

use super::door::Behind;
use crate::{Authority, gate::GateLimits};

/// Where strangers come in. It knows nothing but the authority.
#[derive(Debug)]
pub(super) struct Porch {
    pub(super) authority: Arc<Authority>,
    pub(super) credentials: Arc<Credentials>,
}

impl Behind for Porch {
    const NAME: &'static str = "joining";
    const GATE: GateLimits = GateLimits { per_second: 10, waiting: 32 };
    const MAX_CONNECTIONS: usize = 64;

    fn open(&self, socket: UdpSocket) -> Result<Endpoint, EndpointError> {
        listen_for_joining(socket, self.credentials.clone(), self.authority.reset_key())
    }

    async fn receive(self: Arc<Self>, connection: Connection) {
        let address = connection.remote_address();
        let stranger = Stranger::new(connection);
        match timeout(HANDSHAKE_TIMEOUT, self.answer(&stranger)).await {
            Ok(Ok(())) => stranger.close(Close::Done, ""),
            Ok(Err(error)) => {
                tracing::info!(%address, %error, "a join broke off");
                stranger.close(Close::Malformed, "");
            }
            Err(_) => stranger.close(Close::Overloaded, ""),
        }
    }
}

impl Porch {
    async fn answer(&self, stranger: &Stranger) -> Result<(), ReceiveError> {
        let (mut sender, mut receiver) = stranger.accept::<JoinRequest, JoinReply>().await?;
        let request = receiver.receive().await?.ok_or(ReceiveError::Ended)?;
        let reply = self.authority.join(request).await;
        // Once the board has it, or has gone, the connection may end.
        if sender.send(&reply).await.is_ok() && sender.finish().await.is_ok() {
            let _ = sender.delivered().await;
        }
        Ok(())
    }
}
