//! What tells what this machine draws: the meters that work, those that do not, and why.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dunlin_meters::{Activity, Description, MeterConfig, ReadError, Reading, State, Value, survey};

use super::{Finding, Level};
use crate::meters::scope;

/// Drivers of hwmon that `dunlin-meters` reads.
const READ: [&str; 8] = ["ina3221", "ina219", "ina220", "ina226", "ina230", "ina231", "ina234", "ina260"];

pub(super) fn look(root: &Path, config: &MeterConfig) -> Vec<Finding> {
    let tried = survey(root, config, &Activity::default());
    let works = tried.iter().any(|found| found.works());
    let mut findings: Vec<Finding> = Vec::new();
    for (at, found) in tried.iter().enumerate() {
        // The first that works is the one that is gone by.
        let is_first = found.works() && tried[..at].iter().all(|before| !before.works());
        findings.push(match &found.state {
            State::Works(reading) => working(found.description(), reading, is_first),
            State::Fails(error) => failing(found.description(), error),
        });
    }
    findings.extend(others(root));
    if !works {
        findings.push(Finding::note(
            "energy",
            "no meter works: joules are not known",
            "watts can be declared in meters.toml (`dunlin meter --help`); a virtual machine has no meters",
        ));
    }
    findings
}

fn working(of: &Description, reading: &Reading, is_first: bool) -> Finding {
    let shows = match reading.value {
        Value::Watts(watts) => format!("{watts:.1} W"),
        Value::Joules(_) => "counts joules".to_owned(),
    };
    let correction = of.correction.as_ref().map(|by| format!(", corrected: {}", by.name)).unwrap_or_default();
    let scope = scope(of.corrected_scope());
    let found =
        format!("{} ({}), {scope}{correction}: {shows}; it sees {}", of.name, of.source.name(), of.sees);
    match (is_first, of.is_comparable()) {
        (true, false) => Finding::note(
            "energy",
            found,
            "joules of this scope are not ranked with those of boards: a correction can be named in meters.toml",
        ),
        _ => Finding::ok("energy", found),
    }
}

fn failing(of: &Description, error: &ReadError) -> Finding {
    let (found, next_step) = match error {
        ReadError::Denied { path, remedy } => {
            (format!("{} may not be read", path.display()), Some(remedy.clone()))
        }
        error => (error.to_string(), None),
    };
    let found = if found.starts_with(&of.name) { found } else { format!("{}: {found}", of.name) };
    Finding { what: "energy", level: Level::Note, found, next_step }
}

/// Sensors of power that are there and that Dunlin does not read.
fn others(root: &Path) -> Option<Finding> {
    let mut names: Vec<String> = entries(&root.join("sys/class/hwmon"))
        .into_iter()
        .filter(|chip| measures_power(chip))
        .map(|chip| fs::read_to_string(chip.join("name")).unwrap_or_default().trim().to_owned())
        .filter(|name| !READ.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    let found = format!("sensors of power that Dunlin does not read: {}", names.join(", "));
    (!names.is_empty()).then_some(Finding { what: "energy", level: Level::Note, found, next_step: None })
}

fn measures_power(chip: &Path) -> bool {
    let files: Vec<String> =
        entries(chip).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    let has = |prefix: &str, suffix: &str| {
        files.iter().any(|name| name.starts_with(prefix) && name.ends_with(suffix))
    };
    has("power", "_input") || has("power", "_average") || (has("curr", "_input") && has("in", "_input"))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &Expect) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let lines: Vec<String> = look(root.path(), &MeterConfig::default())
            .iter()
            .map(|finding| format!("{:?} {}\n", finding.level, finding.found))
            .collect();
        expected.assert_eq(&lines.concat().replace(&root.path().display().to_string(), ""));
    }

    #[test]
    fn a_virtual_machine_has_none() {
        check(
            &[],
            &expect![[r#"
            Note no meter works: joules are not known
        "#]],
        );
    }

    #[test]
    fn a_laptop_has_two() {
        check(
            &[
                ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
                ("sys/class/powercap/intel-rapl:0/energy_uj", "12\n"),
                ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
                ("sys/class/power_supply/AC/type", "Mains\n"),
                ("sys/class/power_supply/BAT0/type", "Battery\n"),
                ("sys/class/power_supply/BAT0/status", "Charging\n"),
                ("sys/class/power_supply/BAT0/power_now", "9\n"),
                ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
                ("sys/class/hwmon/hwmon0/temp1_input", "1\n"),
                ("sys/class/hwmon/hwmon1/name", "power_meter\n"),
                ("sys/class/hwmon/hwmon1/power1_average", "1\n"),
            ],
            &expect![[r#"
                Note BAT0 is charging: it tells what the machine draws only while it discharges
                Note package (energy counter), package: counts joules; it sees the processor's package; not memory, disks, fans and losses
                Note sensors of power that Dunlin does not read: power_meter
            "#]],
        );
    }

    #[test]
    fn boards_have_their_own() {
        check(
            &[
                ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label", "VDD_IN\n"),
                ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_input", "5048\n"),
                ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input", "1216\n"),
                ("sys/class/hwmon/hwmon3/name", "ina3221\n"),
                ("sys/class/hwmon/hwmon3/curr1_input", "1\n"),
                ("sys/class/hwmon/hwmon3/in1_input", "1\n"),
            ],
            &expect![[r#"
                Ok VDD_IN (rail sensor), board input, corrected: VDD_IN as the board's input (the carrier board: 0 to 1.5 W more, assumed): 6.1 W; it sees all that the module draws; not what the carrier board takes for itself
            "#]],
        );
        check(
            &[("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B\0")],
            &expect![[r#"
                Note pmic: /dev/vcio_gencmd is gone: the device was removed, or its driver unloaded
                Note no meter works: joules are not known
            "#]],
        );
    }
}
