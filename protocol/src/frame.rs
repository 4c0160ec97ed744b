//! Frames: a length (`u32`, little endian) and a message in MessagePack with named fields.
//!
//! Either read the length, check it by [`body_length`], read the body and [`decode`] it; or feed a [`Decoder`] with
//! whatever comes.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::Fault;

/// Bytes of a length.
pub const LENGTH_BYTES: usize = 4;

/// Deepest nesting of a message; rmp-serde's own default overflows small stacks.
pub const MAX_DEPTH: usize = 32;

/// What a frame is for, and so how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Hellos, inventories, reports, commands, joining.
    Control,
    /// A request with its prompt and its prefix, a question of a client, and the answer.
    Request,
    /// What an attempt emits.
    Tokens,
    /// A piece of a model or a component.
    Blob,
}

impl Class {
    /// Bytes of the body of a frame.
    pub const fn cap(self) -> usize {
        match self {
            Self::Control => 64 << 10,
            Self::Request => 1 << 20,
            Self::Tokens => 16 << 10,
            Self::Blob => (256 << 10) + BLOB_OVERHEAD,
        }
    }
}

/// What a frame of a blob has beside the bytes of the blob.
const BLOB_OVERHEAD: usize = 256;

/// What travels in frames, and in which class.
pub trait Message: Serialize + DeserializeOwned {
    const CLASS: Class;
}

/// Why the other end is not understood, or a message not sent.
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes; frames of its class ({class:?}) have at most {}", class.cap())]
    TooLarge { class: Class, length: usize },
    #[error("unreadable message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("more bytes follow the message in its frame")]
    TrailingBytes,
    /// Of one's own.
    #[error("unwritable message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// Of one's own.
    #[error("a message of {length} bytes cannot be sent; those of its class ({class:?}) have at most {}", class.cap())]
    Oversized { class: Class, length: usize },
}

impl FrameError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { .. } | Self::Decode(_) | Self::TooDeep | Self::TrailingBytes => Fault::Peer,
            Self::Encode(_) | Self::Oversized { .. } => Fault::Own,
        }
    }

    /// Whether the stream can still be read after it: the frame was whole, only its content was not understood.
    pub fn stream_is_intact(&self) -> bool {
        !matches!(self, Self::TooLarge { .. })
    }
}

/// Appends one frame to `out`.
///
/// # Errors
/// [`FrameError::Oversized`] past the cap of its class, [`FrameError::Encode`] if a list or a text in it is too long;
/// `out` is then as it was.
pub fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let written = rmp_serde::encode::write_named(out, message);
    let length = out.len() - start - LENGTH_BYTES;
    let failure = match written {
        Err(error) => FrameError::from(error),
        Ok(()) if length > M::CLASS.cap() => FrameError::Oversized { class: M::CLASS, length },
        Ok(()) => {
            // Below the cap, and so below `u32::MAX`.
            out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
            return Ok(());
        }
    };
    out.truncate(start);
    Err(failure)
}

/// One frame by itself.
///
/// # Errors
/// As [`encode`].
pub fn encoded<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    encode(message, &mut out)?;
    Ok(out)
}

/// The length of a body, from the bytes before it.
///
/// # Errors
/// [`FrameError::TooLarge`] past the cap of the class: nothing that follows can be read.
pub fn body_length(bytes: [u8; LENGTH_BYTES], class: Class) -> Result<usize, FrameError> {
    match u32::from_le_bytes(bytes) as usize {
        length if length <= class.cap() => Ok(length),
        length => Err(FrameError::TooLarge { class, length }),
    }
}

/// Reads the message that fills `body`.
///
/// # Errors
/// A message that does not parse, is nested too deep, or ends before `body` does.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(MAX_DEPTH);
    let message = M::deserialize(&mut deserializer).map_err(|error| match error {
        rmp_serde::decode::Error::DepthLimitExceeded => FrameError::TooDeep,
        error => FrameError::Decode(error),
    })?;
    // The deserializer does not tell where it stands; at the end there is no further marker to read.
    match <()>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(message),
        _ => Err(FrameError::TrailingBytes),
    }
}

/// Takes bytes as they come and gives messages. It holds at most one frame of its class.
#[derive(Debug, Default)]
pub struct Decoder {
    length: [u8; LENGTH_BYTES],
    length_read: usize,
    body: Vec<u8>,
}

impl Decoder {
    /// Takes from `input` what belongs to the next frame; `None` when `input` is used up before the frame is whole.
    /// Once it is, `input` holds what follows: call again.
    ///
    /// The class is that of `M`, so a stream may begin with one type of message and go on with another.
    ///
    /// # Errors
    /// See [`FrameError::stream_is_intact`] for whether to go on.
    pub fn next<M: Message>(&mut self, input: &mut &[u8]) -> Result<Option<M>, FrameError> {
        while self.length_read < LENGTH_BYTES {
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            self.length[self.length_read] = byte;
            self.length_read += 1;
            *input = rest;
        }
        let length = body_length(self.length, M::CLASS)?;
        let missing = length - self.body.len();
        let (taken, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if taken.len() == length {
            self.length_read = 0;
            return decode(taken).map(Some);
        }
        self.keep(taken, length);
        if self.body.len() < length {
            return Ok(None);
        }
        self.length_read = 0;
        let body = std::mem::take(&mut self.body);
        decode(&body).map(Some)
    }

    /// Whether the stream may end here.
    pub fn is_between_frames(&self) -> bool {
        self.length_read == 0
    }

    /// Room grows with what has come, not with what was announced, and never past the frame.
    fn keep(&mut self, taken: &[u8], length: usize) {
        let needed = self.body.len() + taken.len();
        if needed > self.body.capacity() {
            let room = (2 * needed).min(length);
            self.body.reserve_exact(room - self.body.len());
        }
        self.body.extend_from_slice(taken);
    }
}
