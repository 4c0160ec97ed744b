//! One sensor, and what it can be trusted for.

use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use dunlin_costs::{Correction, Figure, Scope};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A sensor of power or energy.
pub trait Meter: Send + fmt::Debug {
    fn description(&self) -> &Description;

    /// Takes one reading. Blocks for as long as the sensor does: well under a millisecond for files of the kernel, 30 ms for
    /// the mailbox of a Raspberry Pi.
    ///
    /// # Errors
    /// [`ReadError`]; a later reading may succeed.
    fn read(&mut self) -> Result<Reading, ReadError>;
}

/// What a meter showed at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub at: Instant,
    pub value: Value,
}

impl Reading {
    /// Taken now.
    pub fn now(value: Value) -> Self {
        Self { at: Instant::now(), value }
    }
}

/// In the scope of the sensor, nothing corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A counter: joules since some moment. Wrapping around is the meter's to undo; only a counter that starts anew goes back.
    Joules(f64),
    Watts(f64),
}

/// What a meter sees, and how well.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// As in `VDD_IN`, `pmic`, `package-0`.
    pub name: String,
    pub source: Source,
    pub scope: Scope,
    /// In words: what of the board it covers.
    pub sees: String,
    /// To the board's input; `None`: there is none, unless `scope` is that already.
    pub correction: Option<Correction>,
    /// Part of a reading by which it may be wrong, the correction included.
    pub error: Figure,
    /// How often the sensor itself has a new value.
    pub refresh: Duration,
    /// Where it is read.
    pub place: PathBuf,
}

impl Description {
    /// The scope of windows: the board's input where that is read or corrected to.
    pub fn corrected_scope(&self) -> Scope {
        if self.correction.is_some() { Scope::BoardInput } else { self.scope }
    }

    /// Whether its joules can be ranked with those of other boards.
    pub fn is_comparable(&self) -> bool {
        self.corrected_scope() == Scope::BoardInput
    }
}

/// What kind of thing tells the joules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A shunt in front of the board or one of its rails.
    RailSensor,
    /// A counter in the chip.
    EnergyCounter,
    BatteryGauge,
    /// Between the board and the wall.
    ExternalMeter,
    /// No sensor: watts that somebody declared, by what the board does.
    Declared,
    /// Of a board that does not exist.
    Emulated,
}

impl Source {
    /// Nothing was measured.
    pub const fn is_modelled(self) -> bool {
        matches!(self, Self::Declared | Self::Emulated)
    }

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RailSensor => "rail sensor",
            Self::EnergyCounter => "energy counter",
            Self::BatteryGauge => "battery gauge",
            Self::ExternalMeter => "external meter",
            Self::Declared => "declared",
            Self::Emulated => "emulated",
        }
    }
}

/// Why a meter shows nothing.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("{} may not be read: {remedy}", path.display())]
    Denied { path: PathBuf, remedy: String },
    #[error("{} is gone: the device was removed, or its driver unloaded", path.display())]
    Gone { path: PathBuf },
    #[error("{} says {text:?}, where {expected} is expected", path.display())]
    Garbage { path: PathBuf, text: String, expected: &'static str },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// It works, and has nothing to show.
    #[error("{0}")]
    Nothing(String),
}
