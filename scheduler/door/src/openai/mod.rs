//! The API of OpenAI, as its clients know it.

pub(crate) mod chat;
mod chat_answer;
pub(crate) mod completions;
pub(crate) mod embeddings;
mod messages;
pub(crate) mod models;
mod parameters;
pub(crate) mod responses;
mod responses_answer;
mod tools;

pub(crate) use chat::{Format, Wish};
pub(crate) use messages::checked as checked_messages;
pub(crate) use parameters::{sampling, stops};
pub(crate) use tools::{Tools, function};

use std::time::SystemTime;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}
