//! llama.cpp behind types that check what its assertions check. The only unsafe code of Dunlin's engine.
//!
//! A failed `GGML_ASSERT` ends the process, in release builds too; so every function here verifies ids, lengths and
//! states first and answers with an error. What cannot be verified (a hostile weight, a full GPU) ends one engine
//! process, which is why there is one per model.
#![allow(unsafe_code, reason = "the boundary to llama.cpp; each block says why it is sound")]

mod backend;
mod batch;
mod context;
mod model;
mod operators;
mod threads;
mod vocab;

pub use backend::{backend_description, init};
pub use batch::{Batch, Row};
pub use context::{Context, ContextOptions, DecodeError, Pooling, SeqId};
pub use model::{Model, ModelOptions};
pub use vocab::Vocab;
