//! Models and components by their digest, in both directions, resumable.
//!
//! Down: `Want`, then `Have`, chunks, `Complete`; or `Missing`. Up: `Put`, then `Continue`, chunks, `Complete`, then
//! `Stored`. Whoever receives checks the digest at the end.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{AtMost, BlobDigest, Class, Failure, frame::Message, limits::MAX_BLOB_CHUNK};

/// To whom has the blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToStore {
    /// From this byte on.
    Want {
        blob: BlobDigest,
        offset: u64,
    },
    Put {
        blob: BlobDigest,
        bytes: u64,
    },
    Chunk(BlobChunk),
    Complete,
}

/// From whom has the blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromStore {
    /// Of the whole.
    Have {
        bytes: u64,
    },
    Missing,
    Chunk(BlobChunk),
    Complete,
    /// The part up to this byte is here already; the whole: nothing need be sent.
    Continue {
        offset: u64,
    },
    /// Whole, and checked.
    Stored,
    Failed(Failure),
}

/// A piece of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobChunk {
    /// Of its first byte.
    pub offset: u64,
    #[serde(with = "AtMost::<MAX_BLOB_CHUNK>")]
    pub bytes: ByteBuf,
}

impl Message for ToStore {
    const CLASS: Class = Class::Blob;
}

impl Message for FromStore {
    const CLASS: Class = Class::Blob;
}
