//! The engine, its profile, and requests on it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use dunlin_costs::{Backend, Memory, Method, ModelDigest, Origin, RowKey, Thermal};
use dunlin_engine_handle::{
    Engine, Generate, Generation, Load, ModelInfo, Patience, Program, Sampling, Threads, Token, Usage,
};
use dunlin_gguf::{
    Gguf,
    synth::{Mix, SynthShape, synth},
};
use dunlin_profiler::{
    Bench, Campaign, Depth, Joules, Machine, Plan, Points, Profile, Progress, State, StateError, Subject,
    Task, Watcher, profile, rows,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::mix::Request;

const CONTEXT: u32 = 2048;
/// Half the time stopped, half the time on: shorter than a step of most models.
const SLICE: Duration = Duration::from_millis(4);
const TENANT: &str = "dunlin:bench";

/// A model, and where its engine is.
#[derive(Debug)]
pub(crate) struct Stand {
    name: &'static str,
    model: PathBuf,
    engine: PathBuf,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<'a> {
    /// Of both phases, an operating point each.
    pub(crate) threads: &'a [u16],
    pub(crate) depth: Depth,
    pub(crate) budget: Duration,
    /// Draws the order.
    pub(crate) seed: u64,
}

/// A request that was run: what it met, and what it took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Seen {
    pub(crate) prompt: u32,
    pub(crate) cached: u32,
    pub(crate) output: u32,
    pub(crate) beside: u32,
    /// Tokens of those beside it when it came.
    pub(crate) context: u32,
    /// Seconds to the first token, and of a further one.
    pub(crate) ttft: f64,
    pub(crate) tpot: f64,
}

impl Stand {
    /// Random weights of a shape, written once and kept beside the benchmark.
    pub(crate) fn new(shape: &SynthShape) -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let engine = here.with_file_name("dunlin-engine");
        anyhow::ensure!(engine.is_file(), "{} is not built: ./x bench costs builds it", engine.display());
        let model = here.with_file_name(format!("bench-{}-q4_0.gguf", shape.name));
        if Gguf::open(&model).is_err() {
            eprintln!("writing {}", model.display());
            synth(shape, Mix::Q4_0, 1, &model, |_| ())?;
        }
        Ok(Self { name: shape.name, model, engine })
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn start(&self) -> Engine {
        let load = Load { model: self.model.clone(), context: CONTEXT, reserve_bytes: 0, ..Load::default() };
        Engine::start(Program::new(self.engine.clone()), load, Patience::default())
    }

    /// What is measured, and the rows of it.
    pub(crate) async fn profile(&self, extent: &Extent<'_>) -> anyhow::Result<Profile> {
        let plan = Plan::new(extent.depth, &Points::Only(extent.threads.to_vec()), CONTEXT);
        let mut campaign = Campaign::new(plan, State::new("bench", extent.seed), Some(extent.budget), false);
        let start = || self.start();
        let bench = Bench {
            start: &start,
            files: vec![self.model.clone()],
            joules: &Joules::Unknown,
            senses: &Machine::default(),
            machine: Machine::default(),
            stop: CancellationToken::new(),
        };
        profile(&bench, &mut campaign, &mut Silent).await?;
        Ok(rows(&self.subject(), &campaign.into_state(), &Joules::Unknown))
    }

    fn subject(&self) -> Subject {
        Subject {
            name: self.name.to_owned(),
            key: RowKey {
                class: "generic".into(),
                model: ModelDigest::emulated(self.name),
                mode: "default".into(),
                thermal: Thermal::Cool,
                prefill_threads: 0,
                decode_threads: 0,
                backend: Backend::Cpu,
                quantisation: "Q4_0".into(),
                kv_type: "f16".into(),
                context: CONTEXT,
                firmware: String::new(),
                runtime: String::new(),
            },
            memory: Memory::default(),
            origin: Origin::Measured,
            method: Method::Usual,
            source: "bench".to_owned(),
            date: String::new(),
        }
    }

    /// One after another, each beside those that it is to meet.
    pub(crate) async fn run(&self, threads: u16, requests: &[Request]) -> anyhow::Result<Vec<Seen>> {
        let engine = self.start();
        let model = engine.ready().await?;
        let on = On { engine: &engine, model: &model };
        let seen = on.all(threads, requests).await;
        engine.drain().await;
        seen
    }

