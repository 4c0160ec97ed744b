//! Files to and from the scheduler's store, in pieces, from wherever the other end is.

use std::io::Read;

use dunlin_blobs::{Begun, Store, StoreError, Transfer};
use dunlin_link::{Receiver, Sender};
use dunlin_protocol::{
    BlobChunk, BlobDigest, Failure, FailureCode, FromStore, ToStore, limits::MAX_BLOB_CHUNK,
};
use serde_bytes::ByteBuf;
use tokio::task::spawn_blocking;

/// Bytes of one piece, so that its frame stays below its cap.
const PIECE: usize = MAX_BLOB_CHUNK - 1024;

type Ended = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(crate) async fn serve(
    blobs: &Store,
    may_put: bool,
    first: ToStore,
    mut to: Sender<FromStore>,
    from: Receiver<ToStore>,
) -> Ended {
    let served = match first {
        ToStore::Want { blob, offset } => send(blobs, blob, offset, &mut to).await?,
        ToStore::Put { .. } if !may_put => {
            Err(Failure::new(FailureCode::Forbidden, "only operators bring files: dunlin login"))
        }
        ToStore::Put { blob, bytes } => receive(blobs, blob, bytes, &mut to, from).await?,
        ToStore::Chunk(_) | ToStore::Complete => {
            Err(Failure::new(FailureCode::Malformed, "pieces of a file that was not announced"))
        }
    };
    if let Err(failure) = served {
        to.send(&FromStore::Failed(failure)).await.map_err(text)?;
    }
    to.finish().await.map_err(text)
}

async fn send(
    blobs: &Store,
    blob: BlobDigest,
    mut offset: u64,
    to: &mut Sender<FromStore>,
) -> Result<Result<(), Failure>, String> {
    let (mut file, bytes) = match blobs.read(blob, offset) {
        Ok(read) => read,
        Err(StoreError::Missing { .. }) => {
            to.send(&FromStore::Missing).await.map_err(text)?;
            return Ok(Ok(()));
        }
        Err(error) => return Ok(Err(not_stored(&error))),
    };
    offset = offset.min(bytes);
    to.send(&FromStore::Have { bytes }).await.map_err(text)?;
    loop {
        let read = spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            read.map(|_| (file, piece))
        });
        let piece;
        (file, piece) = read.await.map_err(text)?.map_err(text)?;
        if piece.is_empty() {
            to.send(&FromStore::Complete).await.map_err(text)?;
            return Ok(Ok(()));
        }
        let length = piece.len() as u64;
        let chunk = BlobChunk { offset, bytes: ByteBuf::from(piece) };
        to.send(&FromStore::Chunk(chunk)).await.map_err(text)?;
        offset += length;
    }
}

async fn receive(
    blobs: &Store,
    blob: BlobDigest,
    bytes: u64,
    to: &mut Sender<FromStore>,
    mut from: Receiver<ToStore>,
) -> Result<Result<(), Failure>, String> {
    let mut transfer: Box<Transfer> = match blobs.begin(blob, bytes) {
        Ok(Begun::Transfer(transfer)) => transfer,
        Ok(Begun::Present(_)) => {
            to.send(&FromStore::Stored).await.map_err(text)?;
            return Ok(Ok(()));
        }
        Err(error) => return Ok(Err(not_stored(&error))),
    };
    to.send(&FromStore::Continue { offset: transfer.offset() }).await.map_err(text)?;
    loop {
        let kept = match from.receive().await.map_err(text)? {
            Some(ToStore::Chunk(chunk)) => {
                spawn_blocking(move || transfer.write(chunk.offset, &chunk.bytes).map(|()| Some(transfer)))
                    .await
            }
            Some(ToStore::Complete) => spawn_blocking(move || transfer.finish().map(|_| None)).await,
            Some(_) => {
                return Ok(Err(Failure::new(FailureCode::Malformed, "another file before this one ended")));
            }
            None => return Err("it broke off".to_owned()),
        };
        match kept.map_err(text)? {
            Ok(Some(more)) => transfer = more,
            Ok(None) => {
                to.send(&FromStore::Stored).await.map_err(text)?;
                return Ok(Ok(()));
            }
            Err(error) => return Ok(Err(not_stored(&error))),
        }
    }
}

fn not_stored(error: &StoreError) -> Failure {
    Failure::new(error.code(), error.to_string())
}
