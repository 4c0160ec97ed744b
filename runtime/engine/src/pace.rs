//! How long steps take, learned as they go, and how much of a prompt the next one should read.

use std::time::Duration;

/// A step beside which others decode should not take longer: their tokens wait for it.
const SHARED_STEP: Duration = Duration::from_millis(100);
/// A step that nobody waits for: longer, since longer ones read prompts faster (half as many rows cost a tenth of the
/// speed); still short, since a cancel waits for it.
const LONE_STEP: Duration = Duration::from_millis(400);

/// Fewest prompt tokens a step: below, the weights are read for too little.
const MIN_CHUNK: usize = 16;
/// Rows of a step from which on the kernels for CPUs compute attention in tiles (`GGML_FA_TILE_Q` of ggml). In a step of
/// fewer each row goes through the cache by itself, so that a token of a prompt takes longer.
const ATTENTION_TILE: usize = 64;
/// Prompt tokens of the first step, before anything is known.
const FIRST_CHUNK: usize = 64;

/// Weight of the newest measurement.
const GAIN: f64 = 0.2;

/// Learned costs of steps, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A step that only decodes.
    decode: Option<f64>,
    /// Per prompt token, in steps of many rows and of few.
    wide: Option<f64>,
    narrow: Option<f64>,
}

impl Pace {
    /// Prompt tokens for a step that also decodes `decoding` sequences, at most `most`.
    pub(crate) fn chunk(&self, decoding: usize, most: usize) -> usize {
        let target = if decoding > 0 { SHARED_STEP } else { LONE_STEP };
        let left = target.as_secs_f64() - if decoding > 0 { self.decode.unwrap_or(0.0) } else { 0.0 };
        // Whole tiles of the matrix kernels.
        let fits = |token: f64| ((left / token).max(0.0) as usize / MIN_CHUNK * MIN_CHUNK).max(MIN_CHUNK);
        let wide = self.wide.map(fits);
        let chunk = match (wide.filter(|chunk| is_wide(chunk + decoding)), self.narrow.map(fits)) {
            (Some(wide), _) => wide,
            (None, Some(narrow)) => narrow,
            (None, None) => wide.unwrap_or(FIRST_CHUNK),
        };
        chunk.min(most)
    }

    /// Takes note of a step of `prompt` prompt tokens and `decoding` decoded ones.
    pub(crate) fn learn(&mut self, took: Duration, prompt: usize, decoding: usize) {
        let took = took.as_secs_f64();
        if prompt == 0 {
            learn(&mut self.decode, took);
        } else if prompt >= MIN_CHUNK {
            let decode = if decoding > 0 { self.decode.unwrap_or(0.0) } else { 0.0 };
            let prefill = if is_wide(prompt + decoding) { &mut self.wide } else { &mut self.narrow };
            learn(prefill, (took - decode).max(took * 0.1) / prompt as f64);
        }
    }

    /// A step that only decodes, as far as known.
    pub(crate) fn decode_step(&self) -> Duration {
        Duration::from_secs_f64(self.decode.unwrap_or(0.0))
    }
}

const fn is_wide(rows: usize) -> bool {
    rows >= ATTENTION_TILE
}

fn learn(mean: &mut Option<f64>, value: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + GAIN * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_fill_the_time_that_a_step_may_take() {
        let mut pace = Pace::default();
        assert_eq!(pace.chunk(0, 512), FIRST_CHUNK);
        pace.learn(Duration::from_millis(64), 64, 0);
        assert_eq!((pace.chunk(0, 512), pace.chunk(1, 512)), (400, 96));
        pace.learn(Duration::from_millis(40), 0, 4);
        assert_eq!(pace.chunk(4, 512), 48);
        assert_eq!(pace.chunk(0, 100), 100);
    }

    #[test]
    fn steps_of_few_rows_are_slower_and_do_not_stay_so() {
        let mut pace = Pace::default();
        pace.learn(Duration::from_millis(256), 256, 0);
        pace.learn(Duration::from_millis(10), 0, 2);
        // The rest of a prompt, say.
        pace.learn(Duration::from_millis(64), 32, 0);
        assert_eq!((pace.chunk(2, 512), pace.chunk(0, 512)), (80, 400));
        // Where there is no room for so many, what steps of few rows take counts.
        pace.learn(Duration::from_millis(40), 0, 2);
        (0..20).for_each(|_| pace.learn(Duration::from_millis(40), 0, 2));
        assert_eq!(pace.chunk(2, 512), 16);
        assert_eq!(pace.chunk(20, 512), 48, "with the rows of those that decode");
    }

    #[test]
    fn a_slow_board_still_gets_somewhere() {
        let mut pace = Pace::default();
        pace.learn(Duration::from_secs(10), 64, 0);
        assert_eq!(pace.chunk(8, 512), MIN_CHUNK);
        assert_eq!(pace.chunk(8, 3), 3);
    }
}
