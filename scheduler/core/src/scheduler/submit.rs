//! Requests come, and are given up.

use std::{sync::Arc, time::Duration};

use super::Scheduler;
use crate::{
    InvocationId, Outcome, Output, Refusal, Refused, Request, Time, Usage,
    invocation::{Invocation, State},
    queue::{MAX_QUEUED, MAX_QUEUED_PER_TENANT, Ticket, Turn},
    timer::Timer,
};

/// Invocations under way, waiting or running.
pub const MAX_INVOCATIONS: usize = 65_536;

/// A request that never found a place expires after this.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// A request without a target for its first token is due after this.
const DUE: Duration = Duration::from_secs(10);

/// Bounds of `retry_after`.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Generating a token is as much work as reading so many.
const GENERATED_PER_READ: u64 = 8;

impl Scheduler {
    pub(super) fn submit(&mut self, request: Request) {
        if self.invocations.contains_key(&request.id) {
            return self.outputs.push_back(Output::Duplicate(request.id));
        }
        if let Err(refusal) = self.admit(&request) {
            return self.refuse(request.id, refusal);
        }
        self.demand.request(&request.model, self.now);
        self.retries.earn();
        let id = request.id;
        tracing::trace!(invocation = %id, "submitted");
        self.invocations.insert(id, Invocation::new(Arc::new(request), self.now));
        self.enqueue(id);
    }

    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let never = |reason| Refusal { reason, retry_after: None };
        let later = |reason| Refusal { reason, retry_after: Some(self.retry_after()) };
        if self.fleet.catalog.alias(&request.model).is_none() {
            return Err(never(Refused::UnknownModel(request.model.clone())));
        }
        if let Some(left) = self.quarantine.holds(request.fingerprint, self.now) {
            return Err(Refusal { reason: Refused::Quarantined, retry_after: Some(left) });
        }
        if self.invocations.len() >= MAX_INVOCATIONS {
            return Err(later(Refused::TooMany(MAX_INVOCATIONS)));
        }
        if self.queue.len() >= MAX_QUEUED {
            return Err(later(Refused::QueueFull(MAX_QUEUED)));
        }
        if self.queue.len_of(request.tenant) >= MAX_QUEUED_PER_TENANT {
            return Err(later(Refused::TenantQueueFull(MAX_QUEUED_PER_TENANT)));
        }
        Ok(())
    }

    fn refuse(&mut self, invocation: InvocationId, refusal: Refusal) {
        let outcome = Outcome::Refused(refusal);
        let (usage, decision) = (Usage::default(), None);
        self.outputs.push_back(Output::Ended { invocation, outcome, usage, decision });
    }

    /// When the queue will have moved on, by how fast it moves.
    pub(super) fn retry_after(&self) -> Duration {
        let (least, most) = RETRY_AFTER;
        self.placements.until(self.queue.len()).unwrap_or(least).clamp(least, most)
    }

    pub(super) fn cancel(&mut self, invocation: InvocationId) {
        if self.invocations.contains_key(&invocation) {
            self.end(invocation, Outcome::Cancelled);
        }
    }

    pub(super) fn expire(&mut self, invocation: InvocationId) {
        self.record_why_it_waits(invocation);
        self.end(invocation, Outcome::Expired);
    }

    /// Of those that a placement looks at, as many may expire at once.
    fn record_why_it_waits(&mut self, id: InvocationId) {
        let mut survey = std::mem::take(&mut self.survey);
        let record = self.considered(id, &mut survey);
        self.survey = survey;
        // Where it would be placed now, it waits for nothing but its turn.
        let Some(record) = record.filter(|record| record.chosen().is_none()) else { return };
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        self.next_decision += 1;
        invocation.decision = Some(record.id);
        self.outputs.push_back(Output::Record(Box::new(record)));
    }

    /// To be placed, or placed again.
    pub(super) fn enqueue(&mut self, id: InvocationId) {
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        let request = &invocation.request;
        let targets = &request.terms.targets;
        let due = invocation.submitted + targets.ttft.or(targets.deadline).unwrap_or(DUE);
        let turn = Turn { fresh: invocation.next_attempt == 0, due, id };
        let ticket = Ticket { tenant: request.tenant, lane: request.model.clone(), turn };
        let work = u64::from(request.prompt_tokens) + GENERATED_PER_READ * u64::from(request.output_tokens);
        let expiry =
            [request.time_limit.map(|limit| invocation.submitted + limit), Some(self.now + MAX_WAIT)];
        invocation.state = State::Queued { since: self.now, ticket: ticket.clone(), awaits: None };
        if let Some(at) = expiry.into_iter().flatten().min() {
            self.timers.set(Timer::Expiry(id), at);
        }
        self.arrivals.push_back(ticket.clone());
        self.queue.push(ticket, work);
        self.keep_pulse();
    }

    /// What it has of its own time from now on, once it was placed.
    pub(super) fn limit_time(&mut self, id: InvocationId, submitted: Time, limit: Option<Duration>) {
        match limit {
            Some(limit) => self.timers.set(Timer::Expiry(id), submitted + limit),
            None => self.timers.stop(Timer::Expiry(id)),
        }
    }
}
