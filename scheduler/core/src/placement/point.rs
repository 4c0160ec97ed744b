//! An operating point, as placements read it.

use dunlin_costs::{Bound, Load, Row, Steps, Work};

use super::{learned::LeastFactors, rows::RowIndex};
use crate::Objective;

/// What placements read of a cost row, in one piece of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) row: RowIndex,
    pub(crate) steps: Steps,
    pub(crate) quality: Option<f64>,
    /// Weights, and a context of keys and values. Compute buffers are in what the node keeps in reserve.
    pub(crate) bytes_to_load: u64,
    /// Seconds, by the row.
    cold: f64,
    warm: f64,
    /// Watts above idle while it reads and decodes; `None` where the row has no power that ranks.
    watts: Option<(f64, f64)>,
    /// Seconds that one more sequence adds to a step, where that is least.
    growth: f64,
}

/// Batches between which steps are linear.
const BATCHES: [u32; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];

impl Point {
    pub(crate) fn of(index: RowIndex, row: &Row) -> Self {
        let watts = row.power.as_ref().and_then(|power| power.board(Bound::Nominal).ok());
        Self {
            row: index,
            steps: *row.steps(),
            quality: row.quality.accuracy,
            bytes_to_load: bytes_to_load(row),
            cold: row.load.cold_ms.nominal() / 1e3,
            warm: row.load.warm_ms.nominal() / 1e3,
            watts: watts
                .map(|watts| ((watts.prefill - watts.idle).max(0.0), (watts.decode - watts.idle).max(0.0))),
            growth: growth(row.steps()),
        }
    }

    /// Seconds, by the row.
    pub(crate) const fn load_time(&self, load: Load) -> f64 {
        match load {
            Load::Resident => 0.0,
            Load::Warm => self.warm,
            Load::Cold => self.cold,
        }
    }

    /// Whatever the node, and however little it has to do: reading alone, the load, and the cheapest place in a batch, by
    /// the least factors that any calibration has. `work` is without what engines may hold of the prompt.
    pub(crate) fn least(
        &self,
        objective: Objective,
        work: &Work,
        load: Load,
        factors: &LeastFactors,
    ) -> Least {
        let read = f64::from(work.prompt_tokens - work.cached_tokens);
        let further = f64::from(work.output_tokens.max(1) - 1);
        let reading = factors.prefill * self.steps.reading(read, 0.0);
        let ttft = reading + factors.load * self.load_time(load);
        let joules = self.watts.map_or(f64::INFINITY, |(reads, decodes)| {
            factors.joules * (reads * reading + decodes * factors.decode * further * self.growth)
        });
        let decode = || factors.decode * further * self.steps.decode_step(1, 0.0);
        let score = match objective {
            Objective::Latency => ttft,
            Objective::Energy => joules,
            Objective::Balanced => joules * (ttft + decode()),
        };
        Least { score, ttft }
    }
}

fn growth(steps: &Steps) -> f64 {
    let slope = |beside: &[u32]| {
        let longer = steps.decode_step(beside[1], 0.0) - steps.decode_step(beside[0], 0.0);
        (longer / f64::from(beside[1] - beside[0])).max(0.0)
    };
    // The first sequence adds a whole step, which may be less than a slope.
    BATCHES.windows(2).map(slope).fold(steps.decode_step(1, 0.0), f64::min)
}

/// What no place can be below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Least {
    pub(crate) score: f64,
    pub(crate) ttft: f64,
}

impl Least {
    pub(crate) const NONE: Self = Self { score: f64::INFINITY, ttft: f64::INFINITY };

    pub(crate) const fn of_both(self, other: Self) -> Self {
        Self { score: self.score.min(other.score), ttft: self.ttft.min(other.ttft) }
    }
}

pub(crate) fn bytes_to_load(row: &Row) -> u64 {
    row.memory.weights_bytes + row.memory.kv_bytes_per_token * u64::from(row.key.context)
}

#[cfg(test)]
mod tests {
    use dunlin_costs::{Calibration, Phase, Running, Situation};

    use super::*;
    use crate::placement::rows::tests::{any_row, index};

    /// If a place could be better than what its group was dismissed for, placements would be wrong.
    #[test]
    fn nothing_is_below_the_least() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let row = any_row(&mut rng);
            let point = Point::of(index(0), &row);
            let prompt_tokens = rng.u32(1..4000);
            let cached_tokens = rng.u32(0..prompt_tokens);
            let work = Work { prompt_tokens, cached_tokens, output_tokens: rng.u32(1..500) };
            let load = [Load::Resident, Load::Warm, Load::Cold][rng.usize(..3)];
            let sequences = rng.u32(..40);
            let running =
                Running { sequences, context: u64::from(sequences) * 100, backlog_tokens: rng.u64(..500) };
            let situation = Situation { load, running, neighbours: rng.u32(..3), ..Situation::default() };
            let (mut calibration, mut factors) = (Calibration::default(), LeastFactors::default());
            for phase in [Phase::Load, Phase::Prefill, Phase::Decode, Phase::Joules] {
                (0..rng.u8(..4)).for_each(|_| {
                    calibration.observe(phase, 1.0, 0.2 + 3.0 * rng.f64());
                });
            }
            factors.learn(&calibration);
            let found = row.predict(&work, &situation, &calibration);
            let least = |objective| point.least(objective, &work, load, &factors).score * (1.0 - 1e-9);
            let joules = found.joules.expect("power").marginal;
            assert!(least(Objective::Latency) <= found.ttft.mean, "{work:?} {situation:?}");
            assert!(least(Objective::Energy) <= joules, "{work:?} {situation:?} {calibration:?}");
            assert!(least(Objective::Balanced) <= joules * found.completion.mean, "{work:?} {situation:?}");
        }
    }
}
