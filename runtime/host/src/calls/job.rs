//! `dunlin:llm/job`: the invocation that is being served, and what is left of its budgets.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use crate::{
    Budget, Chunk, Limits, ModelGrant, Node,
    bindings::dunlin::llm::{
        job::{Child, Chunk as WitChunk, Host, HostChild, Node as WitNode, Place},
        types::{Budget as WitBudget, Error, Usage as WitUsage},
    },
    calls::{cells::CellMeters, constraints::Cache, weights::Weights},
    invoke::{
        budget::{Exhausted, Meter},
        failure::{Failure, invalid},
        interrupt::Interrupt,
        log::GuestLog,
        resume::{Delivered, Recorder},
        seed::Seed,
        state::State,
        usage::Totals,
    },
};

/// What a chunk counts beside its text.
pub(crate) const CHUNK_OVERHEAD: u64 = 16;

/// Fan-outs announced to engines and not answered yet; more go unannounced.
const MAX_ANNOUNCEMENTS: usize = 8;

/// Everything that host calls need to know of the invocation.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) began: Instant,
    pub(crate) interrupt: Interrupt,
    pub(crate) meters: Meters,
    pub(crate) models: Vec<Arc<ModelGrant>>,
    pub(crate) tenant: String,
    pub(crate) public_prefixes: Vec<String>,
    pub(crate) node: Node,
    pub(crate) attempt: u32,
    pub(crate) output: mpsc::Sender<Chunk>,
    pub(crate) delivered: Delivered,
    pub(crate) recorder: Recorder,
    pub(crate) seed: Seed,
    /// Contexts created so far, forks not counted.
    pub(crate) contexts: u32,
    pub(crate) compiled: Cache,
    pub(crate) totals: Arc<Totals>,
    pub(crate) announcements: JoinSet<()>,
    pub(crate) log: GuestLog,
    pub(crate) weights: Weights,
}

#[derive(Debug, Clone)]
pub(crate) struct Meters {
    pub(crate) tokens: Arc<Meter>,
    pub(crate) kv: CellMeters,
    pub(crate) contexts: Arc<Meter>,
    pub(crate) generations: Arc<Meter>,
    pub(crate) host_calls: Arc<Meter>,
    pub(crate) emitted_bytes: Arc<Meter>,
}

impl Meters {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            tokens: Meter::new(Budget::Tokens, limits.tokens),
            kv: CellMeters {
                cells: Meter::new(Budget::KvCells, limits.kv_cells),
                copies: Meter::new(Budget::KvCells, limits.copied_tokens),
            },
            contexts: Meter::new(Budget::Contexts, limits.contexts),
            generations: Meter::new(Budget::Generations, limits.generations),
            host_calls: Meter::new(Budget::HostCalls, limits.host_calls),
            emitted_bytes: Meter::new(Budget::EmittedBytes, limits.emitted_bytes),
        }
    }
}

impl Job {
    /// Every host call begins with this.
    pub(crate) fn count_call(&self) -> Result<(), Exhausted> {
        self.meters.host_calls.take(1)
    }

    /// The longest of the texts that are public and fit.
    pub(crate) fn public_prefix(&self, fits: impl Fn(&str) -> bool) -> Option<&str> {
        let fitting = self.public_prefixes.iter().map(String::as_str).filter(|public| fits(public));
        fitting.max_by_key(|public| public.len())
    }

    /// Begins now, and goes on beside the guest until the invocation ends at the latest. Of too many, the
    /// last are left out.
    pub(crate) fn announce(&mut self, announcement: impl Future<Output = ()> + Send + 'static) {
        while self.announcements.try_join_next().is_some() {}
        if self.announcements.len() >= MAX_ANNOUNCEMENTS {
            return;
        }
        // The first step says it to the engine: before anything that the guest does next.
        let mut announcement = Box::pin(announcement);
        if announcement.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.announcements.spawn(announcement);
        }
    }

    fn remaining(&self, budget: Budget) -> Option<u64> {
        match budget {
            Budget::Tokens => Some(self.meters.tokens.left()),
            Budget::KvCells => Some(self.meters.kv.cells.left()),
            Budget::Contexts => Some(self.meters.contexts.left()),
            Budget::Generations => Some(self.meters.generations.left()),
            Budget::WallTime => Some(self.interrupt.time_left().as_millis() as u64),
            Budget::Energy => None,
            Budget::HostCalls => Some(self.meters.host_calls.left()),
            Budget::EmittedBytes => Some(self.meters.emitted_bytes.left()),
        }
    }

    async fn emit(&self, chunk: Chunk) -> Result<(), Error> {
        self.meters.emitted_bytes.take(CHUNK_OVERHEAD + chunk.text_length())?;
        let Some(chunk) = self.delivered.fresh(chunk) else { return Ok(()) };
        tokio::select! {
            biased;
            sent = self.output.send(chunk) => sent.map_err(|_| Error::Cancelled),
            stop = self.interrupt.settled() => Err(stop.into()),
        }
    }
}

impl Host for State {
    async fn emit(&mut self, chunk: WitChunk) -> Result<(), Failure> {
        self.job.count_call()?;
        let chunk = match chunk {
            WitChunk::Text(text) => Chunk::Text(text),
            WitChunk::Json(json) => Chunk::Json(json),
            WitChunk::Progress(share) if (0.0..=1.0).contains(&share) => Chunk::Progress(share),
            WitChunk::Progress(share) => {
                return Err(invalid(format!("progress goes from 0 to 1, not to {share}")).into());
            }
        };
        Ok(self.job.emit(chunk).await?)
    }

    fn remaining(&mut self, of: WitBudget) -> wasmtime::Result<Option<u64>> {
        self.job.count_call()?;
        Ok(self.job.remaining(of.into()))
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        self.job.count_call()?;
        Ok(self.job.interrupt.check().is_err())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        self.job.count_call()?;
        Ok(self.job.attempt)
    }

    fn here(&mut self) -> wasmtime::Result<WitNode> {
        self.job.count_call()?;
        let Node { id, class, on_battery } = self.job.node.clone();
        Ok(WitNode { id, class, on_battery })
    }

    fn total(&mut self) -> wasmtime::Result<WitUsage> {
        self.job.count_call()?;
        let points: Vec<&str> = self.job.models.iter().map(|grant| grant.operating_point.as_str()).collect();
        Ok(self.job.totals.sum().describe(&self.job.node, &points.join(",")))
    }

    fn spawn(&mut self, _: String, _: Vec<u8>, _: Place) -> Result<Resource<Child>, Failure> {
        self.job.count_call()?;
        Err(Error::Unsupported("spawn: this node runs one pipeline at a time".into()).into())
    }
}

/// No child is ever made yet, so there is none to ask.
impl HostChild for State {
    fn subscribe(&mut self, _: Resource<Child>) -> wasmtime::Result<Resource<DynPollable>> {
        Err(wasmtime::Error::msg("no such child"))
    }

    fn get(&mut self, _: Resource<Child>) -> wasmtime::Result<Option<Result<Vec<u8>, Error>>> {
        Err(wasmtime::Error::msg("no such child"))
    }

    fn cancel(&mut self, _: Resource<Child>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("no such child"))
    }

    fn drop(&mut self, _: Resource<Child>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("no such child"))
    }
}
