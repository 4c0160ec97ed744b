use std::fmt;

use serde::{Deserialize, Serialize};

use crate::architecture::MemoryKind;
use crate::model::{Layer, Model};
use crate::tensor_type::TensorType;
use crate::text::Bytes;

/// llama.cpp rounds caches up to this many cells.
const CELL_STEP: u64 = 256;

/// Bytes that llama.cpp keeps about one cell: positions and the set of sequences that use it.
const CELL_BYTES: u64 = 64;

/// Bytes that llama.cpp keeps about one token of the vocabulary, measured: 265 to 290.
const TOKEN_BYTES: u64 = 320;

/// Code, stacks, allocator: measured 3 MB, the rest is for what comes.
const PROCESS_BYTES: u64 = 16 << 20;

/// Added to the compute buffer for what no formula sees: scratch rows, rotation matrices, alignment.
const COMPUTE_SLACK_BYTES: u64 = 1 << 20;

const F32_BYTES: u64 = 4;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvType {
    #[serde(rename = "f32")]
    F32,
    #[serde(rename = "f16")]
    F16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl KvType {
    /// Bytes of a row of `numbers`, rounded up to whole blocks.
    fn row_bytes(self, numbers: u64) -> u64 {
        let kind = match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
        };
        numbers.div_ceil(kind.block()) * kind.block_bytes()
    }
}

/// Whose matrix kernels will run. llama.cpp copies matrices of some types into another order for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Processor {
    X86,
    Arm,
}

impl Processor {
    /// The one that this program was built for.
    pub fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm } else { Self::X86 }
    }

    /// Whether matrices of `kind` are copied (`ggml_repack_get_optimal_repack_type`).
    fn repacks(self, kind: TensorType) -> bool {
        let both = matches!(kind.name(), "Q4_0" | "Q4_K" | "IQ4_NL" | "MXFP4");
        both || match self {
            Self::X86 => kind.name() == "Q2_K",
            Self::Arm => matches!(kind.name(), "Q8_0" | "Q5_K" | "Q6_K" | "Q1_0"),
        }
    }
}

/// What layers that look at the last tokens keep (`swa_full` of llama.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowCache {
    /// All tokens, so that any prefix can be taken up again. llama.cpp's default.
    Full,
    /// What they look at, and what a step adds.
    Pruned,
}

/// How a model is to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPoint {
    /// Tokens that the cache holds, of all sequences together (unified cache).
    pub context: u32,
    /// Sequences that run side by side.
    pub sequences: u32,
    /// Tokens computed at once.
    pub micro_batch: u32,
    /// Tokens of one step whose logits are wanted.
    pub outputs: u32,
    pub kv_type: KvType,
    /// Matters for models with sliding windows only.
    pub window_cache: WindowCache,
    pub processor: Processor,
}

impl LoadPoint {
    /// As `dunlin-engine` sets up llama.cpp (`runtime/engine/src/load.rs`; a test of the command compares the two), for a
    /// longest sequence of `context` tokens.
    pub fn of_engine(context: u32, sequences: u32) -> Self {
        Self {
            context: context.max(DEFAULT_CELLS).next_multiple_of(256),
            sequences: sequences + SPARE_SEQUENCES,
            micro_batch: BATCH,
            outputs: OUTPUTS,
            kv_type: KvType::F16,
            window_cache: WindowCache::Full,
            processor: Processor::here(),
        }
    }
}

/// What the engine takes where nobody says otherwise.
const BATCH: u32 = 512;
const OUTPUTS: u32 = 64;
const SPARE_SEQUENCES: u32 = 32;
const DEFAULT_CELLS: u32 = 8192;

/// Bytes of memory that a loaded model takes, by part.
///
/// An upper bound for llama.cpp on the CPU with a unified cache and flash attention, as of llama-cpp-sys-2 0.1.161.
/// Checked against its buffers for SmolLM2-135M, Qwen2.5-0.5B and Llama-3.2-1B in F16, Q8_0, Q4_0 and Q4_K_M,
/// contexts of 512 to 32,768, micro-batches of 16 to 2048, 1 to 32 sequences, 1 to 512 outputs and all four cache
/// types, and in 142 settings of random shapes: the cache and the logits are exact, the compute buffer is overestimated by 5 % and
/// 1 MB where one output is wanted, by up to 60 % where many are. For small models of 19 further architectures, among
/// them windowed, recurrent, hybrid and mixed ones, cache and states are exact and the compute buffer is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Matrices, mapped or copied; where one serves input and output and is copied, both.
    pub weights: u64,
    /// One more cell, in all layers that keep every token.
    pub kv_per_token: u64,
    /// Keys, values and recurrent states.
    pub kv: u64,
    /// Intermediate results of one step.
    pub compute: u64,
    /// Logits of all sequences: sequences x vocabulary x 4 bytes.
    pub logits: u64,
    /// The vocabulary, the book-keeping of cells and the process itself.
    pub reserve: u64,
    pub total: u64,
    /// The context that it is for, in cells.
    pub context: u32,
}

