//! Moves the epoch of a wasmtime engine, so that guests which compute for long come back to be looked at.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::EngineWeak;

/// Between two looks at a guest that computes.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks while guests run, and lets the machine sleep while none do. The thread ends with the last clone.
#[derive(Debug)]
pub(crate) struct Ticker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        thread::Builder::new().name("dunlin-epoch".into()).spawn(move || tick(&theirs, &engine))?;
        Ok(Self(shared))
    }

    /// Keeps it ticking for as long as the result lives.
    pub(crate) fn run(&self) -> Running {
        self.0.lock().running += 1;
        self.0.changed.notify_one();
        Running(self.0.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

fn tick(shared: &Shared, engine: &EngineWeak) {
    loop {
        let waited = shared.changed.wait_while(shared.lock(), |state| state.running == 0 && !state.ended);
        if waited.unwrap_or_else(PoisonError::into_inner).ended {
            return;
        }
        thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}
