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
    /// Who asked for the runs reads one, and looks up the window of each.
    Elsewhere,
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
        matches!(self, Self::Metered(_) | Self::Elsewhere)
    }

    /// What they are by, for people: as in `VDD_IN, rail sensor`.
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Elsewhere => None,
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
            Self::Unknown | Self::Elsewhere => None,
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
    pub async fn window(&self, from: Instant, to: Instant) -> Option<(f64, f64)> {
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

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const RAIL: &[(&str, &str)] = &[
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in1_label", "VDD_IN\n"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in1_input", "5000\n"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/curr1_input", "1200\n"),
    ];

    #[tokio::test]
    async fn the_best_meter_tells_the_joules_of_windows_that_are_long_enough() {
        let root = machine(RAIL);
        let joules = Joules::find(root.path(), &MeterConfig::default()).unwrap();
        assert_eq!(joules.source().as_deref(), Some("VDD_IN, rail sensor"));
        let Joules::Metered(sampler) = &joules else { panic!("{joules:?}") };
        let first = loop {
            match sampler.span() {
                Some((first, _)) => break Instant::from_std(first),
                None => tokio::task::yield_now().await,
            }
        };
        // Three samples and more.
        let (read, seconds) = joules.window(first, first + Duration::from_millis(100)).await.unwrap();
        assert!((read / seconds - 6.0).abs() < 1e-6, "{read} {seconds}");
        assert_eq!(joules.window(first, first + Duration::from_millis(10)).await, None, "too short");
        assert_eq!(joules.corrected_scope(), Some(Scope::BoardInput));
    }

    #[tokio::test]
    async fn without_a_meter_there_is_what_was_declared_or_nothing() {
        let root = machine(&[]);
        let now = Instant::now();
        let unknown = Joules::find(root.path(), &MeterConfig::default()).unwrap();
        assert!(matches!(unknown, Joules::Unknown) && unknown.source().is_none());
        let watts = Declared { idle_w: 3.0, load_w: 5.0, prefill_w: 9.0, decode_w: 8.0 };
        let config = MeterConfig { declared: Some(watts), ..MeterConfig::default() };
        let declared = Joules::find(root.path(), &config).unwrap();
        assert!(matches!(declared, Joules::Declared(_)) && !declared.are_metered());
        assert_eq!(declared.window(now, now + Duration::from_secs(1)).await, None);
    }
}
