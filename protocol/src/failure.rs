//! Failures as they travel: what happened, whose fault it is, whether to try again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AtMost, limits::MAX_TEXT};

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever sent what was refused.
    Peer,
    /// Whoever reports it.
    Own,
    /// Nobody's: a limit was reached, or there was too much to do.
    Circumstances,
}

/// What one end tells the other of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: FailureCode,
    /// For a person: the thing, the reason, the next step.
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub text: String,
    /// When to come back, from now.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// The text is cut where it is too long.
    pub fn new(code: FailureCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Self { code, text, retry_after_ms: None }
    }

    #[must_use]
    pub fn retry_after_ms(mut self, wait_ms: u64) -> Self {
        self.retry_after_ms = Some(wait_ms);
        self
    }

    /// Seen from whoever sent the failure: [`Fault::Peer`] is the one who receives it.
    pub fn fault(&self) -> Fault {
        self.code.fault()
    }

    /// Whether the same may succeed later, or elsewhere.
    pub fn may_retry(&self) -> bool {
        self.code.may_retry()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { write!(f, "{:?}", self.code) } else { f.write_str(&self.text) }
    }
}

impl std::error::Error for Failure {}

/// Kinds of failure that programs act on; what is more is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// It could not be read.
    Malformed,
    /// No version in common.
    Version,
    /// The certificate or the token does not allow it.
    Forbidden,
    /// A token that was used, or whose time is over.
    TokenSpent,
    /// No such node, model, pipeline, invocation.
    NotFound,
    /// It is there already, and different.
    Conflict,
    /// Understood, but not possible with these arguments.
    Invalid,
    Unsupported,
    /// A queue or a quota is full.
    Overloaded,
    /// Nobody can do it now: drained, loading, dead.
    Unavailable,
    /// No node meets the targets.
    NoFit,
    Memory,
    DiskFull,
    /// Bytes that are not those that were named.
    DigestMismatch,
    /// An order of a scheduler that is not the leader any more.
    StaleEpoch,
    /// The time for it is over.
    Deadline,
    Cancelled,
    /// A limit of the invocation was reached.
    Exhausted,
    /// The pipeline answered with an error, or trapped.
    Pipeline,
    /// The engine died, or failed.
    Engine,
    /// The model could not be made resident.
    Load,
    /// The node stopped it for reasons of its own.
    Interrupted,
    /// The request has killed engines.
    Quarantined,
    /// What had happened cannot be taken up elsewhere.
    NotResumable,
    Internal,
    /// Of a newer peer.
    #[serde(other)]
    Unknown,
}

impl FailureCode {
    pub fn fault(self) -> Fault {
        match self {
            Self::Malformed
            | Self::Version
            | Self::Forbidden
            | Self::TokenSpent
            | Self::NotFound
            | Self::Conflict
            | Self::Invalid
            | Self::Unsupported
            | Self::DigestMismatch
            | Self::StaleEpoch
            | Self::Pipeline
            | Self::Quarantined => Fault::Peer,
            Self::Engine | Self::Load | Self::Internal | Self::Unknown | Self::NotResumable => Fault::Own,
            Self::Overloaded
            | Self::Unavailable
            | Self::NoFit
            | Self::Memory
            | Self::DiskFull
            | Self::Interrupted
            | Self::Deadline
            | Self::Cancelled
            | Self::Exhausted => Fault::Circumstances,
        }
    }

    pub fn may_retry(self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::Unavailable
                | Self::NoFit
                | Self::Memory
                | Self::DiskFull
                | Self::DigestMismatch
                | Self::Engine
                | Self::Load
                | Self::Interrupted
                | Self::Internal
                | Self::Unknown
        )
    }
}
