//! What a battery gives while nothing charges it.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Figure, Scope};

use crate::{
    Charge, Description, Meter, MeterConfig, ReadError, Reading, Source, Value,
    sysfs::{Files, name},
};

const CLASS: &str = "sys/class/power_supply";

const DISCHARGING: &str = "Discharging";

#[derive(Debug)]
struct Battery {
    files: Files,
    description: Description,
    folder: PathBuf,
}

/// Batteries of the machine, not of its mouse.
pub(crate) fn find(files: &Files, config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let battery = |folder: PathBuf| {
        let name = name(&folder);
        let meter: Box<dyn Meter> = Box::new(Battery {
            description: Description {
                source: Source::BatteryGauge,
                scope: Scope::BoardInput,
                sees: "all that the machine draws, screen included, while it runs on the battery".to_owned(),
                correction: config.corrections.get(&name).cloned(),
                error: Figure::assumed(0.01, 0.05, 0.2, "gauges differ; many average over seconds"),
                refresh: Duration::from_secs(1),
                place: folder.clone(),
                name,
            },
            files: files.clone(),
            folder,
        });
        meter
    };
    own(files).into_iter().map(battery).collect()
}

fn own(files: &Files) -> Vec<PathBuf> {
    let text = |folder: &PathBuf, file: &str| files.text(&folder.join(file)).unwrap_or_default();
    let is_own = |folder: &PathBuf| text(folder, "type") == "Battery" && text(folder, "scope") != "Device";
    files.entries(&files.path(CLASS)).into_iter().filter(is_own).collect()
}

/// Of the first battery of the machine.
pub(crate) fn charge(files: &Files) -> Option<Charge> {
    let folder = own(files).into_iter().next()?;
    let percent = files.number(&folder.join("capacity")).ok();
    Some(Charge {
        is_discharging: files.text(&folder.join("status")).is_ok_and(|status| status == DISCHARGING),
        percent: percent.and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent <= 100),
    })
}

impl Battery {
    /// Microwatts, or microvolts by microamperes (Linux, Documentation/ABI/testing/sysfs-class-power). Some drivers count
    /// a current that leaves as negative.
    fn watts(&self) -> Result<f64, ReadError> {
        let number = |file: &str| self.files.number(&self.folder.join(file));
        match number("power_now") {
            Ok(microwatts) => Ok(microwatts.unsigned_abs() as f64 / 1e6),
            Err(ReadError::Gone { .. }) => {
                let (microvolts, microamperes) = (number("voltage_now")?, number("current_now")?);
                Ok(microvolts.unsigned_abs() as f64 * microamperes.unsigned_abs() as f64 / 1e12)
            }
            Err(error) => Err(error),
        }
    }
}

impl Meter for Battery {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let status = self.files.text(&self.folder.join("status"))?;
        if status != DISCHARGING {
            let text = format!(
                "{} is {}: it tells what the machine draws only while it discharges",
                self.description.name,
                status.to_lowercase()
            );
            return Err(ReadError::Nothing(text));
        }
        Ok(Reading::now(Value::Watts(self.watts()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::fixture::{set, tree};

    #[test]
    fn a_battery_tells_while_it_discharges() {
        // As drivers/acpi/battery.c, and a HID battery of a mouse (drivers/hid/hid-input.c).
        let root = tree(&[
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/status", "Discharging\n"),
            ("sys/class/power_supply/BAT0/voltage_now", "11400000\n"),
            ("sys/class/power_supply/BAT0/current_now", "-1500000\n"),
            ("sys/class/power_supply/hidpp_battery_0/type", "Battery\n"),
            ("sys/class/power_supply/hidpp_battery_0/scope", "Device\n"),
        ]);
        let mut found = find(&Files::new(root.path()), &MeterConfig::default());
        assert_eq!(found.len(), 1);
        let battery = &mut *found[0];
        assert_eq!(battery.read().unwrap().value, Value::Watts(17.1));
        set(root.path(), "sys/class/power_supply/BAT0/power_now", "9050000\n");
        assert_eq!(battery.read().unwrap().value, Value::Watts(9.05));
        set(root.path(), "sys/class/power_supply/BAT0/power_now", "?\n");
        assert!(matches!(battery.read(), Err(ReadError::Garbage { .. })));
        set(root.path(), "sys/class/power_supply/BAT0/status", "Charging\n");
        let error = battery.read().unwrap_err().to_string();
        assert_eq!(error, "BAT0 is charging: it tells what the machine draws only while it discharges");
        std::fs::remove_dir_all(root.path().join("sys/class/power_supply/BAT0")).unwrap();
        assert!(matches!(battery.read(), Err(ReadError::Gone { .. })));
    }
}
