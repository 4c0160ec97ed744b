//! What the targets that run guests share: one host, its guests, and an engine that is a fake.

use std::{
    fs::DirEntry,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use dunlin_engine_handle::{
    Engine,
    fake::{Fake, Script},
};
use dunlin_host::{
    CacheConfig, Compile, Host, HostConfig, Invocation, InvokeError, ModelGrant, Outcome, Pipeline,
    PipelineSource, Request,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// A guest may wait for the fake's answers, and no longer than this.
const WALL_TIME: Duration = Duration::from_secs(2);

/// A guest, loaded, and what runs it.
#[derive(Debug)]
pub struct Stage {
    runtime: Runtime,
    host: Host,
    engine: Engine,
    pipeline: Pipeline,
}

impl Stage {
    /// # Panics
    /// If the guest cannot be loaded.
    pub fn new(name: &str, guest: &[u8]) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let cache = CacheConfig::new(std::env::temp_dir().join("dunlin-fuzz-compiled"));
        let host = Host::new(HostConfig::new(Compile::InProcess).cache(cache)).expect("a host");
        let fake = Fake::default()
            .answering(|generate| Script::say(if generate.seed % 2 == 0 { "é ok" } else { "" }));
        let (engine, pipeline) = runtime.block_on(async {
            let pipeline = host.load(PipelineSource::bytes(name, guest.to_vec())).await;
            (fake.start(), pipeline.expect("the guest"))
        });
        Self { runtime, host, engine, pipeline }
    }

    /// Runs the guest once; the model is `default` to it.
    ///
    /// # Panics
    /// Where the host itself failed: a guest may trap and run out of what it was given, and no more.
    pub fn run(&self, input: Vec<u8>, arguments: Vec<String>) -> Outcome {
        let (output, chunks) = mpsc::channel(64);
        let mut invocation = Invocation::new(Request { body: input, ..Request::default() }, output);
        invocation.arguments = arguments;
        invocation.limits.wall_time = WALL_TIME;
        invocation.grants.models.push(ModelGrant::new("default", "d1e5", self.engine.clone()));
        let outcome = self.runtime.block_on(async {
            let mut chunks = chunks;
            let drain = async move { while chunks.recv().await.is_some() {} };
            tokio::join!(self.host.invoke(&self.pipeline, invocation), drain).0
        });
        if let Err(error @ InvokeError::Host(_)) = &outcome.result {
            panic!("{error}\n{}", outcome.log.text);
        }
        outcome
    }
}

/// A fuzz target's guest, made once.
pub type Once = LazyLock<Stage>;

/// Gives a target something to begin with, beside what it has found before.
///
/// # Panics
/// If the target's corpus cannot be written to.
pub fn seed(name: &str, bytes: &[u8]) {
    // The first argument that is no option is the folder of the corpus; libFuzzer reads it after this.
    if let Some(corpus) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) {
        std::fs::write(Path::new(&corpus).join(format!("seed-{name}")), bytes).expect("the corpus");
    }
}

/// The files of a folder of the project, by name.
///
/// # Panics
/// If the folder or a file of it cannot be read.
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder of the project");
    let read = |entry: std::io::Result<DirEntry>| {
        let entry = entry.expect("an entry");
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file"))
    };
    entries.map(read).collect()
}

/// A file of this process for what is fuzzed by its path.
pub fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("dunlin-fuzz-{}-{name}", std::process::id()))
}
