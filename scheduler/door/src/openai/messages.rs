//! Messages of a conversation, looked at before they go to the pipeline.

use serde_json::Value;

use crate::{
    body::missing,
    error::{Answered, ApiError},
    limits::MAX_MESSAGES,
};

/// # Errors
/// Names the message that is none, by its place.
pub(crate) fn checked(list: Option<Vec<Value>>) -> Answered<Vec<Value>> {
    let list = list.ok_or_else(|| missing("messages"))?;
    if list.is_empty() || list.len() > MAX_MESSAGES {
        let message = format!("'messages' has from 1 to {MAX_MESSAGES} messages, not {}", list.len());
        return Err(ApiError::invalid_field("messages", message));
    }
    for (index, message) in list.iter().enumerate() {
        check(message).map_err(|(field, why)| {
            ApiError::invalid_field(
                format!("messages[{index}]{field}"),
                format!("Invalid 'messages[{index}]{field}': {why}"),
            )
        })?;
    }
    Ok(list)
}

type Fault = (&'static str, String);

fn check(message: &Value) -> Result<(), Fault> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some(role @ ("system" | "developer" | "user" | "assistant" | "tool")) => role,
        Some("function") => {
            return Err((".role", "functions are called as tools here: use the role 'tool'".to_owned()));
        }
        Some(other) => {
            return Err((
                ".role",
                format!("{other:?} is none of 'system', 'developer', 'user', 'assistant', 'tool'"),
            ));
        }
        None => return Err((".role", "it is missing".to_owned())),
    };
    let calls = message.get("tool_calls").filter(|calls| !calls.is_null());
    match message.get("content") {
        None | Some(Value::Null) if role == "assistant" => {}
        None | Some(Value::Null) => return Err((".content", "it is missing".to_owned())),
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => parts.iter().try_for_each(part)?,
        Some(_) => return Err((".content", "it is a string or an array of parts".to_owned())),
    }
    if role == "tool" && message.get("tool_call_id").and_then(Value::as_str).is_none() {
        return Err((".tool_call_id", "it is missing".to_owned()));
    }
    match calls {
        None => Ok(()),
        Some(Value::Array(calls)) if role == "assistant" => calls.iter().try_for_each(call),
        Some(_) => Err((".tool_calls", "it is an array, of the assistant alone".to_owned())),
    }
}

fn part(part: &Value) -> Result<(), Fault> {
    match part.get("type").and_then(Value::as_str) {
        Some("text") if part.get("text").is_some_and(Value::is_string) => Ok(()),
        Some("refusal") => Err((".content", "parts of the type 'refusal' are not supported".to_owned())),
        Some(other) => {
            Err((".content", format!("parts of the type {other:?} are not supported: models read text here")))
        }
        None => Err((".content", "a part has no type".to_owned())),
    }
}

fn call(call: &Value) -> Result<(), Fault> {
    let function = call.get("function");
    let arguments = function.and_then(|function| function.get("arguments")).and_then(Value::as_str);
    if function.and_then(|function| function.get("name")).is_none_or(|name| !name.is_string()) {
        return Err((".tool_calls", "a call has no function with a name".to_owned()));
    }
    match arguments {
        Some(text) if serde_json::from_str::<Value>(text).is_ok() => Ok(()),
        _ => Err((".tool_calls", "the arguments of a call are no JSON text".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(message: Value, param: Option<&str>) {
        let found = checked(Some(vec![message])).err().and_then(|error| error.param);
        assert_eq!(found.as_deref(), param);
    }

    #[test]
    fn what_is_no_message_has_a_place() {
        check(json!({ "role": "user", "content": [{ "type": "text", "text": "hi" }] }), None);
        check(
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "1", "function": { "name": "f", "arguments": "{}" } }] }),
            None,
        );
        check(json!({ "role": "tool", "content": "x" }), Some("messages[0].tool_call_id"));
        check(json!({ "role": "bot", "content": "x" }), Some("messages[0].role"));
        check(json!({ "role": "user" }), Some("messages[0].content"));
        check(json!({ "role": "user", "content": [{ "type": "image_url" }] }), Some("messages[0].content"));
        check(
            json!({ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": "{" } }] }),
            Some("messages[0].tool_calls"),
        );
        check(json!(7), Some("messages[0].role"));
        assert_eq!(checked(Some(Vec::new())).unwrap_err().param.as_deref(), Some("messages"));
        assert_eq!(checked(None).unwrap_err().code, Some("missing_required_parameter"));
    }
}
