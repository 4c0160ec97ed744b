//! The front door: HTTP for whoever has a client already.
//!
//! A request becomes an invocation of a pipeline, by the scheduler like any other: a chat completion is one of `chat`.
//! [`Door`] listens; `router` says what answers where; `desk` is what all answers are made of.
//!
//! Absent here: placement and policy (`dunlin-scheduler-core`), members and the catalog (`dunlin-scheduler`), prompts and
//! grammars (the pipelines in `plugins/`).

mod accept;
mod answer;
mod anthropic;
mod anthropic_answer;
mod asking;
mod auth;
mod body;
mod call;
mod collected;
mod console;
mod crowd;
mod deploy;
mod desk;
mod document;
mod door;
mod error;
mod events;
mod fleet;
mod health;
mod invocations;
mod keys;
pub mod limits;
mod metrics;
mod ollama;
mod openai;
mod openapi;
mod pipelines;
mod policies;
mod router;
mod schema;
mod span;
mod sse;
mod tell;
mod tls;
mod took;
mod uploads;

pub use door::{Door, DoorError, DoorOptions};
