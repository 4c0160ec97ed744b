//! `POST /v1/chat/completions`: what is asked. A completion is an invocation of `chat`, and `n` of them are `n`.

use axum::response::Response;
use serde_json::{Value, json};

use super::{
    Tools, chat_answer,
    parameters::{OF_NO_EFFECT, logprobs, model, sampling, stream},
};
use crate::{
    asking::Asked,
    body::{self, Fields, wrong},
    call::{Call, check_choices},
    error::{Answered, ApiError},
    limits::{DEFAULT_MAX_TOKENS, MAX_CHOICES, MAX_TOKENS},
    schema,
};

/// What this API has and no model here can do.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("audio", "models read and write text here"),
    ("prediction", "there are no predicted outputs"),
    ("web_search_options", "there is no search"),
    ("functions", "use 'tools'"),
    ("function_call", "use 'tool_choice'"),
    ("reasoning_effort", "how long a model thinks cannot be set"),
    ("verbosity", "say it in a message"),
];

/// A conversation that is to be gone on with, whichever API it came by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Tools,
    pub(crate) format: Option<Format>,
    pub(crate) max_tokens: i64,
}

/// What an answer has to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) schema: String,
    /// Rather refuse it than not keep to a part of it.
    pub(crate) strict: bool,
}

impl Format {
    /// Any JSON object.
    pub(crate) fn any_object() -> Self {
        Self { schema: r#"{"type":"object"}"#.to_owned(), strict: false }
    }
}

/// How a completion is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) model: String,
    pub(crate) streams: bool,
    pub(crate) usage: bool,
    pub(crate) logprobs: bool,
}

pub(crate) async fn complete(Asked { by, fields }: Asked) -> Answered<Response> {
    let (told, calls) = read(fields)?;
    let answers = by.begin(calls).await?;
    if told.streams {
        chat_answer::stream(told, answers).await
    } else {
        chat_answer::whole(&told, answers).await
    }
}

/// The whole request.
fn read(mut fields: Fields) -> Answered<(Told, Vec<Call>)> {
    let model = model(&mut fields)?;
    let (streams, usage) = stream(&mut fields)?;
    let mut call = Call { pipeline: "chat".into(), model: model.clone(), ..Call::default() };
    sampling(&mut fields, &mut call)?;
    let logprobs = logprobs(&mut fields)?;
    call.param_if("logprobs", logprobs);
    let wish = Wish {
        messages: super::checked_messages(fields.list("messages")?)?,
        tools: Tools::read(&mut fields)?,
        format: response_format(&mut fields)?,
        max_tokens: max_tokens(&mut fields)?,
    };
    let n = fields.integer("n", 1..=MAX_CHOICES as i64)?.unwrap_or(1);
    check_choices("n", n as usize)?;
    if fields.take("modalities").is_some_and(|modalities| modalities != json!(["text"])) {
        return Err(ApiError::unsupported(
            "modalities",
            "'modalities' is [\"text\"]: models write text here",
        ));
    }
    fields.refuse(IMPOSSIBLE)?;
    fields.ignore(OF_NO_EFFECT);
    fields.done()?;
    let told = Told { model, streams, usage, logprobs: logprobs.is_some() };
    Ok((told, drawn(&wish.call(call), n as u64)))
}

impl Wish {
    /// With what is wished for.
    pub(crate) fn call(&self, mut call: Call) -> Call {
        call.content_type = "application/json".into();
        let mut body = json!({ "messages": self.messages });
        if !self.tools.list.is_empty() {
            body["tools"] = json!(self.tools.list);
        }
        call.body = body.to_string().into_bytes();
        call.param("max_tokens", self.max_tokens);
        call.param("report", true);
        self.tools.tell(&mut call);
        if let Some(format) = &self.format {
            call.param("schema", &format.schema);
            call.param("strict", format.strict);
        }
        call
    }
}

/// The same call several times; each draws for itself, and the same each time where a seed is given.
pub(super) fn drawn(call: &Call, n: u64) -> Vec<Call> {
    (0..n)
        .map(|index| {
            let mut call = call.clone();
            if let Some(seed) = call.seed.filter(|_| index > 0) {
                let seed = seed.wrapping_add(index);
                call.seed = Some(seed);
                call.params.retain(|param| param.name != "seed");
                call.param("seed", seed);
            }
            call
        })
        .collect()
}

