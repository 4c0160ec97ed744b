//! What the rest of Dunlin knows of engines: their messages, their supervision, and a fake for fast tests.
//!
//! An engine is a process that holds one loaded model. [`Engine`] is the handle: it starts the process, sees its
//! death in every state, restarts it, and carries calls and deltas over a socket. Read [`Engine`] and [`Call`].
//!
//! Absent here: llama.cpp, wasm, model files (only their paths), placement.

mod division;
mod engine;
mod error;
pub mod fake;
pub mod frame;
mod launch;
mod message;
mod model;
mod status;
mod supervise;
mod work;

pub use division::{Division, Part};
pub use engine::{Engine, Generation};
pub use error::{EngineError, Fault};
pub use launch::{Launch, Launched, Life, Program, Stream};
pub use message::*;
pub use model::{Features, MemoryKind, ModelInfo};
pub use status::{State, Status};
pub use supervise::{PULSE_INTERVAL, Patience};
pub use work::Work;
