//! The async runtime of a command, and its source of chance.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

/// How long the end of a command waits for its tasks.
pub(crate) const SHUTDOWN: Duration = Duration::from_millis(200);

/// One thread runs pipelines, one is for the rest.
const THREADS: usize = 2;

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
}

/// Short enough to be typed again.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0) >> 32
}