/// The newer name of it goes before the older.
fn max_tokens(fields: &mut Fields) -> Answered<i64> {
    let older = fields.integer("max_tokens", 1..=MAX_TOKENS)?;
    let newer = fields.integer("max_completion_tokens", 1..=MAX_TOKENS)?;
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => Err(ApiError::invalid_field(
            "max_tokens",
            "'max_tokens' and 'max_completion_tokens' are the same, and both are given: leave one out",
        )),
        (newer, older) => Ok(newer.or(older).unwrap_or(DEFAULT_MAX_TOKENS)),
    }
}

fn response_format(fields: &mut Fields) -> Answered<Option<Format>> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")?.as_deref() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::any_object())),
        Some("json_schema") => {
            let inner =
                format.object("json_schema")?.ok_or_else(|| body::missing("response_format.json_schema"))?;
            json_schema(inner, "response_format.json_schema").map(Some)
        }
        other => {
            let message =
                format!("'response_format.type' is text, json_object or json_schema, not {other:?}");
            Err(ApiError::invalid_field("response_format.type", message))
        }
    }
}

/// `{"name", "schema", "strict"}`.
pub(super) fn json_schema(mut fields: Fields, param: &str) -> Answered<Format> {
    if fields.text("name")?.is_none_or(|name| name.is_empty()) {
        return Err(body::missing(&format!("{param}.name")));
    }
    let strict = fields.flag("strict")?.unwrap_or_default();
    let schema = fields.take("schema").ok_or_else(|| body::missing(&format!("{param}.schema")))?;
    if !schema.is_object() {
        return Err(wrong(&format!("{param}.schema"), "an object", &schema));
    }
    Ok(Format { schema: schema::checked(&schema, &format!("{param}.schema"))?, strict })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(more: &Value) -> Answered<(Told, Vec<Call>)> {
        let mut body = json!({ "model": "demo", "messages": [{ "role": "user", "content": "hi" }] });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let Value::Object(fields) = body else { panic!("no object") };
        read(Fields::new(fields))
    }

    fn params(more: &Value) -> Vec<(String, String)> {
        let (_, calls) = asked(more).unwrap();
        calls[0].params.iter().map(|param| (param.name.clone(), param.value.clone())).collect()
    }

    #[test]
    fn what_is_asked_reaches_the_pipeline() {
        let params = params(&json!({
            "temperature": 0.5, "top_p": 1, "seed": -1, "stop": ["a", "b"], "max_completion_tokens": 7,
            "logprobs": true, "top_logprobs": 2, "logit_bias": { "5": -3 }, "frequency_penalty": 0.5,
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": { "type": "object" } } },
            "user": "somebody", "metadata": {}, "n": 1,
        }));
        let of = |name: &str| {
            let values = params.iter().filter(|(known, _)| known == name);
            values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ")
        };
        let found =
            ["temperature", "seed", "stop", "max_tokens", "logprobs", "logit_bias", "schema", "strict"]
                .map(of);
        let seed = u64::MAX.to_string();
        let expected =
            ["0.5", &seed, "a b", "7", "2", r#"{"5":-3}"#, r#"{"type":"object"}"#, "true"].map(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn several_answers_draw_by_seeds_of_their_own() {
        let (_, calls) = asked(&json!({ "n": 3, "seed": 5 })).unwrap();
        assert_eq!(calls.iter().map(|call| call.seed).collect::<Vec<_>>(), [Some(5), Some(6), Some(7)]);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        for (more, param) in [
            (json!({ "n": 0 }), "n"),
            (json!({ "n": 100 }), "n"),
            (json!({ "temperature": 3 }), "temperature"),
            (json!({ "max_tokens": 5, "max_completion_tokens": 6 }), "max_tokens"),
            (json!({ "top_logprobs": 3 }), "top_logprobs"),
            (json!({ "stream_options": { "include_usage": true } }), "stream_options"),
            (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
            (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema"),
            (json!({ "audio": { "voice": "x" } }), "audio"),
            (json!({ "modalities": ["audio"] }), "modalities"),
            (json!({ "stop": [1] }), "stop"),
            (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
            (json!({ "top_q": 1 }), "top_q"),
            (json!({ "model": null }), "model"),
            (json!({ "messages": null }), "messages"),
        ] {
            assert_eq!(asked(&more).unwrap_err().param.as_deref(), Some(param), "{more}");
        }
    }
}
