//! What really happened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// What a node metered of one attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metered {
    pub prompt_tokens: u32,
    /// Of the prompt, what was held as a prefix.
    pub cached_tokens: u32,
    pub output_tokens: u32,
    /// Marginal, at the board's input, without loads.
    pub joules: Option<f64>,
    /// Part of the joules by which they may be wrong, where that is known.
    #[serde(default)]
    pub joules_error: Option<f64>,
    /// The board is an emulated one.
    pub emulated: bool,
}

/// What an invocation took, all attempts together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the last attempt that told.
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// Delivered.
    pub output_tokens: u64,
    /// Of all attempts that told; `None` if none did.
    pub joules: Option<f64>,
    pub emulated: bool,
    /// In the scheduler's queue, all stays together.
    pub queued: Duration,
    /// From submission to the first token.
    pub ttft: Option<Duration>,
    /// From submission to the end.
    pub total: Duration,
    /// Where its attempts ran, in their order.
    pub nodes: Vec<NodeId>,
}

impl Usage {
    pub(crate) fn add(&mut self, metered: &Metered) {
        (self.prompt_tokens, self.cached_tokens) = (metered.prompt_tokens, metered.cached_tokens);
        self.emulated |= metered.emulated;
        if let Some(joules) = metered.joules.filter(|joules| joules.is_finite() && *joules >= 0.0) {
            self.joules = Some(self.joules.unwrap_or(0.0) + joules);
        }
    }

    /// Mean time between tokens: (total - TTFT) / (n - 1).
    pub fn tpot(&self) -> Option<Duration> {
        let further =
            u32::try_from(self.output_tokens.checked_sub(1)?).ok().filter(|&further| further > 0)?;
        Some(self.total.saturating_sub(self.ttft?) / further)
    }
}
