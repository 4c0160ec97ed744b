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

use serde_json::{Value, json};

use crate::{
    answer::Finish,
    sse::{Event, Gone, Sender},
    took::{self, Tokens},
};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// What comes after all choices of a stream: the usage, in a chunk with this head, where it was asked for; and the mark of the end.
async fn close(sender: &Sender, usage: Option<&Value>, finishes: &[Finish]) -> Result<(), Gone> {
    let done = Event { data: "[DONE]", ..Event::default() };
    let Some(head) = usage else { return sender.event(done).await };
    let mut chunk = head.clone();
    chunk["choices"] = json!([]);
    chunk["usage"] = Tokens::of_choices(finishes).usage();
    took::tell(&mut chunk, finishes);
    sender.events(&[Event { data: &chunk.to_string(), ..Event::default() }, done]).await
}
