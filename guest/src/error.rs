//! Errors, in words.

use crate::Error;

impl Error {
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidArgument(reason.into())
    }
}

/// What a person is told of an error.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidArgument(reason) => reason.clone(),
        Error::NotPermitted(what) => format!("not permitted: {what}"),
        Error::ModelNotFound(alias) => format!("there is no model {alias:?} here"),
        Error::Unsupported(what) => format!("not supported: {what}"),
        Error::Constraint(reason) => format!("the constraint was refused: {reason}"),
        Error::PromptTooLong((tokens, possible)) => {
            format!("the prompt has {tokens} tokens, and the model takes at most {possible}")
        }
        Error::ContextFull => "the context is full".into(),
        Error::Exhausted(budget) => format!("the budget is used up: {budget:?}"),
        Error::Busy(_) => "the model is busy".into(),
        Error::Unavailable((reason, _)) => format!("the model is not served: {reason}"),
        Error::Deadline => "the deadline passed".into(),
        Error::Cancelled => "cancelled".into(),
        Error::Backend(reason) => format!("the engine failed: {reason}"),
    }
}
