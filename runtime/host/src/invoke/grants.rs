//! What an invocation may use. Whatever is not named here does not exist for it.

use std::{fmt, io, path::Path, sync::Arc};

use dunlin_engine_handle::Engine;

use crate::Outbound;

/// What one invocation may use.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    pub models: Vec<ModelGrant>,
    /// Environment variables that the guest sees.
    pub environment: Vec<(String, String)>,
    /// Where it may send HTTP requests.
    pub http: Outbound,
    /// See [`crate::Manifest::public_prefixes`].
    pub public_prefixes: Vec<String>,
    /// Models that guests of wasi-nn bring themselves, as bytes; `None`: none.
    pub weights: Option<WeightsGrant>,
}

impl Grants {
    #[must_use]
    pub fn model(mut self, grant: ModelGrant) -> Self {
        self.models.push(grant);
        self
    }
}

/// A model under the name that the pipeline knows it by.
#[derive(Debug, Clone)]
pub struct ModelGrant {
    pub alias: String,
    /// Of the model file.
    pub digest: String,
    pub engine: Engine,
    /// How the engine runs it now, for usage.
    pub operating_point: String,
}

impl ModelGrant {
    pub fn new(alias: impl Into<String>, digest: impl Into<String>, engine: Engine) -> Self {
        Self { alias: alias.into(), digest: digest.into(), engine, operating_point: String::new() }
    }
}

/// Leave to load models from bytes of the guest.
#[derive(Clone)]
pub struct WeightsGrant {
    /// Of all of them that are loaded at a time.
    pub bytes: u64,
    /// Where a model is a file for as long as it is being loaded.
    pub folder: Arc<Path>,
    pub start: StartEngine,
}

/// Starts an engine on a GGUF file, which nobody has looked at yet.
pub type StartEngine = Arc<dyn Fn(&Path) -> io::Result<Engine> + Send + Sync>;

impl fmt::Debug for WeightsGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightsGrant")
            .field("bytes", &self.bytes)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
