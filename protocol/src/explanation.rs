//! Why an attempt runs where it runs, and what a fleet looks like.

use serde::{Deserialize, Serialize};

use crate::{
    AtMost, Health, InvocationId, ModelDigest, NodeId, NodePlan, OperatingPoint, Parameter, Resident, Usage,
    limits::{MAX_CANDIDATES, MAX_DECISIONS, MAX_LABELS, MAX_NAME, MAX_REASONS, MAX_RESIDENTS, MAX_TEXT},
};

/// All placements of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub invocation: InvocationId,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub pipeline: String,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub policy: String,
    /// `latency`, `energy`, `balanced`.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub objective: String,
    /// Queued, running, done, ...
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub state: String,
    #[serde(default, with = "AtMost::<MAX_DECISIONS>")]
    pub decisions: Vec<Decision>,
}

/// One placement: the candidates, and what came of the one that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The attempt that it made; `None`: it stayed in the queue, or was refused.
    pub attempt: Option<u32>,
    #[serde(default)]
    pub unix_millis: u64,
    /// The best first.
    #[serde(default, with = "AtMost::<MAX_CANDIDATES>")]
    pub candidates: Vec<Candidate>,
    /// Of all others, how many by their verdict.
    #[serde(default, with = "AtMost::<MAX_REASONS>")]
    pub others: Vec<Counted>,
    #[serde(default)]
    pub actual: Option<Usage>,
    /// That a second computation from what was recorded chose the same.
    #[serde(default)]
    pub recomputed: Option<bool>,
}

/// A node and an operating point, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub node: NodeId,
    #[serde(default)]
    pub point: OperatingPoint,
    #[serde(default)]
    pub model: Option<ModelDigest>,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub variant: String,
    #[serde(default)]
    pub emulated: bool,
    #[serde(default)]
    pub chosen: bool,
    #[serde(default)]
    pub predicted: Option<PredictedCosts>,
    /// What the cost row rests on: `measured`, `imported`, `emulated`, `prior`, `assumed`.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub origin: String,
    /// `chosen`, `ttft over target`, ...
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub verdict: String,
}

/// What an attempt is expected to take. Times in microseconds, joules of the board's input, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictedCosts {
    pub queue_us: u64,
    pub load_us: u64,
    pub ttft_us: u64,
    /// Not exceeded in 90 % of cases; targets are checked against it.
    pub ttft_q90_us: u64,
    pub tpot_us: u64,
    pub tpot_q90_us: u64,
    pub total_us: u64,
    /// `None`: the row has no power.
    pub marginal_millijoules: Option<u64>,
    pub total_millijoules: Option<u64>,
    /// A part of the row is assumed: the figures are of a range.
    pub assumed: bool,
    /// The prompt is longer than any that was measured.
    pub extrapolated: bool,
}

/// How many candidates have one verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub verdict: String,
    pub count: u32,
}

/// A node as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNode {
    pub name: NodeId,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub class: String,
    pub state: NodeState,
    #[serde(default)]
    pub emulated: bool,
    #[serde(default, with = "AtMost::<MAX_LABELS>")]
    pub labels: Vec<Parameter>,
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub free_memory_bytes: u64,
    #[serde(default, with = "AtMost::<MAX_RESIDENTS>")]
    pub residents: Vec<Resident>,
    #[serde(default)]
    pub models: u32,
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub health: Health,
    /// Since its last report.
    #[serde(default)]
    pub seen_ms_ago: Option<u64>,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub build: String,
    /// As in [`crate::Inventory::unconfined`].
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub unconfined: String,
    /// Models whose cost rows its requests have not followed for long: they should be measured again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u32,
    /// `None`: the scheduler plans nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<NodePlan>>,
}

const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    Ready,
    Cordoned,
    Draining,
    /// Connected, but its reports have stopped.
    Wedged,
    /// Not connected; its lease runs.
    Suspected,
    Lost,
    Denied,
    /// It rests, by intent, and takes no work until it is woken.
    Parked,
    /// It was parked, and is on its way back.
    Wakes,
    /// Of a newer scheduler.
    #[serde(other)]
    Unknown,
}
