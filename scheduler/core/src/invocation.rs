//! The life of an invocation: queued, placed, running, and out of the table when it ends.

use std::sync::Arc;

use crate::{
    Attempt, AttemptId, DecisionId, Failure, ModelIndex, NodeId, Request, Time, Usage, fleet::Slot,
    queue::Ticket,
};

/// Nodes on which an invocation has failed that it keeps clear of.
pub const MAX_AVOIDED: usize = 8;

/// What the core keeps of an invocation. Its input, options, seed, journal and the ids of its tokens are with the caller,
/// under the same id: all that is needed to carry it on is here or there.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) request: Arc<Request>,
    pub(crate) submitted: Time,
    pub(crate) state: State,
    /// Of the next attempt.
    pub(crate) next_attempt: u32,
    /// The offset that is delivered next.
    pub(crate) delivered: u64,
    /// Tokens that were generated for what was delivered.
    pub(crate) emitted: u64,
    /// What they came from.
    pub(crate) model: Option<ModelIndex>,
    pub(crate) losses: u32,
    pub(crate) retries: u32,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) avoid: Vec<NodeId>,
    pub(crate) decision: Option<DecisionId>,
    pub(crate) usage: Usage,
}

#[derive(Debug)]
pub(crate) enum State {
    /// In the queue, perhaps for an engine that it would rather have than others.
    Queued { since: Time, ticket: Ticket, awaits: Option<(Slot, ModelIndex)> },
    /// Waits before it is tried again.
    Backoff,
    /// Placed; running once `Attempt::started` is set.
    Placed(Box<Attempt>),
}

impl Invocation {
    pub(crate) fn new(request: Arc<Request>, now: Time) -> Self {
        Self {
            request,
            submitted: now,
            state: State::Backoff,
            next_attempt: 0,
            delivered: 0,
            emitted: 0,
            model: None,
            losses: 0,
            retries: 0,
            last_failure: None,
            avoid: Vec::new(),
            decision: None,
            usage: Usage::default(),
        }
    }

    /// Its place in the queue.
    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        match &self.state {
            State::Queued { ticket, .. } => Some(ticket),
            _ => None,
        }
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match &self.state {
            State::Placed(attempt) => Some(attempt),
            _ => None,
        }
    }

    pub(crate) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.state {
            State::Placed(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// The attempt, if it is this one and runs there.
    pub(crate) fn current(&mut self, id: AttemptId, node: NodeId) -> Option<&mut Attempt> {
        self.attempt_mut().filter(|attempt| attempt.number == id.number && attempt.node == node)
    }

    pub(crate) fn keep_clear_of(&mut self, node: NodeId) {
        if self.avoid.len() >= MAX_AVOIDED {
            self.avoid.remove(0);
        }
        self.avoid.push(node);
    }
}
