//! One loaded model, served over a socket: the engine process, as a library for its executable and its benchmarks.
//!
//! [`serve`] reads calls, [`Engine`] runs the loop: continuous batching over one KV cache, prompts in chunks between
//! decode steps, prefixes found again, output constrained by workers. Read [`Engine`] and `llama::Context`.
//!
//! Absent here: wasm, networks, policies; anything that knows of more than one model.

mod cells;
mod chores;
mod constraint;
mod embedding;
mod engine;
mod generation;
mod io;
pub mod llama;
mod load;
mod outbox;
mod pace;
mod prefixes;
mod sampling;
mod scoring;
mod task;
mod template;
mod text;
mod usage;
mod vitals;
mod workers;

pub use engine::{Engine, Wake};
pub use io::serve;
pub use load::{Loaded, load};
pub use outbox::Outbox;
pub use sampling::{NoFiniteLogit, argmax};
pub use vitals::Vitals;
