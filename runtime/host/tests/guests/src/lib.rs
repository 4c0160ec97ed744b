//! Components that the tests of `dunlin-host` run.

/// Does what the lines of its input say, and answers with what came of each.
pub const SCRIPT: &[u8] = include_bytes!(env!("DUNLIN_HOST_SCRIPT"));
