//! Frames on streams: one type of message each way.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use dunlin_protocol::{
    Decoder, FrameError,
    frame::{self, Message},
};
use quinn::{ReadError, RecvStream, SendStream, StoppedError, WriteError};
use thiserror::Error;

use crate::{
    close::{Close, Lost},
    limits::READ_BYTES,
    peer::ErrorBudget,
};

/// Why a message could not be sent.
#[derive(Debug, Error)]
pub enum SendError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the other end reads no further: {0}")]
    Stopped(Close),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the stream was finished before")]
    Finished,
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped(Close::of_code(code)),
            WriteError::ConnectionLost(error) => Self::Lost(error.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Finished,
        }
    }
}

/// Why no message could be received.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// Counts against the peer. Where [`FrameError::stream_is_intact`], the stream can be read on.
    #[error("the other end sent what cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the other end broke off: {0}")]
    Reset(Close),
    #[error("the stream ended inside of a frame")]
    Truncated,
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("nothing more can be read from the stream")]
    Ended,
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(Close::of_code(code)),
            ReadError::ConnectionLost(error) => Self::Lost(error.into()),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                Self::Ended
            }
        }
    }
}

/// The sending half of a stream. Dropped between messages it ends the stream in order; inside of one, it resets it.
#[derive(Debug)]
pub struct Sender<M> {
    writer: Writer,
    message: PhantomData<fn(M)>,
}

impl<M: Message> Sender<M> {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { writer: Writer { stream, frame: Vec::new(), written: 0 }, message: PhantomData }
    }

    /// Sends one message; waits while the peer's window is full.
    ///
    /// Cancelled, the message counts as sent: what is missing of it goes out before the next, or by [`Self::flush`].
    ///
    /// # Errors
    /// [`SendError`]. After [`SendError::Frame`] the stream is as it was, otherwise it is of no further use.
    pub async fn send(&mut self, message: &M) -> Result<(), SendError> {
        self.flush().await?;
        self.writer.frame.clear();
        self.writer.written = 0;
        frame::encode(message, &mut self.writer.frame)?;
        self.flush().await
    }

    /// Sends the rest of a message whose sending was cancelled.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn flush(&mut self) -> Result<(), SendError> {
        let writer = &mut self.writer;
        while writer.written < writer.frame.len() {
            writer.written += writer.stream.write(&writer.frame[writer.written..]).await?;
        }
        Ok(())
    }

    /// Ends the stream: the peer receives all messages, then the end. [`Self::delivered`] tells when.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn finish(&mut self) -> Result<(), SendError> {
        self.flush().await?;
        self.writer.stream.finish().map_err(|_| SendError::Finished)
    }

    /// Breaks off; what was not delivered is lost.
    pub fn reset(mut self, close: Close) {
        // An error says that the stream has ended already.
        let _ = self.writer.stream.reset(close.code());
    }

    /// Waits until the peer has all of a finished stream, or reads no further. Cancel-safe.
    ///
    /// # Errors
    /// [`SendError`]: stopped, or the connection is lost.
    pub async fn delivered(&self) -> Result<(), SendError> {
        match self.writer.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(SendError::Stopped(Close::of_code(code))),
            Err(StoppedError::ConnectionLost(error)) => Err(SendError::Lost(error.into())),
            Err(StoppedError::ZeroRttRejected) => Err(SendError::Finished),
        }
    }

    /// Streams of higher priority are sent first; 0 by default.
    pub fn prioritise(&mut self, priority: i32) {
        // An error says that the stream has ended already.
        let _ = self.writer.stream.set_priority(priority);
    }

    /// The same stream, on which messages of another type follow.
    #[must_use]
    pub fn then<N: Message>(self) -> Sender<N> {
        Sender { writer: self.writer, message: PhantomData }
    }
}

#[derive(Debug)]
struct Writer {
    stream: SendStream,
    frame: Vec<u8>,
    written: usize,
}

impl Drop for Writer {
    /// quinn ends a stream in order when it is dropped, which half a frame is not.
    fn drop(&mut self) {
        if self.written < self.frame.len() {
            let _ = self.stream.reset(Close::Internal.code());
        }
    }
}

/// The receiving half of a stream. Dropped, it tells the peer to stop.
#[derive(Debug)]
pub struct Receiver<M> {
    stream: RecvStream,
    decoder: Decoder,
    /// Read, and not decoded yet.
    pending: Bytes,
    errors: ErrorBudget,
    /// A length was wrong: where the next frame begins cannot be known.
    torn: bool,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> Receiver<M> {
    pub(crate) fn new(stream: RecvStream, errors: ErrorBudget) -> Self {
        let (decoder, pending) = (Decoder::default(), Bytes::new());
        Self { stream, decoder, pending, errors, torn: false, message: PhantomData }
    }

    /// The next message, or nothing at the end of the stream. Cancel-safe: nothing that was read is lost.
    ///
    /// # Errors
    /// [`ReceiveError`]. After three frames that cannot be read, on all streams of the peer, its connection is closed.
    pub async fn receive(&mut self) -> Result<Option<M>, ReceiveError> {
        if self.torn {
            return Err(ReceiveError::Ended);
        }
        loop {
            let mut input = &self.pending[..];
            let message = self.decoder.next(&mut input);
            let taken = self.pending.len() - input.len();
            self.pending.advance(taken);
            if let Some(message) = message.map_err(|error| self.blame(error))? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.pending = chunk.bytes,
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(ReceiveError::Truncated),
            }
        }
    }

    /// Reads no further; the peer learns why.
    pub fn stop(mut self, close: Close) {
        // An error says that the stream has ended already.
        let _ = self.stream.stop(close.code());
    }

    /// The same stream, on which messages of another type follow.
    #[must_use]
    pub fn then<N: Message>(self) -> Receiver<N> {
        let Self { stream, decoder, pending, errors, torn, .. } = self;
        Receiver { stream, decoder, pending, errors, torn, message: PhantomData }
    }

    fn blame(&mut self, error: FrameError) -> ReceiveError {
        self.errors.spend();
        self.torn = !error.stream_is_intact();
        if self.torn {
            let _ = self.stream.stop(Close::Malformed.code());
        }
        ReceiveError::Frame(error)
    }
}
