//! What an agent knows of its worker: its messages and its supervision.
//!
//! A worker is a process that runs pipelines on models, for one agent. It holds no keys and has no network; whatever a
//! pipeline does to it, the agent lives on and starts another. Read [`Worker`] and [`Invoke`].
//!
//! Absent here: wasmtime, llama.cpp, QUIC, which model goes where.

mod measure;
mod message;
mod supervise;
mod worker;

pub use measure::{Extras, Finding, Measure, Probe, Profile, Window};
pub use message::*;
pub use worker::{Measuring, Running, Status, Worker};
