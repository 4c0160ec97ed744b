//! What is said between a handle and its engine: calls down, deltas and answers up.
//!
//! A call carries everything it needs (the whole prompt, the whole constraint): engines hold nothing that a caller
//! must remember, so a restarted engine serves the next call as if nothing had happened. Prefixes are found again
//! by their tokens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{EngineError, ModelInfo};

/// A token's index in the vocabulary of the model.
pub type Token = u32;

/// Names one call on one connection; chosen by the handle, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// Handle to engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToEngine {
    /// The first message, and the only one of its kind.
    Load(Load),
    Call {
        id: CallId,
        call: Box<Call>,
    },
    /// The call ends within one step; unknown ids are ignored (it may have ended by itself).
    Cancel {
        id: CallId,
    },
    /// The step point for all sequences, from the next step on.
    Threads(Threads),
}

/// Engine to handle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromEngine {
    /// Share of the weights that is loaded, 0 to 1.
    Loading {
        fraction: f32,
    },
    Ready(Box<ModelInfo>),
    /// The model cannot be served; loading it again will not help.
    Refused(EngineError),
    /// Sent every [`crate::PULSE_INTERVAL`] by a thread that does not decode.
    Pulse(Pulse),
    /// What one step of the engine added to its generations.
    Step {
        deltas: Vec<Delta>,
    },
    /// What steps were for whom, since the last such message; of a call that ends it comes before the end.
    Shares(Vec<(CallId, Share)>),
    Answer {
        id: CallId,
        answer: Result<Answer, EngineError>,
    },
}

/// How to load a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// The GGUF file; of a split model, any of its parts.
    pub model: PathBuf,
    /// Longest sequence in tokens; 0: the model's own length, at most [`DEFAULT_CONTEXT`].
    pub context: u32,
    /// Cells of the KV cache, shared by all sequences; 0: chosen from the context length.
    pub cells: u32,
    /// Sequences that run at once.
    pub sequences: u32,
    pub kv_type: KvType,
    /// Layers to put on a GPU, if the engine has one; `None`: all that fit.
    pub gpu_layers: Option<u32>,
    pub threads: Threads,
    /// Cells that prefixes kept for later may occupy while others decode, beyond what costs nothing: they slow every
    /// step down, and coming back from host memory costs about a thousandth of computing them again.
    pub idle_cells: u32,
    /// Bytes of host memory for prefixes that were moved out of the KV cache.
    pub spill_bytes: u64,
    /// Memory that must stay free after the load, in bytes.
    pub reserve_bytes: u64,
    /// Map the weights instead of reading them.
    pub mmap: bool,
    /// Time every operator by itself, for [`Call::Operators`]: steps take longer.
    pub times_operators: bool,
}

/// Context length taken where the caller names none and the model allows more, in tokens.
pub const DEFAULT_CONTEXT: u32 = 4096;

impl Default for Load {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            context: 0,
            cells: 0,
            sequences: 32,
            kv_type: KvType::F16,
            gpu_layers: None,
            threads: Threads::default(),
            idle_cells: 0,
            spill_bytes: 256 << 20,
            reserve_bytes: 256 << 20,
            mmap: true,
            times_operators: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    F32,
    #[default]
    F16,
    Q8_0,
    Q4_0,
}

/// Threads of a step; 0: as many as the machine has cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Threads {
    /// For steps that read prompts.
    pub prefill: u32,
    /// For steps that only decode.
    pub decode: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    Generate(Generate),
    Score(Score),
    Embed {
        texts: Vec<String>,
    },
    Tokenize(Tokenize),
    Detokenize {
        tokens: Vec<Token>,
    },
    Render(Render),
    /// Compile a constraint ahead of its use, or refuse it.
    Compile {
        constraint: Constraint,
    },
    /// Read a prompt that several generations are about to continue.
    Prepare(Prepare),
    /// What each kind of operator took so far; of an engine with [`Load::times_operators`].
    Operators,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    Scores(Vec<Scored>),
    Embeddings(Vec<Vec<f32>>),
    Tokens(Vec<Token>),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Rendered(Rendered),
    /// What the compiler had to say, if anything.
    Compiled {
        warnings: Vec<String>,
    },
    Prepared,
    Operators(OperatorTimes),
}

