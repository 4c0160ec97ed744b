//! Frames: a length (`u32`, little endian) and a message in MessagePack with named fields.
//!
//! The same functions serve both ends: the engine reads and writes blocking, the handle through a codec of tokio.

use std::io::{self, Read, Write};

use bytes::{BufMut, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

/// Largest frame in bytes; a prompt of a million tokens stays below.
pub const MAX_FRAME: usize = 16 << 20;

/// Deepest nesting that a message may have; rmp-serde's own default overflows small stacks.
const MAX_DEPTH: usize = 32;

const LENGTH_BYTES: usize = 4;

/// Why the other end is not understood.
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes; the limit is {MAX_FRAME}")]
    TooLarge(usize),
    #[error("unreadable message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("{0} bytes follow the message in its frame")]
    TrailingBytes(usize),
    #[error("unwritable message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Appends one frame to `out`.
///
/// # Errors
/// [`FrameError::TooLarge`] past [`MAX_FRAME`]; `out` is then as it was.
pub fn encode<M: Serialize>(message: &M, out: &mut BytesMut) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32_le(0);
    let written = rmp_serde::encode::write_named(&mut (&mut *out).writer(), message);
    let length = out.len() - start - LENGTH_BYTES;
    match (written, u32::try_from(length)) {
        (Ok(()), Ok(prefix)) if length <= MAX_FRAME => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&prefix.to_le_bytes());
            Ok(())
        }
        (written, _) => {
            out.truncate(start);
            Err(written.map_or_else(FrameError::from, |()| FrameError::TooLarge(length)))
        }
    }
}

/// Reads the message that fills `body`.
///
/// # Errors
/// A message that does not parse, is nested too deep, or ends before `body` does.
pub fn decode<M: DeserializeOwned>(mut body: &[u8]) -> Result<M, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::new(&mut body);
    deserializer.set_max_depth(MAX_DEPTH);
    let message = M::deserialize(&mut deserializer)?;
    match body.len() {
        0 => Ok(message),
        rest => Err(FrameError::TrailingBytes(rest)),
    }
}

/// Writes one frame, blocking.
///
/// # Errors
/// Of the encoding or of the writer.
pub fn write<M: Serialize>(
    writer: &mut impl Write,
    message: &M,
    scratch: &mut BytesMut,
) -> Result<(), FrameError> {
    scratch.clear();
    encode(message, scratch)?;
    Ok(writer.write_all(scratch)?)
}

/// Reads one frame, blocking; `None` where the stream ends between frames.
///
/// # Errors
/// Of the reader or of the decoding; the stream is of no further use.
pub fn read<M: DeserializeOwned>(
    reader: &mut impl Read,
    scratch: &mut Vec<u8>,
) -> Result<Option<M>, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    match reader.read(&mut length)? {
        0 => return Ok(None),
        got => reader.read_exact(&mut length[got..])?,
    }
    let length = checked_length(length)?;
    scratch.resize(length, 0);
    reader.read_exact(scratch)?;
    decode(scratch).map(Some)
}

fn checked_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    match u32::from_le_bytes(bytes) as usize {
        length if length <= MAX_FRAME => Ok(length),
        length => Err(FrameError::TooLarge(length)),
    }
}

/// The codec of an asynchronous stream that receives `In` and sends `Out`.
#[derive(Debug)]
pub struct Codec<In, Out>(std::marker::PhantomData<fn(Out) -> In>);

impl<In, Out> Default for Codec<In, Out> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<In: DeserializeOwned, Out> Decoder for Codec<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let end = LENGTH_BYTES + checked_length(*length)?;
        if buffer.len() < end {
            buffer.reserve(end - buffer.len());
            return Ok(None);
        }
        let frame = buffer.split_to(end);
        decode(&frame[LENGTH_BYTES..]).map(Some)
    }
}

impl<In, Out: Serialize> Encoder<Out> for Codec<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        encode(&message, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, CallId, FromEngine, Generate, Pulse, ToEngine};

    fn call() -> ToEngine {
        let generate = Generate { prompt: vec![1, 2, 70_000], ..Generate::default() };
        ToEngine::Call { id: CallId(7), call: Box::new(Call::Generate(generate)) }
    }

    #[test]
    fn both_ends_read_what_either_wrote() {
        let mut frame = BytesMut::new();
        encode(&call(), &mut frame).unwrap();
        let blocking: ToEngine = read(&mut &frame[..], &mut Vec::new()).unwrap().unwrap();
        let codec = Codec::<ToEngine, FromEngine>::default().decode(&mut frame).unwrap().unwrap();
        for got in [blocking, codec] {
            assert_eq!(format!("{got:?}"), format!("{:?}", call()));
        }
    }

    #[test]
    fn a_frame_in_pieces_is_waited_for() {
        let mut whole = BytesMut::new();
        encode(&FromEngine::Pulse(Pulse { ticks: 3, ..Pulse::default() }), &mut whole).unwrap();
        let mut codec = Codec::<FromEngine, ToEngine>::default();
        let mut buffer = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            buffer.put_u8(*byte);
            assert!(codec.decode(&mut buffer).unwrap().is_none());
        }
        buffer.put_u8(whole[whole.len() - 1]);
        assert!(matches!(
            codec.decode(&mut buffer).unwrap(),
            Some(FromEngine::Pulse(Pulse { ticks: 3, .. }))
        ));
    }

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_allocated() {
        let huge = (u32::MAX).to_le_bytes();
        assert!(matches!(read::<ToEngine>(&mut &huge[..], &mut Vec::new()), Err(FrameError::TooLarge(_))));
        let mut buffer = BytesMut::from(&huge[..]);
        assert!(matches!(
            Codec::<ToEngine, FromEngine>::default().decode(&mut buffer),
            Err(FrameError::TooLarge(_))
        ));
    }

    #[test]
    fn depth_bombs_and_trailing_bytes_are_refused() {
        let bomb = vec![0x91; 700];
        assert!(matches!(decode::<ToEngine>(&bomb), Err(FrameError::Decode(_))));
        let mut body = rmp_serde::to_vec_named(&call()).unwrap();
        body.push(0xc0);
        assert!(matches!(decode::<ToEngine>(&body), Err(FrameError::TrailingBytes(1))));
    }

    #[test]
    fn fields_that_a_newer_end_added_are_ignored_and_missing_ones_defaulted() {
        #[derive(Serialize)]
        enum Newer {
            Pulse(NewerPulse),
        }
        #[derive(Serialize)]
        struct NewerPulse {
            ticks: u64,
            mood: &'static str,
        }
        let body = rmp_serde::to_vec_named(&Newer::Pulse(NewerPulse { ticks: 9, mood: "good" })).unwrap();
        let FromEngine::Pulse(pulse) = decode(&body).unwrap() else { panic!("not a pulse") };
        assert_eq!(pulse, Pulse { ticks: 9, ..Pulse::default() });
    }
}
