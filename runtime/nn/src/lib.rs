//! The conventions by which guests of wasi-nn use a language model: options as JSON, a prompt in, text, metadata or
//! an embedding out. They are those of the GGML guests that exist, which run unchanged.
//!
//! Here are the options and what an engine is asked for them ([`Options`]), what is kept of one execution context
//! ([`Session`]), and what can go wrong ([`Fault`]).
//!
//! Absent here: any waiting, any engine, any guest. Whoever has them asks a session what to say to the engine, and
//! tells it what the engine answered.

pub mod gbnf;

mod fault;
mod named;
mod options;
mod session;

pub use fault::Fault;
pub use named::{Elements, Inputs, Output, outputs};
pub use options::{MAX_OPTIONS_BYTES, Options};
pub use session::{Ended, Mode, Planned, Session};
