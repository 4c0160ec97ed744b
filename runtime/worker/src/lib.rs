//! The process that runs pipelines for an agent: a host, and the engines of the models that it was told to load.
//!
//! It holds no keys and has no network: [`worker_main`] takes both from itself before anything else. Its agent talks to it
//! over a socket, its standard input, and it ends when that is closed. Read [`WorkerOptions`] and [`worker_main`].
//!
//! Absent here: which model goes where, what others may ask, QUIC.

mod attempt;
mod confine;
mod extra;
mod measure;
mod models;
mod pipelines;
mod serve;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use dunlin_host::{CacheConfig, Compile, CompileChild, Host, HostConfig, HostError};
use dunlin_worker_handle::Confinement;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a process could take from itself that was to be a worker with no folders but this one: for `dunlin doctor`, in a
/// process of its own.
pub fn try_confinement(cache: &std::path::Path) -> Confinement {
    confine::confine(&WorkerOptions {
        cache: cache.to_owned(),
        readable: Vec::new(),
        compile_child: String::new(),
    })
}

/// How a worker works; its agent gives it as one argument of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerOptions {
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// Folders that it reads: models, components, the engine's executable.
    pub readable: Vec<PathBuf>,
    /// The argument that makes this executable the compile child of a host.
    pub compile_child: String,
}

/// Why there is no worker.
#[derive(Debug, Error)]
pub enum WorkerError {
    #[error("its options are not understood: {0}")]
    Options(#[from] serde_json::Error),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("its standard input is no socket: {0}")]
    Socket(io::Error),
    #[error("there is no runtime: {0}")]
    Runtime(io::Error),
}

/// What the process does that is to be a worker. It must have no other thread yet.
pub fn worker_main(options: &str) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The agent reads the last line of a worker that ended.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &str) -> Result<(), WorkerError> {
    let options: WorkerOptions = serde_json::from_str(options)?;
    // The cache has to be there to be named as writable.
    drop(std::fs::create_dir_all(&options.cache));
    let confinement = confine::confine(&options);
    // One thread: engines have all cores, and each thread that wakes for a token takes a core from a step. A pipeline that
    // computes gives way at each tick of its host.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WorkerError::Runtime)?;
    runtime.block_on(async {
        let compile = Compile::Child(CompileChild::this_program([&options.compile_child]));
        let host = Host::new(HostConfig::new(compile).cache(CacheConfig::new(&options.cache)))?;
        serve::serve(socket().map_err(WorkerError::Socket)?, host, confinement).await;
        Ok(())
    })
}

fn socket() -> io::Result<tokio::net::UnixStream> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}
