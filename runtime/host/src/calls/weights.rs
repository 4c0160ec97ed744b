//! Models that a guest brings: bytes that become a file, for as long as an engine loads them.
//!
//! The engine checks them as it checks every model file, before llama.cpp sees any of it.

use std::{
    io::{self, Write},
    sync::Arc,
};

use dunlin_engine_handle::EngineError;
use dunlin_nn::Fault;
use tempfile::NamedTempFile;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    ModelGrant, WeightsGrant,
    calls::{models::Model, nn::Refusal},
    invoke::interrupt::Interrupt,
};

/// The unit in which room is counted, in bytes.
const UNIT: u64 = 1 << 10;

/// What an invocation may bring, and how much of it is left.
#[derive(Debug)]
pub(crate) struct Weights {
    grant: Option<WeightsGrant>,
    room: Arc<Semaphore>,
}

/// A model that a guest brought. The engine ends, and the room is free again, with the last of what holds this.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub(crate) model: Model,
    pub(crate) room: Arc<OwnedSemaphorePermit>,
}

impl Weights {
    pub(crate) fn new(grant: Option<WeightsGrant>) -> Self {
        let units = grant.as_ref().map_or(0, |grant| grant.bytes / UNIT);
        let units = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { grant, room: Arc::new(Semaphore::new(units)) }
    }

    /// Room for a model of this size, before any of it is copied.
    ///
    /// # Errors
    /// [`Fault::Security`] without a grant, [`Fault::TooLarge`] beyond it.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let Some(grant) = &self.grant else {
            return Err(Fault::Security("weights from a guest; load a granted model by its name".into()));
        };
        let units = u32::try_from((bytes as u64).div_ceil(UNIT)).unwrap_or(u32::MAX);
        self.room.clone().try_acquire_many_owned(units).map_err(|_| {
            Fault::TooLarge(format!(
                "a model of {bytes} bytes; at most {} may be loaded at a time from bytes of the guest",
                grant.bytes
            ))
        })
    }

    pub(crate) async fn load(
        &self,
        interrupt: &Interrupt,
        room: OwnedSemaphorePermit,
        bytes: Vec<u8>,
    ) -> Result<Brought, Refusal> {
        let Some(WeightsGrant { folder, start, .. }) = self.grant.clone() else {
            return Err(Fault::Runtime("there is no grant any more".into()).into());
        };
        let file = spawn_blocking(move || keep(&folder, &bytes)).await;
        let file = file.map_err(io::Error::other).and_then(|file| file).map_err(|error| no_file(&error))?;
        let engine = start(file.path()).map_err(|error| no_file(&error))?;
        let grant = Arc::new(ModelGrant::new(String::new(), String::new(), engine));
        let ready = interrupt.unless_stopped(Model::ready(grant)).await;
        // The engine has it open, or will never need it.
        drop(file);
        let model = ready?.map_err(refused)?;
        Ok(Brought { model, room: Arc::new(room) })
    }
}

fn keep(folder: &std::path::Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("dunlin-").suffix(".gguf").tempfile_in(folder)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn no_file(error: &io::Error) -> Fault {
    Fault::Runtime(format!("the model cannot be kept for its engine: {error}"))
}

/// It is the guest's own model that is no good.
fn refused(error: EngineError) -> Fault {
    match error {
        EngineError::Model(reason) | EngineError::Unsupported(reason) => {
            Fault::InvalidArgument(format!("the model is refused: {reason}"))
        }
        other => other.into(),
    }
}
