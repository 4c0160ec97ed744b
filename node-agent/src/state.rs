//! What a node remembers over its restarts: how often it was started, and the highest epoch that it obeyed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use dunlin_protocol::{Epoch, Incarnation};

const INCARNATION: &str = "incarnation";
const EPOCH: &str = "epoch";

#[derive(Debug)]
pub(crate) struct Memory {
    folder: PathBuf,
    pub(crate) incarnation: Incarnation,
    epoch: Mutex<Epoch>,
}

impl Memory {
    /// Begins a new incarnation.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let incarnation = read(&folder.join(INCARNATION)) + 1;
        write(&folder.join(INCARNATION), incarnation)?;
        let epoch = Epoch(read(&folder.join(EPOCH)));
        Ok(Self {
            folder: folder.to_owned(),
            incarnation: Incarnation(incarnation),
            epoch: Mutex::new(epoch),
        })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an order of this epoch is to be obeyed. A higher one than before is kept.
    pub(crate) fn obeys(&self, epoch: Epoch) -> bool {
        let mut highest = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch > *highest {
            *highest = epoch;
            if let Err(error) = write(&self.folder.join(EPOCH), epoch.0) {
                tracing::warn!(%error, "the epoch cannot be kept");
            }
        }
        epoch >= *highest
    }
}

/// 0 where there is nothing to read.
fn read(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write(path: &Path, number: u64) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, format!("{number}\n"))?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_epoch_is_not_obeyed_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        assert_eq!(memory.incarnation, Incarnation(1));
        assert!(memory.obeys(Epoch(3)) && memory.obeys(Epoch(3)) && !memory.obeys(Epoch(2)));
        let memory = Memory::open(folder.path()).unwrap();
        assert_eq!((memory.incarnation, memory.epoch()), (Incarnation(2), Epoch(3)));
        assert!(!memory.obeys(Epoch(2)));
    }
}
