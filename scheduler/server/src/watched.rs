//! A file of the scheduler's operator that is read again whenever it changes.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    ticks: Interval,
}

impl Watched {
    /// From how it is now.
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { seen: modified(&path), path, ticks }
    }

    /// Returns once it is another, or is gone.
    pub(crate) async fn changed(&mut self) -> &Path {
        loop {
            self.ticks.tick().await;
            let before = std::mem::replace(&mut self.seen, modified(&self.path));
            if before != self.seen {
                return &self.path;
            }
        }
    }
}

fn modified(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
