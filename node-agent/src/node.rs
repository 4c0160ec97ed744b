//! The node itself: what it holds and what it is told to do, over all connections.

mod told;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_blobs::Store;
use dunlin_engine_handle::Threads;
use dunlin_link::Dialer;
use dunlin_protocol::{
    AttemptId, BlobDigest, ComponentDigest, Epoch, Failure, FailureCode, ModelDigest, NodeId, OperatingPoint,
    limits::MAX_ATTEMPTS,
};
use dunlin_traces::Exporter;
use dunlin_worker_handle::{BoardState, Emulated, EngineKind, Worker};
use tokio::{sync::watch, time::Instant};

use crate::{
    AgentOptions, LocalModel,
    attempt::AttemptLog,
    energy::{self, Metering},
    fetch::Fetching,
    health::Pulse,
    measuring::Bench,
    metrics::Metrics,
    mode::Modes,
    residents::Residents,
    state::Memory,
};

/// How long the log of an attempt is kept after its end, unless the scheduler has all of it before.
pub(crate) const KEPT: Duration = Duration::from_mins(1);

/// Attempts that it runs at once: as many as its worker has instances for.
const SLOTS: u32 = 32;

/// A node, whatever connection it has.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) options: AgentOptions,
    pub(crate) name: NodeId,
    pub(crate) memory: Memory,
    pub(crate) worker: Worker,
    pub(crate) residents: Arc<Residents>,
    pub(crate) blobs: Store,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) fetching: Fetching,
    models: Mutex<BTreeMap<ModelDigest, LocalModel>>,
    attempts: Mutex<BTreeMap<AttemptId, Held>>,
    pub(crate) modes: Modes,
    /// The one that it is in.
    mode: Mutex<String>,
    /// Held while that changes.
    pub(crate) switching: tokio::sync::Mutex<()>,
    cordoned: AtomicBool,
    draining: AtomicBool,
    reports: AtomicU64,
    pub(crate) metering: Metering,
    pub(crate) metrics: Arc<Metrics>,
    /// Where spans go.
    pub(crate) traces: Option<Exporter>,
    pub(crate) bench: Bench,
    health: Pulse,
    /// Counts what is worth a report.
    pub(crate) news: watch::Sender<u64>,
    /// Counts what is worth an inventory.
    pub(crate) shelf: watch::Sender<u64>,
}

#[derive(Debug)]
struct Held {
    log: Arc<AttemptLog>,
    since: Instant,
    ended: Option<Instant>,
}

impl Node {
    pub(crate) fn new(
        options: AgentOptions,
        name: NodeId,
        memory: Memory,
        worker: Worker,
        blobs: Store,
        dialer: Arc<Dialer>,
        (metrics, traces): (Arc<Metrics>, Option<Exporter>),
    ) -> Self {
        let memory_bytes = options.memory_bytes.unwrap_or_else(|| {
            dunlin_gguf::MemoryAvailable::read().map_or(1 << 30, |available| available.bytes)
        });
        let metering = match &options.emulation {
            Some(emulation) => energy::of_emulated(&emulation.class),
            None => energy::of_machine(&options.root, &options.meters),
        };
        let modes = Modes::find(&options.root, &options.modes, &options.folder);
        let mode = match options.emulation {
            Some(_) => options.mode.clone(),
            None => found_mode(&modes, &options.mode),
        };
        let models = options.models.iter().map(|model| (model.digest, model.clone())).collect();
        Self {
            residents: Residents::new(worker.clone(), memory_bytes, metrics.clone()),
            options,
            name,
            memory,
            worker,
            blobs,
            dialer,
            fetching: Fetching::default(),
            models: Mutex::new(models),
            attempts: Mutex::default(),
            modes,
            mode: Mutex::new(mode),
            switching: tokio::sync::Mutex::default(),
            cordoned: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            reports: AtomicU64::new(0),
            metering,
            bench: Bench::default(),
            metrics,
            traces,
            health: Pulse::default(),
            news: watch::Sender::new(0),
            shelf: watch::Sender::new(0),
        }
    }

    pub(crate) fn model(&self, digest: &ModelDigest) -> Option<LocalModel> {
        lock(&self.models).get(digest).cloned()
    }

    /// What it is called, or else its digest.
    pub(crate) fn model_name(&self, digest: &ModelDigest) -> String {
        let name = lock(&self.models).get(digest).map(|model| model.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| digest.to_string())
    }

    /// A model that was fetched.
    pub(crate) fn add_model(&self, model: LocalModel) {
        lock(&self.models).insert(model.digest, model);
        self.shelf.send_modify(|count| *count += 1);
    }

    pub(crate) fn forget_model(&self, digest: &ModelDigest) {
        lock(&self.models).remove(digest);
        self.shelf.send_modify(|count| *count += 1);
    }

    pub(crate) fn component(&self, digest: &ComponentDigest) -> Option<PathBuf> {
        self.blobs.path(BlobDigest::from(*digest))
    }

    pub(crate) fn builtin(&self, name: &str) -> Option<ComponentDigest> {
        self.options.builtins.iter().find(|builtin| builtin.name == name).map(|builtin| builtin.digest)
    }

