//! `POST /v1/messages`, as clients of Anthropic know it: what is asked.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    anthropic_answer,
    asking::Asked,
    body::{Fields, missing},
    call::Call,
    error::{Answered, ApiError},
    limits::MAX_TOKENS,
    openai::{self, Tools, Wish},
    tell,
};

/// How it is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) model: String,
    pub(crate) stops: Vec<String>,
}

/// An error, as this API has it: `{"type": "error", "error": {"type", "message"}}`.
#[derive(Debug)]
pub(crate) struct MessagesError(ApiError);

impl From<ApiError> for MessagesError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for MessagesError {
    fn into_response(self) -> Response {
        self.0.respond(document(&self.0))
    }
}

pub(crate) fn document(error: &ApiError) -> Value {
    let kind = match error.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message } })
}

pub(crate) async fn messages(asked: Answered<Asked>) -> Result<Response, MessagesError> {
    let Asked { by, fields } = asked?;
    let (told, streams, call) = read(fields)?;
    let answers = by.begin_anew(call).await?;
    if streams {
        return Ok(anthropic_answer::stream(told, answers).await?);
    }
    let invocations = answers.invocations.clone();
    let document = Json(anthropic_answer::whole(&told, answers).await?);
    Ok(tell::named(document.into_response(), &invocations))
}

fn read(mut fields: Fields) -> Answered<(Told, bool, Call)> {
    let model = fields.text("model")?.ok_or_else(|| missing("model"))?;
    let streams = fields.flag("stream")?.unwrap_or_default();
    let mut call = Call { pipeline: "chat".into(), model: model.clone(), ..Call::default() };
    for (name, range) in [("temperature", 0.0..=1.0), ("top_p", 0.0..=1.0)] {
        let number = fields.number(name, range)?;
        call.param_if(name, number);
    }
    let top_k = fields.integer("top_k", 0..=1_000_000)?;
    call.param_if("top_k", top_k);
    let stops = openai::stops(&mut fields, "stop_sequences")?;
    for stop in &stops {
        call.param("stop", stop);
    }
    let max_tokens = fields.integer("max_tokens", 1..=MAX_TOKENS)?.ok_or_else(|| missing("max_tokens"))?;
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        messages.push(json!({ "role": "system", "content": text_of(&system, "system")? }));
    }
    for (index, message) in fields.list("messages")?.ok_or_else(|| missing("messages"))?.iter().enumerate() {
        message_of(message, &mut messages).map_err(|why| {
            let param = format!("messages.{index}");
            ApiError::invalid_field(&param, format!("{param}: {why}"))
        })?;
    }
    let wish = Wish {
        messages: openai::checked_messages(Some(messages))?,
        tools: tools(&mut fields)?,
        format: None,
        max_tokens,
    };
    fields.refuse(&[
        ("thinking", "how long a model thinks cannot be set"),
        ("mcp_servers", "there are no servers of tools"),
        ("container", "there are no containers"),
        ("output_config", "ask for a schema with chat completions"),
    ])?;
    fields.ignore(&["metadata", "service_tier", "cache_control"]);
    fields.done()?;
    Ok((Told { model, stops }, streams, wish.call(call)))
}

/// A text, or blocks of text.
fn text_of(value: &Value, what: &str) -> Answered<String> {
    let wrong = || ApiError::invalid_field(what, format!("{what}: it is a string or blocks of text"));
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            let text = |block: &Value| block.get("text").and_then(Value::as_str).map(str::to_owned);
            blocks.iter().map(|block| text(block).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// One message of theirs is one of OpenAI's, or several: results of tools are messages of their own there.
fn message_of(message: &Value, messages: &mut Vec<Value>) -> Result<(), String> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some(role @ ("user" | "assistant")) => role,
        other => return Err(format!("the role is user or assistant, not {other:?}")),
    };
    let blocks = match message.get("content") {
        Some(Value::String(text)) => {
            messages.push(json!({ "role": role, "content": text }));
            return Ok(());
        }
        Some(Value::Array(blocks)) => blocks,
        _ => return Err("content: it is a string or an array of blocks".to_owned()),
    };
    let (mut text, mut calls) = (String::new(), Vec::new());
    for block in blocks {
        let field = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text" => text += field("text"),
            "tool_use" => {
                let arguments = block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
                let function = json!({ "name": field("name"), "arguments": arguments });
                calls.push(json!({ "id": field("id"), "type": "function", "function": function }));
            }
            "tool_result" => {
                let content = block.get("content").map_or(Ok(String::new()), |content| {
                    text_of(content, "tool_result").map_err(|error| error.message)
                })?;
                messages.push(
                    json!({ "role": "tool", "tool_call_id": field("tool_use_id"), "content": content }),
                );
            }
            // What a model thought is not read again.
            "thinking" | "redacted_thinking" => {}
            other => {
                return Err(format!(
                    "content: blocks of the type {other:?} are not supported: models read text here"
                ));
            }
        }
    }
    if !text.is_empty() || !calls.is_empty() {
        let mut message = json!({ "role": role, "content": text });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        messages.push(message);
    }
    Ok(())
}

fn tools(fields: &mut Fields) -> Answered<Tools> {
    let mut list = Vec::new();
    for (index, tool) in fields.list("tools")?.unwrap_or_default().iter().enumerate() {
        let param = format!("tools.{index}");
        if tool.get("type").is_some_and(|kind| kind != "custom" && !kind.is_null()) {
            return Err(ApiError::unsupported(
                &param,
                format!("{param}: only tools of the client are supported"),
            ));
        }
        let text = |name| tool.get(name).and_then(Value::as_str).unwrap_or_default();
        list.push(openai::function(text("name"), text("description"), tool.get("input_schema"), &param)?);
    }
    let choice = match fields.object("tool_choice")? {
        None => None,
        Some(mut choice) => {
            let kind = choice.text("type")?;
            choice.ignore(&["disable_parallel_tool_use"]);
            Some(match kind.as_deref() {
                Some("auto") => "auto".to_owned(),
                Some("none") => "none".to_owned(),
                Some("any") => "required".to_owned(),
                Some("tool") => choice.text("name")?.ok_or_else(|| missing("tool_choice.name"))?,
                other => {
                    let message = format!("tool_choice.type is auto, any, tool or none, not {other:?}");
                    return Err(ApiError::invalid_field("tool_choice", message));
                }
            })
        }
    };
    Tools { list, choice: None }.choosing(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(more: &Value) -> Answered<Value> {
        let mut body =
            json!({ "model": "demo", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let Value::Object(fields) = body else { panic!("no object") };
        let (_, _, call) = read(Fields::new(fields))?;
        Ok(serde_json::from_slice(&call.body).unwrap())
    }

    #[test]
    fn blocks_become_messages() {
        let body = asked(&json!({
            "system": [{ "type": "text", "text": "Be brief." }],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "go" }] },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "done" }, { "type": "text", "text": "and?" }] },
            ],
        }))
        .unwrap();
        let roles: Vec<_> =
            body["messages"].as_array().unwrap().iter().map(|of| of["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "user"]);
        assert_eq!(body["messages"][2]["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        for (more, param) in [
            (json!({ "max_tokens": null }), "max_tokens"),
            (json!({ "temperature": 1.5 }), "temperature"),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages.0"),
            (json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] }), "messages.0"),
            (json!({ "tool_choice": { "type": "any" } }), "tool_choice"),
            (json!({ "thinking": { "type": "enabled" } }), "thinking"),
            (json!({ "n": 1 }), "n"),
        ] {
            assert_eq!(asked(&more).unwrap_err().param.as_deref(), Some(param), "{more}");
        }
    }
}
