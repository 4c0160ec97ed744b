//! What is measured, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::Counted;

/// One thing that is measured, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Cell {
    /// From the start of the engine until it serves.
    Load { cold: bool },
    /// Nothing runs: what the board draws by itself.
    Idle,
    /// A prompt that no prefix is held of, to its first token.
    Prefill { threads: u16, prompt: u32 },
    /// A token of one of `batch` sequences that each begin at `depth` tokens.
    Decode { threads: u16, depth: u32, batch: u16 },
}

impl Cell {
    /// Threads of the phase that it measures.
    pub const fn threads(self) -> Option<u16> {
        match self {
            Self::Prefill { threads, .. } | Self::Decode { threads, .. } => Some(threads),
            Self::Load { .. } | Self::Idle => None,
        }
    }

    /// In tokens, what has to be computed for one run of it: to guess how long it takes.
    pub const fn work(self, output: u32) -> u32 {
        match self {
            Self::Prefill { prompt, .. } => prompt,
            Self::Decode { depth, batch, .. } => (depth + output) * batch as u32,
            Self::Load { .. } | Self::Idle => 0,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { cold: true } => f.write_str("load, from the disk"),
            Self::Load { cold: false } => f.write_str("load, from memory"),
            Self::Idle => f.write_str("idle"),
            Self::Prefill { threads, prompt } => write!(f, "prompt of {prompt}, {threads} threads"),
            Self::Decode { threads, depth, batch: 1 } => {
                write!(f, "answer at depth {depth}, {threads} threads")
            }
            Self::Decode { threads, depth, batch } => {
                write!(f, "{batch} answers at depth {depth}, {threads} threads")
            }
        }
    }
}

/// One run of a cell, as its engine timed it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Of the load, of the prompt to the first token, of one token.
    pub seconds: f64,
    /// Tokens of all sequences halfway through, where a batch is decoded.
    #[serde(default)]
    pub context: u32,
    /// Joules and seconds of the window that a sensor saw, as it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<(f64, f64)>,
    /// Highest memory of the engine's process during the run, in bytes; not known where the kernel does not forget an earlier
    /// peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Seconds that the next three are of.
    #[serde(default)]
    pub looked: f64,
    /// Processor seconds of the engine per second of the run. The kernel counts in hundredths of a second: of a short run it says
    /// little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<f64>,
    /// Context switches of the engine, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<f64>,
    /// Seconds that its threads waited for a processor that others had, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// What its processors counted, prompts of answers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Tokens that were read and written meanwhile.
    #[serde(default)]
    pub tokens: u32,
    /// Degrees Celsius at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f32>,
    /// When it was, for a sensor that somebody else reads.
    #[serde(skip)]
    pub window: Option<(Instant, Instant)>,
}

/// Why a run does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spoilt {
    /// The board was throttled.
    Throttled,
    /// The engine held a prefix of the prompt.
    Cached,
    /// It ended before its time.
    Short,
}

/// A run that was finished.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub cell: Cell,
    pub measured: Measured,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoilt: Option<Spoilt>,
    /// The first of its kind, which does not count.
    #[serde(default)]
    pub warm_up: bool,
}

impl Sample {
    pub const fn counts(&self) -> bool {
        self.spoilt.is_none() && !self.warm_up
    }
}
