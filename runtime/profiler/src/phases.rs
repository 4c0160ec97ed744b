//! What the engine's process uses while it loads, reads and writes.

use dunlin_costs::Memory;
use serde::{Deserialize, Serialize};

use crate::{Cell, Counted, Measured, State};

/// Of less time than this, hundredths of a second say nothing.
const LEAST: f64 = 0.2;

/// What an engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    Load,
    Prefill,
    Decode,
}

/// Over all runs of a phase that count; what the machine does not tell is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseUse {
    pub phase: Doing,
    /// Highest resident memory, pages of a mapped file included, in bytes.
    pub memory: Option<u64>,
    /// Processors in use, on average.
    pub cores: Option<f64>,
    /// Context switches a second, on average.
    pub switches: Option<f64>,
    /// Instructions per cycle.
    pub instructions_per_cycle: Option<f64>,
    /// In units of a million.
    pub instructions_m_per_token: Option<f64>,
    pub cache_misses_per_token: Option<f64>,
    /// Of references to the cache, in percent.
    pub cache_miss_pct: Option<f64>,
}

/// Those of which there was a run.
pub(crate) fn phases(state: &State) -> Vec<PhaseUse> {
    [Doing::Load, Doing::Prefill, Doing::Decode].into_iter().filter_map(|phase| of(state, phase)).collect()
}

/// The peaks of a row.
pub(crate) fn peaks(phases: &[PhaseUse], memory: Memory) -> Memory {
    let peak = |phase| {
        let of = phases.iter().find(|of| of.phase == phase);
        of.and_then(|of| of.memory).unwrap_or(0)
    };
    Memory {
        load_peak_bytes: peak(Doing::Load),
        prefill_peak_bytes: peak(Doing::Prefill),
        decode_peak_bytes: peak(Doing::Decode),
        ..memory
    }
}

fn of(state: &State, phase: Doing) -> Option<PhaseUse> {
    let runs = || {
        let counts = state.samples.iter().filter(|sample| sample.counts());
        counts.filter(move |sample| doing(sample.cell) == Some(phase)).map(|sample| &sample.measured)
    };
    runs().next()?;
    // Of runs that have it, so that the parts of a quotient are of the same ones.
    let total = |what: fn(&Counted) -> Option<f64>| {
        let counted = runs().filter_map(|run| what(&run.counted?));
        counted.fold(None, |sum, of| Some(sum.unwrap_or(0.0) + of))
    };
    let tokens: f64 =
        runs().filter(|run| run.counted.is_some()).map(|run| f64::from(run.tokens)).sum::<f64>().max(1.0);
    let per = |of: Option<f64>, by: Option<f64>| Some(of? / by.filter(|by| *by > 0.0)?);
    let (instructions, misses) = (total(|of| of.instructions), total(|of| of.cache_misses));
    Some(PhaseUse {
        phase,
        memory: runs().filter_map(|run| run.memory).max(),
        cores: over_time(runs(), |run| run.cores),
        switches: over_time(runs(), |run| run.switches),
        instructions_per_cycle: per(instructions, total(|of| of.cycles)),
        instructions_m_per_token: per(instructions, Some(tokens * 1e6)),
        cache_misses_per_token: per(misses, Some(tokens)),
        cache_miss_pct: per(misses.map(|misses| 100.0 * misses), total(|of| of.cache_references)),
    })
}

/// The mean of a rate over the time of all runs.
pub(crate) fn over_time<'a>(
    runs: impl Iterator<Item = &'a Measured>,
    rate: impl Fn(&Measured) -> Option<f64>,
) -> Option<f64> {
    let (sum, seconds) = runs
        .filter_map(|run| Some((rate(run)? * run.looked, run.looked)))
        .fold((0.0, 0.0), |all, of| (all.0 + of.0, all.1 + of.1));
    (seconds >= LEAST).then(|| sum / seconds)
}

const fn doing(cell: Cell) -> Option<Doing> {
    match cell {
        Cell::Load { .. } => Some(Doing::Load),
        Cell::Prefill { .. } => Some(Doing::Prefill),
        Cell::Decode { .. } => Some(Doing::Decode),
        Cell::Idle => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;

    #[test]
    fn a_phase_is_what_its_runs_used_and_nothing_is_made_up() {
        let mut state = State::new("test", 1);
        let mut record = |cell, memory, counted: Option<Counted>| {
            let measured = Measured { memory: Some(memory), counted, tokens: 10, ..Measured::default() };
            state.samples.push(Sample { cell, measured, spoilt: None, warm_up: false });
        };
        let counted = Counted {
            instructions: Some(3e7),
            cycles: Some(1.5e7),
            cache_references: Some(1000.0),
            cache_misses: Some(50.0),
        };
        record(Cell::Load { cold: false }, 7, None);
        record(Cell::Prefill { threads: 1, prompt: 10 }, 8, Some(counted));
        record(Cell::Prefill { threads: 2, prompt: 10 }, 9, None);
        let found = phases(&state);
        assert_eq!(found.iter().map(|of| of.memory).collect::<Vec<_>>(), [Some(7), Some(9)]);
        let read = &found[1];
        assert_eq!((read.instructions_per_cycle, read.instructions_m_per_token), (Some(2.0), Some(3.0)));
        assert_eq!((read.cache_misses_per_token, read.cache_miss_pct), (Some(5.0), Some(5.0)));
        assert_eq!((found[0].cache_miss_pct, found[0].cores), (None, None));
        let run = |cores, looked| Measured { cores: Some(cores), looked, ..Measured::default() };
        let over = |runs: &[Measured]| over_time(runs.iter(), |run| run.cores);
        assert_eq!(over(&[run(1.0, 0.3), run(2.0, 0.1)]), Some(1.25));
        assert_eq!(over(&[run(1.0, 0.1)]), None, "too short");
        let memory = peaks(&found, Memory::default());
        assert_eq!((memory.load_peak_bytes, memory.prefill_peak_bytes, memory.decode_peak_bytes), (7, 9, 0));
    }
}
