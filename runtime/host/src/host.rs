//! The host itself: what is made once and shared by all pipelines and invocations.

use std::{fmt, io, sync::Arc};

use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use wasmtime::{Engine, Linker as CoreLinker, component::Linker};

use crate::{
    Allocation, CacheConfig, Compile, Digest, allocation, calls,
    calls::{ephemeral::CoreState, http::Tls},
    invoke::state::{MAX_MEMORIES, State},
    load::{Registry, artifact::Code, cache::Cache},
    ticker::Ticker,
};

/// How a host works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    pub compile: Compile,
    /// `None`: what is compiled is forgotten with the host.
    pub cache: Option<CacheConfig>,
    /// Instances at once; more invocations wait.
    pub instances: u32,
    /// Certificates of authorities that HTTPS of guests trusts beside those that browsers trust, in DER.
    pub roots: Vec<Vec<u8>>,
}

impl HostConfig {
    /// Without a cache, 32 instances at once.
    pub fn new(compile: Compile) -> Self {
        Self { compile, cache: None, instances: 32, roots: Vec::new() }
    }

    #[must_use]
    pub fn cache(mut self, cache: CacheConfig) -> Self {
        self.cache = Some(cache);
        self
    }

    #[must_use]
    pub fn trusting(mut self, root: Vec<u8>) -> Self {
        self.roots.push(root);
        self
    }
}

/// Why there is no host.
#[derive(Debug, Error)]
pub enum HostError {
    #[error("wasmtime does not start: {0}")]
    Wasmtime(String),
    #[error("no thread for the clock of the guests: {0}")]
    Ticker(io::Error),
}

/// Runs pipelines. Cheap to clone; its thread ends with the last clone and the last invocation.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    /// The same and HTTP, for those that import it.
    pub(crate) http_linker: Linker<State>,
    pub(crate) core_linker: CoreLinker<CoreState>,
    pub(crate) tls: Tls,
    pub(crate) ticker: Ticker,
    /// As many as the pool has memories.
    pub(crate) slots: Semaphore,
    pub(crate) registry: Registry,
    pub(crate) compile: Compile,
    pub(crate) compile_turn: Mutex<()>,
    pub(crate) cache: Option<Cache>,
    /// Why there is no cache although one was wanted.
    pub(crate) cache_problem: Option<String>,
    /// Code that was compiled for another is of no use here.
    pub(crate) code_version: Digest,
    config: HostConfig,
    allocation: Allocation,
}

impl Host {
    /// # Errors
    /// If the machine lacks even the few megabytes that a host without a pool takes. An unusable cache is not
    /// an error: it is told in the log, and in the notes of the pipelines.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        let wasmtime = |error: wasmtime::Error| HostError::Wasmtime(format!("{error:#}"));
        let (engine, allocation) = allocation::engine(config.instances).map_err(wasmtime)?;
        if let Allocation::OnDemand { reason } = &allocation {
            tracing::info!(reason, "no pool for instances, they are made on demand");
        }
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker).map_err(wasmtime)?;
        let mut http_linker = linker.clone();
        calls::http::link(&mut http_linker).map_err(wasmtime)?;
        let mut core_linker = CoreLinker::new(&engine);
        calls::link_core(&mut core_linker).map_err(wasmtime)?;
        let (cache, cache_problem) = open_cache(config.cache.as_ref());
        let code_version = Digest::of(&engine.precompile_compatibility_hash());
        Ok(Self(Arc::new(Inner {
            ticker: Ticker::start(engine.weak()).map_err(HostError::Ticker)?,
            tls: Tls::new(config.roots.clone()),
            linker,
            http_linker,
            core_linker,
            slots: Semaphore::new(config.instances as usize),
            registry: Registry::default(),
            compile: config.compile.clone(),
            compile_turn: Mutex::new(()),
            cache,
            cache_problem,
            code_version,
            engine,
            config,
            allocation,
        })))
    }

    /// Where the memory of instances comes from.
    pub fn allocation(&self) -> &Allocation {
        &self.0.allocation
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("allocation", &self.0.allocation)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// How many slots an instance of this takes.
    pub(crate) fn slots_for(&self, code: &Code) -> Result<u32, String> {
        let required = match code {
            Code::Component(component) => component.resources_required(),
            Code::Module(module) => Some(module.resources_required()),
        };
        let Some(required) = required else {
            return Err("it takes modules from outside, so what it needs is not known".into());
        };
        let most = MAX_MEMORIES.min(self.config.instances);
        if required.num_memories > most {
            return Err(format!("it has {} memories, at most {most} are possible", required.num_memories));
        }
        Ok(required.num_memories.max(1))
    }

    pub(crate) fn cache_note(&self, error: &io::Error) -> String {
        self.config.cache.as_ref().map_or_else(|| error.to_string(), |cache| note(cache, error))
    }
}

fn open_cache(config: Option<&CacheConfig>) -> (Option<Cache>, Option<String>) {
    let Some(config) = config else { return (None, None) };
    match Cache::open(config) {
        Ok(cache) => (Some(cache), None),
        Err(error) => {
            let note = note(config, &error);
            tracing::warn!("{note}");
            (None, Some(note))
        }
    }
}

fn note(cache: &CacheConfig, error: &io::Error) -> String {
    format!("compiled code is not kept in {}: {error}", cache.directory.display())
}
