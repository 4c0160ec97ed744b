//! The engines of Dunlin as a backend of `wasmtime-wasi-nn`: whoever embeds wasmtime gives [`Models`] to its
//! `WasiNnCtx`, and its guests load them by name.
//!
//! A call computes on the thread that makes it, for as long as it takes: that is how those traits are. Run guests on
//! threads that may be blocked, and give models a [`Model::deadline`]. Dunlin's own host does not go this way.
//!
//! Absent here: streaming, cancelling, and reading models from the bytes of a guest.

mod block;
mod context;

use std::{collections::BTreeMap, fmt, time::Duration};

use dunlin_engine_handle::{Engine, EngineError};
use dunlin_nn::Fault;
use wasmtime_wasi_nn::{
    ExecutionContext, Graph, GraphRegistry,
    backend::{BackendError, BackendFromDir, BackendGraph, BackendInner},
    wit::types::{ExecutionTarget, GraphEncoding},
};

use crate::{block::block_on, context::Context};

/// Longest call of a model that was given no other.
const DEADLINE: Duration = Duration::from_mins(10);

/// Answers to the encoding `ggml`. Graphs come from [`Models`]; bytes of guests are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ggml;

impl BackendInner for Ggml {
    fn encoding(&self) -> GraphEncoding {
        GraphEncoding::Ggml
    }

    fn load(&mut self, _: &[&[u8]], _: ExecutionTarget) -> Result<Graph, BackendError> {
        Err(failed(&Fault::Security("weights from a guest; load a granted model by its name".into())))
    }

    fn as_dir_loadable(&mut self) -> Option<&mut dyn BackendFromDir> {
        None
    }
}

/// The models of one embedding, by the names that guests know.
#[derive(Default)]
pub struct Models(BTreeMap<String, Graph>);

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Models {
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, model: Model) -> Self {
        self.0.insert(name.into(), Graph::from(Box::new(model) as Box<dyn BackendGraph>));
        self
    }
}

impl GraphRegistry for Models {
    fn get(&self, name: &str) -> Option<&Graph> {
        self.0.get(name)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Graph> {
        self.0.get_mut(name)
    }
}

/// A model behind an engine, which may still be loading it.
#[derive(Debug, Clone)]
pub struct Model {
    engine: Engine,
    tenant: String,
    deadline: Duration,
}

impl Model {
    pub fn new(engine: Engine) -> Self {
        Self { engine, tenant: String::new(), deadline: DEADLINE }
    }

    /// Longest time of one call, 10 minutes otherwise.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Prefixes of prompts are kept for guests of the same tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }
}

impl BackendGraph for Model {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let info = block_on(self.engine.ready()).map_err(engine_failed)?;
        Ok(ExecutionContext::from(Box::new(Context::new(self.clone(), info))
            as Box<dyn wasmtime_wasi_nn::backend::BackendExecutionContext>))
    }
}

/// The traits know one kind of failure; its sentence says which it is.
fn failed(fault: &Fault) -> BackendError {
    BackendError::BackendAccess(wasmtime::Error::msg(fault.to_string()))
}

fn engine_failed(error: EngineError) -> BackendError {
    failed(&error.into())
}
