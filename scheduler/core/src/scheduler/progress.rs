//! What attempts give out, and which of it counts: only from the current attempt, and only what is next.

use super::{Scheduler, ending::Tell};
use crate::{
    AttemptEnd, AttemptId, Epoch, Failure, InvocationId, NodeId, Outcome, Output, Progress,
    attempt::{Accepted, GAP_TIMEOUT, accept},
    timer::Timer,
};

impl Scheduler {
    pub(super) fn attempt_started(&mut self, node: NodeId, id: AttemptId) {
        let now = self.now;
        let attempt = self.invocations.get_mut(&id.invocation).and_then(|of| of.current(id, node));
        match attempt {
            Some(attempt) => attempt.started = attempt.started.or(Some(now)),
            None => self.stop_stale(node, id),
        }
    }

    pub(super) fn attempt_progress(&mut self, node: NodeId, progress: &Progress) {
        let &Progress { attempt: id, epoch, offset, length, tokens } = progress;
        let Some(next) = self.next_offset(node, id, epoch) else { return };
        match accept(next, offset, length) {
            Accepted::Fresh { skip, length: fresh } => {
                // Of the tokens, the share that belongs to what is new.
                let new_tokens = (u128::from(tokens) * u128::from(fresh) / u128::from(length)) as u32;
                self.advance(id, fresh, new_tokens);
                let invocation = id.invocation;
                self.outputs.push_back(Output::Deliver { invocation, offset: next, skip, length: fresh });
                self.settle(id);
            }
            // Tokens that the pipeline keeps to itself.
            Accepted::Repeated if length == 0 => self.advance(id, 0, tokens),
            Accepted::Repeated => {}
            Accepted::Gap => self.ask_again(id, next),
        }
    }

    pub(super) fn attempt_ended(&mut self, node: NodeId, id: AttemptId, epoch: Epoch, ended: AttemptEnd) {
        let Some(next) = self.next_offset(node, id, epoch) else { return };
        let Some(invocation) = self.invocations.get_mut(&id.invocation) else { return };
        let Some(attempt) = invocation.attempt_mut() else { return };
        if attempt.ended.replace(ended).is_none() {
            invocation.usage.add(&ended.metered);
        }
        if let Some(failure) = ended.failure {
            return self.fail(id.invocation, failure, Tell::Nobody);
        }
        if ended.next_offset > next {
            self.ask_again(id, next);
        }
        self.settle(id);
    }

    /// What is to come next from this attempt. `None` if nothing it says counts any more; then it is told to stop.
    fn next_offset(&mut self, node: NodeId, id: AttemptId, epoch: Epoch) -> Option<u64> {
        if epoch != self.config.epoch {
            return None;
        }
        let invocation = self.invocations.get_mut(&id.invocation);
        let next = invocation.and_then(|of| of.current(id, node).is_some().then_some(of.delivered));
        if next.is_none() {
            self.stop_stale(node, id);
        }
        next
    }

    pub(super) fn stop_stale(&mut self, node: NodeId, attempt: AttemptId) {
        self.outputs.push_back(Output::CancelAttempt { node, attempt });
    }

    fn advance(&mut self, id: AttemptId, pieces: u64, tokens: u32) {
        let now = self.now;
        let Some(invocation) = self.invocations.get_mut(&id.invocation) else { return };
        invocation.delivered += pieces;
        invocation.emitted += u64::from(tokens);
        let submitted = invocation.submitted;
        if pieces > 0 {
            invocation.usage.ttft.get_or_insert(now - submitted);
        }
        let Some(attempt) = invocation.attempt_mut() else { return };
        let model = attempt.model;
        if pieces > 0 && attempt.asked.take().is_some() {
            self.timers.stop(Timer::Gap(id.invocation));
        }
        invocation.model = Some(model);
        self.learn_from(id, tokens);
    }

    /// Ends it if the attempt has, and all that it gave out was delivered.
    fn settle(&mut self, id: AttemptId) {
        let Some(invocation) = self.invocations.get(&id.invocation) else { return };
        let Some(ended) = invocation.attempt().and_then(|attempt| attempt.ended) else { return };
        if invocation.delivered >= ended.next_offset {
            self.quarantine.clear(invocation.request.fingerprint);
            self.learn_joules(id, &ended);
            self.end(id.invocation, Outcome::Done);
        }
    }

    pub(super) fn ask_again(&mut self, id: AttemptId, from: u64) {
        let Some(invocation) = self.invocations.get_mut(&id.invocation) else { return };
        let Some(attempt) = invocation.attempt_mut() else { return };
        if attempt.asked.replace(from) == Some(from) {
            return;
        }
        let node = attempt.node;
        self.timers.set(Timer::Gap(id.invocation), self.now + GAP_TIMEOUT);
        self.outputs.push_back(Output::Resend { node, attempt: id, from });
    }

    pub(super) fn check_gap(&mut self, id: InvocationId) {
        let Some(invocation) = self.invocations.get(&id) else { return };
        let asked = invocation.attempt().and_then(|attempt| attempt.asked);
        if asked == Some(invocation.delivered) {
            self.fail(id, Failure::Vanished, Tell::Node);
        }
    }

    pub(super) fn check_stall(&mut self, id: InvocationId) {
        let Some(at) =
            self.invocations.get(&id).and_then(|of| of.attempt()).map(|attempt| attempt.stalls_at())
        else {
            return;
        };
        if at > self.now {
            return self.timers.set(Timer::Stall(id), at);
        }
        self.fail(id, Failure::Stalled, Tell::Node);
    }
}
