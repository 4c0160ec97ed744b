//! A conversation: messages in, streamed text out. The README has the parameters.

mod answer;
mod messages;

use answer::{Said, Shape};
use dunlin_guest::{
    Context, Error, Generation, Model, Options, Pipeline, Request, Response, Sampling, job, models::Features,
};
use dunlin_plugin_parameters::{Asked, JSON, MODEL, Parameter};
use messages::Conversation;

/// Events taken at once; what there is less is not waited for.
const BATCH: u32 = 64;

/// Tokens that a repetition is looked for in.
const REPEAT_LAST_N: u32 = 64;

const SYSTEM: Parameter =
    Parameter::optional("system", "what the model is to be, said before everything else");
const MAX_TOKENS: Parameter = Parameter::with_default("max_tokens", "512", "most tokens of the answer");
const TEMPERATURE: Parameter = Parameter::with_default(
    "temperature",
    "0.7",
    "how freely to draw; 0 takes the likeliest token each time",
);
const TOP_P: Parameter =
    Parameter::with_default("top_p", "1", "draw among the likeliest tokens that together have this share");
const TOP_K: Parameter =
    Parameter::with_default("top_k", "0", "draw among this many of the likeliest tokens; 0 among all");
const MIN_P: Parameter =
    Parameter::with_default("min_p", "0.05", "leave out tokens less likely than this share of the likeliest");
const REPEAT_PENALTY: Parameter =
    Parameter::with_default("repeat_penalty", "1", "more than 1 holds back tokens that came lately");
const SEED: Parameter =
    Parameter::optional("seed", "the same seed draws the same; of the invocation, if none is given");
const STOP: Parameter = Parameter::optional("stop", "text that ends the answer; may be given several times");
const TOOLS: Parameter =
    Parameter::optional("tools", "functions that the model may call, as JSON like OpenAI's");

pub const SUMMARY: &str = "A conversation: messages in, streamed text out.";
pub const PARAMETERS: &[Parameter] =
    &[SYSTEM, MAX_TOKENS, TEMPERATURE, TOP_P, TOP_K, MIN_P, REPEAT_PENALTY, SEED, STOP, TOOLS, JSON, MODEL];

/// The pipeline.
#[derive(Debug)]
pub struct Chat;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Chat);

impl Pipeline for Chat {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let conversation = Conversation::read(asked.text()?, asked.is_json())?
            .with_system(asked.value(&SYSTEM))?
            .with_tools(asked.value(&TOOLS))?;
        let shape = if asked.flag(&JSON)? { Shape::Json } else { Shape::Text };
        let options = options(&asked)?;
        let context = begin(&asked.model()?, &conversation)?;
        stream(&context.generate(&options, None)?, shape)
    }
}

fn options(asked: &Asked<'_>) -> Result<Options, Error> {
    let repeat_penalty = asked.number(&REPEAT_PENALTY, 0.1..=10.0)?;
    let sampling = Sampling {
        temperature: asked.number(&TEMPERATURE, 0.0..=5.0)?,
        top_p: asked.number(&TOP_P, 0.0..=1.0)?,
        top_k: asked.number(&TOP_K, 0..=1_000_000)?,
        min_p: asked.number(&MIN_P, 0.0..=1.0)?,
        repeat_penalty,
        repeat_last_n: if repeat_penalty == 1.0 { 0 } else { REPEAT_LAST_N },
        seed: asked.number_if_given(&SEED, 0..=u64::MAX)?,
        ..Sampling::default()
    };
    Ok(Options {
        max_tokens: asked.number(&MAX_TOKENS, 1..=1_000_000)?,
        sampling: Some(sampling),
        stop: asked.values(&STOP).into_iter().filter(|stop| !stop.is_empty()).map(str::to_owned).collect(),
        ..Options::default()
    })
}

/// A context that waits for the assistant's answer, or for the rest of it.
fn begin(model: &Model, conversation: &Conversation) -> Result<Context, Error> {
    if !conversation.tools.is_empty() && !model.info().features.contains(Features::TOOLS) {
        return Err(Error::Unsupported(format!(
            "tools: the chat template of {:?} has none",
            model.info().alias
        )));
    }
    let context = Context::create(model)?;
    context.append_messages(&conversation.messages, &conversation.tools, true)?;
    if let Some(beginning) = &conversation.beginning {
        context.append(beginning, false)?;
    }
    Ok(context)
}

/// Gives the answer to the caller as it comes, and then as a whole.
fn stream(generation: &Generation, shape: Shape) -> Result<Response, Error> {
    let mut said = Said::default();
    while said.stop.is_none() {
        let events = generation.next(BATCH)?;
        if events.is_empty() {
            return Err(Error::Backend("the generation ended without saying why".into()));
        }
        for chunk in said.take(events, shape) {
            job::emit(&chunk)?;
        }
    }
    said.response(shape)
}
