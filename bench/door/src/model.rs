//! Random weights in the shape of SmolLM2-135M, which are as fast as trained ones, and the engine alone with them.

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use dunlin_bench_stand::Programs;
use dunlin_engine_handle::{Engine, Generate, Load, Patience, Program, Sampling, Threads, Token};
use dunlin_gguf::{
    Gguf,
    synth::{Mix, SynthShape, synth},
};

pub(crate) const THREADS: u32 = 2;

/// A model, written once and kept beside the benchmark.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) path: PathBuf,
    /// Tokens that would end an answer.
    pub(crate) ends: Vec<Token>,
}

impl Model {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = std::env::current_exe()?.with_file_name("bench-smollm2-135m-q4_0.gguf");
        if Gguf::open(&path).is_err() {
            eprintln!("writing {}", path.display());
            synth(&SynthShape::SMOLLM2_135M, Mix::Q4_0, 1, &path, |_| ())?;
        }
        let gguf = Gguf::open(&path)?;
        let special = &gguf.model().tokenizer.special;
        let ends = [&special.eos, &special.eot, &special.eom].into_iter().flatten();
        Ok(Self { ends: ends.map(|token| token.id).collect(), path })
    }
}

/// The engine process behind its handle, as the worker of a node has it; and nothing else.
#[derive(Debug)]
pub(crate) struct Alone {
    engine: Engine,
    ends: Vec<Token>,
}

impl Alone {
    /// With the model loaded.
    pub(crate) async fn start(programs: &Programs, model: &Model) -> anyhow::Result<Self> {
        let threads = Threads { prefill: THREADS, decode: THREADS };
        let load = Load { model: model.path.clone(), threads, reserve_bytes: 0, ..Load::default() };
        let engine = Engine::start(Program::new(programs.engine.clone()), load, Patience::default());
        engine.ready().await?;
        Ok(Self { engine, ends: model.ends.clone() })
    }

    /// Milliseconds between two tokens of an answer of so many, as they come out of the handle.
    pub(crate) async fn gap_ms(&self, tokens: u32) -> anyhow::Result<f64> {
        let logit_bias = self.ends.iter().map(|end| (*end, f32::NEG_INFINITY)).collect();
        let mut generation = self.engine.generate(Generate {
            prompt: (0..24).map(|_| fastrand::u32(300..400)).collect(),
            max_tokens: tokens,
            sampling: Some(Sampling { logit_bias, ..Sampling::default() }),
            ..Generate::default()
        });
        let mut first = None;
        while let Some(delta) = generation.next().await {
            let delta = delta?;
            let first = *first.get_or_insert_with(Instant::now);
            if let Some(finish) = delta.finish {
                let further =
                    finish.usage.output_tokens.checked_sub(1).context("an answer without tokens")?;
                return Ok(first.elapsed().as_secs_f64() * 1e3 / f64::from(further.max(1)));
            }
        }
        anyhow::bail!("a generation without an end")
    }
}
