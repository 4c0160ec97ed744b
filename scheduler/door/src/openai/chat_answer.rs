//! `POST /v1/chat/completions`: what is answered, as a whole and as a stream.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use dunlin_protocol::InvocationId;
use serde_json::{Value, json};

use super::{chat::Told, now};
use crate::{
    answer::{Finish, Piece},
    call::Answers,
    collected::{Collected, Reason, call_id},
    error::{Answered, ApiError},
    sse::{self, Event, Gone},
    tell::{self, Tell},
    took::{self, Tokens},
};

pub(super) async fn whole(told: &Told, answers: Answers) -> Answered<Response> {
    let invocations = answers.invocations.clone();
    let all = Collected::all(answers).await?;
    let choices = all.iter().enumerate().map(|(index, of)| {
        let logprobs = told.logprobs.then(|| json!({ "content": of.logprobs, "refusal": null }));
        json!({
            "index": index,
            "message": message(of),
            "logprobs": logprobs,
            "finish_reason": of.reason().name(),
        })
    });
    let finishes: Vec<&Finish> = all.iter().filter_map(|of| of.finish.as_ref()).collect();
    let mut document = head(told, &invocations, "chat.completion");
    document["choices"] = choices.collect();
    document["usage"] = Tokens::of_choices(finishes.iter().copied()).usage();
    took::tell(&mut document, finishes);
    Ok(tell::named(Json(document).into_response(), &invocations))
}

fn message(of: &Collected) -> Value {
    let has_calls = !of.tool_calls.is_empty();
    let content = if of.text.is_empty() && has_calls { Value::Null } else { of.text.as_str().into() };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
    if has_calls {
        message["tool_calls"] = json!(of.tool_calls);
    }
    if !of.reasoning.is_empty() {
        message["reasoning_content"] = json!(of.reasoning);
    }
    message
}

pub(super) async fn stream(told: Told, answers: Answers) -> Answered<Response> {
    let telling = |answers: &Answers, sender| Telling::new(told, answers, sender);
    tell::stream(answers, sse::channel(), telling).await
}

fn head(told: &Told, invocations: &[InvocationId], object: &str) -> Value {
    let id = invocations.first().map(|id| format!("chatcmpl-{id}")).unwrap_or_default();
    json!({
        "id": id,
        "object": object,
        "created": now(),
        "model": told.model,
        "system_fingerprint": "dunlin",
    })
}

/// A stream that is being told.
struct Telling {
    told: Told,
    head: Value,
    invocations: Vec<InvocationId>,
    sender: sse::Sender,
    /// Choices whose role was told.
    begun: Vec<bool>,
    calls: Vec<u64>,
    finishes: Vec<Finish>,
}

impl Telling {
    fn new(told: Told, answers: &Answers, sender: sse::Sender) -> Self {
        let head = head(&told, &answers.invocations, "chat.completion.chunk");
        let count = answers.count();
        Self {
            told,
            head,
            invocations: answers.invocations.clone(),
            sender,
            begun: vec![false; count],
            calls: vec![0; count],
            finishes: Vec::new(),
        }
    }

    fn call(&mut self, index: usize, mut call: Value) -> Value {
        let number = call["index"].as_u64().unwrap_or(self.calls[index]);
        self.calls[index] = number + 1;
        call["id"] = call_id(self.invocations[index], number).into();
        call["index"] = number.into();
        json!({ "tool_calls": [call] })
    }

    fn chunk(&self, choice: Value) -> String {
        let mut chunk = self.head.clone();
        let is_last = !choice["finish_reason"].is_null();
        chunk["choices"] = Value::Array(vec![choice]);
        if self.told.usage {
            chunk["usage"] = Value::Null;
        } else if is_last {
            // Whoever asked for no usage still sees what is ours.
            took::tell(&mut chunk, self.finishes.last());
        }
        chunk.to_string()
    }
}

impl Tell for Telling {
    async fn piece(&mut self, index: usize, number: u64, piece: Piece) -> Result<(), Gone> {
        let (delta, logprobs, reason) = match piece {
            Piece::Text(text) => (json!({ "content": text }), Value::Null, Value::Null),
            Piece::Reasoning(text) => (json!({ "reasoning_content": text }), Value::Null, Value::Null),
            Piece::Logprobs(list) => (json!({}), json!({ "content": list, "refusal": null }), Value::Null),
            Piece::ToolCall(call) => (self.call(index, call), Value::Null, Value::Null),
            Piece::Progress(_) | Piece::Json(_) => return Ok(()),
            Piece::End(finish) => {
                let reason = Reason::of(&finish).name();
                self.finishes.push(*finish);
                (json!({}), Value::Null, reason.into())
            }
        };
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason });
        let said = self.chunk(choice);
        let id = match self.invocations.as_slice() {
            [only] => Some(format!("{only}:{number}")),
            _ => None,
        };
        let event = Event { id: id.as_deref(), name: None, data: &said };
        if std::mem::replace(&mut self.begun[index], true) {
            return self.sender.event(event).await;
        }
        // The first token need not wait for the role to be on its way.
        let role = json!({ "role": "assistant", "content": "", "refusal": null });
        let role = json!({ "index": index, "delta": role, "logprobs": null, "finish_reason": null });
        let role = self.chunk(role);
        self.sender.events(&[Event { data: &role, ..Event::default() }, event]).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        super::close(&self.sender, self.told.usage.then_some(&self.head), &self.finishes).await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        self.sender.data(&error.document()).await
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}
