//! What an attempt really took.

use serde::{Deserialize, Serialize};

use crate::{AtMost, ModelDigest, NodeId, OperatingPoint, limits::MAX_TEXT};

/// Counts are of tokens, times in microseconds of the node's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub node: NodeId,
    #[serde(default)]
    pub point: OperatingPoint,
    /// The model of most tokens.
    #[serde(default)]
    pub model: Option<ModelDigest>,
    /// It ran on an emulated board: it counts in no figure of accuracy.
    #[serde(default)]
    pub emulated: bool,
    #[serde(default)]
    pub generations: u32,
    /// Prompt tokens that were computed.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// Prompt tokens that were held already.
    #[serde(default)]
    pub cached_tokens: u32,
    #[serde(default)]
    pub output_tokens: u32,
    /// Of the output, tokens that a constraint left no choice about.
    #[serde(default)]
    pub forced_tokens: u32,
    #[serde(default)]
    pub scored_tokens: u32,
    /// Waiting on the node, loads aside.
    #[serde(default)]
    pub queue_us: u64,
    /// Loading models for it.
    #[serde(default)]
    pub load_us: u64,
    /// From its arrival at the node to its first token; 0 without one.
    #[serde(default)]
    pub ttft_us: u64,
    #[serde(default)]
    pub tpot_p50_us: u64,
    #[serde(default)]
    pub tpot_p99_us: u64,
    /// From its arrival at the node to its end.
    #[serde(default)]
    pub total_us: u64,
    #[serde(default)]
    pub energy: Option<Energy>,
}

impl Usage {
    /// Of an attempt that took nothing yet.
    pub fn of(node: NodeId) -> Self {
        Self {
            node,
            point: OperatingPoint::default(),
            model: None,
            emulated: false,
            generations: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            forced_tokens: 0,
            scored_tokens: 0,
            queue_us: 0,
            load_us: 0,
            ttft_us: 0,
            tpot_p50_us: 0,
            tpot_p99_us: 0,
            total_us: 0,
            energy: None,
        }
    }
}

/// Joules of an attempt, in thousandths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Energy {
    /// Its share of what the node drew meanwhile.
    pub total_millijoules: u64,
    /// What the node would not have drawn without it.
    #[serde(default)]
    pub marginal_millijoules: u64,
    /// Of the marginal ones, what reading prompts took, and what decoding; `None` where they are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_millijoules: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_millijoules: Option<u64>,
    pub scope: EnergyScope,
    pub source: EnergySource,
    /// How a narrower scope was corrected to the board's input, as in `1.1451 x PMIC + 0.5879 W`; empty if it was not.
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub correction: String,
    /// Part of the joules by which the meter may be wrong, in thousandths, the correction included; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_thousandths: Option<u16>,
}

/// What part of a board the joules are of. They are ranked in `BoardInput` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnergyScope {
    BoardInput,
    PmicRails,
    CpuGpuRail,
    Package,
    /// The board of a discrete GPU.
    Accelerator,
    /// Of a newer peer.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnergySource {
    RailSensor,
    BatteryGauge,
    ExternalMeter,
    /// A counter in the chip; peers that do not know it take it for emulated.
    EnergyCounter,
    /// From times and watts that were declared, or are those of a cost row.
    Modelled,
    /// Of an emulated board.
    #[serde(other)]
    Emulated,
}
