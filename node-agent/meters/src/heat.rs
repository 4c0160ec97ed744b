//! What a board says of itself beside what it draws: how hot it is, and how full its battery.

use std::path::Path;

use crate::{battery, pmic::Throttling, sysfs::Files};

/// A Pi 5 begins to throttle between 80 and 85 C (Raspberry Pi documentation, "Frequency management and thermal control").
pub const THROTTLED_CELSIUS: f64 = 82.0;

/// Near to that.
pub const WARM_CELSIUS: f64 = 70.0;

/// The state of a board; `root` is `/` but in tests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Of the hottest zone.
    pub celsius: Option<f64>,
    pub charge: Option<Charge>,
}

/// Of a battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The board lives on it.
    pub is_discharging: bool,
    pub percent: Option<u8>,
}

impl Conditions {
    /// Some twenty files are read.
    pub fn read(root: &Path) -> Self {
        let files = Files::new(root);
        Self { celsius: hottest(&files), charge: battery::charge(&files) }
    }

    pub fn is_throttled(&self) -> bool {
        self.celsius.is_some_and(|celsius| celsius >= THROTTLED_CELSIUS)
    }

    pub fn is_warm(&self) -> bool {
        self.celsius.is_some_and(|celsius| celsius >= WARM_CELSIUS)
    }
}

/// Whether something holds the processor back now: by the firmware of a Pi where there is one, by heat elsewhere.
pub fn is_held_back(root: &Path) -> bool {
    Throttling::read(root)
        .map_or_else(|| Conditions::read(root).is_throttled(), |throttling| throttling.is_held_back())
}

fn hottest(files: &Files) -> Option<f64> {
    let zones = files.entries(&files.path("sys/class/thermal"));
    let celsius = zones.iter().filter_map(|zone| files.number(&zone.join("temp")).ok());
    celsius.map(|millidegrees| millidegrees as f64 / 1000.0).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::fixture::{set, tree};

    #[test]
    fn the_hottest_zone_counts() {
        let root = tree(&[]);
        assert_eq!(Conditions::read(root.path()), Conditions::default());
        set(root.path(), "sys/class/thermal/thermal_zone0/temp", "45277\n");
        set(root.path(), "sys/class/thermal/thermal_zone1/temp", "71600\n");
        set(root.path(), "sys/class/thermal/thermal_zone2/temp", "garbage\n");
        set(root.path(), "sys/class/thermal/cooling_device0/type", "Fan\n");
        let warm = Conditions::read(root.path());
        assert_eq!((warm.celsius, warm.is_warm(), warm.is_throttled()), (Some(71.6), true, false));
        assert!(!is_held_back(root.path()));
        set(root.path(), "sys/class/thermal/thermal_zone0/temp", "83600\n");
        assert!(Conditions::read(root.path()).is_throttled() && is_held_back(root.path()));
    }

    #[test]
    fn the_first_battery_of_the_machine_counts() {
        let root = tree(&[
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/status", "Discharging\n"),
            ("sys/class/power_supply/BAT0/capacity", "61\n"),
            ("sys/class/power_supply/BAT1/type", "Battery\n"),
        ]);
        let charge = Conditions::read(root.path()).charge;
        assert_eq!(charge, Some(Charge { is_discharging: true, percent: Some(61) }));
        set(root.path(), "sys/class/power_supply/BAT0/capacity", "4000\n");
        set(root.path(), "sys/class/power_supply/BAT0/status", "Charging\n");
        let charge = Conditions::read(root.path()).charge;
        assert_eq!(charge, Some(Charge { is_discharging: false, percent: None }));
    }
}
