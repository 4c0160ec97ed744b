//! Runs prompt pipelines: WebAssembly components that use models by the interface `dunlin:llm` (see `wit/`). And
//! programs that use models by wasi-nn: components of `wasi:nn`, and core modules of `wasi_ephemeral_nn`.
//!
//! A [`Host`] loads components, which are checked and compiled in a child process, and invokes them, each
//! time in a store of its own, with grants, limits and a way to stop it. Models are behind
//! `dunlin_engine_handle::Engine`. Read [`Host`] and [`Invocation`].
//!
//! Absent here: llama.cpp, files for guests, network but granted HTTP, placement, the journal.

mod allocation;
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
mod calls;
mod digest;
mod host;
mod invoke;
mod load;
mod manifest;
mod ticker;

pub use allocation::Allocation;
pub use digest::Digest;
pub use host::{Host, HostConfig, HostError};
pub use invoke::{
    Chunk, Invocation, InvokeError, Node, Outcome, Request, Response, Spent,
    budget::{Budget, Limits, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS},
    failure::PipelineError,
    grants::{Grants, ModelGrant, StartEngine, WeightsGrant},
    log::Log,
    outbound::{Destination, DestinationError, Outbound},
    resume::{Recorded, Resume},
    usage::Usage,
};
pub use load::{
    Compiling, LoadError, MAX_COMPONENT_BYTES, Pipeline, PipelineSource,
    cache::CacheConfig,
    compile::{Compile, CompileChild, compile_child_main},
    component::{Import, Inspection},
};
pub use manifest::{
    AskedBudget, MANIFEST_SECTION, MAX_MANIFEST_BYTES, Manifest, ManifestError, parse_duration,
};
