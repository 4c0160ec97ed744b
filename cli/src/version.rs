//! What this was built of.

/// For other members of a fleet.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// For `dunlin --version`; the versions are those of the lock file.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nwasmtime ",
    env!("DUNLIN_WASMTIME_VERSION"),
    "\nllama.cpp by llama-cpp-sys-2 ",
    env!("DUNLIN_LLAMA_VERSION"),
);

pub(crate) const WASMTIME: &str = env!("DUNLIN_WASMTIME_VERSION");
