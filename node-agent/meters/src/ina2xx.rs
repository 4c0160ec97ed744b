//! An INA219, INA226 or their kin in front of a board, by the kernel's hwmon driver.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Figure, Scope};

use crate::{
    Description, Meter, MeterConfig, ReadError, Reading, Source, Value,
    sysfs::{Files, name},
};

/// Names that drivers/hwmon/ina2xx.c gives its devices.
const CHIPS: [&str; 7] = ["ina219", "ina220", "ina226", "ina230", "ina231", "ina234", "ina260"];

#[derive(Debug)]
struct Shunt {
    files: Files,
    description: Description,
    millivolts: PathBuf,
    milliamperes: PathBuf,
}

pub(crate) fn find(files: &Files, config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let files =
        files.with_remedy("run as root, or let a udev rule give the group i2c the files of the device");
    let hwmons = files.entries(&files.path("sys/class/hwmon"));
    let shunt = |hwmon: &PathBuf| {
        let chip = files.text(&hwmon.join("name")).ok().filter(|name| CHIPS.contains(&name.as_str()))?;
        let meter: Box<dyn Meter> = Box::new(Shunt {
            description: Description {
                source: Source::ExternalMeter,
                scope: Scope::BoardInput,
                sees: "what its shunt feeds: taken for the whole board".to_owned(),
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
    hwmons.iter().filter(|path| name(path).starts_with("hwmon")).filter_map(shunt).collect()
}

impl Meter for Shunt {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let millivolts = self.files.number(&self.millivolts)?;
        let milliamperes = self.files.number(&self.milliamperes)?;
        Ok(Reading::now(Value::Watts((millivolts * milliamperes).max(0) as f64 / 1e6)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::fixture::{denied, tree};

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
