//! A new key and certificate for a member that is connected.

use std::sync::Arc;

use dunlin_protocol::{CertificateRequest, Failure, Identity, Opening, Renewal};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    clock::FlooredClock,
    close::Lost,
    credentials::{Credential, CredentialError, Credentials, NewKey},
    join::{NotUsable, accept},
    limits::HANDSHAKE_TIMEOUT,
    peer::Link,
    stream::{ReceiveError, SendError},
};

/// Why there is no new certificate. The old one stays in force.
#[derive(Debug, Error)]
pub enum RenewError {
    #[error(transparent)]
    Key(#[from] CredentialError),
    #[error("the scheduler went away while renewing: {0}")]
    Lost(#[from] Lost),
    #[error("the scheduler went away while renewing: {0}")]
    Send(#[from] SendError),
    #[error("the scheduler went away while renewing: {0}")]
    Receive(#[from] ReceiveError),
    #[error("the scheduler does not answer the request for a new certificate")]
    NoAnswer,
    #[error("{0}")]
    Refused(Failure),
    #[error(transparent)]
    Certificate(#[from] NotUsable),
    #[error("the certificate that was issued is for {0}")]
    OtherIdentity(Box<Identity>),
}

/// A renewal that has begun: the new key waits here for its certificate.
#[derive(Debug)]
pub struct Renewing {
    key: NewKey,
    pub request: CertificateRequest,
}

impl Renewing {
    /// Makes the new key.
    ///
    /// # Errors
    /// [`RenewError::Key`].
    pub fn begin() -> Result<Self, RenewError> {
        let key = NewKey::generate()?;
        let request = key.request()?;
        Ok(Self { key, request })
    }

    /// The new credential. Keep it in the folder first, then [`Credentials::swap`] it in; live connections go on.
    ///
    /// # Errors
    /// [`RenewError`].
    pub fn finish(
        self,
        reply: Renewal,
        credentials: &Credentials,
        clock: &Arc<FlooredClock>,
    ) -> Result<Credential, RenewError> {
        let issued = match reply {
            Renewal::Issued(issued) => issued,
            Renewal::Refused(failure) => return Err(RenewError::Refused(failure)),
        };
        let credential = accept(self.key, issued, &credentials.trust, clock)?;
        if credential.leaf.identity != credentials.current().leaf.identity {
            return Err(RenewError::OtherIdentity(Box::new(credential.leaf.identity)));
        }
        Ok(credential)
    }
}

/// Renews on a stream of its own. Members whose certificate has run out can do nothing else.
///
/// # Errors
/// [`RenewError`].
pub async fn renew(
    link: &Link,
    credentials: &Credentials,
    clock: &Arc<FlooredClock>,
) -> Result<Credential, RenewError> {
    let renewing = Renewing::begin()?;
    let reply = timeout(HANDSHAKE_TIMEOUT, ask(link, &Opening::Renew(renewing.request.clone()))).await;
    renewing.finish(reply.map_err(|_| RenewError::NoAnswer)??, credentials, clock)
}

async fn ask(link: &Link, message: &Opening) -> Result<Renewal, RenewError> {
    let (mut sender, mut receiver) = link.open::<Opening, Renewal>().await?;
    sender.send(message).await?;
    sender.finish().await?;
    receiver.receive().await?.ok_or(RenewError::Receive(ReceiveError::Ended))
}
