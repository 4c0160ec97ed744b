//! One run of a pipeline: what goes in, what comes out, and how it ends.

pub(crate) mod budget;
pub(crate) mod entry;
pub(crate) mod failure;
pub(crate) mod grants;
pub(crate) mod interrupt;
pub(crate) mod log;
pub(crate) mod outbound;
pub(crate) mod resume;
pub(crate) mod seed;
pub(crate) mod state;
pub(crate) mod stdout;
pub(crate) mod usage;

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::{
    Budget, Grants, Host, Limits, Log, Pipeline, PipelineError, Usage,
    calls::{
        http::Http,
        job::{Job, Meters},
        wasi::{self, Clock},
        weights::Weights,
    },
    host::Inner,
    invoke::{
        budget::Exhausted,
        entry::Entry,
        interrupt::Interrupt,
        log::GuestLog,
        resume::{Delivered, Recorded, Recorder, Resume},
        seed::Seed,
        usage::Totals,
    },
};

/// What a pipeline is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub content_type: String,
    pub body: Vec<u8>,
    pub params: Vec<(String, String)>,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub content_type: String,
    pub body: Vec<u8>,
}

/// What it said before it answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    Text(String),
    /// Passed on as the pipeline gave it.
    Json(String),
    /// 0 to 1.
    Progress(f32),
}

impl Chunk {
    pub(crate) fn text_length(&self) -> u64 {
        match self {
            Self::Text(text) | Self::Json(text) => text.len() as u64,
            Self::Progress(_) => 0,
        }
    }
}

/// The board that runs it, as the pipeline may know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    pub id: String,
    pub class: String,
    pub on_battery: bool,
}

/// One run of a pipeline.
#[derive(Debug)]
pub struct Invocation {
    /// For a command-line guest, its body is what comes from stdin.
    pub request: Request,
    /// For a command-line guest, what follows its name.
    pub arguments: Vec<String>,
    pub grants: Grants,
    pub limits: Limits,
    /// Everything random comes from it: the same seed draws the same.
    pub seed: u64,
    /// Engines share prefixes within a tenant, never across.
    pub tenant: String,
    /// The placement of this invocation that this is, from 0.
    pub attempt: u32,
    /// What earlier attempts said.
    pub resume: Resume,
    /// Gets what generations say, before the pipeline knows of it.
    pub record: Option<mpsc::UnboundedSender<Recorded>>,
    pub node: Node,
    pub cancel: CancellationToken,
    /// What the pipeline emits. A full channel makes it wait, a closed one answers it with `cancelled`.
    pub output: mpsc::Sender<Chunk>,
}

impl Invocation {
    /// With default limits, no grants, seed 0, and everything else empty.
    pub fn new(request: Request, output: mpsc::Sender<Chunk>) -> Self {
        Self {
            request,
            arguments: Vec::new(),
            grants: Grants::default(),
            limits: Limits::default(),
            seed: 0,
            tenant: String::new(),
            attempt: 0,
            resume: Resume::default(),
            record: None,
            node: Node::default(),
            cancel: CancellationToken::new(),
            output,
        }
    }
}

/// How a run ended, and what it took.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub result: Result<Response, InvokeError>,
    pub usage: Usage,
    pub log: Log,
    pub spent: Spent,
}

/// What the run itself took, its generations aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    pub wall_time: Duration,
    pub host_calls: u64,
    pub emitted_bytes: u64,
    /// Linear memory at its end, in bytes.
    pub memory_bytes: u64,
}

/// Why a run has no response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvokeError {
    /// The pipeline's own answer.
    #[error(transparent)]
    Pipeline(PipelineError),
    #[error("cancelled")]
    Cancelled,
    #[error("the deadline passed")]
    Deadline,
    #[error("the pipeline used up its budget of {0}")]
    Exhausted(Budget),
    /// What it imports and may not have; it did not start.
    #[error("the pipeline needs {0}, which it was not granted")]
    NotGranted(&'static str),
    #[error("the pipeline wanted more memory than the {limit_bytes} bytes it may have")]
    Memory { limit_bytes: u64 },
    #[error("the pipeline wanted more table elements than the {limit} it may have")]
    Table { limit: u64 },
    #[error("the pipeline holds more handles than it may")]
    Handles,
    /// A fault of the pipeline's code: a panic, an access out of bounds, a stack overflow, too much data in
    /// one call.
    #[error("the pipeline trapped: {reason}")]
    Trap {
        reason: String,
        /// Functions of the guest, innermost first; empty where nothing is known.
        backtrace: String,
    },
    /// A pipeline is to return and not to exit; a command-line guest exits with 0 where all is well.
    #[error("the guest exited with code {0}")]
    Exited(i32),
    /// A fault of ours.
    #[error("the host failed: {0}")]
    Host(String),
}

impl InvokeError {
    /// Whether the same invocation may succeed later or elsewhere.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Pipeline(error) => matches!(
                error,
                PipelineError::Busy { .. } | PipelineError::Unavailable { .. } | PipelineError::Backend(_)
            ),
            Self::Host(_) => true,
            Self::Cancelled
            | Self::Deadline
            | Self::Exhausted(_)
            | Self::NotGranted(_)
            | Self::Memory { .. }
            | Self::Table { .. }
            | Self::Handles
            | Self::Trap { .. }
            | Self::Exited(_) => false,
        }
    }
}

