//! A node of a fleet: joins a scheduler, reports what it holds, keeps models and components, executes attempts.
//!
//! [`Agent`] is the whole of it: a connection that is made again whenever it is lost, a worker process that runs the pipelines
//! (`dunlin-worker-handle`), and the logs of attempts, which outlive connections. Read [`Agent`] and [`AgentOptions`].
//!
//! What a board draws is read by `dunlin-meters`; whose joules they are is said in `energy`.
//!
//! Absent here: wasmtime, llama.cpp, placement. Which attempt comes here is the scheduler's to say.

mod agent;
mod attempt;
mod costs;
mod energy;
mod execute;
mod fetch;
mod health;
mod measuring;
mod metrics;
mod mode;
mod node;
mod options;
mod residency;
mod residents;
mod session;
mod state;
mod switching;
mod trace;

pub use agent::{Agent, AgentError, Ending};
pub use costs::OwnRows;
pub use metrics::{ExposeError, Exposed};
pub use mode::{ModeError, Modes, Transition};
pub use options::{AgentOptions, Builtin, Emulation, LocalModel, Probing};
