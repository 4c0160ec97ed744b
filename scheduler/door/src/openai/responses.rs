//! `POST /v1/responses`: what is asked. Nothing is kept here between two of them: each brings its whole conversation.

use axum::response::Response;
use serde_json::{Value, json};

use super::{
    Tools,
    chat::{Format, Wish, json_schema},
    checked_messages,
    parameters::{OF_NO_EFFECT, model, sampling},
    responses_answer,
};
use crate::{
    asking::Asked,
    body::{self, Fields, missing},
    call::Call,
    error::{Answered, ApiError},
    limits::{DEFAULT_MAX_TOKENS, MAX_TOKENS},
};

/// What this API has and this fleet has not.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("previous_response_id", "responses are not kept: send the whole conversation as 'input'"),
    ("conversation", "conversations are not kept: send the whole of it as 'input'"),
    ("prompt", "there are no stored prompts"),
    ("background", "an answer is waited for"),
    ("reasoning", "how long a model thinks cannot be set"),
    ("include", "there is nothing more to include"),
    ("max_tool_calls", "there are no built-in tools"),
    ("top_logprobs", "ask for them with chat completions"),
];

/// How it is told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) model: String,
    pub(super) instructions: Value,
    pub(super) max_output_tokens: Value,
    pub(super) temperature: Value,
    pub(super) top_p: Value,
    pub(super) tools: Value,
    pub(super) tool_choice: Value,
    pub(super) text: Value,
    pub(super) metadata: Value,
}

pub(crate) async fn respond(Asked { by, fields }: Asked) -> Answered<Response> {
    let (told, streams, call) = read(fields)?;
    let answers = by.begin_anew(call).await?;
    if streams {
        responses_answer::stream(told, answers).await
    } else {
        responses_answer::whole(&told, answers).await
    }
}

fn read(mut fields: Fields) -> Answered<(Told, bool, Call)> {
    let name = model(&mut fields)?;
    let streams = fields.flag("stream")?.unwrap_or_default();
    fields.ignore(&["stream_options"]);
    let or = |fields: &Fields, name: &str, default: Value| fields.peek(name).cloned().unwrap_or(default);
    let mut told = Told {
        model: name.clone(),
        instructions: or(&fields, "instructions", Value::Null),
        max_output_tokens: or(&fields, "max_output_tokens", Value::Null),
        temperature: or(&fields, "temperature", Value::Null),
        top_p: or(&fields, "top_p", json!(1.0)),
        tools: or(&fields, "tools", json!([])),
        tool_choice: or(&fields, "tool_choice", json!("auto")),
        text: or(&fields, "text", json!({ "format": { "type": "text" } })),
        metadata: or(&fields, "metadata", json!({})),
    };
    if told.text.get("format").is_none() {
        told.text["format"] = json!({ "type": "text" });
    }
    let mut call = Call { pipeline: "chat".into(), model: name, ..Call::default() };
    sampling(&mut fields, &mut call)?;
    let mut messages = Vec::new();
    if let Some(instructions) = fields.text("instructions")? {
        messages.push(json!({ "role": "system", "content": instructions }));
    }
    messages.extend(input(&mut fields)?);
    let wish = Wish {
        messages: checked_messages(Some(messages)).map_err(of_input)?,
        tools: Tools::read(&mut fields)?,
        format: text_format(&mut fields)?,
        max_tokens: fields.integer("max_output_tokens", 1..=MAX_TOKENS)?.unwrap_or(DEFAULT_MAX_TOKENS),
    };
    if fields.text("truncation")?.is_some_and(|how| how != "disabled") {
        return Err(ApiError::unsupported(
            "truncation",
            "'truncation' is disabled: a prompt that is too long is refused",
        ));
    }
    fields.refuse(IMPOSSIBLE)?;
    fields.ignore(OF_NO_EFFECT);
    fields.done()?;
    Ok((told, streams, wish.call(call)))
}

/// The fault is in what the client calls its input.
fn of_input(mut error: ApiError) -> ApiError {
    error.message = error.message.replace("messages", "input");
    error.param = error.param.map(|param| param.replace("messages", "input"));
    error
}

