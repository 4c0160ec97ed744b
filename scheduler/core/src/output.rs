//! What the core wants done.

use std::{sync::Arc, time::Duration};

use dunlin_costs::{ModelDigest, Prediction};
use thiserror::Error;

use crate::{
    AttemptId, Decision, DecisionId, Epoch, Failure, Incarnation, InvocationId, Lapse, NodeId,
    OperatingPoint, Usage,
};

/// An order, or something to know. Orders to nodes carry the scheduler's epoch ([`Config::epoch`](crate::Config)).
#[derive(Debug, Clone)]
pub enum Output {
    /// Start an attempt.
    Place(Place),
    /// Stop an attempt: it is no longer the current one, or nobody wants its invocation.
    CancelAttempt { node: NodeId, attempt: AttemptId },
    /// Send what the attempt has given out from this offset on, again.
    Resend { node: NodeId, attempt: AttemptId, from: u64 },
    /// Make a model resident.
    LoadModel { node: NodeId, model: ModelDigest },
    /// Of what the last [`Progress`](crate::Progress) brought: leave out the first `skip` pieces, and deliver `length`.
    /// Whatever no `Deliver` follows is thrown away.
    Deliver {
        invocation: InvocationId,
        /// Of the first piece that is delivered: the one after the last delivered.
        offset: u64,
        skip: u64,
        length: u64,
    },
    /// An invocation of this id is under way already: this submission is forgotten, that one goes on.
    Duplicate(InvocationId),
    /// The invocation is over. Exactly one for each that was submitted, duplicates aside.
    Ended {
        invocation: InvocationId,
        outcome: Outcome,
        usage: Usage,
        /// Of its last attempt.
        decision: Option<DecisionId>,
    },
    /// The node is not to act for us any more until it has joined again: end its connection.
    Fence { node: NodeId, incarnation: Incarnation, reason: Fenced },
    /// The node drained, and nothing runs on it any more.
    Drained(NodeId),
    /// A decision, for `explain`.
    Record(Box<Decision>),
    /// How an attempt went against what was predicted.
    Measured(Measured),
}

/// An attempt to start.
#[derive(Debug, Clone)]
pub struct Place {
    pub attempt: AttemptId,
    pub epoch: Epoch,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub model: ModelDigest,
    pub point: OperatingPoint,
    /// So many pieces were delivered: they are a part of the prompt now, and the next is of this offset.
    pub resume_at: u64,
    pub prediction: Prediction,
    pub decision: DecisionId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub attempt: AttemptId,
    pub decision: DecisionId,
    pub node: NodeId,
    /// From placement to the first token.
    pub ttft: Option<Duration>,
    /// Mean, after the first token.
    pub tpot: Option<Duration>,
    pub joules: Option<f64>,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Failed(Fault),
    Cancelled,
    /// Its time was up.
    Expired,
    /// It was never begun.
    Refused(Refusal),
}

/// Why an invocation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("the attempt failed: {0:?}")]
    Attempt(Failure),
    #[error("the request was tried as often as requests are; the last attempt failed: {0:?}")]
    OutOfRetries(Failure),
    #[error("the request lost its node as often as it is carried on")]
    OutOfLosses,
    #[error("an engine died under each of its last attempts: the request is not tried again for ten minutes")]
    Quarantined,
}

/// Why a request was not taken, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Refused,
    /// `None` if coming back does not help.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("no model has the alias {0:?}: `dunlin models` lists them")]
    UnknownModel(Arc<str>),
    #[error("{0} requests wait already, which is the limit")]
    QueueFull(usize),
    #[error("{0} requests of this tenant wait already, which is the limit")]
    TenantQueueFull(usize),
    #[error(
        "no node keeps the targets of this request: ask for less, or for another `when-nothing-fits` than `reject`"
    )]
    NothingFits,
    #[error("engines died under this request: it is in quarantine")]
    Quarantined,
    #[error("{0} invocations are under way, which is the limit")]
    TooMany(usize),
}

/// Why a node is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// Another incarnation of it has joined.
    Superseded,
    /// It has not joined, or not since its lease was over.
    Unknown,
    Lapsed(Lapse),
    /// There are too many nodes, or kinds of nodes.
    NoRoom,
}