    /// The same, with the engine stopped half of the time.
    pub(crate) async fn slowed(&self, threads: u16, requests: &[Request]) -> anyhow::Result<Vec<Seen>> {
        let engine = self.start();
        let model = engine.ready().await?;
        let pid = engine.status().pid.context("the engine is no process")?;
        let brake = Brake::on(pid)?;
        let on = On { engine: &engine, model: &model };
        let seen = on.all(threads, requests).await;
        drop(brake);
        engine.drain().await;
        seen
    }
}

/// An engine that serves.
pub(crate) struct On<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) model: &'a ModelInfo,
}

impl On<'_> {
    async fn all(&self, threads: u16, requests: &[Request]) -> anyhow::Result<Vec<Seen>> {
        let threads = Threads { prefill: threads.into(), decode: threads.into() };
        self.engine.set_threads(threads);
        // The first request of an engine does not count.
        self.one(Request { fresh: 64, cached: 0, output: 8, beside: 0 }).await?;
        let mut seen = Vec::new();
        for request in requests {
            seen.push(self.one(*request).await?);
        }
        Ok(seen)
    }

    pub(crate) async fn one(&self, request: Request) -> anyhow::Result<Seen> {
        let prefix = self.prompt(request.cached);
        if request.cached > 0 {
            finished(self.engine.generate(self.generate(prefix.clone(), 1))).await?;
        }
        let mut beside = Vec::new();
        for _ in 0..request.beside {
            let prompt = self.prompt(request.fresh);
            let mut generation = self.engine.generate(self.generate(prompt, CONTEXT / 2));
            // It decodes from its first token on.
            generation.next().await.context("a generation without a token")??;
            beside.push(generation);
        }
        let context: u32 = request.beside * (request.fresh + 1);
        let mut prompt = prefix;
        prompt.extend(self.prompt(request.fresh));
        let usage = finished(self.engine.generate(self.generate(prompt, request.output))).await?;
        for mut generation in beside {
            generation.cancel();
            while generation.next().await.is_some() {}
        }
        let further = f64::from(usage.output_tokens.max(2) - 1);
        Ok(Seen {
            prompt: usage.prompt_tokens + usage.cached_tokens,
            cached: usage.cached_tokens,
            output: usage.output_tokens,
            beside: request.beside,
            context,
            ttft: usage.ttft_us as f64 / 1e6,
            tpot: usage.total_us.saturating_sub(usage.ttft_us) as f64 / 1e6 / further,
        })
    }

    fn prompt(&self, tokens: u32) -> Vec<Token> {
        let last = self.model.vocabulary.max(400);
        (0..tokens).map(|_| fastrand::u32(300..last)).collect()
    }

    /// Exactly so many tokens: the model is kept from ending it.
    fn generate(&self, prompt: Vec<Token>, tokens: u32) -> Generate {
        let ends = self.model.end_of_turn.iter();
        let sampling = Sampling {
            logit_bias: ends.map(|end| (*end, f32::NEG_INFINITY)).collect(),
            ..Sampling::default()
        };
        Generate {
            prompt,
            tenant: TENANT.to_owned(),
            max_tokens: tokens,
            sampling: Some(sampling),
            ..Generate::default()
        }
    }
}

async fn finished(mut generation: Generation) -> anyhow::Result<Usage> {
    while let Some(delta) = generation.next().await {
        if let Some(finish) = delta?.finish {
            return Ok(finish.usage);
        }
    }
    anyhow::bail!("a generation without an end")
}

/// Stops a process half of the time, until it is dropped.
struct Brake {
    on: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Brake {
    fn on(pid: u32) -> anyhow::Result<Self> {
        let pid = Pid::from_raw(pid as i32).context("a process without a number")?;
        let on = Arc::new(AtomicBool::new(true));
        let held = on.clone();
        let thread = thread::spawn(move || {
            while held.load(Relaxed) {
                for signal in [Signal::STOP, Signal::CONT] {
                    if kill_process(pid, signal).is_err() {
                        // It is gone: there is nothing to hold.
                        return;
                    }
                    thread::sleep(SLICE);
                }
            }
        });
        Ok(Self { on, thread: Some(thread) })
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.on.store(false, Relaxed);
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// Nobody watches.
struct Silent;

impl Watcher for Silent {
    fn begins(&mut self, _: Task, _: Progress) {}

    fn keep(&mut self, _: &State) -> Result<(), StateError> {
        Ok(())
    }

    fn note(&mut self, text: &str) {
        eprintln!("note: {text}");
    }
}
