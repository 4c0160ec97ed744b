//! `/api/...`, as clients of Ollama know it.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use dunlin_protocol::ModelSummary;
use serde_json::{Value, json};

use crate::{
    answer::{Finish, Piece},
    asking::{Asked, Asking},
    auth::Caller,
    body::{Fields, missing},
    call::{Answers, Call},
    collected::{Collected, Reason},
    desk::Desk,
    error::{Answered, ApiError},
    limits::{DEFAULT_MAX_TOKENS, MAX_TOKENS},
    openai::{self, Format, Tools, Wish},
    schema,
    sse::{self, Gone},
    tell::{self, Tell},
    took,
};

/// The version of the API that this is like, for clients that ask.
const VERSION: &str = "0.12.0";

/// Options of engines that nothing depends on here.
const OF_NO_EFFECT: &[&str] = &[
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "num_keep",
    "low_vram",
    "f16_kv",
    "numa",
    "repeat_last_n",
];

/// An error, as this API has it: `{"error": "..."}`.
#[derive(Debug)]
pub(crate) struct ApiFault(ApiError);

impl From<ApiError> for ApiFault {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiFault {
    fn into_response(self) -> Response {
        self.0.respond(json!({ "error": self.0.message }))
    }
}

type Told<T = Response> = Result<T, ApiFault>;

pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": VERSION }))
}

pub(crate) async fn tags(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
) -> Told<Json<Value>> {
    let models = desk.models(None).await?;
    let seen = models.iter().filter(|model| caller.may_use(&model.alias));
    let told = seen.map(|model| {
        json!({
            "name": model.alias,
            "model": model.alias,
            "modified_at": time(),
            "size": model.variants.first().map_or(0, |variant| variant.variant.bytes),
            "digest": digest(model),
            "details": details(model),
        })
    });
    Ok(Json(json!({ "models": told.collect::<Vec<_>>() })))
}

pub(crate) async fn show(asked: Answered<Asked>) -> Told<Json<Value>> {
    let Asked { by: Asking { desk, caller, .. }, mut fields } = asked?;
    let name = model(&mut fields)?;
    let models = desk.models(Some(&name)).await?;
    let seen: Vec<&ModelSummary> = models.iter().filter(|model| caller.may_use(&model.alias)).collect();
    let Some(model) = seen.iter().find(|model| model.alias == name) else {
        let known: Vec<String> = seen.iter().map(|model| model.alias.clone()).collect();
        return Err(ApiError::model_not_found(&name, &known).into());
    };
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(model),
        "model_info": { "dunlin.digest": digest(model) },
        "capabilities": ["completion", "tools"],
        "modified_at": time(),
    })))
}

fn digest(model: &ModelSummary) -> String {
    model.variants.first().map(|variant| variant.variant.model.to_string()).unwrap_or_default()
}

fn details(model: &ModelSummary) -> Value {
    let quantization = model.variants.first().map_or("", |variant| variant.variant.name.as_str());
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": quantization,
    })
}

pub(crate) async fn chat(asked: Answered<Asked>) -> Told {
    let Asked { by, mut fields } = asked?;
    let (name, streams, call) = common(&mut fields)?;
    let messages = fields.list("messages")?.ok_or_else(|| missing("messages"))?;
    let messages = messages.into_iter().map(message).collect::<Answered<Vec<_>>>()?;
    let tools = tools(&mut fields)?;
    let wish = wish(&mut fields, messages, tools)?;
    fields.done()?;
    answer(&by, Kind::Chat, name, streams, wish.call(call)).await
}

