//! Streams of answers: one loop for all APIs, each of which tells pieces in its own way.

use axum::response::Response;
use dunlin_protocol::InvocationId;
use http::{HeaderName, HeaderValue};

use crate::{
    answer::Piece,
    call::Answers,
    error::{Answered, ApiError},
    limits::HEAD_HELD,
    sse::{Gone, Sender},
};

/// By this name whoever has the answer finds out why it came from where it did, or cancels it.
pub(crate) const INVOCATION: HeaderName = HeaderName::from_static("x-dunlin-invocation");

/// What a kind of stream makes of what there is to tell. Who hears it is gone where it says so.
pub(crate) trait Tell: Send + 'static {
    /// Before anything has come.
    fn begin(&mut self) -> impl Future<Output = Result<(), Gone>> + Send {
        async { Ok(()) }
    }

    /// A piece of one of the answers, and its number, by which one may come back.
    fn piece(
        &mut self,
        index: usize,
        number: u64,
        piece: Piece,
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Nothing comes after it.
    fn fail(&mut self, error: &ApiError) -> impl Future<Output = Result<(), Gone>> + Send;

    /// After the ends of all answers.
    fn end(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Where it goes.
    fn sender(&self) -> &Sender;
}

/// A response that is told as its answers come. What fails at once fails by its status.
///
/// # Errors
/// What failed at once.
pub(crate) async fn stream<T: Tell>(
    mut answers: Answers,
    (sender, response): (Sender, Response),
    telling: impl FnOnce(&Answers, Sender) -> T,
) -> Answered<Response> {
    answers.settle(HEAD_HELD).await?;
    let response = named(response, &answers.invocations);
    let mut telling = telling(&answers, sender);
    tokio::spawn(async move {
        // Who left hears nothing more, and its invocations end with `answers`.
        drop(tell(&mut telling, answers).await);
    });
    Ok(response)
}

/// With the names of the invocations in its head.
pub(crate) fn named(mut response: Response, invocations: &[InvocationId]) -> Response {
    let names: Vec<String> = invocations.iter().map(ToString::to_string).collect();
    if let Ok(value) = HeaderValue::from_str(&names.join(",")) {
        response.headers_mut().insert(INVOCATION, value);
    }
    response
}

async fn tell(telling: &mut impl Tell, mut answers: Answers) -> Result<(), Gone> {
    telling.begin().await?;
    loop {
        let next = tokio::select! {
            next = answers.next() => next,
            () = telling.sender().gone() => return Err(Gone),
        };
        match next {
            Some((index, Ok((number, piece)))) => telling.piece(index, number, piece).await?,
            Some((_, Err(error))) => return telling.fail(&error).await,
            None => return telling.end().await,
        }
    }
}
