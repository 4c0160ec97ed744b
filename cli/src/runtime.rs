//! The async runtime of a command, and its source of chance.

use std::{
    hash::{BuildHasher, RandomState},
    thread::available_parallelism,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

/// How long the end of a command waits for its tasks.
pub(crate) const SHUTDOWN: Duration = Duration::from_millis(200);

/// One thread for what a front end waits for, one for the rest.
const THREADS: usize = 2;

/// With so many processors or fewer, a scheduler has one thread: a token passes several of its tasks, and each that another thread
/// takes has to be woken there first. On two processors a first token came 0.2 ms sooner, of 1.4.
const SMALL: usize = 4;

/// For what goes on while the caller does something else.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
}

/// For whoever serves many at once.
pub(crate) fn for_many() -> std::io::Result<Runtime> {
    let processors = available_parallelism().map_or(1, usize::from);
    let threads = if processors <= SMALL { 1 } else { THREADS };
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
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
