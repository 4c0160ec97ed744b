//! A text, and how the model goes on with it. The README has the parameters.

use dunlin_guest::{
    Context, Error, Event, Generation, Options, Pipeline, Request, Response, StopReason,
    job::{self, Chunk},
};
use dunlin_plugin_parameters::{
    Asked, MODEL, Parameter,
    sampling::{
        self, FREQUENCY_PENALTY, LOGIT_BIAS, LOGPROBS, MIN_P, PRESENCE_PENALTY, REPEAT_PENALTY, SEED, STOP,
        TEMPERATURE, TOP_K, TOP_P,
    },
};
use serde_json::json;

/// Events taken at once; what there is less is not waited for.
const BATCH: u32 = 64;

const MAX_TOKENS: Parameter = Parameter::with_default("max_tokens", "128", "most tokens to go on with");
const REPORT: Parameter = Parameter::with_default(
    "report",
    "false",
    "tell text as text, all else as JSON, and at the end only why it ended",
);

pub const SUMMARY: &str = "A text, and how the model goes on with it.";
pub const PARAMETERS: &[Parameter] = &[
    MAX_TOKENS,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    REPEAT_PENALTY,
    FREQUENCY_PENALTY,
    PRESENCE_PENALTY,
    LOGIT_BIAS,
    SEED,
    STOP,
    LOGPROBS,
    REPORT,
    MODEL,
];

/// The pipeline.
#[derive(Debug)]
pub struct Complete;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Complete);

impl Pipeline for Complete {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        // As it is: white space counts.
        let text = request.text()?;
        if text.is_empty() {
            return Err(Error::invalid("the input is empty: there is nothing to work on"));
        }
        let options = Options {
            max_tokens: asked.number(&MAX_TOKENS, 1..=1_000_000)?,
            sampling: Some(asked.sampling()?),
            stop: asked.stops(),
            top_logprobs: asked.top_logprobs()?,
            ..Options::default()
        };
        let reports = asked.flag(&REPORT)?;
        let context = Context::create(&asked.model()?)?;
        context.append(text, true)?;
        go_on(&context.generate(&options, None)?, reports)
    }
}

fn go_on(generation: &Generation, reports: bool) -> Result<Response, Error> {
    let (mut whole, mut stop) = (String::new(), None);
    while stop.is_none() {
        let events = generation.next(BATCH)?;
        if events.is_empty() {
            return Err(Error::Backend("the generation ended without saying why".into()));
        }
        for event in events {
            match event {
                Event::Text(text) => {
                    job::emit(&Chunk::Text(text.clone()))?;
                    whole += &text;
                }
                Event::Tokens(tokens) if reports => {
                    let logprobs: Vec<_> = tokens.iter().map(sampling::logprob).collect();
                    job::emit(&Chunk::Json(json!({ "logprobs": logprobs }).to_string()))?;
                }
                Event::Finish((reason, _)) => stop = Some(reason),
                Event::Tokens(_) | Event::Reasoning(_) | Event::ToolCall(_) => {}
            }
        }
    }
    let reason = match stop {
        Some(StopReason::Cancelled) => return Err(Error::Cancelled),
        Some(StopReason::Deadline) => return Err(Error::Deadline),
        Some(StopReason::MaxTokens | StopReason::ContextFull) => "length",
        _ => "stop",
    };
    if !reports {
        return Ok(Response::text(whole));
    }
    let by_stop = stop == Some(StopReason::StopString);
    Ok(Response::json(json!({ "finish_reason": reason, "stop_string": by_stop }).to_string()))
}
