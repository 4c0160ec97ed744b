//! What is asked of the fleet.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, Grants, InvocationId, NodeFilter, TenantId};

/// One invocation, as it is submitted. What it says to the model is not here: the caller keeps it, and sends it to the
/// node of a [`Place`](crate::Place).
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: InvocationId,
    pub tenant: TenantId,
    /// The alias of the model that it uses.
    pub model: Arc<str>,
    pub prompt_tokens: u32,
    /// How many tokens it is expected to generate: what the pipeline's usual quantile says, capped by its limit.
    pub output_tokens: u32,
    /// Beginnings of its prompt that an engine may hold, shortest first; [`MAX_PREFIXES`] count.
    pub prefixes: Vec<Prefix>,
    /// What it needs of a node.
    pub grants: Grants,
    pub terms: Terms,
    /// It expires so long after it was submitted.
    pub time_limit: Option<Duration>,
    pub fingerprint: Fingerprint,
}

/// Prefixes of one request that are looked up.
pub const MAX_PREFIXES: usize = 8;

/// The beginning of a prompt, by a hash that the caller makes of tenant and text (without the tenant where it is public).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix {
    pub hash: u64,
    pub tokens: u32,
}

/// What a policy makes of a request: how its place is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    pub objective: Objective,
    pub targets: Targets,
    pub when_nothing_fits: WhenNothingFits,
    pub nodes: NodeFilter,
}

/// What is least at the chosen place, among those that keep all targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Predicted time to first token, then to the last.
    #[default]
    Latency,
    /// Marginal joules.
    Energy,
    /// Marginal joules by the time to the last token.
    Balanced,
}

/// Hard guards, checked against the 90 % quantile of predictions before the objective is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// From submission to the first token.
    pub ttft: Option<Duration>,
    /// Between tokens.
    pub tpot: Option<Duration>,
    /// From submission to the last token. (What is to happen when it has passed: [`Request::time_limit`].)
    pub deadline: Option<Duration>,
    /// Marginal joules over all tokens, read and generated.
    pub joules_per_token: Option<f64>,
    /// Share of a task set that the variant answers rightly, 0 to 1.
    pub min_quality: Option<f64>,
}

/// What to do with a request when no place keeps its targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenNothingFits {
    /// The place that misses them by least.
    #[default]
    BestEffort,
    /// Wait for one that keeps them; a first token that is late already is late.
    Queue,
    /// Say so at once.
    Reject,
    /// Give up `min_quality` towards smaller variants of the alias, and nothing else; then as [`Self::BestEffort`].
    Degrade,
}
