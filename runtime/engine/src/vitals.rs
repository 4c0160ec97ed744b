//! Signs of life, written by the thread that decodes and read by the one that talks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use dunlin_engine_handle::Pulse;

#[derive(Debug, Default)]
pub struct Vitals {
    ticks: Arc<AtomicU64>,
    pub(crate) busy: AtomicBool,
    pub(crate) running: AtomicU32,
    pub(crate) queued: AtomicU32,
    pub(crate) cells: AtomicU32,
    pub(crate) idle_cells: AtomicU32,
    pub(crate) spilled_bytes: AtomicU64,
    pub(crate) steps: AtomicU64,
    pub(crate) evictions: AtomicU64,
}

impl Vitals {
    /// The counter that grows with every operator.
    pub fn ticks(&self) -> Arc<AtomicU64> {
        self.ticks.clone()
    }

    /// Something got somewhere.
    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Relaxed);
    }

    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            ticks: self.ticks.load(Relaxed),
            busy: self.busy.load(Relaxed),
            running: self.running.load(Relaxed),
            queued: self.queued.load(Relaxed),
            cells: self.cells.load(Relaxed),
            idle_cells: self.idle_cells.load(Relaxed),
            spilled_bytes: self.spilled_bytes.load(Relaxed),
            steps: self.steps.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
        }
    }
}
