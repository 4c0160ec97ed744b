//! What a worker measures for its agent, and what it finds.

use dunlin_engine_handle::{ModelInfo, Threads};
use dunlin_profiler::{Depth, Judged, Operators, Points, Sample, State};
use serde::{Deserialize, Serialize};

use crate::{ModelId, Open};

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Measure {
    /// A short look at a model that is open.
    Probe(Probe),
    /// A whole campaign, on engines of its own.
    Profile(Box<Profile>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub model: ModelId,
    pub threads: Threads,
    pub limit_ms: u64,
    /// Of an earlier look that was broken off.
    pub known: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub model: ModelId,
    /// How each engine is started.
    pub open: Open,
    /// All parts of the model.
    pub files: Vec<std::path::PathBuf>,
    pub depth: Depth,
    pub points: Points,
    /// It goes on from there.
    pub state: State,
    pub budget_ms: Option<u64>,
    /// The agent reads a sensor: runs are long enough for it.
    pub metered: bool,
    pub extras: Extras,
}

/// What is measured beside time and joules, once these are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extras {
    /// By its name, the text that the model is to foresee.
    pub text: Option<(String, String)>,
    /// By their name, questions, a line of JSON each.
    pub questions: Option<(String, String)>,
    /// Which operators take the time of a step.
    pub operators: bool,
}

/// What a worker tells of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Finding {
    /// What the file says of itself, as the engine has it. The first.
    Model(Box<ModelInfo>),
    /// What runs now.
    Task {
        running: String,
        done: u32,
        total: u32,
    },
    /// A run is over.
    Sample {
        sample: Box<Sample>,
        window: Option<Window>,
    },
    Note(String),
    /// What is known of the answers by now.
    Judged(Box<Judged>),
    /// Where the time of a step goes, or why that is not known.
    Operators(Box<Result<Operators, String>>),
    /// What was sent with the order is not fit for this model; nothing more is measured.
    Unfit(String),
    /// The last.
    Ended(Result<(), String>),
}

/// When a run was, before the moment of the message, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub began_ago_us: u64,
    pub ended_ago_us: u64,
}
