//! Files that a node does not have: components and models, fetched from the scheduler by their digests, on a connection of
//! their own so that attempts are not held up.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use dunlin_blobs::{Begun, BlobHasher, StoreError, Transfer};
use dunlin_engine_handle::{DEFAULT_CONTEXT, Load};
use dunlin_gguf::{Estimate, Gguf, LoadPoint};
use dunlin_link::{Close, Link, Receiver, greet};
use dunlin_protocol::{
    BlobDigest, Failure, FailureCode, FromStore, ModelDigest, Opening, ToStore, limits::MAX_NAME,
};
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{LocalModel, node::Node, session::hello};

/// One file is fetched once, however many wait for it.
#[derive(Debug, Default)]
pub(crate) struct Fetching(Mutex<BTreeMap<BlobDigest, Arc<AsyncMutex<()>>>>);

impl Fetching {
    fn turn(&self, blob: BlobDigest) -> Arc<AsyncMutex<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(blob).or_default().clone()
    }

    fn done(&self, blob: BlobDigest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&blob);
    }
}

impl Node {
    /// The path of a file, which is fetched where it is not there.
    ///
    /// # Errors
    /// Nobody has it, the disk is full, the connection is lost; a part that came is kept.
    pub(crate) async fn fetch(&self, blob: BlobDigest) -> Result<PathBuf, Failure> {
        let turn = self.fetching.turn(blob);
        let _turn = turn.lock().await;
        if let Some(path) = self.blobs.path(blob) {
            return Ok(path);
        }
        let fetched = self.transfer(blob).await;
        self.fetching.done(blob);
        if fetched.is_ok() {
            self.shelf.send_modify(|count| *count += 1);
        }
        fetched
    }

    /// The bytes of a file that is needed once, and not kept.
    ///
    /// # Errors
    /// Nobody has it, it is longer than `most`, the connection is lost.
    pub(crate) async fn fetch_once(&self, blob: BlobDigest, most: usize) -> Result<Vec<u8>, Failure> {
        let link = self.store(blob).await?;
        let (mut from, bytes) = want(&link, blob, 0).await?;
        if bytes > most as u64 {
            let text = format!("{blob} has {bytes} bytes, at most {most} are taken");
            return Err(Failure::new(FailureCode::Invalid, text));
        }
        let (mut hasher, mut whole) = (BlobHasher::like(blob), Vec::with_capacity(bytes as usize));
        loop {
            match from.receive().await.map_err(|error| unreachable(blob, &error))? {
                Some(FromStore::Chunk(chunk)) if whole.len() + chunk.bytes.len() <= bytes as usize => {
                    hasher.update(&chunk.bytes);
                    whole.extend_from_slice(&chunk.bytes);
                }
                Some(FromStore::Complete) => break,
                Some(FromStore::Failed(failure)) => return Err(failure),
                _ => return Err(unreachable(blob, &"the scheduler broke off")),
            }
        }
        link.close(Close::Done, "");
        match hasher.finish() {
            found if found == blob => Ok(whole),
            found => {
                let text = format!("what came is not {blob} but {found}");
                Err(Failure::new(FailureCode::DigestMismatch, text))
            }
        }
    }

    /// A connection for a file.
    async fn store(&self, blob: BlobDigest) -> Result<Link, Failure> {
        let dialled = self.dialer.dial(self.options.scheduler).await;
        let link = dialled.map_err(|error| unreachable(blob, &error))?;
        let _hello = greet(&link, &hello(self)).await.map_err(|error| unreachable(blob, &error))?;
        Ok(link)
    }

    async fn transfer(&self, blob: BlobDigest) -> Result<PathBuf, Failure> {
        let link = self.store(blob).await?;
        let (mut from, bytes) = want(&link, blob, 0).await?;
        let mut transfer = match self.blobs.begin(blob, bytes).map_err(|error| not_stored(&error))? {
            Begun::Present(path) => return Ok(path),
            Begun::Transfer(transfer) => transfer,
        };
        if transfer.offset() > 0 {
            // A part came before.
            from.stop(Close::Done);
            (from, _) = want(&link, blob, transfer.offset()).await?;
        }
        loop {
            match from.receive().await.map_err(|error| unreachable(blob, &error))? {
                Some(FromStore::Chunk(chunk)) => {
                    transfer = write(transfer, chunk.offset, chunk.bytes.into_vec()).await?;
                }
                Some(FromStore::Complete) => break,
                Some(FromStore::Failed(failure)) => return Err(failure),
                _ => return Err(unreachable(blob, &"the scheduler broke off")),
            }
        }
        let stored = finish(transfer).await?;
        link.close(Close::Done, "");
        tracing::info!(%blob, "fetched");
        Ok(stored)
    }

