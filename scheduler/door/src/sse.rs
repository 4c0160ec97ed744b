//! Server-sent events: pieces go in at one end, and a slow or absent reader is noticed.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::limits::{KEEP_ALIVE, MAX_PIECES, STALLED};

/// A comment: it keeps proxies and clients from giving up.
const STILL_HERE: &[u8] = b": still here\n\n";

/// Nobody listens any more, or has not for long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The end that speaks.
#[derive(Debug)]
pub(crate) struct Sender(mpsc::Sender<Bytes>);

/// One event. The order of the fields is that of the wire.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Event<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) data: &'a str,
}

/// A stream and the answer that it is.
pub(crate) fn channel() -> (Sender, Response) {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    (Sender(sender), respond(receiver, KEEP_ALIVE, STILL_HERE, "text/event-stream"))
}

/// As [`channel`], of lines of JSON, in which there is no place for comments.
pub(crate) fn lines() -> (Sender, Response) {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    (Sender(sender), respond(receiver, KEEP_ALIVE, b"", "application/x-ndjson"))
}

fn respond(
    receiver: mpsc::Receiver<Bytes>,
    every: std::time::Duration,
    filler: &'static [u8],
    content_type: &'static str,
) -> Response {
    let pieces = stream::unfold(receiver, move |mut receiver| async move {
        loop {
            match timeout(every, receiver.recv()).await {
                Ok(piece) => return piece.map(|piece| (Ok::<_, axum::Error>(piece), receiver)),
                Err(_) if filler.is_empty() => {}
                Err(_) => return Some((Ok(Bytes::from_static(filler)), receiver)),
            }
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // For proxies of nginx's kind, which would collect the pieces.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Event<'_> {
    fn write(&self, text: &mut String) {
        text.reserve(self.data.len() + 64);
        for (field, value) in [("id", self.id), ("event", self.name)] {
            if let Some(value) = value {
                *text += field;
                *text += ": ";
                *text += value;
                text.push('\n');
            }
        }
        // JSON has no line breaks of its own, whatever it quotes.
        *text += "data: ";
        *text += self.data;
        *text += "\n\n";
    }
}

impl Sender {
    /// # Errors
    /// [`Gone`]: the client has left, or takes nothing.
    pub(crate) async fn event(&self, event: Event<'_>) -> Result<(), Gone> {
        self.events(&[event]).await
    }

    /// Several at once: one way to the client instead of one for each.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub(crate) async fn events(&self, events: &[Event<'_>]) -> Result<(), Gone> {
        let mut text = String::new();
        events.iter().for_each(|event| event.write(&mut text));
        self.bytes(Bytes::from(text)).await
    }

    /// # Errors
    /// As [`Self::event`].
    pub(crate) async fn data(&self, data: &Value) -> Result<(), Gone> {
        self.event(Event { data: &data.to_string(), ..Event::default() }).await
    }

    /// A line of JSON.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub(crate) async fn line(&self, data: &Value) -> Result<(), Gone> {
        self.bytes(Bytes::from(format!("{data}\n"))).await
    }

    async fn bytes(&self, bytes: Bytes) -> Result<(), Gone> {
        match timeout(STALLED, self.0.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Until nobody listens any more.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_go_out_as_they_come_and_silence_is_filled() {
        let (sender, response) = channel();
        let mut body = response.into_body();
        sender.event(Event { id: Some("7"), name: Some("x"), data: "{}" }).await.unwrap();
        let mut next = async || body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap(), "id: 7\nevent: x\ndata: {}\n\n");
        assert_eq!(next().await.unwrap(), STILL_HERE);
        drop(sender);
        assert_eq!(next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_gone() {
        let (sender, response) = channel();
        for _ in 0..MAX_PIECES {
            sender.data(&Value::Null).await.unwrap();
        }
        assert_eq!(sender.data(&Value::Null).await, Err(Gone));
        drop(response);
        sender.gone().await;
    }
}
