//! Errors of calls to an engine: what happened, whose fault it is, whether to try again.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a call to an engine failed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum EngineError {
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    #[error("not supported by this model or engine: {0}")]
    Unsupported(String),
    /// The model file was refused before or during the load.
    #[error("{0}")]
    Model(String),
    /// The model does not fit into the memory that is free.
    #[error("{0}")]
    Memory(String),
    #[error("constraint refused: {0}")]
    Constraint(String),
    #[error("the prompt has {tokens} tokens, this engine takes at most {possible}")]
    PromptTooLong { tokens: u32, possible: u32 },
    #[error("the context is full")]
    ContextFull,
    #[error("the engine is busy")]
    Busy { retry_after_ms: Option<u32> },
    #[error("the deadline passed")]
    Deadline,
    #[error("cancelled")]
    Cancelled,
    /// llama.cpp reported a failure for this call; the engine lives on.
    #[error("backend: {0}")]
    Backend(String),
    /// The engine process ended while the call was running.
    #[error("the engine died: {reason}")]
    Died { reason: String },
    /// There is no engine to ask: it died, or was told to stop.
    #[error("no engine: {reason}")]
    Unavailable { reason: String, retry_after_ms: Option<u32> },
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call can never succeed as it is.
    Caller,
    /// The engine, or the machine that it runs on.
    Engine,
    /// Nobody's: the caller's own limit was reached, or there was too much to do.
    Circumstances,
}

impl EngineError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::InvalidArgument(_)
            | Self::Unsupported(_)
            | Self::Model(_)
            | Self::Constraint(_)
            | Self::PromptTooLong { .. } => Fault::Caller,
            Self::Backend(_) | Self::Died { .. } | Self::Unavailable { .. } => Fault::Engine,
            Self::Memory(_) | Self::ContextFull | Self::Busy { .. } | Self::Deadline | Self::Cancelled => {
                Fault::Circumstances
            }
        }
    }

    /// Whether the same call may succeed later, or on another engine.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Died { .. }
            | Self::Unavailable { .. }
            | Self::Backend(_)
            | Self::Memory(_) => true,
            Self::InvalidArgument(_)
            | Self::Unsupported(_)
            | Self::Model(_)
            | Self::Constraint(_)
            | Self::PromptTooLong { .. }
            | Self::ContextFull
            | Self::Deadline
            | Self::Cancelled => false,
        }
    }
}
