//! How long one step of an engine takes on a board: memory traffic and arithmetic, which overlap in part.
//!
//! ```text
//! memory     = weights + cell x (context read)
//! arithmetic = row x (n + H (1 - exp(-n / H))) + pair x (pairs of tokens that attend)
//! step       = overhead + (memory^Q + arithmetic^Q)^(1/Q)
//! ```
//! with n the rows of the step: one for each sequence that decodes, and the tokens of a prompt. The first rows cost twice
//! as much as those of a full tile. The form is that of Williams, Waterman and Patterson, "Roofline" (2009), with a
//! rounded ridge; the predictor of `dunlin-costs` adds its parts instead.
//!
//! The numbers follow from a cost row by the points where both must agree: a prompt of 512 tokens, and a token at depth
//! 576 with its slope. Elsewhere they differ.

use dunlin_costs::RowParts;

/// How well memory traffic and arithmetic overlap: 1 not at all, infinity wholly. Assumed; with it four sequences cost
/// about 1.1 (Orin) to 1.4 times (Pi) the step of one, within the ranges that the classes give.
const OVERLAP: f64 = 1.25;

/// Rows that fill a tile, H above. Assumed.
const TILE_ROWS: f64 = 16.0;

/// The part of a token's time that is neither: launching kernels, sampling. Assumed.
const OVERHEAD: f64 = 0.02;

/// Arithmetic never explains more than this of a single token: decoding is bound by memory.
const MAX_ARITHMETIC: f64 = 0.8;

/// Where the roofline agrees with the row it comes from, in tokens.
const ANCHOR_PROMPT: u32 = 512;
const ANCHOR_DEPTH: f64 = 576.0;

/// Tokens of a prompt in a step that nobody else waits for.
pub(crate) const FULL_CHUNK: u32 = 512;

/// What one step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Sequences that decode, a token each.
    pub sequences: u32,
    /// Tokens that they attend to, all together.
    pub context: u64,
    /// Tokens of a prompt that are read,
    pub chunk: u32,
    /// after so many of it.
    pub done: u32,
}

/// Seconds of a step, and what kept the board busy meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTime {
    pub seconds: f64,
    /// Seconds that the memory alone, and the arithmetic alone, would have taken.
    pub memory: f64,
    pub arithmetic: f64,
}

/// One model at one operating point. All in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofline {
    overhead: f64,
    weights: f64,
    cell: f64,
    row: f64,
    pair: f64,
    /// Before the first step of a request.
    start: f64,
}

fn overlapped(memory: f64, arithmetic: f64) -> f64 {
    (memory.powf(OVERLAP) + arithmetic.powf(OVERLAP)).powf(OVERLAP.recip())
}

fn rows_in_tiles(rows: f64) -> f64 {
    rows + TILE_ROWS * (1.0 - (-rows / TILE_ROWS).exp())
}

impl Roofline {
    /// From the nominal values of a cost row.
    pub fn of(row: &RowParts) -> Self {
        let p0 = row.prefill.p0_ms.nominal() / 1e3;
        let p1 = row.prefill.p1_ms_per_token.nominal() / 1e3;
        let p2 = row.prefill.p2_ms_per_token2.nominal() / 1e3;
        let d0 = row.decode.batch_ms.first().map_or(0.0, |first| first.nominal()) / 1e3;
        let d1 = row.decode.depth_ms_per_token.nominal() / 1e3;
        let prompt = f64::from(ANCHOR_PROMPT);
        // A chunk of n tokens attends to n^2 / 2 pairs.
        let (tile_row, pair) = (p1 * prompt / rows_in_tiles(prompt), 2.0 * p2);
        let overhead = OVERHEAD * d0;
        let token = d0 + d1 * ANCHOR_DEPTH - overhead;
        let arithmetic = (tile_row * rows_in_tiles(1.0)).min(MAX_ARITHMETIC * token);
        let memory = (token.powf(OVERLAP) - arithmetic.powf(OVERLAP)).powf(OVERLAP.recip());
        let cell = (d1 * (token / memory).powf(OVERLAP - 1.0)).min(memory / ANCHOR_DEPTH);
        let weights = memory - cell * ANCHOR_DEPTH;
        let mut roofline = Self { overhead, weights, cell, row: tile_row, pair, start: 0.0 };
        let published = p0 + p1 * prompt + p2 * prompt * prompt;
        roofline.start = (published - roofline.reading(ANCHOR_PROMPT)).max(0.0);
        roofline
    }

    /// With arithmetic slower by the first factor, memory by the second, as when the clocks are throttled.
    pub fn step(&self, step: &Step, slower: (f64, f64)) -> StepTime {
        let (sequences, chunk) = (f64::from(step.sequences), f64::from(step.chunk));
        let done = f64::from(step.done);
        if step.sequences + step.chunk == 0 {
            return StepTime::default();
        }
        let context = step.context as f64 + if step.chunk > 0 { done + chunk } else { 0.0 };
        let memory = slower.1 * (self.weights + self.cell * context);
        let pairs = chunk * (done + chunk / 2.0);
        let arithmetic = slower.0 * (self.row * rows_in_tiles(sequences + chunk) + self.pair * pairs);
        StepTime { seconds: self.overhead + overlapped(memory, arithmetic), memory, arithmetic }
    }

