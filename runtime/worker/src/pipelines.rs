//! The pipelines of a worker, ready to run: a component that is invoked again is neither read nor hashed again.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use dunlin_host::{Host, LoadError, Pipeline, PipelineSource};
use tokio::task::JoinError;

/// Pipelines that are kept ready; of more, those that were not used for longest are loaded anew.
const KEPT: usize = 32;

/// Shared by all attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipelines(Arc<Mutex<Vec<Kept>>>);

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    stamp: Stamp,
    pipeline: Pipeline,
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { modified: metadata.modified()?, bytes: metadata.len() })
    }
}

impl Pipelines {
    /// # Errors
    /// As [`Host::load`].
    pub(crate) async fn load(&self, host: &Host, path: &Path) -> Result<Pipeline, LoadError> {
        // Taken before the file is read: what is written meanwhile is found at the next time.
        let stamp = tokio::fs::metadata(path).await.and_then(|metadata| Stamp::of(&metadata)).ok();
        if let Some(pipeline) = stamp.and_then(|stamp| self.find(path, stamp)) {
            return Ok(pipeline);
        }
        // Whoever asked may leave: what was begun is done for the next.
        let (loader, source) = (host.clone(), PipelineSource::file(path));
        let loading = tokio::spawn(async move { loader.load_watched(source, |_| ()).await });
        let lost = |error: JoinError| LoadError::Compiler {
            name: path.display().to_string(),
            reason: error.to_string(),
        };
        let pipeline = loading.await.map_err(lost)??;
        if let Some(stamp) = stamp {
            self.keep(Kept { path: path.to_owned(), stamp, pipeline: pipeline.clone() });
        }
        Ok(pipeline)
    }

    fn find(&self, path: &Path, stamp: Stamp) -> Option<Pipeline> {
        let mut all = self.lock();
        let at = all.iter().position(|kept| kept.path == path && kept.stamp == stamp)?;
        let kept = all.remove(at);
        let pipeline = kept.pipeline.clone();
        // The last one was used last.
        all.push(kept);
        Some(pipeline)
    }

    fn keep(&self, kept: Kept) {
        let mut all = self.lock();
        all.retain(|other| other.path != kept.path);
        if all.len() >= KEPT {
            all.remove(0);
        }
        all.push(kept);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_host::{Compile, CompileChild, HostConfig};

    use super::*;

    /// A component that does nothing, and one that exports something more.
    const PLAIN: &str = r#"(module (func (export "_start")))"#;
    const OTHER: &str = r#"(module (func (export "_start")) (func (export "more")))"#;

    #[tokio::test]
    async fn a_file_is_loaded_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.wasm");
        std::fs::write(&path, wat::parse_str(PLAIN).unwrap()).unwrap();
        let host = Host::new(HostConfig::new(Compile::InProcess)).unwrap();
        let pipelines = Pipelines::default();
        let first = pipelines.load(&host, &path).await.unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&path).unwrap()).unwrap();
        assert_eq!(pipelines.find(&path, stamp).map(|kept| kept.digest()), Some(first.digest()));
        std::fs::write(&path, wat::parse_str(OTHER).unwrap()).unwrap();
        let second = pipelines.load(&host, &path).await.unwrap();
        assert_ne!(first.digest(), second.digest());
        assert_eq!(pipelines.lock().len(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(pipelines.load(&host, &path).await, Err(LoadError::Read { .. })));
    }

    #[tokio::test]
    async fn a_compilation_goes_on_when_who_asked_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("it.wasm"), folder.path().join("log"));
        std::fs::write(&path, wat::parse_str(PLAIN).unwrap()).unwrap();
        // A compiler that takes its time, and makes nothing.
        let script = format!(
            "echo begun >> {0}; cat > /dev/null; sleep 0.1; echo ended >> {0}; exit 1",
            log.display()
        );
        let child = CompileChild::new("sh", ["-c", &script]);
        let host = Host::new(HostConfig::new(Compile::Child(child))).unwrap();
        let pipelines = Pipelines::default();
        let begun = async {
            while !log.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = pipelines.load(&host, &path) => panic!("it was too quick to be left"),
            () = begun => {}
        }
        // The next one waits for it, and has to try for itself.
        assert!(pipelines.load(&host, &path).await.is_err());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "begun\nended\nbegun\nended\n");
    }

    #[tokio::test]
    async fn those_that_were_not_used_for_longest_go() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(HostConfig::new(Compile::InProcess)).unwrap();
        let pipelines = Pipelines::default();
        let path = |n: usize| folder.path().join(format!("{n}.wasm"));
        for n in 0..=KEPT {
            std::fs::write(path(n), wat::parse_str(PLAIN).unwrap()).unwrap();
            pipelines.load(&host, &path(n)).await.unwrap();
            pipelines.load(&host, &path(0)).await.unwrap();
        }
        let all = pipelines.lock();
        assert_eq!(all.len(), KEPT);
        assert!(all.iter().any(|kept| kept.path == path(0)) && all.iter().all(|kept| kept.path != path(1)));
    }
}
