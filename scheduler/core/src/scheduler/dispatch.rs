//! Places what waits: late, when there is a slot, and not when it comes.

use std::time::Duration;

use dunlin_costs::{Calibration, Load as LoadState, Prediction};

use super::Scheduler;
use crate::{
    AttemptId, Decision, DecisionId, InvocationId, Outcome, Output, Place, Refusal, Refused,
    attempt::{Attempt, Pace},
    catalog::Variant,
    fleet::{Load, Slot},
    invocation::{Invocation, State},
    placement::{Candidate, Choice, Manner, Question, Spot, Survey, bytes_to_load, choose, order},
    queue::{Pass, Ticket},
    timer::Timer,
};

/// Decisions of one round: what is left over waits for the next, so that inputs are not held up.
const MAX_DECISIONS: usize = 64;

/// The next round, after one that was cut short.
const NEXT_ROUND: Duration = Duration::from_millis(1);

/// What came of looking for a place.
enum Tried {
    Placed,
    Waits,
    Ended,
}

impl Scheduler {
    /// What has just come is tried at once: what is free now was offered to those before it when it came free. Then the
    /// models are gone over for which something changed, in the order of the queue.
    pub(super) fn dispatch(&mut self) {
        for _ in 0..MAX_DECISIONS {
            if let Some(ticket) = self.arrivals.pop_front() {
                self.try_place(&ticket);
            } else if let Some(ticket) = self.next_in_pass() {
                if !matches!(self.try_place(&ticket), Tried::Waits) {
                    self.pass.placed(&ticket);
                }
            } else {
                return;
            }
        }
        self.timers.set(Timer::Round, self.now + NEXT_ROUND);
    }

    fn next_in_pass(&mut self) -> Option<Ticket> {
        let next = self.queue.next(&mut self.pass);
        if next.is_some() || self.dirty.is_empty() {
            return next;
        }
        self.pass = Pass::over(std::mem::take(&mut self.dirty));
        self.queue.next(&mut self.pass)
    }

    fn try_place(&mut self, ticket: &Ticket) -> Tried {
        let id = ticket.turn.id;
        let mut survey = std::mem::take(&mut self.survey);
        let tried = self.try_place_with(id, ticket, &mut survey);
        self.survey = survey;
        tried
    }

    fn try_place_with(&mut self, id: InvocationId, ticket: &Ticket, survey: &mut Survey) -> Tried {
        self.await_engine(id, None);
        let waiting = self.invocations.get(&id).filter(|invocation| invocation.ticket() == Some(ticket));
        let Some(invocation) = waiting else { return Tried::Ended };
        let variants = self.variants(&invocation.request.model).to_vec();
        let question = self.question(invocation);
        let choice = self.decide(&question, &variants, survey);
        let spot = match choice {
            Choice::Place(at) => survey.places[at],
            Choice::Wait(at) => {
                let awaited = at.map(|at| (survey.places[at].slot, survey.places[at].model));
                self.await_engine(id, awaited);
                return Tried::Waits;
            }
            Choice::Nothing => {
                self.reject(id, &variants, survey);
                return Tried::Ended;
            }
        };
        let attempt = AttemptId { invocation: id, number: invocation.next_attempt };
        let decision = DecisionId(self.next_decision);
        let record = Decision::record(decision, attempt, &self.fleet, &question, &variants, survey, choice);
        let Some(chosen) = record.chosen().cloned() else { return Tried::Waits };
        self.next_decision += 1;
        self.queue.take(ticket);
        self.placements.event(self.now);
        self.outputs.push_back(Output::Record(Box::new(record)));
        self.place(attempt, &spot, &chosen, decision);
        Tried::Placed
    }

    pub(super) fn variants(&self, model: &str) -> &[Variant] {
        self.fleet.catalog.alias(model).map_or(&[], |alias| &alias.variants)
    }

