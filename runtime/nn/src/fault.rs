//! What can go wrong in a call of wasi-nn.

use dunlin_engine_handle::EngineError;
use thiserror::Error;

/// Why a call of wasi-nn failed. Each face has numbers of its own for these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// Options that are no JSON.
    #[error("invalid encoding: {0}")]
    InvalidEncoding(String),
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("too large: {0}")]
    TooLarge(String),
    #[error("no model {0:?} is granted")]
    ModelNotFound(String),
    #[error("the prompt has {tokens} tokens, at most {possible} are possible")]
    PromptTooLong { tokens: u32, possible: u32 },
    #[error("not permitted: {0}")]
    Security(String),
    #[error("the deadline passed")]
    Deadline,
    #[error("cancelled")]
    Cancelled,
    #[error("the engine is busy")]
    Busy,
    #[error("{0}")]
    Runtime(String),
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::InvalidArgument(reason) => Self::InvalidArgument(reason),
            EngineError::Constraint(reason) => Self::InvalidArgument(format!("constraint refused: {reason}")),
            EngineError::Unsupported(what) => Self::Unsupported(what),
            EngineError::Memory(reason) => Self::TooLarge(reason),
            EngineError::PromptTooLong { tokens, possible } => Self::PromptTooLong { tokens, possible },
            EngineError::Busy { .. } => Self::Busy,
            EngineError::Deadline => Self::Deadline,
            EngineError::Cancelled => Self::Cancelled,
            other @ (EngineError::Model(_)
            | EngineError::ContextFull
            | EngineError::Backend(_)
            | EngineError::Died { .. }
            | EngineError::Unavailable { .. }) => Self::Runtime(other.to_string()),
        }
    }
}
