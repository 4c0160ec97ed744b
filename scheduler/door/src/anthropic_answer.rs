//! `POST /v1/messages`: what is answered, as a whole and as events.

use axum::response::Response;
use dunlin_protocol::InvocationId;
use serde_json::{Value, json};

use crate::{
    answer::{Finish, Piece},
    anthropic::{Told, document},
    call::Answers,
    collected::{Collected, Reason, call_id},
    error::{Answered, ApiError},
    sse::{self, Event, Gone},
    tell::{self, Tell},
    took::{self, Tokens},
};

pub(crate) async fn whole(told: &Told, answers: Answers) -> Answered<Value> {
    let invocation = first(&answers);
    let collected = Collected::all(answers).await?.into_iter().next().unwrap_or_default();
    let mut content = Vec::new();
    if !collected.text.is_empty() {
        content.push(json!({ "type": "text", "text": collected.text }));
    }
    for (index, call) in collected.tool_calls.iter().enumerate() {
        let input: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().unwrap_or("{}")).unwrap_or_default();
        content.push(json!({
            "type": "tool_use",
            "id": call_id(invocation, index as u64),
            "name": call["function"]["name"],
            "input": input,
        }));
    }
    let mut document = message(told, invocation);
    document["content"] = content.into();
    if let Some(finish) = &collected.finish {
        (document["stop_reason"], document["stop_sequence"]) = stop(told, finish);
        document["usage"] = usage(Tokens::of(&finish.usage));
    }
    took::tell(&mut document, &collected.finish);
    Ok(document)
}

fn first(answers: &Answers) -> InvocationId {
    answers.invocations.first().copied().unwrap_or(InvocationId(0))
}

fn message(told: &Told, invocation: InvocationId) -> Value {
    json!({
        "id": format!("msg_{invocation}"),
        "type": "message",
        "role": "assistant",
        "model": told.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": { "input_tokens": 0, "output_tokens": 0 },
    })
}

/// Why, and by which text. Of several texts that end an answer, the engine does not say which it was.
fn stop(told: &Told, finish: &Finish) -> (Value, Value) {
    match (Reason::of(finish), told.stops.as_slice()) {
        (Reason::Length, _) => ("max_tokens".into(), Value::Null),
        (Reason::ToolCalls, _) => ("tool_use".into(), Value::Null),
        (Reason::StopString, [only]) => ("stop_sequence".into(), only.as_str().into()),
        (Reason::StopString, _) => ("stop_sequence".into(), Value::Null),
        (Reason::Stop, _) => ("end_turn".into(), Value::Null),
    }
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.prompt - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    })
}

pub(crate) async fn stream(told: Told, answers: Answers) -> Answered<Response> {
    let telling = |answers: &Answers, sender| Telling {
        told,
        invocation: first(answers),
        sender,
        blocks: 0,
        has_text: false,
        calls: 0,
    };
    tell::stream(answers, sse::channel(), telling).await
}

/// A message that is being told.
struct Telling {
    told: Told,
    invocation: InvocationId,
    sender: sse::Sender,
    /// Those that are closed.
    blocks: u64,
    /// A block of text is open.
    has_text: bool,
    calls: u64,
}

impl Tell for Telling {
    async fn begin(&mut self) -> Result<(), Gone> {
        let message = message(&self.told, self.invocation);
        self.event("message_start", json!({ "message": message })).await
    }

    async fn piece(&mut self, _: usize, _: u64, piece: Piece) -> Result<(), Gone> {
        match piece {
            Piece::Text(text) => {
                if !std::mem::replace(&mut self.has_text, true) {
                    let block = json!({ "type": "text", "text": "" });
                    self.event(
                        "content_block_start",
                        json!({ "index": self.blocks, "content_block": block }),
                    )
                    .await?;
                }
                let delta = json!({ "type": "text_delta", "text": text });
                self.event("content_block_delta", json!({ "index": self.blocks, "delta": delta })).await
            }
            Piece::ToolCall(call) => {
                self.close().await?;
                let block = json!({
                    "type": "tool_use",
                    "id": call_id(self.invocation, self.calls),
                    "name": call["function"]["name"],
                    "input": {},
                });
                self.calls += 1;
                self.event("content_block_start", json!({ "index": self.blocks, "content_block": block }))
                    .await?;
                let delta =
                    json!({ "type": "input_json_delta", "partial_json": call["function"]["arguments"] });
                self.event("content_block_delta", json!({ "index": self.blocks, "delta": delta })).await?;
                self.has_text = true;
                self.close().await
            }
            Piece::End(finish) => {
                self.close().await?;
                let (reason, sequence) = stop(&self.told, &finish);
                let mut data = json!({
                    "delta": { "stop_reason": reason, "stop_sequence": sequence },
                    "usage": usage(Tokens::of(&finish.usage)),
                });
                took::tell(&mut data, [&*finish]);
                self.event("message_delta", data).await
            }
            _ => Ok(()),
        }
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        let data = document(error).to_string();
        self.sender.event(Event { id: None, name: Some("error"), data: &data }).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        self.event("message_stop", json!({})).await
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}

impl Telling {
    async fn event(&self, kind: &str, mut data: Value) -> Result<(), Gone> {
        data["type"] = kind.into();
        let data = data.to_string();
        self.sender.event(Event { id: None, name: Some(kind), data: &data }).await
    }

    /// The block that is open.
    async fn close(&mut self) -> Result<(), Gone> {
        if std::mem::take(&mut self.has_text) {
            self.event("content_block_stop", json!({ "index": self.blocks })).await?;
            self.blocks += 1;
        }
        Ok(())
    }
}
