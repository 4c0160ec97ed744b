//! `POST /v1/responses`: what is answered: items, as a whole and as events.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use dunlin_protocol::InvocationId;
use serde_json::{Value, json};

use super::{now, responses::Told};
use crate::{
    answer::Piece,
    call::Answers,
    collected::{Collected, Reason, call_id},
    error::{Answered, ApiError},
    sse::{self, Event, Gone},
    tell::{self, Tell},
    took::{self, Tokens},
};

pub(super) async fn whole(told: &Told, answers: Answers) -> Answered<Response> {
    let invocation = first(&answers);
    let collected = Collected::all(answers).await?.into_iter().next().unwrap_or_default();
    let mut items = Vec::new();
    if !collected.text.is_empty() || collected.tool_calls.is_empty() {
        items.push(message(invocation, &collected.text, "completed"));
    }
    for (index, call) in collected.tool_calls.iter().enumerate() {
        items.push(function_call(invocation, index as u64, call, "completed"));
    }
    let document = Json(ended(told, invocation, items, &collected));
    Ok(tell::named(document.into_response(), &[invocation]))
}

fn first(answers: &Answers) -> InvocationId {
    answers.invocations.first().copied().unwrap_or(InvocationId(0))
}

fn document(told: &Told, invocation: InvocationId, status: &str) -> Value {
    json!({
        "id": format!("resp_{invocation}"),
        "object": "response",
        "created_at": now(),
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": told.instructions,
        "max_output_tokens": told.max_output_tokens,
        "model": told.model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "store": false,
        "temperature": told.temperature,
        "text": told.text,
        "tool_choice": told.tool_choice,
        "tools": told.tools,
        "top_p": told.top_p,
        "truncation": "disabled",
        "usage": null,
        "user": null,
        "metadata": told.metadata,
    })
}

fn ended(told: &Told, invocation: InvocationId, items: Vec<Value>, collected: &Collected) -> Value {
    let is_cut = collected.reason() == Reason::Length;
    let mut document = document(told, invocation, if is_cut { "incomplete" } else { "completed" });
    if is_cut {
        document["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    }
    document["output"] = items.into();
    let tokens = Tokens::of_choices(&collected.finish);
    document["usage"] = json!({
        "input_tokens": tokens.prompt,
        "input_tokens_details": { "cached_tokens": tokens.cached },
        "output_tokens": tokens.output,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": tokens.prompt + tokens.output,
    });
    took::tell(&mut document, &collected.finish);
    document
}

fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn message(invocation: InvocationId, text: &str, status: &str) -> Value {
    let content = if status == "in_progress" { json!([]) } else { json!([text_part(text)]) };
    json!({
        "id": format!("msg_{invocation}"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    })
}

fn function_call(invocation: InvocationId, index: u64, call: &Value, status: &str) -> Value {
    let arguments = if status == "in_progress" { json!("") } else { call["function"]["arguments"].clone() };
    json!({
        "id": format!("fc_{invocation}{index}"),
        "type": "function_call",
        "call_id": call_id(invocation, index),
        "name": call["function"]["name"],
        "arguments": arguments,
        "status": status,
    })
}

pub(super) async fn stream(told: Told, answers: Answers) -> Answered<Response> {
    let telling = |answers: &Answers, sender| Telling {
        told,
        invocation: first(answers),
        sender,
        sequence: 0,
        items: Vec::new(),
        has_text: false,
        collected: Collected::default(),
    };
    tell::stream(answers, sse::channel(), telling).await
}

/// A response that is being told.
struct Telling {
    told: Told,
    invocation: InvocationId,
    sender: sse::Sender,
    sequence: u64,
    items: Vec<Value>,
    /// The message is open.
    has_text: bool,
    collected: Collected,
}

impl Tell for Telling {
    async fn begin(&mut self) -> Result<(), Gone> {
        let begun = json!({ "response": document(&self.told, self.invocation, "in_progress") });
        self.event("response.created", begun.clone()).await?;
        self.event("response.in_progress", begun).await
    }

    async fn piece(&mut self, _: usize, _: u64, piece: Piece) -> Result<(), Gone> {
        match &piece {
            Piece::Text(text) => {
                if !self.has_text {
                    self.open_message().await?;
                }
                let data = json!({
                    "item_id": format!("msg_{}", self.invocation),
                    "output_index": self.items.len(),
                    "content_index": 0,
                    "delta": text,
                    "logprobs": [],
                });
                self.event("response.output_text.delta", data).await?;
            }
            Piece::ToolCall(call) => {
                self.close_message().await?;
                self.function_call(call, self.collected.tool_calls.len() as u64).await?;
            }
            _ => {}
        }
        self.collected.take(piece);
        Ok(())
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        let mut document = document(&self.told, self.invocation, "failed");
        document["error"] = json!({ "code": error.code, "message": error.message });
        self.event("response.failed", json!({ "response": document })).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        if !self.has_text && self.items.is_empty() {
            self.open_message().await?;
        }
        self.close_message().await?;
        let ended = ended(&self.told, self.invocation, self.items.clone(), &self.collected);
        let kind = if ended["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        self.event(kind, json!({ "response": ended })).await
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}

impl Telling {
    async fn event(&mut self, kind: &str, mut data: Value) -> Result<(), Gone> {
        data["type"] = kind.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        let data = data.to_string();
        self.sender.event(Event { id: None, name: Some(kind), data: &data }).await
    }

    async fn open_message(&mut self) -> Result<(), Gone> {
        self.has_text = true;
        let (index, item) = (self.items.len(), message(self.invocation, "", "in_progress"));
        let id = item["id"].clone();
        self.event("response.output_item.added", json!({ "output_index": index, "item": item })).await?;
        let data = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": text_part("") });
        self.event("response.content_part.added", data).await
    }

    async fn close_message(&mut self) -> Result<(), Gone> {
        if !std::mem::take(&mut self.has_text) {
            return Ok(());
        }
        let text = self.collected.text.clone();
        let (index, item) = (self.items.len(), message(self.invocation, &text, "completed"));
        let at = json!({ "item_id": item["id"], "output_index": index, "content_index": 0 });
        let with = |name: &str, value: Value| {
            let mut data = at.clone();
            data[name] = value;
            data
        };
        let mut done = with("text", text.as_str().into());
        done["logprobs"] = json!([]);
        self.event("response.output_text.done", done).await?;
        self.event("response.content_part.done", with("part", text_part(&text))).await?;
        self.event("response.output_item.done", json!({ "output_index": index, "item": item })).await?;
        self.items.push(item);
        Ok(())
    }

    async fn function_call(&mut self, call: &Value, number: u64) -> Result<(), Gone> {
        let index = self.items.len();
        let opened = function_call(self.invocation, number, call, "in_progress");
        let item = function_call(self.invocation, number, call, "completed");
        let (id, arguments) = (item["id"].clone(), item["arguments"].clone());
        self.event("response.output_item.added", json!({ "output_index": index, "item": opened })).await?;
        let data = json!({ "item_id": id, "output_index": index, "delta": arguments });
        self.event("response.function_call_arguments.delta", data).await?;
        let data =
            json!({ "item_id": id, "output_index": index, "name": item["name"], "arguments": arguments });
        self.event("response.function_call_arguments.done", data).await?;
        self.event("response.output_item.done", json!({ "output_index": index, "item": item })).await?;
        self.items.push(item);
        Ok(())
    }
}
