//! A cost row: what was measured, or is assumed, of one model at one operating point.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Bound, Calibration, Figure, Power, Prediction, Provenance, RowKey, Running, Situation, Steps, Work,
    step::BATCHES,
};

/// The costs of one model at one operating point of one class of node.
///
/// Checked when it is made; it derefs to what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RowParts", into = "RowParts")]
pub struct Row {
    parts: RowParts,
    steps: Steps,
}

/// Why a row cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowFault {
    #[error(
        "decode.batch_ms is empty: it takes the milliseconds of a step for 1, 2, 4 ... sequences, at least for 1"
    )]
    NoBatch,
    #[error("decode.batch_ms has {0} values, at most {BATCHES} (1 to 128 sequences) are possible")]
    Batches(usize),
    #[error(
        "decode.between_ms has {0} values, and there are {1} between 2, 4, 8 ... sequences of decode.batch_ms"
    )]
    Between(usize, usize),
    #[error("{0} must be more than 0")]
    Zero(&'static str),
    #[error("prefill.measured goes from {0} to {1} tokens: the shortest prompt comes first")]
    Measured(u32, u32),
    #[error("fit.residual_q90 is {0}, it is a logarithm between 0 and 3")]
    Residual(String),
    #[error("decode.depth_shared is {0}, it is a part: 0 to 1")]
    Shared(String),
    #[error("quality.accuracy is {0}, it is a part: 0 to 1")]
    Accuracy(String),
    #[error("quality.perplexity is {0}, it is 1 or more")]
    Perplexity(String),
    #[error("fit.disturbed is {0}, it is a part: 0 to 1")]
    Disturbed(String),
}

/// Time and energy to make the model resident.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadCosts {
    /// From the disk.
    pub cold_ms: Figure,
    /// From the page cache.
    pub warm_ms: Figure,
    /// Where the energy was measured; else it is power by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_joules: Option<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_joules: Option<Figure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Highest after the load, repacked copies included.
    pub weights_bytes: u64,
    pub kv_bytes_per_token: u64,
    /// Highest resident memory of the engine's process while it loads, reads prompts and writes answers, pages of a mapped file
    /// included; 0 where it was not measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub load_peak_bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prefill_peak_bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decode_peak_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// Reading a prompt of n tokens, alone: `p0 + p1 n + p2 n^2`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefill {
    pub p0_ms: Figure,
    pub p1_ms_per_token: Figure,
    #[serde(default)]
    pub p2_ms_per_token2: Figure,
    /// Shortest and longest prompt measured, in tokens.
    pub measured: [u32; 2],
}

/// A step that decodes b sequences of K tokens in all: `d(b) + d1 K (1 + s (b - 1))`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// `d(b)` for b = 1, 2, 4, 8 ...: between them linear, beyond them by the last slope.
    pub batch_ms: Vec<Figure>,
    /// `d(b)` for b = 3, 6, 12 ..., as far as they were measured. Kernels that compute rows by fours may take longer for three
    /// than for four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub between_ms: Vec<Figure>,
    /// `d1`.
    #[serde(default)]
    pub depth_ms_per_token: Figure,
    /// `s`: the part of `d1` that a sequence pays for the tokens of each other one. 0 where every sequence has a cache
    /// of its own; in a unified cache each row walks over the cells of all, up to 1.
    #[serde(default, skip_serializing_if = "Figure::is_zero")]
    pub depth_shared: Figure,
    /// By which part of itself a step gets longer for each other model that works on the node.
    #[serde(default)]
    pub contention: Figure,
    /// Largest sequence measured, in tokens; 0 if that is not known.
    #[serde(default)]
    pub measured_depth: u32,
}

/// How good the model's answers are, where that was measured. It is the model's, on whatever board.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The text, and how much of it: perplexities of two texts do not compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_of: Option<String>,
    /// Share of a task set answered rightly, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The set, and how much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_of: Option<String>,
}

impl Quality {
    /// What is not known of this is that of `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let (text, set) = (self.perplexity.is_some(), self.accuracy.is_some());
        let pick = |own: bool, this: Option<String>, other: &Option<String>| match own {
            true => this,
            false => other.clone(),
        };
        Self {
            perplexity: self.perplexity.or(other.perplexity),
            perplexity_of: pick(text, self.perplexity_of, &other.perplexity_of),
            accuracy: self.accuracy.or(other.accuracy),
            accuracy_of: pick(set, self.accuracy_of, &other.accuracy_of),
        }
    }
}

/// How well the coefficients describe what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fit {
    /// Mean absolute error of the time to read a prompt, in percent.
    pub prefill_mape_pct: Option<f64>,
    /// Mean absolute error of the time of a token, in percent.
    pub decode_mape_pct: Option<f64>,
    /// Spread of repeated runs, in percent of their mean.
    pub cv_pct: Option<f64>,
    /// Spread over prompt lengths of the time to read a token, in percent of its mean: how far one rate is from all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_cv_pct: Option<f64>,
    /// Spread over depths of the time to write a token alone, in percent of its mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_cv_pct: Option<f64>,
    /// Part of the time, 0 to 1, in which others kept a thread of the engine from a processor; told only where that was so much
    /// that the figures are not those of the board alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<f64>,
    /// `ln(actual / predicted)` that 90 % of requests stay below.
    pub residual_q90: f64,
    /// The same of the time to read a prompt, where it is known apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_residual_q90: Option<f64>,
    /// The same of the time of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_residual_q90: Option<f64>,
}

