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
/// Kernels for CPUs compute so many rows at once, and what is left over one by one, which takes longer (ggml, repacked weights).
const ROWS: usize = 4;
/// After so many steps of prompts alone, it is tried again whether they had better share those of others.
const TRY_AGAIN: u32 = 32;
/// Prompt tokens of the first step, before anything is known.
const FIRST_CHUNK: usize = 64;

/// Weight of the newest measurement.
const GAIN: f64 = 0.2;

/// Learned costs of steps, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A step that only decodes.
    decode: Option<f64>,
    /// A prompt token of a step of its own,
    apart: Token,
    /// and what it adds to a step that decodes.
    mixed: Token,
    /// Those that decode come next.
    owed: bool,
    /// Steps since prompts were last read in those that decode.
    unmixed: u32,
}

/// What the next step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) decodes: bool,
    /// Prompt tokens, at most.
    pub(crate) chunk: usize,
}

/// Per prompt token, in steps of many rows and of few.
#[derive(Debug, Default)]
struct Token {
    wide: Option<f64>,
    narrow: Option<f64>,
}

impl Pace {
    /// What the next step is for, where `decoding` sequences decode and `waiting` tokens of prompts are to be read, at most `most`
    /// of them in a step.
    ///
    /// Both in one step read the weights once, which is worth most where memory is slow. But the attention of a step is
    /// computed by tiles of rows, each over all that any of its rows attends to: a row that decodes costs a tile of its own
    /// there, and takes prompts past the cells of others. What takes less is found by trying.
    pub(crate) fn share(&mut self, decoding: usize, waiting: usize, most: usize) -> Share {
        let chunk = |fits: usize, beside: usize| whole(fits.min(most), beside, waiting).min(most);
        if decoding == 0 {
            self.owed = false;
            let (fits, _) = self.apart.fit(LONE_STEP.as_secs_f64(), 0);
            return Share { decodes: false, chunk: chunk(fits, 0) };
        }
        if std::mem::take(&mut self.owed) {
            return Share { decodes: true, chunk: 0 };
        }
        let left = (SHARED_STEP.as_secs_f64() - self.decode.unwrap_or(0.0)).max(0.0);
        let ((apart, takes), (mixed, adds)) = (self.apart.fit(left, 0), self.mixed.fit(left, decoding));
        let is_less = takes.zip(adds).is_some_and(|(takes, adds)| takes < adds);
        if is_less && self.unmixed < TRY_AGAIN {
            self.unmixed += 1;
            self.owed = true;
            return Share { decodes: false, chunk: chunk(apart, 0) };
        }
        self.unmixed = 0;
        Share { decodes: true, chunk: chunk(mixed, decoding) }
    }

    /// Takes note of a step of `prompt` prompt tokens and `decoding` decoded ones.
    pub(crate) fn learn(&mut self, took: Duration, prompt: usize, decoding: usize) {
        let took = took.as_secs_f64();
        if prompt == 0 {
            learn(&mut self.decode, took);
        } else if prompt >= MIN_CHUNK {
            let decode = if decoding > 0 { self.decode.unwrap_or(0.0) } else { 0.0 };
            let tokens = if decoding > 0 { &mut self.mixed } else { &mut self.apart };
            let token = if is_wide(prompt + decoding) { &mut tokens.wide } else { &mut tokens.narrow };
            learn(token, (took - decode).max(took * 0.1) / prompt as f64);
        }
    }

    /// A step that only decodes, as far as known.
    pub(crate) fn decode_step(&self) -> Duration {
        Duration::from_secs_f64(self.decode.unwrap_or(0.0))
    }
}

impl Token {
    /// Tokens that are read in `seconds` beside `rows` others, and what each takes, as far as that is known.
    fn fit(&self, seconds: f64, rows: usize) -> (usize, Option<f64>) {
        // Whole tiles of the matrix kernels.
        let fits = |token: f64| ((seconds / token) as usize / MIN_CHUNK * MIN_CHUNK).max(MIN_CHUNK);
        match (self.wide, self.narrow) {
            (Some(wide), _) if is_wide(fits(wide) + rows) => (fits(wide), Some(wide)),
            (_, Some(narrow)) => (fits(narrow), Some(narrow)),
            (Some(wide), None) => (fits(wide), Some(wide)),
            (None, None) => (FIRST_CHUNK, None),
        }
    }
}

