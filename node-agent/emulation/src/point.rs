//! An operating point of one model on one board: how fast, and how many watts.

use dunlin_costs::{Bound, Mode, Row};
use dunlin_engine_handle::Threads;

use crate::roofline::{Roofline, Step, StepTime};

/// How a model runs now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) roofline: Roofline,
    pub(crate) draw: Option<Draw>,
    /// Part by which a step gets longer for each other model that works on the board.
    pub(crate) contention: f64,
}

impl Point {
    /// Of the rows of a model, the one of this mode whose threads are nearest; 0 threads are all of the board's.
    pub(crate) fn choose(rows: &[Row], mode: &Mode, threads: Threads, cores: u16) -> Option<Self> {
        let asked = |threads: u32| if threads == 0 { u32::from(cores) } else { threads };
        let distance = |row: &&Row| {
            u32::from(row.key.prefill_threads).abs_diff(asked(threads.prefill))
                + u32::from(row.key.decode_threads).abs_diff(asked(threads.decode))
        };
        let row = rows.iter().filter(|row| row.key.mode == *mode).min_by_key(distance)?;
        let roofline = Roofline::of(row);
        Some(Self { roofline, draw: Draw::of(row, &roofline), contention: row.decode.contention.nominal() })
    }
}

/// Watts above idle, as the class's sensor reads them: `memory x (share of the step) + arithmetic x (its share)`, so that
/// a token alone and a prompt alone draw what the row says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Draw {
    memory: f64,
    arithmetic: f64,
    pub(crate) load: f64,
    /// Before the first step of a request.
    pub(crate) start: f64,
    most: f64,
}

/// By how much a step may draw more than the phases that were published.
const HEADROOM: f64 = 1.15;

impl Draw {
    /// `None` if the row has no power.
    fn of(row: &Row, roofline: &Roofline) -> Option<Self> {
        let watts = row.power.as_ref()?.read(Bound::Nominal);
        let above = |watts_of_phase: f64| (watts_of_phase - watts.idle).max(0.0);
        let shares = |step: Step| {
            let StepTime { seconds, memory, arithmetic } = roofline.step(&step, (1.0, 1.0));
            (memory / seconds, arithmetic / seconds)
        };
        let token = shares(Step { sequences: 1, context: 576, ..Step::default() });
        let prompt = shares(Step { chunk: 512, ..Step::default() });
        // Two equations: m x + a y = watts, for a token and for a prompt.
        let determinant = token.0 * prompt.1 - token.1 * prompt.0;
        let (decode, prefill) = (above(watts.decode), above(watts.prefill));
        let memory = (decode * prompt.1 - prefill * token.1) / determinant;
        let arithmetic = (token.0 * prefill - prompt.0 * decode) / determinant;
        let most = HEADROOM * decode.max(prefill);
        Some(Self {
            memory: memory.max(0.0),
            arithmetic: arithmetic.max(0.0),
            load: above(watts.load),
            start: prefill,
            most,
        })
    }

    /// During a step.
    pub(crate) fn step(&self, time: &StepTime) -> f64 {
        let watts = (self.memory * time.memory + self.arithmetic * time.arithmetic) / time.seconds;
        watts.min(self.most)
    }
}
