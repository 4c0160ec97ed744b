//! The host from outside: guests that do as their input says, engines that answer as the test says.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod arbitrary;
mod constraints;
mod contexts;
mod conversations;
mod core_hostile;
mod core_modules;
mod generations;
mod hostile;
mod http;
mod https;
mod job;
mod load;
mod models;
mod nn;
mod program;
mod resume;
mod scene;
mod stopping;
mod talk;
mod wasi;
mod weights;
