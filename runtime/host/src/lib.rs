//! Runs prompt pipelines: WebAssembly components that use models by the interface `dunlin:llm` (see `wit/`).
//!
//! A [`Host`] loads components, which are checked and compiled in a child process, and invokes them, each time in a
//! store of its own, with grants, limits and a way to stop it. Models are behind `dunlin_engine_handle::Engine`.
//! Read [`Host`] and [`Invocation`].
//!
//! Absent here: llama.cpp, files and network for guests, placement, the journal.

mod allocation;
mod artifact;
#[allow(
    unused_qualifications,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::use_self,
    clippy::needless_pass_by_value,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod bindings;
mod budget;
mod cache;
mod cells;
mod compile;
mod component;
mod constraints;
mod contexts;
mod conversation;
mod digest;
mod embeddings;
mod failure;
mod generations;
mod grants;
mod host;
mod interrupt;
mod invoke;
mod job;
mod log;
mod models;
mod pipeline;
mod seed;
mod sequence;
mod state;
mod ticker;
mod usage;
mod wasi;

pub use allocation::Allocation;
pub use budget::{Budget, Limits, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};
pub use cache::CacheConfig;
pub use compile::{Compile, CompileChild, compile_child_main};
pub use digest::Digest;
pub use failure::PipelineError;
pub use grants::{Grants, ModelGrant};
pub use host::{Host, HostConfig, HostError};
pub use invoke::{Chunk, Invocation, InvokeError, Node, Outcome, Request, Response, Spent};
pub use log::Log;
pub use pipeline::{Compiling, LoadError, MAX_COMPONENT_BYTES, Pipeline, PipelineSource};
pub use usage::Usage;