/// How many of `waiting` tokens a step reads that has room for `fits`, and `beside` rows of others: such that no row of it is
/// left over, and that the last step of a prompt has as many rows as attention in tiles needs.
const fn whole(fits: usize, beside: usize, waiting: usize) -> usize {
    if fits >= waiting {
        return waiting;
    }
    let leaves_few = !is_wide(waiting - fits) && is_wide(waiting / 2);
    let chunk = if leaves_few { (waiting - ATTENTION_TILE) / MIN_CHUNK * MIN_CHUNK } else { fits };
    (chunk + beside).next_multiple_of(ROWS) - beside
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

    fn learn(pace: &mut Pace, milliseconds: u64, prompt: usize, decoding: usize) {
        pace.learn(Duration::from_millis(milliseconds), prompt, decoding);
    }

    fn mixed(chunk: usize) -> Share {
        Share { decodes: true, chunk }
    }

    fn apart(chunk: usize) -> Share {
        Share { decodes: false, chunk }
    }

    #[test]
    fn chunks_fill_the_time_that_a_step_may_take() {
        let mut pace = Pace::default();
        assert_eq!(pace.share(0, 2000, 512), apart(FIRST_CHUNK));
        learn(&mut pace, 64, 64, 0);
        assert_eq!(pace.share(0, 2000, 512), apart(400));
        assert_eq!(pace.share(0, 100, 512), apart(100));
        // Nothing is known of shared steps: they are tried.
        assert_eq!(pace.share(1, 2000, 512), mixed(FIRST_CHUNK + 3));
        learn(&mut pace, 40, 0, 4);
        learn(&mut pace, 40 + 51, 64, 4);
        assert_eq!(pace.share(4, 2000, 512), mixed(64), "what a shared step reads is cheaper");
    }

    #[test]
    fn prompts_have_steps_of_their_own_where_that_takes_less() {
        let mut pace = Pace::default();
        learn(&mut pace, 64, 64, 0);
        learn(&mut pace, 10, 0, 2);
        learn(&mut pace, 10 + 128, 64, 2);
        for _ in 0..TRY_AGAIN {
            assert_eq!(pace.share(2, 2000, 512), apart(80));
            // Then those that decode have their turn.
            assert_eq!(pace.share(2, 2000, 512), mixed(0));
        }
        assert!(pace.share(2, 2000, 512).decodes, "tried again");
        assert_eq!(pace.share(2, 2000, 512), apart(80));
        // Nobody decodes any more, so that nobody is owed anything.
        assert_eq!(pace.share(0, 2000, 512), apart(400));
        assert_eq!(pace.share(2, 2000, 512), apart(80));
    }

    #[test]
    fn steps_of_few_rows_are_slower_and_do_not_stay_so() {
        let mut pace = Pace::default();
        learn(&mut pace, 256, 256, 0);
        // The rest of a prompt, say.
        learn(&mut pace, 64, 32, 0);
        assert_eq!(pace.share(0, 2000, 512), apart(400));
        learn(&mut pace, 40, 0, 2);
        learn(&mut pace, 400, 64, 2);
        // There is no room for so many: what steps of few rows take counts.
        assert_eq!(pace.share(2, 2000, 512), apart(16));
    }

    #[test]
    fn steps_are_of_whole_groups_and_leave_no_few_rows() {
        let check = |fits, beside, waiting, expected| assert_eq!(whole(fits, beside, waiting), expected);
        check(176, 0, 100, 100);
        check(176, 0, 400, 176);
        check(176, 3, 400, 177);
        check(16, 8, 400, 16);
        // 24 would be left over.
        check(176, 0, 200, 128);
        check(176, 2, 200, 130);
        check(80, 0, 143, 64);
        check(176, 0, 240, 176);
        // Too few for two.
        check(80, 0, 127, 80);
        check(80, 0, usize::MAX, 80);
    }

    #[test]
    fn a_slow_board_still_gets_somewhere() {
        let mut pace = Pace::default();
        learn(&mut pace, 10_000, 64, 0);
        learn(&mut pace, 10_000, 64, 8);
        assert_eq!(pace.share(8, 2000, 512).chunk, MIN_CHUNK);
        assert_eq!(pace.share(0, 3, 512), apart(3));
    }
}
