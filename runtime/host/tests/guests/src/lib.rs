//! Guests that the tests of `dunlin-host` run.

/// Does what the lines of its input say, and answers with what came of each. A pipeline.
pub const SCRIPT: &[u8] = include_bytes!(env!("DUNLIN_HOST_SCRIPT"));

/// Uses a model by `wasi:nn`, as its arguments say. A command-line component.
pub const COMPONENT: &[u8] = include_bytes!(env!("DUNLIN_HOST_COMPONENT"));

/// Uses a model by `wasi_ephemeral_nn`, as its arguments say. A core module.
pub const GGML: &[u8] = include_bytes!(env!("DUNLIN_HOST_GGML"));

/// Sends the HTTP requests that its input names. A pipeline.
pub const FETCH: &[u8] = include_bytes!(env!("DUNLIN_HOST_FETCH"));
