//! Joules, by the meter that there is.

use std::path::Path;

use dunlin_costs::{Bound, Correction, Figure, Scope};
use dunlin_meters::{
    Activity, DEFAULT_PERIOD, Declared, Description, MeterConfig, PROFILE_PERIOD, Sampler, Source, discover,
};
use tokio::time::Instant;

/// A window is long enough for a sensor if what may have happened between samples at its ends is no more of it than this.
const MOST_EDGE: f64 = 0.1;

/// What tells the joules of a campaign.
#[derive(Debug, Clone)]
pub enum Joules {
    Unknown,
    /// A sensor of this machine.
    Metered(Sampler),
    /// Nothing is measured: somebody said what the board draws.
    Declared(Declared),
}

impl Joules {
    /// By the best meter that works; `root` is `/` but in tests.
    ///
    /// # Errors
    /// If there can be no thread that reads it.
    pub fn find(root: &Path, config: &MeterConfig) -> std::io::Result<Self> {
        let Some(meter) = discover(root, config, &Activity::default()).into_iter().next() else {
            return Ok(Self::Unknown);
        };
        let description = meter.description();
        if let (Source::Declared, Some(watts)) = (description.source, config.declared) {
            return Ok(Self::Declared(watts));
        }
        let period = if description.refresh <= PROFILE_PERIOD { PROFILE_PERIOD } else { DEFAULT_PERIOD };
        Ok(Self::Metered(Sampler::start(meter, period)?))
    }

    /// Whether runs should be long enough for a sensor.
    pub const fn are_metered(&self) -> bool {
        matches!(self, Self::Metered(_))
    }

    /// What they are by, for people: as in `VDD_IN, rail sensor`.
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Metered(sampler) => {
                let Description { name, source, .. } = sampler.description();
                Some(format!("{name}, {}", source.name()))
            }
            Self::Declared(_) => Some("watts that were declared, not measured".to_owned()),
        }
    }

    /// What the sensor sees, and how that becomes the board's input.
    pub(crate) fn scope(&self) -> Option<(Scope, Option<Correction>)> {
        match self {
            Self::Unknown => None,
            Self::Metered(sampler) => {
                let Description { scope, correction, .. } = sampler.description();
                Some((scope, correction))
            }
            Self::Declared(_) => Some((Scope::BoardInput, None)),
        }
    }

    /// Of figures: those of the board's input where the sensor is corrected to it.
    pub(crate) fn corrected_scope(&self) -> Option<Scope> {
        let (scope, correction) = self.scope()?;
        Some(if correction.is_some() { Scope::BoardInput } else { scope })
    }

    /// From what the sensor reads.
    pub(crate) fn corrected(&self, watts: f64) -> f64 {
        let Some((_, Some(by))) = self.scope() else { return watts };
        by.factor.at(Bound::Nominal) * watts + by.offset_w.at(Bound::Nominal)
    }

    /// Joules and seconds of a window as the sensor reads it. `None` if it was too short for the sensor, or that is gone.
    pub(crate) async fn window(&self, from: Instant, to: Instant) -> Option<(f64, f64)> {
        let Self::Metered(sampler) = self else { return None };
        let (sampler, from, to) = (sampler.clone(), from.into_std(), to.into_std());
        // It waits for a sample past the end.
        let window = tokio::task::spawn_blocking(move || sampler.window(from, to)).await.ok()?;
        let window = window.map_err(|error| tracing::warn!(%error, "a run was not metered")).ok()?;
        let is_long_enough = window.edge <= MOST_EDGE;
        is_long_enough.then_some((window.read_joules, window.duration().as_secs_f64()))
    }
}

/// Watts that were declared, as figures that say so.
pub(crate) fn declared(watts: f64) -> Figure {
    Figure::assumed(0.8 * watts, watts, 1.25 * watts, "declared by who runs the board")
}
