//! What an agent and its worker say to each other, in frames of [`dunlin_engine_handle::frame`].

use std::{fmt, path::PathBuf};

use dunlin_engine_handle::{Load, ModelInfo, Pulse, Share, Threads, Token};
use serde::{Deserialize, Serialize};

use crate::{Finding, Measure};

/// Names an invocation, or a measurement, on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// Names a model on one worker: the digest of its file, as hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelId(pub String);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// Load a model; it stays until it is closed.
    Open {
        model: ModelId,
        open: Box<Open>,
    },
    Threads {
        model: ModelId,
        threads: Threads,
    },
    /// Unload a model. What runs on it fails.
    Close(ModelId),
    /// Be this board, in this mode: what emulated engines run on.
    Board(BoardState),
    Invoke {
        call: CallId,
        invoke: Box<Invoke>,
    },
    Cancel(CallId),
    Measure {
        call: CallId,
        measure: Box<Measure>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message: what the kernel let it take from itself.
    Confined(Confinement),
    /// Sign of life, every [`dunlin_engine_handle::PULSE_INTERVAL`].
    Pulse,
    Model {
        model: ModelId,
        state: ModelState,
    },
    Event {
        call: CallId,
        event: Event,
    },
    /// How its engines are; some times a second, where anything is different.
    Vitals(Vec<(ModelId, Vitals)>),
    Finding {
        call: CallId,
        finding: Box<Finding>,
    },
    /// What the meters of the emulated board show: every [`BOARD_INTERVAL`], before the end of each attempt,
    /// and when a model has been loaded.
    Board(BoardReading),
}

/// How often an emulated board tells what its meters show.
pub const BOARD_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);

/// How full an engine is, and how often it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    pub pulse: Pulse,
    /// Counts starts of its process, from 1.
    pub starts: u32,
}

/// Which board is emulated, and how it is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState {
    pub class: String,
    pub mode: String,
    /// Chooses the individual.
    pub seed: u64,
}

/// What an emulated board shows of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BoardReading {
    /// The mode that it is in.
    pub mode: String,
    /// Since it was started, at its input; `None`: its class says nothing of power.
    pub input_joules: Option<f64>,
    pub watts: Option<f64>,
    /// Celsius.
    pub degrees: f64,
    pub heat: BoardHeat,
}

/// How near an emulated board is to be slowed down by its heat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BoardHeat {
    #[default]
    Cool,
    Warm,
    Throttled,
}

/// What a worker could take from itself, its pipelines and its engines; of the rest, why not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// Why there still is a network.
    pub network: Option<String>,
    /// Why files are still what they are to the user that it runs as.
    pub files: Option<String>,
}

impl Confinement {
    /// What could not be taken, in words; `None` if everything was.
    pub fn gaps(&self) -> Option<String> {
        let gap = |what: &str, why: &Option<String>| why.as_ref().map(|why| format!("{what} ({why})"));
        let gaps: Vec<String> =
            [gap("network", &self.network), gap("files", &self.files)].into_iter().flatten().collect();
        (!gaps.is_empty()).then(|| gaps.join(", "))
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |why: &Option<String>| match why {
            None => "taken".to_owned(),
            Some(why) => format!("NOT taken ({why})"),
        };
        write!(f, "network {}, files {}", word(&self.network), word(&self.files))
    }
}

/// How a model is to be served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub load: Load,
    pub engine: EngineKind,
}

/// What computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EngineKind {
    /// The engine executable.
    Program(PathBuf),
    /// A model of a board, which answers at its pace and computes nothing.
    Emulated(Box<Emulated>),
}

/// A model on a board that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulated {
    pub class: String,
    /// The power state that the board is in.
    pub mode: String,
    /// Chooses the individual.
    pub seed: u64,
    /// What the model is called, and what a file of it would tell.
    pub model: String,
    pub quantization: String,
    pub file_bytes: u64,
    pub kv_bytes_per_token: u64,
}

/// Where a model is in its life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ModelState {
    /// Share of the weights that is loaded, 0 to 1.
    Loading {
        fraction: f32,
    },
    Ready(Box<ModelInfo>),
    /// Its engine died and is started again.
    Restarting {
        reason: String,
    },
    /// It is not served, and will not be; `memory`: for want of memory.
    Failed {
        reason: String,
        memory: bool,
    },
}

/// One attempt of an invocation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Invoke {
    /// The component, as a file.
    pub component: PathBuf,
    pub name: String,
    pub content_type: String,
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    pub params: Vec<(String, String)>,
    pub models: Vec<Binding>,
    pub environment: Vec<(String, String)>,
    pub public_prefixes: Vec<String>,
    pub budgets: Budgets,
    pub seed: u64,
    pub tenant: String,
    pub attempt: u32,
    /// Output of generations that earlier attempts began.
    pub known: Vec<Vec<Token>>,
    /// Text that earlier attempts delivered.
    pub delivered_bytes: u64,
    pub node: String,
    pub class: String,
    pub on_battery: bool,
}

/// A model under the name that the pipeline knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub alias: String,
    pub model: ModelId,
    /// How the engine runs it, for usage.
    pub operating_point: String,
}

/// What an invocation may use, as far as it is not the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budgets {
    pub time_ms: Option<u64>,
    pub tokens: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub emitted_bytes: Option<u64>,
}

/// What an invocation says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It runs: its models are there and its code is compiled.
    Started,
    /// New output of a generation, before any text that is made of it.
    Tokens {
        generation: u32,
        /// Tokens of this generation before these.
        offset: u64,
        tokens: Vec<Token>,
    },
    Text(String),
    Json(String),
    /// 0 to 1.
    Progress(f32),
    /// What engines did for it so far.
    Share(Share),
    /// The last event.
    Ended(Box<Ended>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub outcome: Outcome,
    pub usage: Usage,
    /// Of the guest's stdout and stderr.
    pub log: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Answer {
        content_type: String,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    Failed(Failed),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub kind: FailureKind,
    pub reason: String,
    /// The same may succeed later or elsewhere.
    pub may_retry: bool,
}

/// Whose fault a failure is, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The pipeline's own answer.
    Pipeline,
    Cancelled,
    Deadline,
    /// A budget is used up.
    Exhausted,
    NotGranted,
    /// A fault of its code.
    Trap,
    /// The component cannot be run.
    Component,
    /// The model is not served here.
    Model,
    /// The engine failed under it.
    Engine,
    /// The worker died.
    Worker,
}

/// What an attempt took: tokens, and times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub generations: u32,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub output_tokens: u32,
    pub forced_tokens: u32,
    pub scored_tokens: u32,
    pub queue_us: u64,
    pub ttft_us: u64,
    pub tpot_p50_us: u64,
    pub tpot_p99_us: u64,
    /// From the arrival at the worker to the end.
    pub total_us: u64,
    /// What engines did for it.
    pub share: Share,
}

impl Ended {
    /// An attempt that failed before it used anything.
    pub fn failed(kind: FailureKind, reason: impl Into<String>, may_retry: bool) -> Self {
        let failed = Failed { kind, reason: reason.into(), may_retry };
        Self { outcome: Outcome::Failed(failed), usage: Usage::default(), log: String::new() }
    }
}
