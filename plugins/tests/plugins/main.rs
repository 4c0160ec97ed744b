//! The pipelines as the host runs them, on an engine that answers as the test says.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chat;
mod classify;
mod complete;
mod embed;
mod every;
mod extract;
mod scene;
mod summarize;
mod vote;