    /// Seconds before the first step of a request.
    pub const fn start(&self) -> f64 {
        self.start
    }

    /// Seconds to read a prompt alone, without what comes before its first step.
    pub(crate) fn reading(&self, prompt: u32) -> f64 {
        let chunks = (0..prompt).step_by(FULL_CHUNK as usize);
        let step = |done| Step { chunk: FULL_CHUNK.min(prompt - done), done, ..Step::default() };
        chunks.map(|done| self.step(&step(done), (1.0, 1.0)).seconds).sum()
    }

    /// Tokens of a prompt that fit into a step of this length beside what it does already, in whole eights.
    pub(crate) fn chunk_within(
        &self,
        seconds: f64,
        beside: &Step,
        prompt_left: u32,
        slower: (f64, f64),
    ) -> u32 {
        let fits = |chunk: u32| self.step(&Step { chunk, ..*beside }, slower).seconds <= seconds;
        let most = FULL_CHUNK / 8;
        let eights = (1..=most).take_while(|eights| fits(8 * eights)).last().unwrap_or(0);
        (8 * eights).max(MIN_CHUNK).min(prompt_left)
    }
}

/// Tokens of a prompt in a step that others wait for, at least.
const MIN_CHUNK: u32 = 16;

#[cfg(test)]
mod tests {
    use dunlin_costs::{Bound, Class, Row};

    use super::*;

    fn rows() -> Vec<(String, Row)> {
        let classes = ["orin-nano-8g", "pi5-8g-hot", "pi5-8g"].map(|name| Class::find(name).unwrap());
        let named = |row: &Row| (format!("{} {} {}", row.key.class, row.name, row.key.mode), row.clone());
        classes.iter().flat_map(|class| class.table.rows().map(named).collect::<Vec<_>>()).collect()
    }

    fn published(row: &Row, prompt: f64) -> f64 {
        let ms = |figure: &dunlin_costs::Figure| figure.nominal();
        let prefill = &row.prefill;
        (ms(&prefill.p0_ms)
            + ms(&prefill.p1_ms_per_token) * prompt
            + ms(&prefill.p2_ms_per_token2) * prompt * prompt)
            / 1e3
    }

    fn near(actual: f64, expected: f64, part: f64, what: &str) {
        assert!((actual / expected - 1.0).abs() <= part, "{what}: {actual} against {expected}");
    }

    #[test]
    fn every_row_of_the_classes_is_met_at_its_anchors_and_about_met_elsewhere() {
        for (name, row) in rows() {
            let roofline = Roofline::of(&row);
            let ttft = |prompt| roofline.start() + roofline.reading(prompt);
            near(ttft(512), published(&row, 512.0), 1e-9, &name);
            near(ttft(2048), published(&row, 2048.0), 0.06, &name);
            near(ttft(128), published(&row, 128.0), 0.12, &name);
            let tpot = |context| {
                roofline.step(&Step { sequences: 1, context, ..Step::default() }, (1.0, 1.0)).seconds
            };
            let predicted = |context: f64| {
                (row.decode.batch_ms[0].nominal() + row.decode.depth_ms_per_token.nominal() * context) / 1e3
            };
            near(tpot(576), predicted(576.0), 1e-9, &name);
            near(tpot(2176), predicted(2176.0), 0.02, &name);
            near(tpot(0), predicted(0.0), 0.02, &name);
        }
    }

    #[test]
    fn sequences_that_share_a_step_cost_what_the_classes_allow() {
        for (name, row) in rows() {
            let roofline = Roofline::of(&row);
            let step = |sequences: u32| {
                let step = Step { sequences, context: 576 * u64::from(sequences), ..Step::default() };
                roofline.step(&step, (1.0, 1.0)).seconds
            };
            let allowed = |bound| {
                let depth = row.decode.depth_ms_per_token.nominal() * 4.0 * 576.0;
                (row.decode.batch_ms[2].at(bound) + depth) / 1e3
            };
            let four = step(4);
            // It is another form: a little below the range is as good.
            let range = 0.98 * allowed(Bound::Low)..allowed(Bound::High);
            assert!(range.contains(&four), "{name}: four at once take {four} s, of {range:?}");
            assert!(four > 1.02 * step(1), "{name}: four at once cost something");
            assert!(step(32) / step(16) > 1.2, "{name}: arithmetic takes over");
        }
    }

    #[test]
    fn a_prompt_among_others_is_read_in_pieces() {
        let (_, row) = &rows()[0];
        let roofline = Roofline::of(row);
        let beside = Step { sequences: 2, context: 1000, ..Step::default() };
        let chunk = roofline.chunk_within(0.1, &beside, 2000, (1.0, 1.0));
        assert!((16..512).contains(&chunk), "{chunk}");
        assert!(roofline.step(&Step { chunk, ..beside }, (1.0, 1.0)).seconds <= 0.1);
        assert_eq!(roofline.chunk_within(0.1, &beside, 5, (1.0, 1.0)), 5);
        assert_eq!(roofline.chunk_within(1e-6, &beside, 2000, (1.0, 1.0)), MIN_CHUNK);
    }
}
