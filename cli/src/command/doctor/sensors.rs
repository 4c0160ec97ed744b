//! Where this machine could tell what it draws. Paths are those of the Linux kernel's ABI documentation (powercap, hwmon, power_supply)
//! and of the vendors; see also `costs/`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::Finding;

pub(super) fn look(root: &Path) -> Vec<Finding> {
    let found: Vec<Finding> =
        [rapl(root), hwmon(root), battery(root), raspberry(root)].into_iter().flatten().collect();
    if found.is_empty() {
        return vec![Finding::note(
            "energy",
            "no sensor of power was found",
            "energy is then estimated; on a virtual machine that is as it is",
        )];
    }
    found
}

/// Counters of the package, of Intel and AMD processors.
fn rapl(root: &Path) -> Option<Finding> {
    let zone = entries(&root.join("sys/class/powercap")).into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("intel-rapl:") && path.join("energy_uj").exists()
    })?;
    let counter = zone.join("energy_uj");
    if File::open(&counter).is_ok_and(|file| std::io::read_to_string(file).is_ok()) {
        return Some(Finding::ok("energy", "RAPL counts the energy of the processor"));
    }
    Some(Finding::note(
        "energy",
        "RAPL counts the energy of the processor, but only root may read it",
        format!("sudo chmod a+r {} (until the next start; a udev rule makes it last)", counter.display()),
    ))
}

/// Power sensors of the board: INA3221 of a Jetson, regulators, meters.
fn hwmon(root: &Path) -> Option<Finding> {
    let mut names: Vec<String> = entries(&root.join("sys/class/hwmon"))
        .into_iter()
        .filter(|chip| measures_power(chip))
        .map(|chip| fs::read_to_string(chip.join("name")).unwrap_or_default().trim().to_owned())
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty())
        .then(|| Finding::ok("energy", format!("sensors of power on the board: {}", names.join(", "))))
}

fn measures_power(chip: &Path) -> bool {
    let files: Vec<String> =
        entries(chip).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    let has = |prefix: &str, suffix: &str| {
        files.iter().any(|name| name.starts_with(prefix) && name.ends_with(suffix))
    };
    has("power", "_input") || has("power", "_average") || (has("curr", "_input") && has("in", "_input"))
}

fn battery(root: &Path) -> Option<Finding> {
    let is_battery =
        |path: &PathBuf| fs::read_to_string(path.join("type")).is_ok_and(|kind| kind.trim() == "Battery");
    let battery = entries(&root.join("sys/class/power_supply")).into_iter().find(is_battery)?;
    let name = battery.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gauge = battery.join("power_now").exists() || battery.join("current_now").exists();
    Some(if gauge {
        Finding::ok("battery", format!("{name}, which tells what it gives"))
    } else {
        Finding::note(
            "battery",
            format!("{name}, which does not tell what it gives"),
            "an external meter does",
        )
    })
}

/// The power management chip of a Raspberry Pi 5 answers through the firmware's mailbox.
fn raspberry(root: &Path) -> Option<Finding> {
    let model = fs::read_to_string(root.join("proc/device-tree/model")).ok()?;
    if !model.contains("Raspberry Pi 5") {
        return None;
    }
    if root.join("dev/vcio").exists() {
        return Some(Finding::ok(
            "energy",
            "the PMIC tells currents and voltages of the rails (vcgencmd pmic_read_adc)",
        ));
    }
    Some(Finding::note(
        "energy",
        "the PMIC cannot be asked: there is no /dev/vcio",
        "use a kernel of Raspberry Pi OS",
    ))
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
        let lines: Vec<String> = look(root.path())
            .iter()
            .map(|finding| format!("{:?} {}\n", finding.level, finding.found))
            .collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn a_virtual_machine_has_none() {
        check(
            &[],
            &expect![[r#"
            Note no sensor of power was found
        "#]],
        );
    }

    #[test]
    fn a_laptop_has_two() {
        check(
            &[
                ("sys/class/powercap/intel-rapl:0/energy_uj", "12\n"),
                ("sys/class/power_supply/AC/type", "Mains\n"),
                ("sys/class/power_supply/BAT0/type", "Battery\n"),
                ("sys/class/power_supply/BAT0/power_now", "9\n"),
                ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
                ("sys/class/hwmon/hwmon0/temp1_input", "1\n"),
            ],
            &expect![[r#"
                Ok RAPL counts the energy of the processor
                Ok BAT0, which tells what it gives
            "#]],
        );
    }

    #[test]
    fn boards_have_their_own() {
        check(
            &[
                ("sys/class/hwmon/hwmon3/name", "ina3221\n"),
                ("sys/class/hwmon/hwmon3/curr1_input", "1\n"),
                ("sys/class/hwmon/hwmon3/in1_input", "1\n"),
            ],
            &expect![[r#"
                Ok sensors of power on the board: ina3221
            "#]],
        );
        check(
            &[("proc/device-tree/model", "Raspberry Pi 5 Model B\0"), ("dev/vcio", "")],
            &expect![[r#"
            Ok the PMIC tells currents and voltages of the rails (vcgencmd pmic_read_adc)
        "#]],
        );
    }
}
