//! What a prediction says.

use serde::{Deserialize, Serialize};

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    pub mean: f64,
    /// Nine requests in ten take no longer. Targets are checked against this.
    pub q90: f64,
}

/// Joules at the board's input: marginal ones are E(node with the request) - E(node without it).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Joules {
    /// `prefill + decode + load`: what placements compare.
    pub marginal: f64,
    pub marginal_q90: f64,
    /// All that the node draws from the request's start to its end, load and idle draw included.
    pub total: f64,
    pub prefill: f64,
    pub decode: f64,
    /// The request's share of the load, by the expected reuse.
    pub load: f64,
}

/// What to know of a prediction before one believes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    /// The prompt, the batch or the depth is larger than any that was measured.
    pub extrapolated: bool,
    /// What is seen has drifted from the row: it should be measured again.
    pub stale: bool,
    /// A time rests on an assumed range.
    pub assumed: bool,
    /// The joules rest on an assumed range.
    pub assumed_joules: bool,
    /// The board is emulated.
    pub emulated: bool,
}

/// What one request would take on one row.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Prediction {
    /// From arrival to the first token, queue and load included.
    pub ttft: Estimate,
    /// A token after the first. Sequences share steps, so this is also what those beside it get from then on.
    pub tpot: Estimate,
    /// From arrival to the last token.
    pub completion: Estimate,
    /// A step while the prompt is read: what those beside it wait for each token meanwhile.
    pub reading_step: Estimate,
    /// Mean seconds from the start to the first token, without queue and load: what [`Phase::Prefill`] is calibrated
    /// on.
    ///
    /// [`Phase::Prefill`]: crate::Phase::Prefill
    pub reading: f64,
    /// `None` if the row has no power, or one of another scope than the board's input.
    pub joules: Option<Joules>,
    pub flags: Flags,
}

impl Joules {
    /// Marginal joules of reading over the prompt tokens read, and of decoding over the tokens generated.
    pub fn per_token(&self, read: u32, generated: u32) -> (f64, f64) {
        (self.prefill / f64::from(read.max(1)), self.decode / f64::from(generated.max(1)))
    }
}
