//! What a scheduler plans of a node over minutes: its mode, and its rest.

use serde::{Deserialize, Serialize};

use crate::{
    AtMost,
    limits::{MAX_NAME, MAX_POINTS, MAX_TEXT},
};

/// What is meant for a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodePlan {
    /// In words; empty where nothing is.
    #[serde(with = "AtMost::<MAX_TEXT>")]
    pub says: String,
    /// The mode that it would better be in.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub mode: Option<String>,
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