pub(crate) async fn generate(asked: Answered<Asked>) -> Told {
    let Asked { by, mut fields } = asked?;
    let (name, streams, mut call) = common(&mut fields)?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let system = fields.text("system")?;
    fields.refuse(&[
        ("suffix", "models go on at the end only"),
        ("images", "models read text here"),
        ("context", "send the whole conversation to /api/chat"),
        ("template", "a model has its own"),
    ])?;
    if prompt.is_empty() {
        // What loads a model there, does here.
        fields.ignore(&["options", "format", "raw"]);
        fields.done()?;
        by.desk.check_allowance(&by.caller, &name)?;
        by.desk.warm(&name);
        return Ok(Json(json!({ "model": name, "created_at": time(), "response": "", "done": true, "done_reason": "load" }))
            .into_response());
    }
    let is_raw = fields.flag("raw")?.unwrap_or_default();
    let call = if is_raw {
        let wish = wish(&mut fields, Vec::new(), Tools::default())?;
        if wish.format.is_some() {
            return Err(ApiError::unsupported("format", "'format' is not supported with 'raw'").into());
        }
        call.pipeline = "complete".into();
        call.content_type = "text/plain; charset=utf-8".into();
        call.body = prompt.into_bytes();
        call.params.extend(
            std::mem::take(&mut wish.call(Call::default()).params)
                .into_iter()
                .filter(|param| matches!(param.name.as_str(), "max_tokens" | "report")),
        );
        call
    } else {
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        messages.push(json!({ "role": "user", "content": prompt }));
        let wish = wish(&mut fields, messages, Tools::default())?;
        wish.call(call)
    };
    fields.done()?;
    answer(&by, Kind::Generate, name, streams, call).await
}

/// What both have. A stream is what this API has where nothing is said.
fn common(fields: &mut Fields) -> Answered<(String, bool, Call)> {
    let name = model(fields)?;
    let streams = fields.flag("stream")?.unwrap_or(true);
    let mut call = Call { pipeline: "chat".into(), model: name.clone(), ..Call::default() };
    if let Some(mut options) = fields.object("options")? {
        let max_tokens = options.integer("num_predict", -2..=MAX_TOKENS)?.filter(|tokens| *tokens > 0);
        openai::sampling(&mut options, &mut call)?;
        options.ignore(OF_NO_EFFECT);
        options.refuse(&[
            ("mirostat", "engines do not know it"),
            ("tfs_z", "engines do not know it"),
            ("typical_p", "engines do not know it"),
        ])?;
        options.done()?;
        call.param_if("max_tokens", max_tokens);
    }
    // How long a model stays in memory is the fleet's to say.
    fields.ignore(&["keep_alive", "truncate", "shift"]);
    fields.refuse(&[
        ("think", "how long a model thinks cannot be set"),
        ("logprobs", "ask for them with chat completions"),
    ])?;
    Ok((name, streams, call))
}

/// `demo:latest` is `demo`.
fn model(fields: &mut Fields) -> Answered<String> {
    let named = fields.text("model")?;
    let name =
        named.or(fields.text("name")?).filter(|name| !name.is_empty()).ok_or_else(|| missing("model"))?;
    Ok(name.strip_suffix(":latest").map_or(name.clone(), str::to_owned))
}

fn wish(fields: &mut Fields, messages: Vec<Value>, tools: Tools) -> Answered<Wish> {
    let format = match fields.take("format") {
        None => None,
        Some(Value::String(text)) if text == "json" => Some(Format::any_object()),
        Some(Value::String(text)) if text.is_empty() => None,
        Some(schema) => Some(Format { schema: schema::checked(&schema, "format")?, strict: false }),
    };
    let messages = if messages.is_empty() { messages } else { openai::checked_messages(Some(messages))? };
    Ok(Wish { messages, tools, format, max_tokens: DEFAULT_MAX_TOKENS })
}

/// Calls have their arguments as JSON here, not as its text.
fn message(mut message: Value) -> Answered<Value> {
    if message.get("images").is_some_and(|images| images.as_array().is_none_or(|images| !images.is_empty())) {
        return Err(ApiError::unsupported("messages", "'images' are not supported: models read text here"));
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let arguments = call["function"]["arguments"].take();
        call["function"]["arguments"] =
            if arguments.is_string() { arguments } else { arguments.to_string().into() };
    }
    if message["role"] == "tool" && message.get("tool_call_id").is_none() {
        message["tool_call_id"] = message.get("tool_name").cloned().unwrap_or_else(|| "".into());
    }
    Ok(message)
}