    /// What computes for a model here.
    pub(crate) fn engine(&self, model: &LocalModel) -> EngineKind {
        match &self.options.emulation {
            Some(emulation) => EngineKind::Emulated(Box::new(Emulated {
                class: emulation.class.clone(),
                mode: self.mode(),
                seed: emulation.seed,
                model: model.name.clone(),
                quantization: model.quantization.clone(),
                file_bytes: model.bytes,
                kv_bytes_per_token: model.kv_bytes_per_token,
            })),
            None => EngineKind::Program(self.options.engine.clone()),
        }
    }

    pub(crate) fn threads(&self, point: &OperatingPoint) -> Threads {
        let own = self.options.threads;
        let or = |asked: u16, own: u32| if asked == 0 { own } else { u32::from(asked) };
        Threads {
            prefill: or(point.prefill_threads, own.prefill),
            decode: or(point.decode_threads, own.decode),
        }
    }

    /// The power state of the machine.
    pub(crate) fn mode(&self) -> String {
        lock(&self.mode).clone()
    }

    pub(crate) fn keep_mode(&self, mode: String) {
        *lock(&self.mode) = mode;
        self.shelf.send_modify(|count| *count += 1);
        self.tell();
    }

    pub(crate) fn cordon(&self, cordoned: bool) {
        self.cordoned.store(cordoned, Relaxed);
        self.tell();
    }

    /// Takes nothing new from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.tell();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The log of an attempt: the one that there is, or a new one (`true`).
    ///
    /// # Errors
    /// If there are too many, or none are taken any more.
    pub(crate) fn attempt(
        &self,
        id: AttemptId,
        epoch: Epoch,
        base: u64,
    ) -> Result<(Arc<AttemptLog>, bool), Failure> {
        let mut attempts = lock(&self.attempts);
        if let Some(held) = attempts.get(&id) {
            return Ok((held.log.clone(), false));
        }
        if self.is_draining() {
            return Err(Failure::new(FailureCode::Unavailable, format!("{} is draining", self.name)));
        }
        if attempts.len() >= MAX_ATTEMPTS {
            let text = format!("{} holds {MAX_ATTEMPTS} attempts, and takes no more", self.name);
            return Err(Failure::new(FailureCode::Overloaded, text).retry_after_ms(1000));
        }
        let log = Arc::new(AttemptLog::new(id, epoch, base));
        attempts.insert(id, Held { log: log.clone(), since: Instant::now(), ended: None });
        drop(attempts);
        self.bench.interrupt();
        Ok((log, true))
    }

    pub(crate) fn held(&self, id: AttemptId) -> Option<Arc<AttemptLog>> {
        lock(&self.attempts).get(&id).map(|held| held.log.clone())
    }

    /// Nobody asks for it any more.
    pub(crate) fn forget(&self, id: AttemptId) {
        lock(&self.attempts).remove(&id);
        self.tell();
    }

    /// Some attempts are not forgotten yet.
    pub(crate) fn holds_attempts(&self) -> bool {
        !lock(&self.attempts).is_empty()
    }

    /// Those that have not ended.
    pub(crate) fn running(&self) -> Vec<Arc<AttemptLog>> {
        let attempts = lock(&self.attempts);
        attempts.values().filter(|held| !held.log.has_ended()).map(|held| held.log.clone()).collect()
    }

    /// Lets go of the logs that were kept for long enough.
    pub(crate) fn tidy(&self) {
        let now = Instant::now();
        lock(&self.attempts).retain(|_, held| {
            if held.log.has_ended() {
                held.ended.get_or_insert(now);
            }
            held.ended.is_none_or(|ended| now.duration_since(ended) < KEPT)
        });
    }

    /// Something is worth a report.
    pub(crate) fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Which board it is, where it is an emulated one.
    pub(crate) fn board(&self) -> Option<BoardState> {
        self.options.emulation.as_ref().map(|emulation| BoardState {
            class: emulation.class.clone(),
            mode: self.mode(),
            seed: emulation.seed,
        })
    }

    /// What an emulated board showed last goes to the meter.
    pub(crate) fn meter_board(&self) {
        let joules = self.worker.board().borrow().as_ref().and_then(|shown| shown.input_joules);
        joules.into_iter().for_each(|joules| self.metering.show(joules));
    }

    /// How it runs models unless it is told otherwise.
    pub(crate) fn point(&self) -> OperatingPoint {
        OperatingPoint {
            mode: self.mode(),
            backend: "cpu".to_owned(),
            kv_type: "f16".to_owned(),
            context: 0,
            prefill_threads: self.options.threads.prefill as u16,
            decode_threads: self.options.threads.decode as u16,
        }
    }
}

/// What an agent that crashed had changed is restored first.
fn found_mode(modes: &Modes, told: &str) -> String {
    match modes.restore() {
        Ok(false) => told.to_owned(),
        Ok(true) => modes.current().unwrap_or_else(|| told.to_owned()),
        Err(error) => {
            tracing::warn!(%error, "the mode that was found before the last change is not restored");
            modes.current().unwrap_or_else(|| told.to_owned())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
