//! What was measured so far, on disk: a profile that was interrupted goes on there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Cell, Judged, Sample, replace};

/// Bytes on disk.
const MAX_STATE_BYTES: u64 = 16 << 20;
/// Samples that are kept: each is a run.
const MAX_SAMPLES: usize = 50_000;

/// The samples of one model on one machine as it is set up now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What they are of: samples of anything else do not mix with them.
    pub identity: String,
    /// Draws the order.
    pub seed: u64,
    pub samples: Vec<Sample>,
    /// What is known of its answers.
    #[serde(default)]
    pub judged: Judged,
}

/// Why a state is not used.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is no state of a profile, or was cut off: {1}")]
    Broken(PathBuf, String),
}

impl State {
    pub fn new(identity: &str, seed: u64) -> Self {
        Self { identity: identity.to_owned(), seed, samples: Vec::new(), judged: Judged::default() }
    }

    /// What is there for `identity`; `None` if there is nothing, or it is of something else.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense: it is better begun anew than mixed.
    pub fn read(path: &Path, identity: &str) -> Result<Option<Self>, StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        let broken = |reason: String| StateError::Broken(path.to_owned(), reason);
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
            Ok(found) if found.len() > MAX_STATE_BYTES => {
                return Err(broken(format!("it has {} bytes", found.len())));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let state: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let sound = |sample: &Sample| sample.measured.seconds.is_finite() && sample.measured.seconds >= 0.0;
        if state.samples.len() > MAX_SAMPLES || !state.samples.iter().all(sound) {
            return Err(broken("its figures make no sense".to_owned()));
        }
        Ok((state.identity == identity).then_some(state))
    }

    /// Whole, or not at all.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        replace(path, &text).map_err(io)
    }

    /// Runs of a cell that count.
    pub fn counted(&self, cell: Cell) -> u32 {
        self.of(cell).filter(|sample| sample.counts()).count() as u32
    }

    /// Runs of a cell, whatever came of them.
    pub fn tried(&self, cell: Cell) -> u32 {
        self.of(cell).count() as u32
    }

    /// Times of the runs that count.
    pub fn seconds(&self, cell: Cell) -> Vec<f64> {
        self.of(cell).filter(|sample| sample.counts()).map(|sample| sample.measured.seconds).collect()
    }

    /// Mean draw over the runs that were metered, as the sensor reads it.
    pub fn watts(&self, cell: Cell) -> Option<f64> {
        let metered =
            self.of(cell).filter(|sample| sample.counts()).filter_map(|sample| sample.measured.joules);
        let (joules, seconds) = metered.fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        (seconds > 0.0).then(|| joules / seconds)
    }

    pub fn of(&self, cell: Cell) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.cell == cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;

    #[test]
    fn a_state_survives_the_disk_and_a_broken_one_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state.json");
        assert_eq!(State::read(&path, "a").unwrap(), None);
        let mut state = State::new("a", 3);
        for cell in [Cell::Load { cold: true }, Cell::Prefill { threads: 2, prompt: 128 }, Cell::Idle] {
            let measured = Measured { seconds: 0.25, joules: Some((2.0, 0.25)), ..Measured::default() };
            state.samples.push(Sample { cell, measured, spoilt: None, warm_up: false });
        }
        state.write(&path).unwrap();
        assert_eq!(State::read(&path, "a").unwrap().as_ref(), Some(&state));
        assert_eq!(state.watts(Cell::Idle), Some(8.0));
        assert_eq!(State::read(&path, "b").unwrap(), None, "of another machine");
        let half = fs::read_to_string(&path).unwrap();
        fs::write(&path, &half[..half.len() / 2]).unwrap();
        assert!(matches!(State::read(&path, "a"), Err(StateError::Broken(..))));
    }
}
