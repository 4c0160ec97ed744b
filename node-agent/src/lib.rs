//! A node of a fleet: joins a scheduler, reports what it holds, keeps models and components, executes attempts.
//!
//! [`Agent`] is the whole of it: a connection that is made again whenever it is lost, a worker process that runs the pipelines
//! (`dunlin-worker-handle`), and the logs of attempts, which outlive connections. Read [`Agent`] and [`AgentOptions`].
//!
//! Absent here: wasmtime, llama.cpp, placement. Which attempt comes here is the scheduler's to say.

mod agent;
mod attempt;
mod costs;
mod execute;
mod fetch;
mod health;
mod node;
mod options;
mod residency;
mod residents;
mod session;
mod state;

pub use agent::{Agent, AgentError, Ending};
pub use costs::OwnRows;
pub use options::{AgentOptions, Builtin, Emulation, LocalModel};