impl Fit {
    pub fn prefill_q90(&self) -> f64 {
        self.prefill_residual_q90.unwrap_or(self.residual_q90)
    }

    pub fn decode_q90(&self) -> f64 {
        self.decode_residual_q90.unwrap_or(self.residual_q90)
    }
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            prefill_mape_pct: None,
            decode_mape_pct: None,
            cv_pct: None,
            prefill_cv_pct: None,
            decode_cv_pct: None,
            disturbed: None,
            residual_q90: DEFAULT_RESIDUAL,
            prefill_residual_q90: None,
            decode_residual_q90: None,
        }
    }
}

/// Where a row says nothing of its residuals: one request in ten takes more than 1.22 times as long as predicted.
pub(crate) const DEFAULT_RESIDUAL: f64 = 0.2;

/// What a [`Row`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowParts {
    /// The model's name, for people.
    #[serde(default)]
    pub name: String,
    pub key: RowKey,
    pub provenance: Provenance,
    #[serde(default)]
    pub load: LoadCosts,
    #[serde(default)]
    pub memory: Memory,
    pub prefill: Prefill,
    pub decode: Decode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    #[serde(default)]
    pub quality: Quality,
    #[serde(default)]
    pub fit: Fit,
}

impl TryFrom<RowParts> for Row {
    type Error = RowFault;

    fn try_from(parts: RowParts) -> Result<Self, RowFault> {
        parts.check()?;
        let steps = Steps::of(&parts, Bound::Nominal);
        Ok(Self { parts, steps })
    }
}

/// To read its parts. Nothing changes them, since the step model is made of them.
impl Deref for Row {
    type Target = RowParts;

    fn deref(&self) -> &RowParts {
        &self.parts
    }
}

impl From<Row> for RowParts {
    fn from(row: Row) -> Self {
        row.parts
    }
}

impl RowParts {
    fn check(&self) -> Result<(), RowFault> {
        let batch = &self.decode.batch_ms;
        let first = batch.first().ok_or(RowFault::NoBatch)?;
        if batch.len() > BATCHES {
            return Err(RowFault::Batches(batch.len()));
        }
        let (between, most) = (self.decode.between_ms.len(), batch.len().saturating_sub(2));
        if between > most {
            return Err(RowFault::Between(between, most));
        }
        for (name, figure) in
            [("prefill.p1_ms_per_token", &self.prefill.p1_ms_per_token), ("decode.batch_ms", first)]
        {
            if figure.at(Bound::Low) <= 0.0 {
                return Err(RowFault::Zero(name));
            }
        }
        let [shortest, longest] = self.prefill.measured;
        if shortest > longest {
            return Err(RowFault::Measured(shortest, longest));
        }
        for residual in [self.fit.residual_q90, self.fit.prefill_q90(), self.fit.decode_q90()] {
            if !(0.0..=3.0).contains(&residual) {
                return Err(RowFault::Residual(residual.to_string()));
            }
        }
        if !(0.0..=1.0).contains(&self.decode.depth_shared.nominal()) {
            return Err(RowFault::Shared(self.decode.depth_shared.nominal().to_string()));
        }
        if let Some(accuracy) = self.quality.accuracy.filter(|accuracy| !(0.0..=1.0).contains(accuracy)) {
            return Err(RowFault::Accuracy(accuracy.to_string()));
        }
        if let Some(disturbed) = self.fit.disturbed.filter(|disturbed| !(0.0..=1.0).contains(disturbed)) {
            return Err(RowFault::Disturbed(disturbed.to_string()));
        }
        if let Some(perplexity) = self.quality.perplexity.filter(|of| !(1.0..=f64::MAX).contains(of)) {
            return Err(RowFault::Perplexity(perplexity.to_string()));
        }
        Ok(())
    }
}

impl Row {
    /// What `work` takes in `situation`, and what it adds to the node's energy. About 50 ns, no allocation.
    pub fn predict(&self, work: &Work, situation: &Situation, calibration: &Calibration) -> Prediction {
        self.steps.predict(work, situation, calibration)
    }

    /// With what `other`, a row of the same model, knows of its quality, where this one does not.
    #[must_use]
    pub fn judged_as(mut self, other: &Self) -> Self {
        self.parts.quality = self.parts.quality.or(&other.parts.quality);
        self
    }

    /// Seconds a token of each of the sequences that run, calibration aside.
    pub fn tpot(&self, running: &Running) -> f64 {
        self.steps.decode_step(running.sequences, running.context as f64)
    }

    /// The numbers of the step model at the nominal values: what a placement keeps in its index.
    pub const fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The step model at one end of all that is assumed.
    pub fn steps_at(&self, bound: Bound) -> Steps {
        Steps::of(&self.parts, bound)
    }

    /// Joules of a request that is alone on the node, as the row's own sensor would count them, idle draw included:
    /// comparable with published figures of the same [`Scope`](crate::Scope), and with nothing else. `None` without power.
    pub fn reading(&self, work: &Work) -> Option<f64> {
        let read = self.parts.power.as_ref()?.read(Bound::Nominal);
        let steps = self.steps.with_watts(read);
        steps.predict(work, &Situation::default(), &Calibration::default()).joules.map(|joules| joules.total)
    }
}
