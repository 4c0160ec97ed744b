//! What an engine says of the model that it has loaded.

use serde::{Deserialize, Serialize};

use crate::{Threads, Token};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `general.name` of the file, or its file name.
    pub name: String,
    pub architecture: String,
    /// Short form, as in `Q4_K_M`.
    pub quantization: String,
    pub parameters: u64,
    pub vocabulary: u32,
    /// Longest sequence that this engine serves, in tokens.
    pub context_length: u32,
    /// Longest sequence that the model was trained on, in tokens.
    pub trained_context: u32,
    pub memory: MemoryKind,
    pub features: Features,
    pub bos: Option<Token>,
    /// Tokens that end a turn.
    pub end_of_turn: Vec<Token>,
    /// Sequences that run at once.
    pub sequences: u32,
    /// Cells of the KV cache, one per token and sequence (shared prefixes count once).
    pub cells: u32,
    pub kv_bytes_per_token: u64,
    /// Size of the weights in bytes.
    pub weights_bytes: u64,
    pub threads: Threads,
    /// The backend and the instruction sets its kernels use, as llama.cpp names them.
    pub backend: String,
    pub load_ms: u64,
}

/// How the model remembers what it read; it decides what can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryKind {
    Attention,
    SlidingWindow,
    Recurrent,
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of independent flags, mirrored from the guest interface"
)]
pub struct Features {
    pub fork: bool,
    pub truncate: bool,
    pub snapshot: bool,
    pub logprobs: bool,
    pub constraints: bool,
    pub forced_tokens: bool,
    /// The chat template knows tools.
    pub tools: bool,
    pub reasoning: bool,
    pub embeddings: bool,
    pub rerank: bool,
}