fn tools(fields: &mut Fields) -> Answered<Tools> {
    let tools = fields.list("tools")?.unwrap_or_default();
    let tools = tools.iter().enumerate().map(|(index, tool)| {
        let of = &tool["function"];
        let text = |name: &str| of[name].as_str().unwrap_or_default();
        openai::function(text("name"), text("description"), of.get("parameters"), &format!("tools[{index}]"))
    });
    Tools { list: tools.collect::<Answered<_>>()?, choice: None }.choosing(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Generate,
}

async fn answer(by: &Asking, kind: Kind, name: String, streams: bool, mut call: Call) -> Told {
    // What was said first goes before what holds where nothing is said.
    let mut seen = Vec::new();
    call.params.retain(|param| {
        let is_first = param.name == "stop" || !seen.contains(&param.name);
        seen.push(param.name.clone());
        is_first
    });
    let answers = by.begin_anew(call).await?;
    let invocations = answers.invocations.clone();
    if !streams {
        let collected = Collected::all(answers).await?.into_iter().next().unwrap_or_default();
        let mut document = piece(kind, &name, &collected.text, &collected.tool_calls);
        if let Some(finish) = &collected.finish {
            end(&mut document, finish);
        }
        return Ok(tell::named(Json(document).into_response(), &invocations));
    }
    let telling = |_: &Answers, sender| Telling { kind, name, sender };
    Ok(tell::stream(answers, sse::lines(), telling).await?)
}

/// A stream that is being told, in lines.
struct Telling {
    kind: Kind,
    name: String,
    sender: sse::Sender,
}

impl Tell for Telling {
    async fn piece(&mut self, _: usize, _: u64, of: Piece) -> Result<(), Gone> {
        let line = match of {
            Piece::Text(text) => piece(self.kind, &self.name, &text, &[]),
            Piece::ToolCall(call) => piece(self.kind, &self.name, "", &[call]),
            Piece::End(finish) => {
                let mut document = piece(self.kind, &self.name, "", &[]);
                end(&mut document, &finish);
                document
            }
            _ => return Ok(()),
        };
        self.sender.line(&line).await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        self.sender.line(&json!({ "error": error.message })).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}

fn piece(kind: Kind, model: &str, text: &str, calls: &[Value]) -> Value {
    let mut document = json!({ "model": model, "created_at": time(), "done": false });
    if kind == Kind::Generate {
        document["response"] = text.into();
        return document;
    }
    document["message"] = json!({ "role": "assistant", "content": text });
    if !calls.is_empty() {
        let called = calls.iter().map(|call| {
            let arguments = call["function"]["arguments"].as_str().unwrap_or("{}");
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            json!({ "function": { "name": call["function"]["name"], "arguments": arguments } })
        });
        document["message"]["tool_calls"] = called.collect();
    }
    document
}

/// Durations are in nanoseconds here.
fn end(document: &mut Value, finish: &Finish) {
    let usage = &finish.usage;
    let prefill = usage.ttft_us.saturating_sub(usage.queue_us + usage.load_us);
    document["done"] = true.into();
    document["done_reason"] = if Reason::of(finish) == Reason::Length { "length" } else { "stop" }.into();
    document["total_duration"] = (usage.total_us * 1000).into();
    document["load_duration"] = (usage.load_us * 1000).into();
    document["prompt_eval_count"] = (usage.prompt_tokens + usage.cached_tokens).into();
    document["prompt_eval_duration"] = (prefill * 1000).into();
    document["eval_count"] = usage.output_tokens.into();
    document["eval_duration"] = (usage.total_us.saturating_sub(usage.ttft_us) * 1000).into();
    took::tell(document, [finish]);
}

/// Now, as RFC 3339.
fn time() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_json_there_and_text_here() {
        let told = message(
            json!({ "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "f", "arguments": { "a": 1 } } }] }),
        );
        assert_eq!(told.unwrap()["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
        assert!(message(json!({ "role": "user", "content": "x", "images": ["..."] })).is_err());
        let Value::Object(fields) = json!({ "model": "demo:latest" }) else { panic!("no object") };
        assert_eq!(model(&mut Fields::new(fields)).unwrap(), "demo");
    }
}