    /// Models that were fetched before this agent began are on the disk still, and the node has them.
    pub(crate) fn find_fetched_models(&self) {
        if self.options.emulation.is_some() {
            // What it has is published, not fetched.
            return;
        }
        let blobs = self.blobs.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "models that were fetched are not found");
            Vec::new()
        });
        for (blob, _) in blobs {
            let (BlobDigest::Sha256(digest), Some(path)) = (blob, self.blobs.path(blob)) else { continue };
            if self.model(&digest).is_some() {
                continue;
            }
            match describe(digest, path) {
                Ok(model) => self.add_model(model),
                Err(failure) => tracing::warn!(%failure, "a model that was fetched is not used"),
            }
        }
    }

    /// A model that is not on this machine.
    ///
    /// # Errors
    /// As [`Self::fetch`]; or it is no model that could be loaded.
    pub(crate) async fn fetch_model(&self, digest: ModelDigest) -> Result<LocalModel, Failure> {
        let path = self.fetch(BlobDigest::from(digest)).await?;
        let described = spawn_blocking(move || describe(digest, path)).await;
        let model = described.map_err(|lost| Failure::new(FailureCode::Internal, lost.to_string()))??;
        self.add_model(model.clone());
        Ok(model)
    }
}

/// Asks for a file from some byte on; says how long it is.
async fn want(link: &Link, blob: BlobDigest, offset: u64) -> Result<(Receiver<FromStore>, u64), Failure> {
    let opened = link.open::<Opening, FromStore>().await;
    let (mut to, mut from) = opened.map_err(|error| unreachable(blob, &error))?;
    let want = Opening::Store(ToStore::Want { blob, offset });
    to.send(&want).await.map_err(|error| unreachable(blob, &error))?;
    match from.receive().await.map_err(|error| unreachable(blob, &error))? {
        Some(FromStore::Have { bytes }) => Ok((from, bytes)),
        Some(FromStore::Missing) => {
            Err(Failure::new(FailureCode::NotFound, format!("the scheduler has no {blob}")))
        }
        Some(FromStore::Failed(failure)) => Err(failure),
        _ => Err(unreachable(blob, &"the scheduler broke off")),
    }
}

fn unreachable(blob: BlobDigest, reason: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureCode::Unavailable, format!("{blob} cannot be fetched: {reason}"))
}

async fn write(mut transfer: Box<Transfer>, offset: u64, bytes: Vec<u8>) -> Result<Box<Transfer>, Failure> {
    let written = spawn_blocking(move || transfer.write(offset, &bytes).map(|()| transfer)).await;
    written
        .map_err(|lost| Failure::new(FailureCode::Internal, lost.to_string()))?
        .map_err(|error| not_stored(&error))
}

async fn finish(transfer: Box<Transfer>) -> Result<PathBuf, Failure> {
    let finished = spawn_blocking(move || transfer.finish()).await;
    finished
        .map_err(|lost| Failure::new(FailureCode::Internal, lost.to_string()))?
        .map_err(|error| not_stored(&error))
}

fn not_stored(error: &StoreError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// What a node has to know of a model file; it is checked before any C++ sees it.
pub(crate) fn describe(digest: ModelDigest, path: PathBuf) -> Result<LocalModel, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new(FailureCode::Invalid, format!("{}: {error}", path.display()))
    };
    let gguf = Gguf::open(&path).map_err(|error| invalid(&error))?;
    let model = gguf.model();
    let point = LoadPoint::of_engine(model.context_length.min(DEFAULT_CONTEXT), Load::default().sequences);
    let estimate = Estimate::new(model, &point);
    let mut name = model.name.clone().unwrap_or_else(|| digest.to_string());
    name.truncate(name.floor_char_boundary(MAX_NAME));
    let bytes = gguf.parts().iter().map(|part| part.length).sum();
    let quantization = model.quantization.name().to_owned();
    Ok(LocalModel {
        digest,
        name,
        quantization,
        bytes,
        memory_bytes: estimate.total,
        kv_bytes_per_token: estimate.kv_per_token,
        path,
    })
}
