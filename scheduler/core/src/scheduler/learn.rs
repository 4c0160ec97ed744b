//! Predictions against what happens.

use dunlin_costs::Phase;

use super::Scheduler;
use crate::{AttemptEnd, AttemptId, ModelIndex, Time, fleet::Slot};

impl Scheduler {
    /// An attempt has generated so many tokens since it last said so.
    pub(super) fn learn_from(&mut self, id: AttemptId, tokens: u32) {
        if tokens == 0 {
            return;
        }
        let now = self.now;
        let Some(attempt) = self.invocations.get_mut(&id.invocation).and_then(|of| of.attempt_mut()) else {
            return;
        };
        let (slot, model, row) = (attempt.slot, attempt.model, attempt.row);
        attempt.tokens += u64::from(tokens);
        let took = now - attempt.last_progress;
        attempt.last_progress = now;
        let observation = match attempt.first_token {
            None => {
                attempt.first_token = Some(now);
                let started = attempt.started.filter(|_| !attempt.loads);
                started.map(|at| (Phase::Prefill, attempt.plain.reading, now.since(at).as_secs_f64()))
            }
            Some(_) => {
                let node = self.fleet.node(slot);
                let running = node.engine(model).map(|engine| engine.running()).unwrap_or_default();
                let disturbed = running.backlog_tokens > 0;
                let of_row = self.fleet.rows.row(row);
                let neighbours = f64::from(node.neighbours(model));
                let tpot = of_row
                    .map(|row| row.tpot(&running) * (1.0 + row.decode.contention.nominal() * neighbours));
                let pace = attempt.pace.add(tokens, tpot.unwrap_or(0.0), took, disturbed);
                pace.map(|(expected, actual)| (Phase::Decode, expected, actual))
            }
        };
        self.fleet.progress(slot, model, id, tokens);
        if let Some((phase, expected, actual)) = observation {
            self.fleet.learn(slot, row, phase, expected, actual);
        }
    }

    pub(super) fn learn_joules(&mut self, id: AttemptId, ended: &AttemptEnd) {
        let Some(attempt) = self.invocations.get(&id.invocation).and_then(|of| of.attempt()) else { return };
        // What was lost on the way to this attempt, or generated beyond the expectation, is another request's worth.
        let expected = attempt.plain.joules.map(|joules| joules.marginal);
        let (Some(expected), Some(actual)) = (expected, ended.metered.joules) else { return };
        let (slot, row) = (attempt.slot, attempt.row);
        self.fleet.learn(slot, row, Phase::Joules, expected, actual);
    }

    /// A load that was ordered is done.
    pub(super) fn learn_load(&mut self, slot: Slot, model: ModelIndex, since: Time, expected: f64) {
        let row = self.fleet.node(slot).engine(model).and_then(|engine| engine.row);
        if let Some(row) = row {
            let actual = self.now.since(since).as_secs_f64();
            self.fleet.learn(slot, row, Phase::Load, expected, actual);
        }
    }
}
