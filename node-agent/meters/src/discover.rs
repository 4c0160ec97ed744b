//! The meters of this machine, the best first.

use std::path::Path;

use dunlin_costs::Scope;

use crate::{
    Activity, Description, Meter, MeterConfig, ReadError, Reading, Source, battery, declared, ina2xx,
    ina3221, pmic, rapl, sysfs::Files,
};

/// A meter that could serve, and what it showed when it was tried.
#[derive(Debug)]
pub struct Finding {
    pub meter: Box<dyn Meter>,
    pub state: State,
}

#[derive(Debug)]
pub enum State {
    Works(Reading),
    /// With what helps, where something does.
    Fails(ReadError),
}

impl Finding {
    pub fn description(&self) -> &Description {
        self.meter.description()
    }

    pub const fn works(&self) -> bool {
        matches!(self.state, State::Works(_))
    }
}

/// The meters that work, in the order in which they are to be preferred: what sees the whole board, what is corrected to it,
/// what sees a part; what was declared last. The one that `config` prefers comes before all.
///
/// `root` is `/` but in tests. `activity` is what a declared meter goes by.
pub fn discover(root: &Path, config: &MeterConfig, activity: &Activity) -> Vec<Box<dyn Meter>> {
    survey(root, config, activity).into_iter().filter(Finding::works).map(|finding| finding.meter).collect()
}

/// All that could be meters, each tried once, in the same order.
pub fn survey(root: &Path, config: &MeterConfig, activity: &Activity) -> Vec<Finding> {
    let files = Files::new(root);
    let mut meters = ina2xx::find(&files, config);
    meters.extend(ina3221::find(&files, config));
    meters.extend(pmic::find(&files, root, config));
    meters.extend(battery::find(&files, config));
    meters.extend(rapl::find(&files, config));
    #[cfg(feature = "nvml")]
    meters.extend(crate::nvml::find(config));
    let watts = config.declared.filter(|watts| watts.fault().is_none());
    meters.extend(watts.map(|watts| declared(watts, activity)));
    meters.sort_by_key(|meter| rank(meter.description(), config));
    let tried = |mut meter: Box<dyn Meter>| {
        let state = match meter.read() {
            Ok(reading) => State::Works(reading),
            Err(error) => State::Fails(error),
        };
        Finding { meter, state }
    };
    meters.into_iter().map(tried).collect()
}

/// The least first.
fn rank(of: &Description, config: &MeterConfig) -> (bool, u8) {
    let preferred = config.prefer.as_ref() == Some(&of.name);
    let rank = match (of.source, of.scope) {
        (Source::ExternalMeter, _) => 0,
        (Source::RailSensor, Scope::BoardInput) => 1,
        (Source::RailSensor, Scope::PmicRails) => 2,
        (Source::RailSensor, _) => 3,
        (Source::BatteryGauge, _) => 4,
        (Source::EnergyCounter, Scope::BoardInput) => 5,
        // A part of the machine only, unless a correction was named.
        (Source::EnergyCounter, _) if of.is_comparable() => 6,
        (Source::Declared | Source::Emulated, _) => 7,
        (Source::EnergyCounter, _) => 8,
    };
    (!preferred, rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Declared, sysfs::fixture::tree};

    fn names(files: &[(&str, &str)], config: &MeterConfig) -> Vec<String> {
        let root = tree(files);
        let found = discover(root.path(), config, &Activity::default());
        found.iter().map(|meter| meter.description().name.clone()).collect()
    }

    const LAPTOP: &[(&str, &str)] = &[
        ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "5000000\n"),
        ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
        ("sys/class/power_supply/BAT0/type", "Battery\n"),
        ("sys/class/power_supply/BAT0/status", "Discharging\n"),
        ("sys/class/power_supply/BAT0/power_now", "9050000\n"),
    ];

    #[test]
    fn what_sees_more_of_the_board_comes_first() {
        let config = MeterConfig::default();
        assert_eq!(names(&[], &config), Vec::<String>::new());
        assert_eq!(names(LAPTOP, &config), ["BAT0", "package"]);
        let prefer = MeterConfig { prefer: Some("package".to_owned()), ..config.clone() };
        assert_eq!(names(LAPTOP, &prefer), ["package", "BAT0"]);
        let watts = Declared { idle_w: 3.0, load_w: 5.0, prefill_w: 9.0, decode_w: 8.0 };
        let declared = MeterConfig { declared: Some(watts), ..config.clone() };
        assert_eq!(names(&[], &declared), ["declared"]);
        assert_eq!(names(LAPTOP, &declared), ["BAT0", "declared", "package"]);
    }

    #[test]
    fn what_does_not_work_is_told_and_not_taken() {
        let charging = [LAPTOP, &[("sys/class/power_supply/BAT0/status", "Full\n")]].concat();
        assert_eq!(names(&charging, &MeterConfig::default()), ["package"]);
        let root = tree(&charging);
        let found = survey(root.path(), &MeterConfig::default(), &Activity::default());
        let works: Vec<bool> = found.iter().map(Finding::works).collect();
        assert_eq!(works, [false, true]);
        assert!(matches!(&found[0].state, State::Fails(error) if error.to_string().contains("BAT0 is full")));
    }
}
