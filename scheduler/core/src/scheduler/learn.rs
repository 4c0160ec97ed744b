//! Predictions against what happens.

use dunlin_costs::{Joules, Phase, Work};

use super::Scheduler;
use crate::{AttemptEnd, AttemptId, Metered, ModelIndex, Time, fleet::Slot};

/// Joules that are less certain teach nothing: those of a few tokens lie between two samples of a meter.
const MOST_ERROR: f64 = 0.15;

/// Joules of fewer tokens teach nothing either.
const ENOUGH_TOKENS: u32 = 16;

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
        let metered = &ended.metered;
        // A load that the node waited for may have left some of its joules with the request.
        if attempt.loads || metered.joules_error.is_none_or(|error| error > MOST_ERROR) {
            return;
        }
        let expected = attempt.plain.joules.and_then(|joules| joules_of(&joules, &attempt.work, metered));
        let (Some(expected), Some(actual)) = (expected, metered.joules) else { return };
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

/// What the prediction says of what was really read and written. `None` where too little was written to tell: how a prompt
/// was estimated would be learned.
fn joules_of(predicted: &Joules, work: &Work, metered: &Metered) -> Option<f64> {
    let read = |prompt: u32, cached: u32| f64::from(prompt.saturating_sub(cached).max(1));
    let further = |tokens: u32| f64::from(tokens.saturating_sub(1));
    if work.output_tokens < 2 || metered.output_tokens < ENOUGH_TOKENS {
        return None;
    }
    let reading = predicted.prefill * read(metered.prompt_tokens, metered.cached_tokens)
        / read(work.prompt_tokens, work.cached_tokens);
    Some(reading + predicted.decode * further(metered.output_tokens) / further(work.output_tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(work: (u32, u32, u32), metered: (u32, u32, u32), expected: Option<f64>) {
        let predicted = Joules {
            marginal: 100.0,
            marginal_q90: 120.0,
            total: 150.0,
            prefill: 10.0,
            decode: 60.0,
            load: 30.0,
        };
        let work = Work { prompt_tokens: work.0, cached_tokens: work.1, output_tokens: work.2 };
        let (prompt_tokens, cached_tokens, output_tokens) = metered;
        let metered = Metered { prompt_tokens, cached_tokens, output_tokens, ..Metered::default() };
        assert_eq!(joules_of(&predicted, &work, &metered), expected);
    }

    #[test]
    fn joules_are_held_against_what_was_done() {
        check((100, 0, 61), (100, 0, 61), Some(70.0));
        check((100, 0, 61), (100, 50, 31), Some(5.0 + 30.0));
        check((100, 0, 61), (200, 0, 121), Some(20.0 + 120.0));
        check((100, 0, 61), (100, 0, 15), None);
        check((100, 0, 1), (100, 0, 40), None);
    }
}