impl Estimate {
    pub fn new(model: &Model, load: &LoadPoint) -> Self {
        let cells = u64::from(load.context.max(1)).next_multiple_of(CELL_STEP);
        let weights = weights(model, load.processor);
        let kv_per_token = per_cell(model, load, |layer| !is_pruned(layer, load));
        let pruned = per_cell(model, load, |layer| is_pruned(layer, load)) * window_cells(model, load, cells);
        let kv = kv_per_token * cells + pruned + states(model, load);
        let compute = compute(model, load, cells);
        let rows = u64::from(load.sequences.max(load.outputs).max(1));
        let logits = rows * u64::from(model.tokenizer.vocabulary) * F32_BYTES;
        let reserve =
            PROCESS_BYTES + u64::from(model.tokenizer.vocabulary) * TOKEN_BYTES + cells * CELL_BYTES;
        let total = weights + kv + compute + logits + reserve;
        Self { weights, kv_per_token, kv, compute, logits, reserve, total, context: load.context }
    }
}

fn weights(model: &Model, processor: Processor) -> u64 {
    let tied = model.weights.tied.filter(|tied| processor.repacks(tied.kind));
    model.weights.bytes + tied.map_or(0, |tied| tied.bytes)
}

/// Whether a layer keeps the last tokens of each sequence only.
fn is_pruned(layer: &Layer, load: &LoadPoint) -> bool {
    layer.windowed && load.window_cache == WindowCache::Pruned
}

/// Bytes of one cell in all layers of which `counts` holds.
fn per_cell(model: &Model, load: &LoadPoint, counts: impl Fn(&Layer) -> bool) -> u64 {
    if model.memory == MemoryKind::None {
        return 0;
    }
    let keeps = |layer: &&Layer| !layer.borrows_kv && counts(layer);
    let row = |heads: u32, length: u32| load.kv_type.row_bytes(u64::from(heads) * u64::from(length));
    let bytes =
        |layer: &Layer| row(layer.kv_heads, layer.key_length) + row(layer.kv_heads, layer.value_length);
    model.layers.iter().filter(keeps).map(bytes).sum()
}

/// Cells of layers that keep the last tokens of each sequence and what a step adds (`llama_kv_cache_iswa`).
fn window_cells(model: &Model, load: &LoadPoint, cells: u64) -> u64 {
    if load.window_cache == WindowCache::Full {
        return cells;
    }
    let window = u64::from(model.sliding_window.unwrap_or(0));
    let kept = window * u64::from(load.sequences.max(1)) + u64::from(load.micro_batch);
    kept.min(cells).next_multiple_of(CELL_STEP)
}

fn states(model: &Model, load: &LoadPoint) -> u64 {
    let states: u64 = model.layers.iter().map(|layer| layer.state_bytes).sum();
    states * u64::from(load.sequences.max(1))
}

/// Bytes of the intermediate results that are alive at once, at the widest point of the graph.
///
/// Per token these are five rows of the width of the layers and, whichever is more, three of the feed-forward
/// width or one row of logits per output; and a mask of two bytes per token and cell. Where the last layer goes
/// on with the outputs alone, their shorter rows do not fit into the holes of the longer ones and are added.
fn compute(model: &Model, load: &LoadPoint, cells: u64) -> u64 {
    let tokens = u64::from(load.micro_batch.max(1)).min(cells);
    // llama.cpp takes room for one output of each sequence at the least.
    let outputs = u64::from(load.outputs.max(load.sequences).max(1)).min(tokens);
    let (width, inner) = (5 * width(model), 3 * inner_width(model));
    let logits = outputs * u64::from(model.tokenizer.vocabulary);
    let mut numbers = width * tokens + (inner * tokens).max(logits);
    if outputs < tokens {
        numbers += outputs * (width + inner);
    }
    let mut masks = 2 * tokens * cells;
    if model.sliding_window.is_some() {
        masks += 2 * tokens * window_cells(model, load, cells);
    }
    let exact = numbers * F32_BYTES + masks;
    exact + exact / 20 + COMPUTE_SLACK_BYTES
}

/// Numbers of the widest row between the parts of a layer.
fn width(model: &Model) -> u64 {
    let asked = |layer: &Layer| u64::from(layer.heads) * u64::from(layer.key_length.max(layer.value_length));
    let widest = model.layers.iter().map(asked).max().unwrap_or(0);
    let width = widest.max(model.embedding_length.into());
    // A recurrent layer holds gates and convolved rows beside its state: twice the rows of attention.
    if matches!(model.memory, MemoryKind::Recurrent | MemoryKind::Hybrid) { 2 * width } else { width }
}

/// Numbers of the widest row within a feed-forward part.
fn inner_width(model: &Model) -> u64 {
    let dense = u64::from(model.feed_forward_length);
    let Some(experts) = model.experts else { return dense };
    let inner =
        if experts.feed_forward_length > 0 { experts.feed_forward_length } else { model.feed_forward_length };
    // Each of the experts that a token uses has its row, and its output a row of the layer's width.
    let routed = u64::from(experts.used) * (u64::from(inner) + u64::from(model.embedding_length));
    dense.max(routed + u64::from(experts.count))
}

/// The parts on one line: `1.24 GB: weights 398 MB, cache 768 MB, compute 48.0 MB, logits 19.4 MB, reserve 65.4 MB`.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: weights {}, cache {}, ", Bytes(self.total), Bytes(self.weights), Bytes(self.kv))?;
        write!(f, "compute {}, logits {}, ", Bytes(self.compute), Bytes(self.logits))?;
        write!(f, "reserve {}", Bytes(self.reserve))
    }
}
