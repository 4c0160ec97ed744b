//! Attempts end, and invocations with them or after them.

use super::Scheduler;
use crate::{
    AttemptId, Failure, Fault, InvocationId, Measured, Outcome, Output, Standing,
    attempt::Attempt,
    fleet::Slot,
    invocation::State,
    retry::{MAX_LOSSES, MAX_RETRIES, backoff},
    timer::Timer,
};

/// Whether the node is to be told that an attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Node,
    Nobody,
}

impl Scheduler {
    /// The only way out: an invocation ends once, since it is in the table once.
    pub(super) fn end(&mut self, id: InvocationId, outcome: Outcome) {
        let tell = if outcome == Outcome::Done { Tell::Nobody } else { Tell::Node };
        self.leave_attempt(id, tell);
        self.await_engine(id, None);
        let Some(mut invocation) = self.invocations.remove(&id) else { return };
        if let State::Queued { since, ticket, .. } = &invocation.state {
            invocation.usage.queued += self.now - *since;
            self.queue.remove(ticket);
        }
        self.timers.stop_all_of(id);
        let mut usage = invocation.usage;
        usage.total = self.now - invocation.submitted;
        usage.output_tokens = invocation.emitted;
        tracing::trace!(invocation = %id, ?outcome, "ended");
        let decision = invocation.decision;
        self.outputs.push_back(Output::Ended { invocation: id, outcome, usage, decision });
    }

    /// The invocation has no attempt from here on; what it had is off its node's books.
    pub(super) fn leave_attempt(&mut self, id: InvocationId, tell: Tell) {
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        if invocation.attempt().is_none() {
            return;
        }
        let State::Placed(attempt) = std::mem::replace(&mut invocation.state, State::Backoff) else { return };
        let attempt_id = AttemptId { invocation: id, number: attempt.number };
        self.timers.stop(Timer::Stall(id));
        self.timers.stop(Timer::Gap(id));
        self.measure(attempt_id, &attempt);
        if tell == Tell::Node {
            self.outputs.push_back(Output::CancelAttempt { node: attempt.node, attempt: attempt_id });
        }
        // A node that is gone has no books any more.
        if self.fleet.slot(attempt.node) == Some(attempt.slot) {
            self.fleet.finish(attempt.slot, attempt.model, attempt_id);
            self.place_came_free(attempt.slot);
        }
    }

    fn measure(&mut self, attempt: AttemptId, of: &Attempt) {
        let ttft = of.first_token.map(|first| first - of.placed);
        let further = u32::try_from(of.tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        let tpot = of.first_token.filter(|_| further > 0).map(|first| (of.last_progress - first) / further);
        let joules = of.ended.and_then(|ended| ended.metered.joules);
        let (decision, node) = (of.decision, of.node);
        self.outputs.push_back(Output::Measured(Measured { attempt, decision, node, ttft, tpot, joules }));
    }

    fn place_came_free(&mut self, slot: Slot) {
        self.wake_lanes_of(slot);
        let node = self.fleet.node(slot);
        if node.standing == Standing::Draining && node.in_flight() == 0 {
            self.timers.stop(Timer::Handover(node.id));
            self.outputs.push_back(Output::Drained(node.id));
        }
    }

    /// Requests that wait for a model that the node may run are looked at again.
    pub(super) fn wake_lanes_of(&mut self, slot: Slot) {
        if self.queue.len() == 0 {
            return;
        }
        let node = self.fleet.node(slot);
        let catalog = &self.fleet.catalog;
        let runs = |lane: &str| {
            let variants = catalog.alias(lane).map_or(&[][..], |alias| &alias.variants);
            let mut models = variants.iter().filter_map(|variant| catalog.index(&variant.model));
            models.any(|model| node.memberships.iter().any(|&(of, _)| of == model))
        };
        let lanes: Vec<_> = self.queue.lanes().filter(|lane| runs(lane)).cloned().collect();
        self.dirty.extend(lanes);
    }

    /// The node is gone or gives it up: it goes on elsewhere.
    pub(super) fn lose(&mut self, id: InvocationId, tell: Tell) {
        self.leave_attempt(id, tell);
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        invocation.losses += 1;
        if invocation.losses > MAX_LOSSES {
            return self.end(id, Outcome::Failed(Fault::OutOfLosses));
        }
        self.enqueue(id);
    }

    /// The attempt failed: it is tried again elsewhere if that may help and is within the budget.
    pub(super) fn fail(&mut self, id: InvocationId, failure: Failure, tell: Tell) {
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        let Some(node) = invocation.attempt().map(|attempt| attempt.node) else { return };
        invocation.last_failure = Some(failure);
        invocation.retries += 1;
        invocation.keep_clear_of(node);
        let (retries, fingerprint) = (invocation.retries, invocation.request.fingerprint);
        tracing::debug!(invocation = %id, %node, ?failure, "attempt failed");
        self.leave_attempt(id, tell);
        if !failure.may_be_retried() {
            return self.end(id, Outcome::Failed(Fault::Attempt(failure)));
        }
        let died = failure == Failure::EngineDied;
        if died && self.quarantine.death(fingerprint, self.now) {
            return self.end(id, Outcome::Failed(Fault::Quarantined));
        }
        // An engine takes its streams with it, guilty or not: that they go on is promised, as after the loss of a node.
        if retries > MAX_RETRIES || !(died || self.retries.spend()) {
            return self.end(id, Outcome::Failed(Fault::OutOfRetries(failure)));
        }
        let wait = backoff(retries, self.rng.f64());
        self.timers.set(Timer::Backoff(id), self.now + wait);
    }
}
