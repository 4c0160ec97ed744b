//! How a host call fails: with an error for the guest, or with the end of the guest. And how the end is told
//! to the caller.

use dunlin_engine_handle::EngineError;
use thiserror::Error;
use wasmtime::component::ResourceTableError;

use crate::{
    Budget, InvokeError,
    bindings::dunlin::llm::types as wit,
    invoke::{budget::Exhausted, interrupt::Stop},
};

/// What a host call ends in if not in its result.
#[derive(Debug)]
pub(crate) enum Failure {
    Guest(wit::Error),
    Trap(wasmtime::Error),
}

impl From<wit::Error> for Failure {
    fn from(error: wit::Error) -> Self {
        Self::Guest(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Guest(error.into())
    }
}

impl From<Exhausted> for Failure {
    fn from(error: Exhausted) -> Self {
        Self::Guest(error.into())
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Guest(stop.into())
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(table_trap(error))
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// The trap for a resource that cannot be stored.
pub(crate) fn table_trap(error: ResourceTableError) -> wasmtime::Error {
    match error {
        ResourceTableError::Full => InvokeError::Handles.into(),
        other => other.into(),
    }
}

pub(crate) fn invalid(reason: impl Into<String>) -> wit::Error {
    wit::Error::InvalidArgument(reason.into())
}

impl From<EngineError> for wit::Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::InvalidArgument(reason) => Self::InvalidArgument(reason),
            EngineError::Unsupported(what) => Self::Unsupported(what),
            EngineError::Constraint(reason) => Self::Constraint(reason),
            EngineError::PromptTooLong { tokens, possible } => Self::PromptTooLong((tokens, possible)),
            EngineError::ContextFull => Self::ContextFull,
            EngineError::Busy { retry_after_ms } => Self::Busy(retry_after_ms),
            EngineError::Deadline => Self::Deadline,
            EngineError::Cancelled => Self::Cancelled,
            EngineError::Backend(reason) => Self::Backend(reason),
            EngineError::Unavailable { reason, retry_after_ms } => {
                Self::Unavailable((reason, retry_after_ms))
            }
            gone @ (EngineError::Died { .. } | EngineError::Model(_) | EngineError::Memory(_)) => {
                Self::Unavailable((gone.to_string(), None))
            }
        }
    }
}

impl From<Exhausted> for wit::Error {
    fn from(Exhausted(budget): Exhausted) -> Self {
        Self::Exhausted(budget.into())
    }
}

impl From<Stop> for wit::Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::Deadline => Self::Deadline,
        }
    }
}

impl From<Stop> for InvokeError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::Deadline => Self::Deadline,
        }
    }
}

impl From<Exhausted> for InvokeError {
    fn from(Exhausted(budget): Exhausted) -> Self {
        Self::Exhausted(budget)
    }
}

/// The error that a pipeline answered with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PipelineError {
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    #[error("not permitted: {0}")]
    NotPermitted(String),
    #[error("no such model: {0}")]
    ModelNotFound(String),
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("constraint refused: {0}")]
    Constraint(String),
    #[error("the prompt has {tokens} tokens, the model takes at most {possible}")]
    PromptTooLong { tokens: u32, possible: u32 },
    #[error("the context is full")]
    ContextFull,
    #[error("the budget of {0} is used up")]
    Exhausted(Budget),
    #[error("busy")]
    Busy { retry_after_ms: Option<u32> },
    #[error("the model is not served: {reason}")]
    Unavailable { reason: String, retry_after_ms: Option<u32> },
    #[error("the deadline passed")]
    Deadline,
    #[error("cancelled")]
    Cancelled,
    #[error("backend: {0}")]
    Backend(String),
}

impl From<wit::Error> for PipelineError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::InvalidArgument(reason) => Self::InvalidArgument(reason),
            wit::Error::NotPermitted(what) => Self::NotPermitted(what),
            wit::Error::ModelNotFound(alias) => Self::ModelNotFound(alias),
            wit::Error::Unsupported(what) => Self::Unsupported(what),
            wit::Error::Constraint(reason) => Self::Constraint(reason),
            wit::Error::PromptTooLong((tokens, possible)) => Self::PromptTooLong { tokens, possible },
            wit::Error::ContextFull => Self::ContextFull,
            wit::Error::Exhausted(budget) => Self::Exhausted(budget.into()),
            wit::Error::Busy(retry_after_ms) => Self::Busy { retry_after_ms },
            wit::Error::Unavailable((reason, retry_after_ms)) => Self::Unavailable { reason, retry_after_ms },
            wit::Error::Deadline => Self::Deadline,
            wit::Error::Cancelled => Self::Cancelled,
            wit::Error::Backend(reason) => Self::Backend(reason),
        }
    }
}

impl From<Budget> for wit::Budget {
    fn from(budget: Budget) -> Self {
        match budget {
            Budget::Tokens => Self::Tokens,
            Budget::KvCells => Self::KvCells,
            Budget::Contexts => Self::Contexts,
            Budget::Generations => Self::Generations,
            Budget::WallTime => Self::WallTime,
            Budget::Energy => Self::Energy,
            Budget::HostCalls => Self::HostCalls,
            Budget::EmittedBytes => Self::EmittedBytes,
        }
    }
}

impl From<wit::Budget> for Budget {
    fn from(budget: wit::Budget) -> Self {
        match budget {
            wit::Budget::Tokens => Self::Tokens,
            wit::Budget::KvCells => Self::KvCells,
            wit::Budget::Contexts => Self::Contexts,
            wit::Budget::Generations => Self::Generations,
            wit::Budget::WallTime => Self::WallTime,
            wit::Budget::Energy => Self::Energy,
            wit::Budget::HostCalls => Self::HostCalls,
            wit::Budget::EmittedBytes => Self::EmittedBytes,
        }
    }
}
