//! Pipelines that ran here of late: reading, checking and hashing a component anew for each attempt takes longer than a short
//! attempt does.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dunlin_host::{Host, LoadError, Pipeline, PipelineSource};

/// Pipelines that are kept ready; of more, the one that was used least recently goes.
const MAX_KEPT: usize = 32;

/// By the file of their component. The agent names such files by their digests, so what is in one never changes.
#[derive(Debug, Clone)]
pub(crate) struct Pipelines {
    host: Host,
    recent: Arc<Mutex<VecDeque<(PathBuf, Pipeline)>>>,
}

impl Pipelines {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, recent: Arc::default() }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) async fn load(&self, component: &Path) -> Result<Pipeline, LoadError> {
        if let Some(known) = self.known(component) {
            return Ok(known);
        }
        let pipeline = self.host.load_watched(PipelineSource::file(component), |_| ()).await?;
        let mut recent = self.lock();
        if recent.iter().all(|(path, _)| path != component) {
            recent.push_back((component.to_owned(), pipeline.clone()));
            let surplus = recent.len().saturating_sub(MAX_KEPT);
            recent.drain(..surplus);
        }
        Ok(pipeline)
    }

    /// Moves it to the end of those that might go.
    fn known(&self, component: &Path) -> Option<Pipeline> {
        let mut recent = self.lock();
        let at = recent.iter().position(|(path, _)| path == component)?;
        let entry = recent.remove(at)?;
        let pipeline = entry.1.clone();
        recent.push_back(entry);
        Some(pipeline)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(PathBuf, Pipeline)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