    pub(super) fn question<'a>(&self, invocation: &'a Invocation) -> Question<'a> {
        let request = &invocation.request;
        let queued = match invocation.state {
            State::Queued { since, .. } => since,
            _ => self.now,
        };
        Question {
            request,
            now: self.now,
            submitted: invocation.submitted,
            queued,
            begun: invocation.next_attempt > 0,
            emitted: invocation.emitted,
            model: invocation.model,
            avoid: &invocation.avoid,
            suspect: self.quarantine.is_suspect(request.fingerprint, self.now),
            reuse: self.demand.reuse(&request.model, self.now),
        }
    }

    /// Nodes that it failed on are looked at if there are no others.
    pub(super) fn decide(
        &self,
        question: &Question<'_>,
        variants: &[Variant],
        survey: &mut Survey,
    ) -> Choice {
        survey.take(&self.fleet, question, variants);
        if survey.places.is_empty() && !question.avoid.is_empty() {
            survey.take(&self.fleet, &Question { avoid: &[], ..*question }, variants);
        }
        let manner = Manner::of(question, survey);
        choose(&survey.places, manner, |place| order(&self.fleet, place))
    }

    /// It would rather wait for this engine than run elsewhere: those after it reckon with that.
    pub(super) fn await_engine(&mut self, id: InvocationId, awaited: Option<(Slot, crate::ModelIndex)>) {
        let Some(State::Queued { awaits, .. }) = self.invocations.get_mut(&id).map(|of| &mut of.state) else {
            return;
        };
        let before = std::mem::replace(awaits, awaited);
        let mut count = |engine: Option<(Slot, crate::ModelIndex)>, change: fn(u32) -> u32| {
            let engine = engine.and_then(|(slot, model)| self.fleet.node_mut(slot).engine_mut(model));
            if let Some(engine) = engine {
                engine.awaited = change(engine.awaited);
            }
        };
        count(before, |awaited| awaited.saturating_sub(1));
        count(awaited, |awaited| awaited + 1);
    }

    fn reject(&mut self, id: InvocationId, variants: &[Variant], survey: &mut Survey) {
        let Some(invocation) = self.invocations.get(&id) else { return };
        let attempt = AttemptId { invocation: id, number: invocation.next_attempt };
        let question = self.question(invocation);
        let decision = DecisionId(self.next_decision);
        let choice = Choice::Nothing;
        let record = Decision::record(decision, attempt, &self.fleet, &question, variants, survey, choice);
        self.next_decision += 1;
        self.outputs.push_back(Output::Record(Box::new(record)));
        if let Some(invocation) = self.invocations.get_mut(&id) {
            invocation.decision = Some(decision);
        }
        let retry_after = Some(self.retry_after());
        self.end(id, Outcome::Refused(Refusal { reason: Refused::NothingFits, retry_after }));
    }

    fn place(&mut self, id: AttemptId, spot: &Spot, chosen: &Candidate, decision: DecisionId) {
        let Some(invocation) = self.invocations.get(&id.invocation) else { return };
        let question = self.question(invocation);
        let stream = question.stream(id, chosen.work());
        let load = (!spot.resident).then(|| self.load_of(chosen, spot));
        self.fleet.place(spot.slot, spot.model, spot.row, stream, load);
        for prefix in question.prefixes() {
            self.fleet.hold_prefix(spot.slot, spot.model, prefix.hash);
        }
        let attempt = self.attempt(id.number, chosen, spot, decision, load.is_some());
        let order = Place {
            attempt: id,
            epoch: self.config.epoch,
            node: chosen.node,
            incarnation: self.fleet.node(spot.slot).incarnation,
            model: chosen.model(),
            point: chosen.point(),
            resume_at: invocation.delivered,
            prediction: chosen.prediction,
            decision,
        };
        let (submitted, limit) = (invocation.submitted, invocation.request.time_limit);
        self.timers.set(Timer::Stall(id.invocation), attempt.stalls_at());
        self.limit_time(id.invocation, submitted, limit);
        self.begin(id.invocation, attempt);
        tracing::trace!(attempt = %id, node = %order.node, "placed");
        self.outputs.push_back(Output::Place(order));
    }

    fn begin(&mut self, id: InvocationId, attempt: Attempt) {
        let now = self.now;
        let Some(invocation) = self.invocations.get_mut(&id) else { return };
        if let State::Queued { since, .. } = invocation.state {
            invocation.usage.queued += now - since;
        }
        invocation.usage.nodes.push(attempt.node);
        invocation.next_attempt = attempt.number + 1;
        invocation.decision = Some(attempt.decision);
        invocation.state = State::Placed(Box::new(attempt));
    }

    fn attempt(
        &self,
        number: u32,
        chosen: &Candidate,
        spot: &Spot,
        decision: DecisionId,
        loads: bool,
    ) -> Attempt {
        Attempt {
            number,
            node: chosen.node,
            slot: spot.slot,
            model: spot.model,
            row: spot.row,
            decision,
            prediction: chosen.prediction,
            plain: self.plain(chosen),
            work: *chosen.work(),
            placed: self.now,
            started: None,
            first_token: None,
            loads,
            last_progress: self.now,
            tokens: 0,
            asked: None,
            ended: None,
            missed_reports: 0,
            pace: Pace::default(),
        }
    }

    fn plain(&self, chosen: &Candidate) -> Prediction {
        let uncalibrated: &Calibration = &self.fleet.uncalibrated;
        chosen.row.predict(chosen.work(), chosen.situation(), uncalibrated)
    }

    fn load_of(&self, chosen: &Candidate, spot: &Spot) -> Load {
        let load = &chosen.row.load;
        let absent = self.fleet.node(spot.slot).engine(spot.model).is_none_or(|engine| engine.is_absent());
        let expected = match chosen.situation().load {
            LoadState::Warm => Some(load.warm_ms.nominal() / 1e3),
            LoadState::Cold if !absent => Some(load.cold_ms.nominal() / 1e3),
            _ => None,
        };
        Load { since: self.now, bytes: bytes_to_load(&chosen.row), expected }
    }
}
