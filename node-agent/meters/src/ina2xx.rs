//! An INA219, INA226 or their kin in front of a board, by the kernel's hwmon driver.

use std::{fs, path::PathBuf, time::Duration};

use dunlin_costs::{Figure, Scope};

use crate::{
    Description, Feeds, Meter, MeterConfig, Source,
    shunt::{Shunt, hwmons},
    sysfs::{Files, name},
};

/// Names that drivers/hwmon/ina2xx.c gives its devices.
const CHIPS: [&str; 7] = ["ina219", "ina220", "ina226", "ina230", "ina231", "ina234", "ina260"];

pub(crate) fn find(files: &Files, config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let files =
        files.with_remedy("run as root, or let a udev rule give the group i2c the files of the device");
    let hwmons = hwmons(&files, &files.path("sys/class/hwmon"));
    let shunt = |hwmon: &PathBuf| {
        let chip = files.text(&hwmon.join("name")).ok().filter(|name| CHIPS.contains(&name.as_str()))?;
        // The device is a link to its place on the bus, as in `1-0041`.
        let device = fs::canonicalize(hwmon.join("device")).map(|device| name(&device)).unwrap_or_default();
        let said = config.ina2xx.get(&device).or_else(|| config.ina2xx.get(&chip));
        let sees = match said {
            Some(Feeds::Other) => return None,
            Some(Feeds::Board) => "what its shunt feeds: the board, as was declared",
            None => "what its shunt feeds: taken for the whole board, as nothing else was declared",
        };
        let meter: Box<dyn Meter> = Box::new(Shunt {
            description: Description {
                source: Source::ExternalMeter,
                scope: Scope::BoardInput,
                sees: sees.to_owned(),
                correction: config.corrections.get(&chip).cloned(),
                error: Figure::assumed(
                    0.005,
                    0.02,
                    0.05,
                    "gain error of the INA2xx (0.5 %) and the shunt's tolerance (1 %)",
                ),
                refresh: Duration::from_millis(20),
                place: hwmon.clone(),
                name: chip,
            },
            // in0 is the voltage over the shunt, in1 that of the bus (Linux, Documentation/hwmon/ina2xx.rst).
            millivolts: hwmon.join("in1_input"),
            milliamperes: hwmon.join("curr1_input"),
            files: files.clone(),
        });
        Some(meter)
    };
    hwmons.iter().filter_map(shunt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ReadError, Value,
        sysfs::fixture::{denied, tree},
    };

    #[test]
    fn the_bus_is_read_and_not_the_shunt() {
        // As drivers/hwmon/ina2xx.c: in0 shunt mV, in1 bus mV, curr1 mA, power1 uW, shunt_resistor uOhm.
        let root = tree(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon0/in1_input", "1\n"),
            ("sys/class/hwmon/hwmon3/name", "ina226\n"),
            ("sys/class/hwmon/hwmon3/in0_input", "17\n"),
            ("sys/class/hwmon/hwmon3/in1_input", "5112\n"),
            ("sys/class/hwmon/hwmon3/curr1_input", "1702\n"),
            ("sys/class/hwmon/hwmon3/power1_input", "8700000\n"),
            ("sys/class/hwmon/hwmon3/shunt_resistor", "10000\n"),
        ]);
        let files = Files::new(root.path());
        let mut found = find(&files, &MeterConfig::default());
        assert_eq!(found.len(), 1);
        // As the kernel links them: /sys/class/hwmon/hwmon3/device -> ../../../1-0041.
        let device = root.path().join("sys/devices/1-0041");
        fs::create_dir_all(&device).unwrap();
        std::os::unix::fs::symlink(&device, root.path().join("sys/class/hwmon/hwmon3/device")).unwrap();
        let count = |name: &str, feeds| {
            let config = MeterConfig { ina2xx: [(name.to_owned(), feeds)].into(), ..MeterConfig::default() };
            find(&files, &config).len()
        };
        assert_eq!((count("1-0041", Feeds::Other), count("ina226", Feeds::Other)), (0, 0));
        assert_eq!((count("1-0040", Feeds::Other), count("1-0041", Feeds::Board)), (1, 1));
        assert_eq!(found[0].description().name, "ina226");
        assert_eq!(found[0].read().unwrap().value, Value::Watts(8.700_624));
        let mut shunt = Shunt {
            files: files.opened_by(denied),
            description: found[0].description().clone(),
            millivolts: files.path("sys/class/hwmon/hwmon3/in1_input"),
            milliamperes: files.path("sys/class/hwmon/hwmon3/curr1_input"),
        };
        assert!(matches!(shunt.read(), Err(ReadError::Denied { .. })));
    }
}
