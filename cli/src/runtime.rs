//! The async runtime of a command, and its source of chance.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

/// How long the end of a command waits for its tasks.
pub(crate) const SHUTDOWN: Duration = Duration::from_millis(200);

/// One thread for what a front end waits for, one for the rest.
const THREADS: usize = 2;

/// For what goes on while the caller does something else, and for whoever serves many at once.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(std::env::var("DUNLIN_X").map_or(THREADS, |n| n.parse().unwrap_or(2))).enable_all().build()
}

/// For what shares the machine with an engine. The engine has all cores, and each thread that wakes for a token takes a core from
/// a step that the other cores are in the middle of: on two cores, one thread instead of three makes steps 4 % shorter.
pub(crate) fn beside_engine() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Short enough to be typed again.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0) >> 32
}