/// What operators took since the model was loaded, in steps that read prompts and in steps that only decode. Each was computed
/// by itself: none beside another, none fused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorTimes {
    pub operators: Vec<OperatorTime>,
    /// Of an operator that computes nothing, in nanoseconds, median: what it costs to time one.
    pub empty_ns: u64,
    /// Operators that compute nothing, as views.
    pub empties: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorTime {
    /// As ggml names it, as in `MUL_MAT`.
    pub operator: String,
    pub kind: OperatorKind,
    pub step: StepKind,
    pub calls: u64,
    /// Of all calls, the cost of timing them included.
    pub total_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// One that reads prompts; others may decode in it.
    Prefill,
    /// One that only decodes.
    Decode,
}

/// What an operator is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorKind {
    MatrixProduct,
    Attention,
    Norm,
    ElementWise,
    /// Rows that are looked up, written to the cache, or laid out anew.
    Copy,
    Other,
}

/// One generation: the prompt, and what may follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generate {
    /// All tokens so far; a prefix that the engine holds is not computed again.
    pub prompt: Vec<Token>,
    /// What the output begins with, where it was begun elsewhere: said again, and read as a prompt is. It counts for
    /// `max_tokens`, stops, penalties and the constraint as if it were drawn now; it has no log-probabilities.
    pub replay: Vec<Token>,
    /// Prefixes are shared within a tenant; across, only as far as both say that they are public.
    pub tenant: String,
    /// Leading tokens of the prompt that are no secret of the tenant.
    pub public: u32,
    pub max_tokens: u32,
    /// `None`: greedy.
    pub sampling: Option<Sampling>,
    /// Draws depend on this seed, the position and the token, and on nothing else.
    pub seed: u64,
    pub stop: Vec<String>,
    /// Alternatives to report per token; `None`: no log-probabilities at all.
    pub top_logprobs: Option<u32>,
    pub constraint: Option<Constraint>,
    /// Time left from the arrival at the engine, in milliseconds.
    pub deadline_ms: Option<u64>,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            replay: Vec::new(),
            tenant: String::new(),
            public: 0,
            max_tokens: 256,
            sampling: None,
            seed: 0,
            stop: Vec::new(),
            top_logprobs: None,
            constraint: None,
            deadline_ms: None,
        }
    }
}

/// Filters and penalties, in the order in which they are applied: bias, penalties, then top-k, typical-p, top-p, min-p
/// and XTC on the distribution at `temperature`, then the dynamic temperature. The default is off throughout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0: greedy.
    pub temperature: f32,
    /// 0: off.
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    /// Locally typical sampling (Meister et al., 2023): the share to keep of the tokens whose surprise is closest to what
    /// is expected. 1: off.
    pub typical_p: f32,
    /// How often XTC leaves out the likely tokens but the least likely of them, 0 to 1. 0: off.
    pub xtc_probability: f32,
    /// The probability from which a token is a likely one; above 0.5: off.
    pub xtc_threshold: f32,
    /// Half the width of the temperatures around `temperature`, of which the entropy chooses one. 0: off.
    pub dynamic_temperature_range: f32,
    /// The power to which the entropy, as a share of the largest possible one, counts.
    pub dynamic_temperature_exponent: f32,
    /// Divides positive logits of tokens seen in the last `repeat_last_n`, multiplies negative ones (Keskar et al., 2019).
    pub repeat_penalty: f32,
    pub repeat_last_n: u32,
    /// Subtracted once per occurrence in the generated text.
    pub frequency_penalty: f32,
    /// Subtracted once if the token occurred in the generated text.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(Token, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dynamic_temperature_range: 0.0,
            dynamic_temperature_exponent: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

/// What the output must look like. Compiled once per engine and text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Constraint {
    AnyJson,
    /// A JSON schema, as text.
    JsonSchema(String),
    Regex(String),
    /// A grammar in the Lark dialect of llguidance.
    Lark(String),
    Choice(Vec<String>),
}

