//! An operating point, as placements read it.

use dunlin_costs::{Bound, FACTOR_BOUNDS, Load, Row, Steps};

use super::rows::RowIndex;
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
    /// Watts above idle; `None` where the row has no power that ranks.
    reading_watts: Option<f64>,
}

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
            reading_watts: watts.map(|watts| watts.prefill - watts.idle),
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

    /// Whatever a node's calibration, and however little it has to do: reading alone, and the load, by the least factor
    /// that calibrations have.
    pub(crate) fn least(&self, objective: Objective, read_tokens: u32, load: Load) -> Least {
        let (least, _) = FACTOR_BOUNDS;
        let reading = least * self.steps.reading(f64::from(read_tokens), 0.0);
        let ttft = reading + least * self.load_time(load);
        let joules = self.reading_watts.map_or(f64::INFINITY, |watts| least * watts.max(0.0) * reading);
        let score = match objective {
            Objective::Latency => ttft,
            Objective::Energy => joules,
            Objective::Balanced => joules * ttft,
        };
        Least { score, ttft }
    }
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
