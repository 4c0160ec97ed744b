//! The host, as the command sets it up.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dunlin_host::{CacheConfig, Compile, CompileChild, Host, HostConfig, Pipeline, PipelineSource};

use crate::{explain, failure::Failure, terminal::progress::Progress};

/// The argument that makes this executable the compile child of a host.
pub(crate) const COMPILE_CHILD: &str = "compile-child";

/// # Errors
/// If the machine lacks what even a small host takes.
pub(crate) fn open(compiled: &Path) -> anyhow::Result<Host> {
    // Somebody waits for it.
    let compile = Compile::Child(CompileChild { niceness: 0, ..CompileChild::this_program([COMPILE_CHILD]) });
    Ok(Host::new(HostConfig::new(compile).cache(CacheConfig::new(compiled)))?)
}

/// A pipeline that is ready, and how long it took to compile if it was not in the cache.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) pipeline: Pipeline,
    pub(crate) compile_time: Option<Duration>,
}

/// Loads a pipeline, and shows that it is being compiled.
///
/// # Errors
/// Why it cannot be run.
pub(crate) async fn load(
    host: &Host,
    source: PipelineSource,
    progress: &Progress,
) -> Result<Compiled, Failure> {
    let began = Instant::now();
    let mut bar = None;
    let loaded = host
        .load_watched(source, |compiling| {
            let what = || format!("compiling {} kB", compiling.component_bytes / 1000);
            bar.get_or_insert_with(|| progress.wait(&what())).tick();
        })
        .await;
    let compile_time = bar.map(|_| began.elapsed());
    let pipeline = loaded.map_err(|error| explain::not_loaded(&error))?;
    Ok(Compiled { pipeline, compile_time })
}