/// The log-probability of each candidate as the continuation of a prompt; nothing is sampled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Score {
    pub prompt: Vec<Token>,
    pub tenant: String,
    /// As in [`Generate::public`].
    #[serde(default)]
    pub public: u32,
    pub candidates: Vec<String>,
    /// Candidates that are tokens already, after those of text. No end of turn closes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Vec<Token>>,
    pub normalize: Normalize,
    pub deadline_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Normalize {
    /// The sum over the tokens of the candidate and the end of turn that closes it.
    #[default]
    Total,
    /// That sum by the number of tokens.
    PerToken,
    /// That sum less the candidate's own log-probability without the prompt.
    Unconditional,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Position in [`Score::candidates`], and after those in [`Score::tokens`].
    pub index: u32,
    pub score: f32,
    /// One per token of the candidate, in nats; of text, the closing end of turn included.
    pub token_logprobs: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokenize {
    pub text: String,
    /// Add what the model wants at the start of a sequence (BOS).
    pub add_special: bool,
    /// Read the spelling of control tokens as those tokens.
    pub parse_special: bool,
}

/// Messages to be rendered by the chat template of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Render {
    pub messages: Vec<Message>,
    pub tools: Vec<ToolDef>,
    /// End with the opening of the assistant's turn.
    pub cue: bool,
}

/// What a template made of the messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    pub text: String,
    /// `text` as tokens. The spelling of a control token inside a message's content is text here, not a control token.
    pub tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
    #[serde(default)]
    pub tool_call_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments_json: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDef {
    pub name: String,
    pub description: String,
    /// A JSON schema, as text.
    pub parameters_schema: String,
}

/// Announces that `branches` generations will continue `prompt`: it is read once, and as many sequences are kept for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    pub prompt: Vec<Token>,
    pub tenant: String,
    /// As in [`Generate::public`].
    #[serde(default)]
    pub public: u32,
    pub branches: u32,
}

/// What a step added to one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    pub id: CallId,
    pub tokens: Vec<Token>,
    /// Whole UTF-8; bytes of a character that is not complete yet come with a later delta.
    pub text: String,
    /// One per token of `tokens`, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenInfo {
    pub chosen: Logprob,
    pub top: Vec<Logprob>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logprob {
    pub token: Token,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// Under the model's own distribution, before bias, penalties and filters; in nats.
    pub logprob: f32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub reason: StopReason,
    pub usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    EndOfTurn,
    StopString,
    ConstraintComplete,
    MaxTokens,
    ContextFull,
    Cancelled,
    Deadline,
}

/// What one generation took. Times are the engine's own, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens computed for this call.
    pub prompt_tokens: u32,
    /// Prompt tokens taken from a prefix that was held.
    pub cached_tokens: u32,
    pub output_tokens: u32,
    /// Of the output, tokens that the constraint left no choice about.
    pub forced_tokens: u32,
    /// From the call to its first step, load included.
    pub queue_us: u64,
    /// From the call to its first token, queue and load included.
    pub ttft_us: u64,
    pub tpot_p50_us: u64,
    pub tpot_p99_us: u64,
    /// From the call to its end.
    pub total_us: u64,
    /// Spent on masks by the workers.
    pub mask_us: u64,
}

/// A call's share of the time of steps. All shares of a step together are its time: who decodes has an equal part of a step
/// that only decodes, who reads a prompt also what the step took longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    pub prefill_us: u64,
    pub decode_us: u64,
}

/// Signs of life, and how full the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulse {
    /// Grows whenever the decoding thread gets anywhere: an operator, a step, a piece of the file.
    pub ticks: u64,
    /// There is work, so `ticks` ought to grow.
    pub busy: bool,
    pub running: u32,
    pub queued: u32,
    /// KV cells in use, those of kept prefixes included.
    pub cells: u32,
    /// Of these, cells of prefixes that nobody runs on.
    pub idle_cells: u32,
    pub spilled_bytes: u64,
    pub steps: u64,
    /// Kept prefixes that had to leave the KV cache, since the engine was started.
    pub evictions: u64,
}
