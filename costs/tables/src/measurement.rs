//! Published cells, and where they are from.

use dunlin_costs::{Grade, Mode, NodeClass, Scope, Thermal};
use serde::Deserialize;
use thiserror::Error;

/// One published cell: medians of requests of one shape on one board.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    pub source: String,
    pub class: NodeClass,
    /// Empty where it is not said.
    pub mode: Mode,
    pub thermal: Thermal,
    pub model: String,
    pub quantisation: String,
    pub file_mib: f64,
    pub prompt_tokens: Option<u32>,
    /// On average: answers may end early.
    pub output_tokens: Option<f64>,
    /// Tokens that were there before the answer, where it is not the prompt.
    pub depth_tokens: Option<u32>,
    pub ttft_ms: Option<f64>,
    pub tpot_ms: f64,
    pub power_w: Option<f64>,
    pub power_scope: Option<Scope>,
    pub grade: Grade,
}

/// Where cells are from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub id: String,
    pub repository: String,
    pub locator: String,
    pub commit: String,
    pub licence: String,
    /// Whom to cite.
    pub cite: String,
    pub engine: String,
    pub date: String,
}

/// Cells that make no row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    pub source: String,
    pub class: NodeClass,
    /// Empty: all of them.
    pub model: String,
    pub reason: String,
}

/// A line of a file in the tree is not as it should be.
#[derive(Debug, Error)]
#[error("{file}: {error}")]
pub struct ReferenceError {
    file: &'static str,
    error: csv::Error,
}

/// All cells that are kept.
///
/// # Errors
/// [`ReferenceError`], which the tests of this crate rule out.
pub fn measurements() -> Result<Vec<Measurement>, ReferenceError> {
    read("measurements.csv", include_str!("../reference/measurements.csv"))
}

/// Where they are from.
///
/// # Errors
/// As [`measurements`].
pub fn sources() -> Result<Vec<Source>, ReferenceError> {
    read("sources.csv", include_str!("../reference/sources.csv"))
}

/// What makes no row, and why.
///
/// # Errors
/// As [`measurements`].
pub fn exclusions() -> Result<Vec<Exclusion>, ReferenceError> {
    read("exclusions.csv", include_str!("../reference/exclusions.csv"))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(
    file: &'static str,
    text: &str,
) -> Result<Vec<T>, ReferenceError> {
    let lines = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
    lines.collect::<Result<_, _>>().map_err(|error| ReferenceError { file, error })
}

impl Measurement {
    /// Mean tokens of the sequence while it answered.
    pub fn depth(&self) -> Option<f64> {
        let depth = self.depth_tokens.or(self.prompt_tokens)?;
        Some(f64::from(depth) + self.output_tokens.unwrap_or(0.0) / 2.0)
    }
}

impl Exclusion {
    pub fn is_of(&self, cell: &Measurement) -> bool {
        self.source == cell.source
            && self.class == cell.class
            && (self.model.is_empty() || self.model == cell.model)
    }
}

impl Source {
    /// For the provenance of a row.
    pub fn citation(&self) -> String {
        let commit: String = self.commit.chars().take(7).collect();
        format!("{}, {} at {commit} ({}; {})", self.repository, self.locator, self.licence, self.cite)
    }
}
