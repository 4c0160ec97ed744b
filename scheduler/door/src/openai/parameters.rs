//! The parameters that chat completions, completions and responses share.

use serde_json::Value;

use crate::{
    body::{Fields, missing, wrong},
    call::Call,
    error::{Answered, ApiError},
    limits::{MAX_STOP, MAX_STOPS},
};

/// Largest number of alternatives to a token.
const MAX_TOP_LOGPROBS: i64 = 20;

/// Entries of a bias.
const MAX_BIASES: usize = 300;

/// Fields that say who asks, or how it is to be filed; nothing depends on them here.
pub(super) const OF_NO_EFFECT: &[&str] = &[
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
];

/// # Errors
/// If there is none.
pub(super) fn model(fields: &mut Fields) -> Answered<String> {
    match fields.text("model")? {
        Some(model) if !model.is_empty() => Ok(model),
        _ => Err(missing("model")),
    }
}

/// How tokens are drawn.
///
/// # Errors
/// Names the field that is not as it should be.
pub(crate) fn sampling(fields: &mut Fields, call: &mut Call) -> Answered<()> {
    for (name, range) in [
        ("temperature", 0.0..=2.0),
        ("top_p", 0.0..=1.0),
        ("min_p", 0.0..=1.0),
        ("frequency_penalty", -2.0..=2.0),
        ("presence_penalty", -2.0..=2.0),
        ("repeat_penalty", 0.1..=10.0),
    ] {
        let number = fields.number(name, range)?;
        call.param_if(name, number);
    }
    let top_k = fields.integer("top_k", 0..=1_000_000)?;
    call.param_if("top_k", top_k);
    if let Some(seed) = fields.integer("seed", i64::MIN..=i64::MAX)? {
        call.seed = Some(seed.cast_unsigned());
        call.param("seed", seed.cast_unsigned());
    }
    if let Some(bias) = fields.take("logit_bias") {
        call.param("logit_bias", checked_bias(bias)?);
    }
    for stop in stops(fields, "stop")? {
        call.param("stop", stop);
    }
    Ok(())
}

fn checked_bias(bias: Value) -> Answered<Value> {
    let Value::Object(entries) = &bias else { return Err(wrong("logit_bias", "an object", &bias)) };
    let is_bias = |(token, bias): (&String, &Value)| {
        token.parse::<u32>().is_ok() && bias.as_f64().is_some_and(|bias| (-100.0..=100.0).contains(&bias))
    };
    if entries.len() > MAX_BIASES || !entries.iter().all(is_bias) {
        let message = format!(
            "'logit_bias' maps numbers of tokens of the model to numbers from -100 to 100, at most {MAX_BIASES} of them"
        );
        return Err(ApiError::invalid_field("logit_bias", message));
    }
    Ok(bias)
}

/// A text, or a list of them.
///
/// # Errors
/// If they are too many or too long, or no texts.
pub(crate) fn stops(fields: &mut Fields, name: &str) -> Answered<Vec<String>> {
    let list = match fields.take(name) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    let text = |value: Value| match value {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_STOP => Ok(text),
        Value::String(_) => {
            Err(ApiError::invalid_field(name, format!("a text of '{name}' has from 1 to {MAX_STOP} bytes")))
        }
        other => Err(wrong(name, "a string or an array of strings", &other)),
    };
    if list.len() > MAX_STOPS {
        return Err(ApiError::invalid_field(name, format!("'{name}' has at most {MAX_STOPS} texts")));
    }
    list.into_iter().map(text).collect()
}

/// `logprobs` and `top_logprobs` of chats.
///
/// # Errors
/// If one is there without the other.
pub(super) fn logprobs(fields: &mut Fields) -> Answered<Option<i64>> {
    let wanted = fields.flag("logprobs")?.unwrap_or_default();
    let top = fields.integer("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    match (wanted, top) {
        (false, Some(top)) if top > 0 => {
            Err(ApiError::invalid_field("top_logprobs", "'top_logprobs' needs 'logprobs' to be true"))
        }
        (false, _) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0))),
    }
}

/// Whether the answer is a stream, and whether its last piece has the usage.
///
/// # Errors
/// If there are options without a stream.
pub(super) fn stream(fields: &mut Fields) -> Answered<(bool, bool)> {
    let streams = fields.flag("stream")?.unwrap_or_default();
    let Some(mut options) = fields.object("stream_options")? else { return Ok((streams, false)) };
    if !streams {
        return Err(ApiError::invalid_field("stream_options", "'stream_options' needs 'stream' to be true"));
    }
    let usage = options.flag("include_usage")?.unwrap_or_default();
    options.ignore(&["include_obfuscation"]);
    options.done()?;
    Ok((streams, usage))
}
