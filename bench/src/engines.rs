//! The ways to get tokens out of a model that are compared.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Instant,
};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, unbounded};
use dunlin_engine::{Vitals, Wake};
use dunlin_engine_handle::{
    Call, CallId, Engine, FromEngine, Generate, Load, Patience, Program, Sampling, Threads, Token, Usage,
};
use dunlin_gguf::{
    Gguf,
    synth::{Mix, SynthShape, synth},
};

/// A model and how to run it.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) model: PathBuf,
    pub(crate) threads: u32,
    ends: Vec<Token>,
}

impl Setting {
    pub(crate) fn new(model: PathBuf, threads: u32) -> anyhow::Result<Self> {
        let gguf = Gguf::open(&model)?;
        let special = &gguf.model().tokenizer.special;
        let ends =
            [&special.eos, &special.eot, &special.eom].into_iter().flatten().map(|token| token.id).collect();
        Ok(Self { model, threads, ends })
    }

    pub(crate) fn load(&self) -> Load {
        let threads = Threads { prefill: self.threads, decode: self.threads };
        Load { model: self.model.clone(), threads, reserve_bytes: 0, ..Load::default() }
    }

    /// A generation of exactly `tokens` tokens: the model is kept from ending it.
    pub(crate) fn generate(&self, prompt: Vec<Token>, tokens: u32) -> Generate {
        let logit_bias = self.ends.iter().map(|&end| (end, f32::NEG_INFINITY)).collect();
        let sampling = Some(Sampling { logit_bias, ..Sampling::default() });
        Generate { prompt, max_tokens: tokens, sampling, ..Generate::default() }
    }
}

/// A model of random weights, written once and kept beside the benchmark.
pub(crate) fn synthetic(shape: &SynthShape, name: &str, threads: u32) -> anyhow::Result<Setting> {
    let path = std::env::current_exe()?.with_file_name(format!("bench-{name}-q4_0.gguf"));
    if Gguf::open(&path).is_err() {
        eprintln!("writing {}", path.display());
        synth(shape, Mix::Q4_0, 1, &path, |_| ())?;
    }
    Setting::new(path, threads)
}

/// A prompt that no earlier one is a prefix of.
pub(crate) fn fresh_prompt(length: usize) -> Vec<Token> {
    (0..length).map(|_| fastrand::u32(300..400)).collect()
}

/// How long a generation took, by the engine's own clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed(pub(crate) Usage);

impl Timed {
    /// Tokens a second after the first.
    pub(crate) fn decode_rate(&self) -> f64 {
        f64::from(self.0.output_tokens - 1) / ((self.0.total_us - self.0.ttft_us) as f64 / 1e6)
    }

    /// Tokens of the prompt a second.
    pub(crate) fn prefill_rate(&self) -> f64 {
        f64::from(self.0.prompt_tokens) / (self.0.ttft_us as f64 / 1e6)
    }
}

/// The engine loop in this process: no socket, no handle.
#[derive(Debug)]
pub(crate) struct Bare {
    wakes: Sender<Wake>,
    out: Receiver<FromEngine>,
    next: u64,
}

impl Bare {
    pub(crate) fn start(setting: &Setting) -> anyhow::Result<Self> {
        let vitals = Arc::new(Vitals::default());
        let loaded = dunlin_engine::load(&setting.load(), &vitals, |_| ())?;
        let (wakes, inbox) = unbounded();
        let (say, out) = unbounded();
        let mut engine = dunlin_engine::Engine::new(loaded, inbox, wakes.clone(), say.into())?;
        thread::spawn(move || engine.run());
        Ok(Self { wakes, out, next: 0 })
    }

    pub(crate) fn run_one(&mut self, generate: Generate) -> anyhow::Result<Timed> {
        Ok(self.run(vec![generate])?[0])
    }

    /// All at once; in the order in which they end.
    pub(crate) fn run(&mut self, generates: Vec<Generate>) -> anyhow::Result<Vec<Timed>> {
        let first = self.next;
        for generate in generates {
            let wake = Wake::Call {
                id: CallId(self.next),
                call: Box::new(Call::Generate(generate)),
                arrived: Instant::now(),
            };
            self.next += 1;
            self.wakes.send(wake)?;
        }
        let mut timed = Vec::new();
        while timed.len() < (self.next - first) as usize {
            match self.out.recv()? {
                FromEngine::Step { deltas } => {
                    timed.extend(
                        deltas.into_iter().filter_map(|delta| delta.finish).map(|finish| Timed(finish.usage)),
                    );
                }
                FromEngine::Answer { answer, .. } => anyhow::bail!("{answer:?}"),
                _ => {}
            }
        }
        Ok(timed)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.wakes.send(Wake::Closed));
    }
}

/// The engine process behind its handle.
#[derive(Debug)]
pub(crate) struct Process {
    runtime: tokio::runtime::Runtime,
    pub(crate) engine: Engine,
}

impl Process {
    /// With the model loaded.
    pub(crate) fn start(setting: &Setting) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("dunlin-engine");
        anyhow::ensure!(program.exists(), "{} is missing: run ./x bench", program.display());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let guard = runtime.enter();
        let engine = Engine::start(Program::new(program), setting.load(), Patience::default());
        drop(guard);
        runtime.block_on(engine.ready())?;
        Ok(Self { runtime, engine })
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn run(&self, generate: Generate) -> anyhow::Result<Timed> {
        self.block_on(async {
            let mut generation = self.engine.generate(generate);
            while let Some(delta) = generation.next().await {
                if let Some(finish) = delta?.finish {
                    return Ok(Timed(finish.usage));
                }
            }
            anyhow::bail!("a generation without an end")
        })
    }
}

/// llama.cpp's own benchmark: tokens a second of a prompt of `prompt` tokens, or of `decode` decoded ones.
pub(crate) fn llama_bench(
    program: &Path,
    setting: &Setting,
    prompt: u32,
    decode: u32,
) -> anyhow::Result<f64> {
    let output = Command::new(program)
        .args(["-o", "json", "-r", "1", "-fa", "1"])
        .args(["-p", &prompt.to_string(), "-n", &decode.to_string(), "-t", &setting.threads.to_string()])
        .arg("-m")
        .arg(&setting.model)
        .output()
        .with_context(|| format!("could not run {}", program.display()))?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    report[0]["avg_ts"].as_f64().context("llama-bench printed no rate")
}
