//! A conversation: messages in, streamed text out. The README has the parameters.

mod answer;
mod calls;
mod messages;
mod tools;

use answer::{Said, Shape};
use dunlin_guest::{
    Constraint, Context, Error, Generation, Model, Options, Pipeline, Request, Response, Spec, job,
    models::Features,
};
use dunlin_plugin_parameters::{
    Asked, JSON, MODEL, Parameter,
    sampling::{
        FREQUENCY_PENALTY, LOGIT_BIAS, LOGPROBS, MIN_P, PRESENCE_PENALTY, REPEAT_PENALTY, SEED, STOP,
        TEMPERATURE, TOP_K, TOP_P,
    },
};
use messages::Conversation;
use tools::Choice;

/// Events taken at once; what there is less is not waited for.
const BATCH: u32 = 64;

const SYSTEM: Parameter =
    Parameter::optional("system", "what the model is to be, said before everything else");
const MAX_TOKENS: Parameter = Parameter::with_default("max_tokens", "512", "most tokens of the answer");
const TOOLS: Parameter =
    Parameter::optional("tools", "functions that the model may call, as JSON like OpenAI's");
const TOOL_CHOICE: Parameter = Parameter::optional(
    "tool_choice",
    "auto, none, required, or the name of the function that has to be called",
);
const SCHEMA: Parameter = Parameter::optional("schema", "JSON schema that the answer has to match");
const STRICT: Parameter =
    Parameter::with_default("strict", "false", "refuse a schema of which a part could not be kept to");
const REPORT: Parameter = Parameter::with_default(
    "report",
    "false",
    "tell text as text, all else as JSON, and at the end only why it ended",
);

pub const SUMMARY: &str = "A conversation: messages in, streamed text out.";
pub const PARAMETERS: &[Parameter] = &[
    SYSTEM,
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
    TOOLS,
    TOOL_CHOICE,
    SCHEMA,
    STRICT,
    JSON,
    REPORT,
    MODEL,
];

/// The pipeline.
#[derive(Debug)]
pub struct Chat;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Chat);

impl Pipeline for Chat {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let mut conversation = Conversation::read(asked.text()?, asked.is_json())?
            .with_system(asked.value(&SYSTEM))?
            .with_tools(asked.value(&TOOLS))?;
        let choice = Choice::read(asked.value(&TOOL_CHOICE), &conversation.tools)?;
        if choice == Choice::None {
            conversation.tools.clear();
        }
        let shape = match (asked.flag(&REPORT)?, asked.flag(&JSON)?) {
            (true, _) => Shape::Report,
            (false, true) => Shape::Json,
            (false, false) => Shape::Text,
        };
        let options = options(&asked)?;
        let schema = match choice.schema(&conversation.tools)? {
            Some(schema) => Some(schema),
            None => asked.value(&SCHEMA).map(str::to_owned),
        };
        let model = asked.model()?;
        let constraint = schema.map(|schema| constraint(&model, schema, asked.flag(&STRICT)?)).transpose()?;
        let names = conversation.tools.iter().map(|tool| tool.name.clone()).collect();
        let context = begin(&model, conversation)?;
        stream(&context.generate(&options, constraint.as_ref())?, Said::with_tools(names), shape)
    }
}

fn options(asked: &Asked<'_>) -> Result<Options, Error> {
    Ok(Options {
        max_tokens: asked.number(&MAX_TOKENS, 1..=1_000_000)?,
        sampling: Some(asked.sampling()?),
        stop: asked.stops(),
        top_logprobs: asked.top_logprobs()?,
        ..Options::default()
    })
}

fn constraint(model: &Model, schema: String, strict: bool) -> Result<Constraint, Error> {
    let constraint = Constraint::compile(model, &Spec::JsonSchema(schema))?;
    let warnings = constraint.warnings();
    if strict && !warnings.is_empty() {
        return Err(Error::Constraint(format!("it would not be kept to: {}", warnings.join("; "))));
    }
    Ok(constraint)
}

/// A context that waits for the assistant's answer, or for the rest of it.
fn begin(model: &Model, conversation: Conversation) -> Result<Context, Error> {
    let Conversation { mut messages, mut tools, beginning } = conversation;
    if !model.info().features.contains(Features::TOOLS) {
        messages = tools::in_words(messages, &tools);
        tools.clear();
    }
    let context = Context::create(model)?;
    context.append_messages(&messages, &tools, true)?;
    if let Some(beginning) = &beginning {
        context.append(beginning, false)?;
    }
    Ok(context)
}

/// Gives the answer to the caller as it comes, and then as a whole.
fn stream(generation: &Generation, mut said: Said, shape: Shape) -> Result<Response, Error> {
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
