//! Joules, by whatever counts them.

use std::time::Instant;

use dunlin_costs::{Correction, Scope};

/// What a sensor saw in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Energy {
    /// As the sensor reads it.
    pub joules: f64,
    /// Of the window that the joules are of: a sensor that samples seldom sees another one than was asked for.
    pub seconds: f64,
    /// Readings in the window.
    pub readings: u32,
}

/// Counts the joules of this machine.
pub trait Meter: Send + Sync {
    /// What the sensor covers; `None` where there is none.
    fn scope(&self) -> Option<Scope>;

    /// How its readings become board input, by name.
    fn correction(&self) -> Option<Correction> {
        None
    }

    /// What it is, for people.
    fn source(&self) -> String;

    /// `None` if the window was too short for the sensor, or it is gone.
    fn window(&self, from: Instant, to: Instant) -> Option<Energy>;
}

/// A machine without sensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn scope(&self) -> Option<Scope> {
        None
    }

    fn source(&self) -> String {
        "none".to_owned()
    }

    fn window(&self, _: Instant, _: Instant) -> Option<Energy> {
        None
    }
}
