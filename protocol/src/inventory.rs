//! What a node says of itself: everything when it connects, what changes in every report.

use serde::{Deserialize, Serialize};

use crate::{
    AtMost, AttemptId, ComponentDigest, Epoch, Incarnation, ModelDigest, OperatingPoint, Parameter,
    limits::{
        MAX_ATTEMPTS, MAX_COMPONENTS, MAX_HELD_PREFIXES, MAX_LABELS, MAX_MODELS, MAX_NAME, MAX_POINTS,
        MAX_RESIDENTS, MAX_TEXT,
    },
};

/// All that a node holds. The node is the truth about it: the scheduler forgets what it believed before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inventory {
    pub incarnation: Incarnation,
    /// The highest epoch that the node has obeyed.
    #[serde(default)]
    pub epoch: Epoch,
    /// As in `pi5-8g`.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub class: String,
    /// Of the EEPROM or L4T.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub firmware: String,
    /// Of the engine.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub engine_build: String,
    /// The board does not exist: its engine is paced by a model of one.
    #[serde(default)]
    pub emulated: bool,
    #[serde(default)]
    pub cordoned: bool,
    #[serde(default, with = "AtMost::<MAX_LABELS>")]
    pub labels: Vec<Parameter>,
    /// What pipelines may use there.
    #[serde(default)]
    pub allows: Permissions,
    /// What could not be taken from pipelines there, and why; empty where they have no network and no files but their own.
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub unconfined: String,
    /// It may be measured again when it is idle and its rows are stale.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remeasures: bool,
    /// Attempts that it runs at once.
    #[serde(default)]
    pub slots: u32,
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub disk_free_bytes: u64,
    #[serde(default, with = "AtMost::<MAX_MODELS>")]
    pub models: Vec<StoredModel>,
    #[serde(default, with = "AtMost::<MAX_COMPONENTS>")]
    pub components: Vec<ComponentDigest>,
    /// What the node can be told to run models at.
    #[serde(default, with = "AtMost::<MAX_POINTS>")]
    pub points: Vec<OperatingPoint>,
    /// Those that run, and those whose end was not acknowledged.
    #[serde(default, with = "AtMost::<MAX_ATTEMPTS>")]
    pub attempts: Vec<HeldAttempt>,
    /// Its progress may be left out: `attempts` has the offsets.
    pub state: Report,
}

const fn is_false(is_so: &bool) -> bool {
    !*is_so
}

/// What the operator of a node lets pipelines use, beside models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    pub http: bool,
    pub environment: bool,
    /// Components that do not come with the agent.
    pub components: bool,
}

/// A model on the disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    pub digest: ModelDigest,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub name: String,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub quantization: String,
    /// Of its files.
    #[serde(default)]
    pub bytes: u64,
    /// What it takes to be resident, context aside.
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub kv_bytes_per_token: u64,
    /// The page cache has it: loading it again is cheap.
    #[serde(default)]
    pub cached: bool,
    /// Never evicted from memory, never deleted.
    #[serde(default)]
    pub pinned: bool,
}

/// An attempt whose log the node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAttempt {
    pub attempt: AttemptId,
    /// Of the scheduler that placed it.
    #[serde(default)]
    pub epoch: Epoch,
    /// Emissions so far.
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub ended: bool,
}

/// What changes: sent at the interval that the welcome names, and when something starts or ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Counts the reports of an incarnation.
    pub number: u64,
    /// The node's clock, in seconds since 1970.
    pub unix_seconds: u64,
    pub free_memory_bytes: u64,
    #[serde(with = "AtMost::<MAX_RESIDENTS>")]
    pub residents: Vec<Resident>,
    #[serde(with = "AtMost::<MAX_ATTEMPTS>")]
    pub progress: Vec<Progress>,
    /// Since the last report.
    #[serde(with = "AtMost::<MAX_RESIDENTS>")]
    pub loads: Vec<ObservedLoad>,
    pub health: Health,
}

/// A model in the memory of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    pub model: ModelDigest,
    pub state: Residency,
    #[serde(default)]
    pub point: OperatingPoint,
    /// Sequences that run at once.
    #[serde(default)]
    pub slots: u32,
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub queued: u32,
    #[serde(default)]
    pub memory_bytes: u64,
    /// Of the KV cache, one per token.
    #[serde(default)]
    pub cells: u32,
    /// Of these, cells of sequences that run.
    #[serde(default)]
    pub used_cells: u32,
    /// Of the prefixes that were named in invocations, those that it still holds, used last at the end.
    #[serde(default, with = "AtMost::<MAX_HELD_PREFIXES>")]
    pub prefixes: Option<Vec<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Residency {
    Loading,
    Ready,
    Draining,
    /// Its engine died, and will be started again.
    Restarting,
    /// Of a newer node.
    #[serde(other)]
    Unknown,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub attempt: AttemptId,
    #[serde(default)]
    pub offset: u64,
    /// Prompt tokens that were read, those that were held included.
    #[serde(default)]
    pub prompt_tokens: u32,
    #[serde(default)]
    pub output_tokens: u32,
    /// Since its arrival at the node.
    #[serde(default)]
    pub elapsed_ms: u64,
}

/// What it took to make a model resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLoad {
    pub model: ModelDigest,
    pub took_ms: u64,
    /// From the disk, not from the page cache.
    #[serde(default)]
    pub cold: bool,
    #[serde(default)]
    pub millijoules: Option<u64>,
}

/// The state of the board.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub mode: String,
    pub thermal: Thermal,
    /// Tenths of a degree Celsius.
    pub temperature: Option<i16>,
    pub on_battery: bool,
    pub battery_percent: Option<u8>,
    /// Drawn now, of the board's input.
    pub milliwatts: Option<u32>,
    /// By how much the agent's own timer was late: a node that was slow itself says so.
    pub stalled_ms: u64,
    /// What its meter showed since the agent started; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
}

/// Where the joules of a node went, in the scope of its usage. The parts are the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    pub millijoules: u64,
    /// Above idle, while engines worked for requests.
    pub requests_millijoules: u64,
    /// The rest: what the board draws anyway, loads, other programs.
    pub idle_millijoules: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thermal {
    #[default]
    Cool,
    Warm,
    Throttled,
}
