//! How a node runs a model.

use serde::{Deserialize, Serialize};

use crate::{AtMost, limits::MAX_NAME};

/// Mode, load point and step point. Names are those of the cost rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatingPoint {
    /// The machine-wide power state: `performance`, `25W`.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub mode: String,
    /// `cpu`, `cuda`.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub backend: String,
    /// `f16`, `q8_0`.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub kv_type: String,
    /// Tokens that a sequence may have.
    pub context: u32,
    pub prefill_threads: u16,
    pub decode_threads: u16,
}

/// The part of an operating point that may change between steps. 0: all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepPoint {
    pub prefill_threads: u16,
    pub decode_threads: u16,
}
