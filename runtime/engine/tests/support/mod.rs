//! A real engine process on a tiny model of random weights.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use dunlin_engine_handle::{
    Engine, EngineError, Finish, Generate, Load, Patience, Program, Sampling, StopReason, Threads, Token,
    TokenInfo, Tokenize,
};
use dunlin_gguf::synth::{Mix, SynthShape, synth};

/// The tiny model, written once.
pub(crate) fn tiny() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| write("tiny", &SynthShape::TINY))
}

/// A model that takes some hundred milliseconds to load and to read a prompt.
pub(crate) fn slow() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let shape =
            SynthShape { layers: 24, embedding_length: 512, feed_forward_length: 2048, ..SynthShape::TINY };
        write("slow", &SynthShape { name: "slow", heads: 8, kv_heads: 8, context_length: 2048, ..shape })
    })
}

/// Writes a model unless an earlier test did; every test is a process of its own.
fn write(name: &str, shape: &SynthShape) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.gguf"));
    if dunlin_gguf::Gguf::open(&path).is_err() {
        synth(shape, Mix::Q8_0, 1, &path, |_| ()).unwrap();
    }
    path
}

pub(crate) fn load(model: &Path) -> Load {
    let threads = Threads { prefill: 1, decode: 1 };
    Load { model: model.to_owned(), threads, reserve_bytes: 0, ..Load::default() }
}

pub(crate) fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_dunlin-engine"))
}

pub(crate) fn start() -> Engine {
    start_with(load(tiny()))
}

pub(crate) fn start_with(load: Load) -> Engine {
    Engine::start(program(), load, Patience::default())
}

pub(crate) async fn tokens(engine: &Engine, text: &str) -> Vec<Token> {
    engine
        .tokenize(Tokenize { text: text.to_owned(), add_special: true, parse_special: false })
        .await
        .unwrap()
}

pub(crate) async fn prompt(engine: &Engine, text: &str) -> Generate {
    Generate { prompt: tokens(engine, text).await, max_tokens: 16, ..Generate::default() }
}

pub(crate) fn hot() -> Option<Sampling> {
    Some(Sampling { temperature: 1.0, ..Sampling::default() })
}

/// A generation that runs until something stops it.
pub(crate) async fn endless(engine: &Engine) -> Generate {
    let mut sampling = hot().unwrap();
    sampling.logit_bias =
        engine.ready().await.unwrap().end_of_turn.iter().map(|&end| (end, f32::NEG_INFINITY)).collect();
    Generate { max_tokens: 100_000, sampling: Some(sampling), ..prompt(engine, "on and on").await }
}

/// All that a generation gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) logprobs: Vec<TokenInfo>,
    pub(crate) finish: Option<Finish>,
}

impl Output {
    pub(crate) fn reason(&self) -> StopReason {
        self.finish.as_ref().unwrap().reason
    }

    pub(crate) fn usage(&self) -> dunlin_engine_handle::Usage {
        self.finish.as_ref().unwrap().usage
    }
}

pub(crate) async fn run(engine: &Engine, generate: Generate) -> Result<Output, EngineError> {
    let mut generation = engine.generate(generate);
    let mut output = Output::default();
    while let Some(delta) = generation.next().await {
        let delta = delta?;
        output.text += &delta.text;
        output.tokens.extend(delta.tokens);
        output.logprobs.extend(delta.logprobs);
        output.finish = delta.finish.or(output.finish);
    }
    Ok(output)
}

/// The same of many at once, in order.
pub(crate) async fn run_all(engine: &Engine, generates: Vec<Generate>) -> Vec<Result<Output, EngineError>> {
    let tasks: Vec<_> = generates
        .into_iter()
        .map(|generate| {
            let engine = engine.clone();
            tokio::spawn(async move { run(&engine, generate).await })
        })
        .collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}
