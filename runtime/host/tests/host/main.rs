//! The host from outside: guests that do as their input says, engines that answer as the test says.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod constraints;
mod contexts;
mod conversations;
mod generations;
mod hostile;
mod job;
mod load;
mod models;
mod scene;
mod stopping;
mod talk;
mod wasi;
