//! What models cost on this node: short looks after a load, and whole profiles that a scheduler orders. The runs are the
//! worker's; joules are those of this agent's meter.

mod material;
mod probe;
mod profile;
mod subject;

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dunlin_costs::{Row, Table};
use dunlin_profiler::{Joules, Lock as FileLock, Sample, keep};
use dunlin_worker_handle::Window;
use tokio::{
    sync::{Mutex as Lock, MutexGuard as Guard, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub(crate) use probe::probe_what_is_loaded;

use crate::{costs, node::Node};

/// What measures on a node, one at a time.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Counts what a look makes way for: requests, modes, profiles.
    arrivals: watch::Sender<u64>,
    /// Held by whoever measures.
    engaged: Lock<()>,
    /// Ends the profile that runs.
    stop: Mutex<Option<CancellationToken>>,
}

impl Default for Bench {
    fn default() -> Self {
        Self { arrivals: watch::Sender::new(0), engaged: Lock::default(), stop: Mutex::default() }
    }
}

impl Bench {
    /// A look that is on ends now.
    pub(crate) fn interrupt(&self) {
        self.arrivals.send_modify(|count| *count += 1);
    }

    /// What is drawn now is no request's, and not what the board draws when it is idle.
    pub(crate) fn is_engaged(&self) -> bool {
        self.engaged.try_lock().is_err()
    }

    /// Once a look that is on has ended.
    async fn engage(&self) -> Guard<'_, ()> {
        self.interrupt();
        self.engaged.lock().await
    }

    fn may_stop(&self, stop: Option<CancellationToken>) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    /// Ends the profile that runs, if one does; what it has measured is kept.
    pub(crate) fn end_profile(&self) {
        if let Some(stop) = &*self.stop.lock().unwrap_or_else(PoisonError::into_inner) {
            stop.cancel();
        }
    }
}

impl Node {
    /// Keeps rows beside those that are there, in the file that is told to the scheduler.
    ///
    /// # Errors
    /// If the file is none of rows, or cannot be written; then it stays as it is.
    fn keep_rows(&self, rows: &[Row]) -> Result<(), String> {
        let path: PathBuf = self.options.costs.clone();
        let _lock = FileLock::of(&path).map_err(|error| error.to_string())?;
        let mut table: Table = costs::read(&path)?;
        keep(&mut table, rows);
        costs::write(&table, &path)
    }
}

/// When a run was, on this agent's clock.
fn moments(window: Window) -> (Instant, Instant) {
    let ago = |us: u64| {
        let now = Instant::now();
        now.checked_sub(Duration::from_micros(us)).unwrap_or(now)
    };
    (ago(window.began_ago_us), ago(window.ended_ago_us))
}

/// The sample with what the meter saw of it.
async fn metered(mut sample: Sample, window: Option<(Instant, Instant)>, joules: &Joules) -> Sample {
    if let Some((from, to)) = window {
        sample.measured.joules = joules.window(from, to).await;
    }
    sample
}
