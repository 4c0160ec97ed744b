//! What a scheduler plans of a node over minutes: its mode, and its rest.

mod document;

use serde::{Deserialize, Serialize};

pub use self::document::PlanDocument;
use crate::{
    AtMost,
    limits::{MAX_NAME, MAX_POINTS, MAX_TEXT},
};

/// What is meant for a node, and why. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodePlan {
    /// In words; empty where nothing is.
    #[serde(with = "AtMost::<MAX_TEXT>")]
    pub says: String,
    /// The mode that it would better be in.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub mode: Option<String>,
    /// It was wished for in each round since.
    pub wished_unix_seconds: Option<u64>,
    /// It has changed of late, and does not before then.
    pub due_unix_seconds: Option<u64>,
    /// `None`: it is not wished for because of that.
    pub saves: Option<Saving>,
    /// It is on its way into this mode, by whomever.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub changes_to: Option<String>,
    /// What it is asked for now: requests, in thousandths an hour.
    pub rate: u64,
    /// Its modes at that rate.
    #[serde(with = "AtMost::<MAX_POINTS>")]
    pub modes: Vec<PlannedMode>,
    /// It rests, or is on the way there or back.
    pub parked: Option<Parked>,
    /// What did not come about.
    #[serde(with = "AtMost::<MAX_TEXT>")]
    pub failure: Option<String>,
    /// It is not tried again before then.
    pub barred_unix_seconds: Option<u64>,
}

/// What the mode that is wished for is better by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saving {
    /// Thousandths of what the mode of now takes.
    pub part: u64,
    /// In words: `watts`, `time`, `watts x time`.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub of: String,
    /// Of the board's input, in the mode of now and in the one that is wished for; `None`: not known.
    pub milliwatts_now: Option<u64>,
    pub milliwatts_then: Option<u64>,
    /// It rests on what is assumed.
    pub assumed: bool,
}

/// What a mode would take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedMode {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub mode: String,
    /// Of the board's input, idle and work together; `None`: not known.
    pub milliwatts: Option<u64>,
    /// Thousandths of the time that it would be at work.
    pub busy: u64,
    /// Milliseconds of a request as they usually are.
    pub request_ms: u64,
    /// Thousandths of what the strictest target allows; 0 without targets.
    pub strain: u64,
    /// Quick enough, with the margin of the plan.
    pub suffices: bool,
    /// The watts rest on what is assumed.
    pub assumed: bool,
}

/// How a node rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parked {
    pub level: ParkLevel,
    pub unix_seconds: u64,
    /// It has been told to come back.
    pub wakes: bool,
    /// What it is expected to take to come back.
    pub wake_ms: u64,
    pub stage: ParkStage,
}

/// How far a node is on its way to rest and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParkStage {
    /// It ends what it runs, and goes.
    Goes,
    #[default]
    Rests,
    Wakes,
    /// Of a newer scheduler.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParkLevel {
    /// No model in memory; it takes work.
    Unload,
    /// That, and in its lowest mode; it takes none.
    LowMode,
    /// Powered down.
    Off,
    /// Of a newer scheduler.
    #[default]
    #[serde(other)]
    Unknown,
}
