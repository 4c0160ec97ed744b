//! The models in the memory of a node: loaded on demand, evicted where another needs the room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_engine_handle::{Load, Threads};
use dunlin_protocol::{
    Failure, FailureCode, ModelDigest, OperatingPoint, Residency, Resident, limits::MAX_RESIDENTS,
};
use dunlin_worker_handle::{EngineKind, ModelId, ModelState, Open, Worker};
use tokio::time::Instant;

use crate::{
    LocalModel,
    metrics::Metrics,
    residency::{Demand, Hold, NoRoom, ResidentModel, evictions},
};

/// How long a model may take to load before those who wait for it are told to go elsewhere.
const LOAD_PATIENCE: Duration = Duration::from_mins(5);

/// What is loaded, and who uses it.
#[derive(Debug)]
pub(crate) struct Residents {
    worker: Worker,
    memory_bytes: u64,
    metrics: Arc<Metrics>,
    began: Instant,
    /// Models that were loaded since the agent began: the page cache is likely to have them.
    seen: Mutex<BTreeSet<ModelDigest>>,
    /// Models that stay once they are loaded.
    pinned: Mutex<BTreeSet<ModelDigest>>,
    loads: AtomicU64,
    inner: Mutex<BTreeMap<ModelDigest, Entry>>,
}

#[derive(Debug)]
struct Entry {
    memory_bytes: u64,
    point: OperatingPoint,
    running: u32,
    /// Tells it from an entry of the same model before.
    number: u64,
    demand: Demand,
    opened: Instant,
    /// What the last load took; an estimate before.
    reload: Duration,
    told: bool,
}

/// Keeps a model from being evicted.
#[derive(Debug)]
pub(crate) struct InUse {
    residents: Arc<Residents>,
    model: ModelDigest,
    number: u64,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut inner = self.residents.lock();
        if let Some(entry) = inner.get_mut(&self.model).filter(|entry| entry.number == self.number) {
            entry.running -= 1;
        }
    }
}

