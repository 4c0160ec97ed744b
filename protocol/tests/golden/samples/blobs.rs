//! Of files by digest.

use dunlin_protocol::*;

use super::{Samples, bytes, component, failure, model, samples};

fn blob_chunk() -> BlobChunk {
    BlobChunk { offset: 1 << 33, bytes: bytes(b"GGUF") }
}

pub(crate) fn to_store() -> Samples<ToStore> {
    samples!(ToStore {
        Want => ToStore::Want { blob: model().into(), offset: 4 };
        Put => ToStore::Put { blob: component().into(), bytes: 9 };
        Chunk => ToStore::Chunk(blob_chunk());
        Complete => ToStore::Complete;
    })
}

pub(crate) fn from_store() -> Samples<FromStore> {
    samples!(FromStore {
        Have => FromStore::Have { bytes: 1 << 34 };
        Missing => FromStore::Missing;
        Chunk => FromStore::Chunk(blob_chunk());
        Complete => FromStore::Complete;
        Continue => FromStore::Continue { offset: 4 };
        Stored => FromStore::Stored;
        Failed => FromStore::Failed(failure());
    })
}