/// What a call with a model carries beside it, in bytes.
const CALL_OVERHEAD: usize = 1 << 20;

impl Host {
    /// Runs a pipeline once. Must be called on a tokio runtime with time enabled.
    ///
    /// The guest runs on a task of its own: dropping this future cancels it and leaves it to end by itself.
    pub async fn invoke(&self, pipeline: &Pipeline, invocation: Invocation) -> Outcome {
        let cancel = invocation.cancel.child_token();
        let if_dropped = cancel.clone().drop_guard();
        let span =
            tracing::info_span!("invocation", pipeline = pipeline.name(), attempt = invocation.attempt);
        let run = run(self.inner().clone(), pipeline.clone(), invocation, cancel).instrument(span);
        let outcome = tokio::spawn(run).await.unwrap_or_else(|lost| Outcome {
            result: Err(InvokeError::Host(lost.to_string())),
            usage: Usage::default(),
            log: Log::default(),
            spent: Spent::default(),
        });
        drop(if_dropped.disarm());
        outcome
    }
}

async fn run(
    host: Arc<Inner>,
    pipeline: Pipeline,
    invocation: Invocation,
    cancel: CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let mut limits = invocation.limits;
    let interrupt = Interrupt::new(cancel, began, limits.wall_time);
    let log = GuestLog::new(limits.log_bytes);
    if let Some(weights) = &invocation.grants.weights {
        // A model comes in one call.
        let bytes = usize::try_from(weights.bytes).unwrap_or(usize::MAX);
        limits.call_bytes = limits.call_bytes.max(bytes.saturating_add(CALL_OVERHEAD));
    }
    let seed = Seed::of_invocation(invocation.seed);
    let clock = Clock::new(began);
    let wasi = wasi::context(clock, &seed, &invocation.grants.environment, &log);
    let missing = missing_grant(&pipeline, &invocation.grants);
    let totals = Arc::new(Totals::default());
    let job = Job {
        began,
        interrupt: interrupt.clone(),
        meters: Meters::new(&limits),
        models: invocation.grants.models.into_iter().map(Arc::new).collect(),
        tenant: invocation.tenant,
        public_prefixes: invocation.grants.public_prefixes,
        node: invocation.node,
        attempt: invocation.attempt,
        output: invocation.output,
        delivered: Delivered::new(invocation.resume.delivered_bytes),
        recorder: Recorder::new(invocation.resume.generations, invocation.record),
        seed,
        contexts: 0,
        compiled: Default::default(),
        totals: totals.clone(),
        announcements: JoinSet::new(),
        log: log.clone(),
        weights: Weights::new(invocation.grants.weights),
    };
    let meters = job.meters.clone();
    let http =
        Http::new(invocation.grants.http, host.tls.clone(), interrupt.clone(), meters.host_calls.clone());
    let entry = Entry {
        request: invocation.request,
        arguments: invocation.arguments,
        limits,
        interrupt: interrupt.clone(),
        clock,
        log: log.clone(),
        wasi,
        job,
        http,
    };
    let slots = interrupt.unless_stopped(host.slots.acquire_many(pipeline.slots())).await;
    let (result, memory_bytes) = match (&slots, missing) {
        (_, Some(missing)) => (Err(InvokeError::NotGranted(missing)), 0),
        (Ok(Ok(_)), None) => {
            let _running = host.ticker.run();
            // Never dropped half-way: whatever stops the guest stops it from inside.
            entry.enter(&host, &pipeline).await
        }
        (Ok(Err(closed)), None) => (Err(InvokeError::Host(closed.to_string())), 0),
        (Err(stop), None) => (Err((*stop).into()), 0),
    };
    drop(slots);
    let spent = Spent {
        wall_time: began.elapsed(),
        host_calls: meters.host_calls.used(),
        emitted_bytes: meters.emitted_bytes.used(),
        memory_bytes,
    };
    tracing::debug!(?spent, error = result.as_ref().err().map(tracing::field::display), "ended");
    Outcome { result, usage: totals.sum(), log: log.take(), spent }
}

/// An interface that is imported has to be there; one that is not granted must not be.
fn missing_grant(pipeline: &Pipeline, grants: &Grants) -> Option<&'static str> {
    (pipeline.sends_http() && grants.http.is_empty()).then_some("outbound HTTP")
}

pub(crate) fn trapped(error: &wasmtime::Error) -> InvokeError {
    if let Some(ours) = error.downcast_ref::<InvokeError>() {
        return ours.clone();
    }
    if let Some(Exhausted(budget)) = error.downcast_ref() {
        return InvokeError::Exhausted(*budget);
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return InvokeError::Exited(*code);
    }
    if error.is::<PoolConcurrencyLimitError>() || error.is::<std::io::Error>() {
        return InvokeError::Host(format!("{error:#}"));
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let backtrace = error.downcast_ref().map(WasmBacktrace::to_string).unwrap_or_default();
    InvokeError::Trap { reason, backtrace }
}