impl Residents {
    pub(crate) fn new(worker: Worker, memory_bytes: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            worker,
            memory_bytes,
            metrics,
            began: Instant::now(),
            seen: Mutex::default(),
            pinned: Mutex::default(),
            loads: AtomicU64::new(0),
            inner: Mutex::default(),
        })
    }

    /// Whether loading it again reads no disk, as far as one can tell.
    pub(crate) fn is_cached(&self, model: &ModelDigest) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(model)
    }

    pub(crate) fn is_loaded(&self, model: &ModelDigest) -> bool {
        self.worker.is_ready(&id(model))
    }

    /// Loads the model unless it is there, evicting others where it must; returns once it can be used.
    ///
    /// # Errors
    /// What stands in the way, and whether to come back.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        model: &LocalModel,
        engine: EngineKind,
        point: &OperatingPoint,
        threads: Threads,
    ) -> Result<InUse, Failure> {
        let in_use = self.open(model, engine, point, threads)?;
        self.ready(model).await?;
        Ok(in_use)
    }

    fn open(
        self: &Arc<Self>,
        model: &LocalModel,
        engine: EngineKind,
        point: &OperatingPoint,
        threads: Threads,
    ) -> Result<InUse, Failure> {
        let mut inner = self.lock();
        if !inner.contains_key(&model.digest) {
            self.make_room(&mut inner, model)?;
            let now = Instant::now();
            let entry = Entry {
                memory_bytes: model.memory_bytes,
                point: point.clone(),
                running: 0,
                number: self.loads.fetch_add(1, Relaxed),
                demand: Demand::default(),
                opened: now,
                reload: Duration::from_millis(model.bytes / (200 << 10)),
                told: false,
            };
            inner.insert(model.digest, entry);
            let load = Load { model: model.path.clone(), threads, ..Load::default() };
            self.worker.open(id(&model.digest), Open { load, engine });
        }
        self.step(&mut inner, &model.digest, threads);
        let mut number = 0;
        if let Some(entry) = inner.get_mut(&model.digest) {
            entry.running += 1;
            entry.demand.note_use(self.began.elapsed());
            number = entry.number;
        }
        Ok(InUse { residents: self.clone(), model: model.digest, number })
    }

    /// Evicts what is missed least.
    fn make_room(&self, inner: &mut BTreeMap<ModelDigest, Entry>, model: &LocalModel) -> Result<(), Failure> {
        let now = self.began.elapsed();
        let residents: Vec<ResidentModel> =
            inner.iter().map(|(model, entry)| entry.describe(*model, self.is_pinned(model), now)).collect();
        let taken: u64 = inner.values().map(|entry| entry.memory_bytes).sum();
        let free = self.memory_bytes.saturating_sub(taken);
        let evicted = evictions(model.memory_bytes, free, &residents).map_err(|error| {
            let failure = Failure::new(FailureCode::Memory, format!("{}: {error}", model.name));
            match error {
                NoRoom::Never { .. } => failure,
                NoRoom::Busy { .. } => failure.retry_after_ms(1000),
            }
        })?;
        self.metrics.evicted(evicted.len());
        for model in evicted {
            inner.remove(&model);
            self.worker.close(id(&model));
        }
        Ok(())
    }

    /// A model that nothing runs on takes the threads of whoever comes first, from its next step on; later ones share them.
    fn step(&self, inner: &mut BTreeMap<ModelDigest, Entry>, model: &ModelDigest, threads: Threads) {
        let Some(entry) = inner.get_mut(model).filter(|entry| entry.running == 0) else { return };
        let has = (u32::from(entry.point.prefill_threads), u32::from(entry.point.decode_threads));
        if has != (threads.prefill, threads.decode) {
            entry.take_threads(threads);
            self.worker.set_threads(id(model), threads);
        }
    }

    async fn ready(&self, model: &LocalModel) -> Result<(), Failure> {
        let id = id(&model.digest);
        if self.worker.is_ready(&id) && self.is_known_ready(&model.digest) {
            return Ok(());
        }
        let mut status = self.worker.watch();
        let settled = status.wait_for(|status| {
            matches!(status.models.get(&id), Some(ModelState::Ready(_) | ModelState::Failed { .. }))
        });
        let settled = tokio::time::timeout(LOAD_PATIENCE, settled).await;
        let state = match settled {
            Err(_) => {
                let text = format!("{} was not loaded within {} s", model.name, LOAD_PATIENCE.as_secs());
                return Err(Failure::new(FailureCode::Unavailable, text));
            }
            Ok(Err(_)) => return Err(Failure::new(FailureCode::Unavailable, "the agent is stopping")),
            Ok(Ok(status)) => status.models.get(&id).cloned(),
        };
        match state {
            Some(ModelState::Ready(_)) => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(model.digest);
                if let Some(entry) = self.lock().get_mut(&model.digest)
                    && !entry.told
                {
                    (entry.told, entry.reload) = (true, entry.opened.elapsed());
                    self.metrics.loaded(&model.name, entry.reload);
                }
                Ok(())
            }
            Some(ModelState::Failed { reason, memory }) => {
                // The next one who wants it tries again.
                if self.lock().remove(&model.digest).is_some() {
                    self.worker.close(id.clone());
                }
                let code = if memory { FailureCode::Memory } else { FailureCode::Unavailable };
                Err(Failure::new(code, format!("{}: {reason}", model.name)))
            }
            _ => Err(Failure::new(FailureCode::Unavailable, format!("{} is being reloaded", model.name))),
        }
    }

    /// That it is loaded was noted before.
    fn is_known_ready(&self, model: &ModelDigest) -> bool {
        self.lock().get(model).is_some_and(|entry| entry.told)
    }

    /// Unloads a model that nobody uses; false where somebody does.
    pub(crate) fn evict(&self, model: &ModelDigest) -> bool {
        let mut inner = self.lock();
        if inner.get(model).is_some_and(|entry| entry.running > 0) || self.is_pinned(model) {
            return false;
        }
        if inner.remove(model).is_some() {
            self.worker.close(id(model));
        }
        true
    }

    /// Unloads it, pinned or not, and others where it would have no room: its memory is needed. Nothing may run on it.
    ///
    /// # Errors
    /// If others that are pinned or at work leave it no room.
    pub(crate) fn clear(&self, model: &LocalModel) -> Result<(), Failure> {
        let mut inner = self.lock();
        if inner.remove(&model.digest).is_some() {
            self.worker.close(id(&model.digest));
        }
        self.make_room(&mut inner, model)
    }

    /// What its last load took; zero if it is not loaded.
    pub(crate) fn reload(&self, model: &ModelDigest) -> Duration {
        self.lock().get(model).map_or(Duration::ZERO, |entry| entry.reload)
    }

    /// It is not evicted from now on, once it is loaded.
    pub(crate) fn pin(&self, model: &ModelDigest, pinned: bool) {
        let mut all = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if pinned {
            all.insert(*model);
        } else {
            all.remove(model);
        }
    }

    pub(crate) fn is_pinned(&self, model: &ModelDigest) -> bool {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).contains(model)
    }

    /// From the next step on.
    pub(crate) fn set_threads(&self, model: &ModelDigest, threads: Threads) {
        if let Some(entry) = self.lock().get_mut(model) {
            entry.take_threads(threads);
            self.worker.set_threads(id(model), threads);
        }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let taken: u64 = self.lock().values().map(|entry| entry.memory_bytes).sum();
        self.memory_bytes.saturating_sub(taken)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// As the scheduler is told.
    pub(crate) fn list(&self) -> Vec<Resident> {
        let states = self.worker.status().models;
        let vitals = self.worker.vitals().borrow().clone();
        let resident = |(model, entry): (&ModelDigest, &Entry)| {
            let (state, info) = match states.get(&id(model)) {
                Some(ModelState::Ready(info)) => (Residency::Ready, Some(info)),
                Some(ModelState::Restarting { .. }) => (Residency::Restarting, None),
                _ => (Residency::Loading, None),
            };
            let pulse = vitals.get(&id(model)).map(|vitals| vitals.pulse).unwrap_or_default();
            Resident {
                model: *model,
                state,
                point: entry.point.clone(),
                slots: info.map_or(0, |info| info.sequences),
                running: entry.running,
                queued: pulse.queued,
                memory_bytes: entry.memory_bytes,
                cells: info.map_or(0, |info| info.cells),
                used_cells: pulse.cells.saturating_sub(pulse.idle_cells),
                prefixes: None,
            }
        };
        self.lock().iter().take(MAX_RESIDENTS).map(resident).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelDigest, Entry>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn take_threads(&mut self, threads: Threads) {
        (self.point.prefill_threads, self.point.decode_threads) =
            (threads.prefill as u16, threads.decode as u16);
    }

    fn describe(&self, model: ModelDigest, is_pinned: bool, now: Duration) -> ResidentModel {
        let hold = match (is_pinned, self.running) {
            (true, _) => Hold::Pinned,
            (false, 0) => Hold::Idle,
            (false, _) => Hold::Busy,
        };
        let likelihood = self.demand.likelihood(now);
        ResidentModel { model, bytes: self.memory_bytes, hold, reload: self.reload, likelihood }
    }
}

pub(crate) fn id(model: &ModelDigest) -> ModelId {
    ModelId(model.to_string())
}
