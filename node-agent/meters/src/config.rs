//! What a person can say about the meters of a board.

use std::{collections::BTreeMap, time::Duration};

use dunlin_costs::Correction;
use serde::{Deserialize, Serialize};

use crate::Declared;

/// Between samples while nothing is profiled: 10 Hz. A Pi's mailbox takes a third of it.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(100);

/// Between samples while a row is profiled, where the sensor is as fast: 500 ms saw no sample in most prefills.
pub const PROFILE_PERIOD: Duration = Duration::from_millis(25);

/// Of meters; every part may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeterConfig {
    /// The name of the one to take before all others, as in `VDD_IN`.
    pub prefer: Option<String>,
    /// Corrections to the board's input, by the name of the meter; they replace those that come with Dunlin.
    pub corrections: BTreeMap<String, Correction>,
    /// What those in front of something feed, by the name of the chip or of its device, as in `ina226` or `1-0041`. One that
    /// is not named is taken for the board's.
    pub ina2xx: BTreeMap<String, Feeds>,
    /// Watts to go by where there is no sensor.
    pub declared: Option<Declared>,
}

/// What a shunt is in front of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feeds {
    /// All of the board.
    Board,
    /// Something else: it is not read.
    Other,
}
