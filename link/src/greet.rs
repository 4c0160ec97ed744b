//! The hello: the first stream of every connection between members, on which they agree on a version.

use dunlin_protocol::{Failure, FailureCode, Feature, Hello, HelloReply, Welcome};
use thiserror::Error;

use crate::{
    close::Lost,
    peer::Link,
    stream::{ReceiveError, Receiver, SendError, Sender},
};

/// Why two members did not come to speak.
#[derive(Debug, Error)]
pub enum GreetError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("{0}")]
    Refused(Failure),
    #[error("the other end closed the stream without a word")]
    Silent,
}

/// Says hello to a scheduler. What the stream carries after it depends on who speaks.
///
/// # Errors
/// [`GreetError`]: refused, with its reason, or lost.
pub async fn greet(
    link: &Link,
    hello: &Hello,
) -> Result<(Sender<Hello>, Receiver<HelloReply>, Welcome), GreetError> {
    let (mut to, mut from) = link.open::<Hello, HelloReply>().await?;
    to.send(hello).await?;
    match from.receive().await? {
        Some(HelloReply::Welcome(welcome)) => Ok((to, from, welcome)),
        Some(HelloReply::Refused(failure)) => Err(GreetError::Refused(failure)),
        None => Err(GreetError::Silent),
    }
}

/// Answers the hello of a member; `welcome` is filled in with what both agree on. Gives the features of both, too.
///
/// # Errors
/// [`GreetError`]: there is no version in common, which the other end was told, or it is lost.
pub async fn welcome(
    link: &Link,
    ours: &Hello,
    welcome: Welcome,
) -> Result<(Sender<HelloReply>, Receiver<Hello>, Vec<Feature>), GreetError> {
    let (mut to, mut from) = link.accept::<Hello, HelloReply>().await?;
    let hello = from.receive().await?.ok_or(GreetError::Silent)?;
    match hello.agree(ours) {
        Ok((version, features)) => {
            let agreed = features.clone();
            to.send(&HelloReply::Welcome(Welcome { version, features, ..welcome })).await?;
            Ok((to, from, agreed))
        }
        Err(error) => {
            let failure = Failure::new(FailureCode::Version, error.to_string());
            to.send(&HelloReply::Refused(failure.clone())).await?;
            to.finish().await?;
            Err(GreetError::Refused(failure))
        }
    }
}
