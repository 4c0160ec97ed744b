use std::fmt;

use serde::Serialize;
use thiserror::Error;

use super::{Estimate, MemoryAvailable};
use crate::text::{Bytes, Grouped};

/// Shortest context worth offering, in tokens.
const MIN_CONTEXT: u64 = 512;

/// llama.cpp rounds caches up to this many cells, so that is how advice is rounded down.
const CONTEXT_STEP: u64 = 256;

/// Why a model is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[error("{} are missing: it needs {estimate}; {available}: {advice}", Bytes(*missing))]
pub struct MemoryRefusal {
    pub estimate: Estimate,
    pub available: MemoryAvailable,
    /// Bytes by which it does not fit.
    pub missing: u64,
    pub advice: Advice,
}

/// What to do about missing memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// The weights alone do not fit.
    SmallerModel,
    /// All but the cache fits, and a shorter one would too.
    ShorterContext { tokens: u64 },
    /// All but what a step computes fits.
    SmallerBatch,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallerModel => {
                f.write_str("take a smaller quantisation, a smaller model or a board with more memory")
            }
            Self::ShorterContext { tokens } => {
                write!(f, "a context of {} tokens would fit", Grouped(*tokens))
            }
            Self::SmallerBatch => f.write_str("take fewer sequences or a smaller micro-batch"),
        }
    }
}

/// Says whether a model that needs `estimate` may be loaded into what is `available`.
pub fn admit(estimate: &Estimate, available: MemoryAvailable) -> Result<(), MemoryRefusal> {
    let missing = estimate.total.saturating_sub(available.bytes);
    if missing == 0 {
        return Ok(());
    }
    Err(MemoryRefusal {
        estimate: *estimate,
        available,
        missing,
        advice: advice(estimate, missing, available.bytes),
    })
}

fn advice(estimate: &Estimate, missing: u64, available: u64) -> Advice {
    if let Some(tokens) = fitting_context(estimate, missing) {
        return Advice::ShorterContext { tokens };
    }
    // Even with nothing in the cache there must be room for the model and what it computes at the least.
    if estimate.weights + estimate.reserve + estimate.kv_per_token * MIN_CONTEXT < available
        && estimate.compute + estimate.logits >= missing
    {
        return Advice::SmallerBatch;
    }
    Advice::SmallerModel
}

/// The longest context that fits, everything else unchanged.
fn fitting_context(estimate: &Estimate, missing: u64) -> Option<u64> {
    let too_many = missing.div_ceil(estimate.kv_per_token.max(1));
    let fitting = u64::from(estimate.context).checked_sub(too_many)?;
    let rounded = fitting / CONTEXT_STEP * CONTEXT_STEP;
    (rounded >= MIN_CONTEXT).then_some(rounded)
}