/// A text, or items: messages, calls and their results.
fn input(fields: &mut Fields) -> Answered<Vec<Value>> {
    match fields.take("input") {
        None => Err(missing("input")),
        Some(Value::String(text)) => Ok(vec![json!({ "role": "user", "content": text })]),
        Some(Value::Array(items)) => {
            let mut messages: Vec<Value> = Vec::new();
            for (index, item) in items.iter().enumerate() {
                item_to_message(item, &mut messages).map_err(|why| {
                    let param = format!("input[{index}]");
                    ApiError::invalid_field(&param, format!("Invalid '{param}': {why}"))
                })?;
            }
            Ok(messages)
        }
        Some(other) => Err(body::wrong("input", "a string or an array", &other)),
    }
}

fn item_to_message(item: &Value, messages: &mut Vec<Value>) -> Result<(), String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    match item.get("type").and_then(Value::as_str) {
        None | Some("message") => {
            let mut message = json!({ "role": item.get("role"), "content": item.get("content") });
            for part in message["content"].as_array_mut().into_iter().flatten() {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                if matches!(kind, "input_text" | "output_text") {
                    *part = json!({ "type": "text", "text": part.get("text") });
                }
            }
            messages.push(message);
        }
        Some("function_call") => {
            let call = json!({
                "id": text("call_id").ok_or("it has no call_id")?,
                "type": "function",
                "function": { "name": text("name"), "arguments": text("arguments") },
            });
            // Calls of one turn are one message.
            match messages.last_mut().filter(|last| last.get("tool_calls").is_some()) {
                Some(last) => {
                    if let Some(calls) = last["tool_calls"].as_array_mut() {
                        calls.push(call);
                    }
                }
                None => messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] })),
            }
        }
        Some("function_call_output") => {
            let output = match item.get("output") {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => return Err("it has no output".to_owned()),
            };
            messages.push(json!({ "role": "tool", "content": output, "tool_call_id": text("call_id") }));
        }
        // What a model thought is not read again.
        Some("reasoning") => {}
        Some(other) => return Err(format!("items of the type {other:?} are not supported")),
    }
    Ok(())
}

fn text_format(fields: &mut Fields) -> Answered<Option<Format>> {
    let Some(mut text) = fields.object("text")? else { return Ok(None) };
    text.refuse(&[("verbosity", "say it in the instructions")])?;
    let format = text.object("format")?;
    text.done()?;
    let Some(mut format) = format else { return Ok(None) };
    match format.text("type")?.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::any_object())),
        Some("json_schema") => json_schema(format, "text.format").map(Some),
        Some(other) => {
            let message = format!("'text.format.type' is text, json_object or json_schema, not {other:?}");
            Err(ApiError::invalid_field("text.format.type", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(input: &Value) -> Answered<Value> {
        let Value::Object(fields) = json!({ "model": "demo", "instructions": "Be brief.", "input": input })
        else {
            panic!("no object")
        };
        let (_, _, call) = read(Fields::new(fields))?;
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        Ok(body["messages"].clone())
    }

    #[test]
    fn items_become_messages() {
        let found = messages(&json!([
            { "role": "user", "content": [{ "type": "input_text", "text": "go" }] },
            { "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}" },
            { "type": "function_call", "call_id": "2", "name": "f", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "1", "output": "done" },
        ]))
        .unwrap();
        assert_eq!(found[0], json!({ "role": "system", "content": "Be brief." }));
        assert_eq!(found[1]["content"], json!([{ "type": "text", "text": "go" }]));
        assert_eq!(found[2]["tool_calls"].as_array().map(Vec::len), Some(2));
        assert_eq!(found[3], json!({ "role": "tool", "content": "done", "tool_call_id": "1" }));
        let param = |input: Value| messages(&input).unwrap_err().param.unwrap();
        assert_eq!(param(json!([{ "type": "web_search_call" }])), "input[0]");
        assert_eq!(param(json!([{ "role": "bot", "content": "x" }])), "input[1].role");
        assert_eq!(param(json!(5)), "input");
    }
}
