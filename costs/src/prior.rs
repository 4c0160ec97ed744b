//! Rows of models that nobody measured, from the size of their file: decoding reads all weights for each token, so
//! its time is the file by the memory's bandwidth; the rest scales from a model that was measured.

use serde::Deserialize;

use crate::{
    Decode, Figure, Fit, LoadCosts, Memory, Method, ModelDigest, Origin, Power, Prefill, Provenance, Quality,
    Quantisation, Row, RowKey, RowParts,
};

pub(crate) const MIB: f64 = (1u64 << 20) as f64;

/// Sequences a step for which rows are made: 1, 2, 4 ... 32.
const BATCHES: u32 = 6;
/// One request in ten is taken to last 1.65 times as long as a prior says.
const RESIDUAL: f64 = 0.5;

/// What a GGUF file tells of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    pub name: String,
    pub digest: ModelDigest,
    pub quantisation: Quantisation,
    pub file_bytes: u64,
    pub kv_bytes_per_token: u64,
}

/// What several sequences, or several models, cost that share a board.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sharing {
    /// A further sequence of a step, by a token of a prompt.
    pub sequence_by_prompt_token: Figure,
    /// See [`Decode::contention`].
    pub contention: Figure,
}

/// How to guess the rows of any model on one class of node.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    pub source: String,
    /// The model that the coefficients are of.
    pub reference: ModelFacts,
    pub p0_ms: Figure,
    /// Inverse of the bandwidth.
    pub decode_ms_per_mib: Figure,
    pub p1_ms_per_token: Figure,
    pub p2_ms_per_token2: Figure,
    pub d1_ms_per_token: Figure,
    pub warm_ms: Figure,
    pub cold_ms_per_mib: Figure,
    pub sharing: Sharing,
    pub points: Vec<PriorPoint>,
}

/// An operating point, by how much slower it is than the coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorPoint {
    /// Of the reference.
    pub key: RowKey,
    pub prefill: Figure,
    pub decode: Figure,
    pub power: Option<Power>,
}

impl Sharing {
    /// `d(b)` for b = 1, 2, 4 ... of a model that takes `alone` for one sequence: the weights are read once, each further
    /// sequence adds the arithmetic of some prompt tokens.
    pub fn batch(&self, alone: &Figure, prompt_token: &Figure) -> Vec<Figure> {
        let further = prompt_token.times(&self.sequence_by_prompt_token);
        let step = |batch: u32| match batch {
            0 => alone.clone(),
            _ => alone.plus(&further.map(|ms| ms * f64::from((1u32 << batch) - 1))),
        };
        (0..BATCHES).map(step).collect()
    }
}

impl Prior {
    /// One row for each operating point, [`Origin::Assumed`] by [`Method::FileSize`].
    pub fn rows(&self, model: &ModelFacts) -> Vec<Row> {
        self.points.iter().filter_map(|point| self.row(model, point)).collect()
    }

    /// Arithmetic grows with the weights, and attention with the keys and values of a token. `None` if the file is empty.
    fn row(&self, model: &ModelFacts, point: &PriorPoint) -> Option<Row> {
        let mib = model.file_bytes as f64 / MIB;
        let weights = model.file_bytes as f64 / self.reference.file_bytes.max(1) as f64;
        let attention = model.kv_bytes_per_token as f64 / self.reference.kv_bytes_per_token.max(1) as f64;
        let scaled = |figure: &Figure, by: f64, slower: &Figure| figure.map(|ms| ms * by).times(slower);
        let p1 = scaled(&self.p1_ms_per_token, weights, &point.prefill);
        let alone = scaled(&self.decode_ms_per_mib, mib, &point.decode);
        let parts = RowParts {
            name: model.name.clone(),
            key: RowKey {
                model: model.digest,
                quantisation: model.quantisation.clone(),
                ..point.key.clone()
            },
            provenance: Provenance {
                origin: Origin::Assumed,
                method: Method::FileSize,
                grade: None,
                source: self.source.clone(),
                date: String::new(),
            },
            load: LoadCosts {
                cold_ms: self.cold_ms_per_mib.map(|ms| ms * mib).plus(&self.warm_ms),
                warm_ms: self.warm_ms.clone(),
                ..LoadCosts::default()
            },
            memory: Memory {
                weights_bytes: model.file_bytes,
                kv_bytes_per_token: model.kv_bytes_per_token,
                ..Memory::default()
            },
            prefill: Prefill {
                p0_ms: self.p0_ms.clone(),
                p2_ms_per_token2: scaled(&self.p2_ms_per_token2, attention, &point.prefill),
                p1_ms_per_token: p1.clone(),
                measured: [0, 0],
            },
            decode: Decode {
                batch_ms: self.sharing.batch(&alone, &p1),
                between_ms: Vec::new(),
                depth_ms_per_token: scaled(&self.d1_ms_per_token, attention, &point.decode),
                depth_shared: Figure::default(),
                contention: self.sharing.contention.clone(),
                measured_depth: 0,
            },
            power: point.power.clone(),
            quality: Quality::default(),
            fit: Fit { residual_q90: RESIDUAL, ..Fit::default() },
        };
        Row::try_from(parts).ok()
    }
}
