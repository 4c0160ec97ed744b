//! Rails of a Jetson: the three channels of an INA3221, by the kernel's hwmon driver.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Correction, Figure, Scope};

use crate::{
    Description, Meter, MeterConfig, Source,
    shunt::{Shunt, hwmons},
    sysfs::Files,
};

const DRIVER: &str = "sys/bus/i2c/drivers/ina3221";

/// Channels with a shunt. The driver gives further ones, the shunts' own voltages and their sum (Linux,
/// Documentation/hwmon/ina3221.rst), which are no rails.
const CHANNELS: std::ops::RangeInclusive<u32> = 1..=3;

/// The rails whose meaning is known, whatever the number of the hwmon device.
pub(crate) fn find(files: &Files, config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let files =
        files.with_remedy("the files are readable by all on stock images: check their mode, or run as root");
    let devices = files.entries(&files.path(DRIVER));
    let hwmons: Vec<PathBuf> =
        devices.iter().flat_map(|device| hwmons(&files, &device.join("hwmon"))).collect();
    let channels = hwmons.iter().flat_map(|hwmon| CHANNELS.map(move |n| (hwmon, n)));
    channels
        .filter_map(|(hwmon, n)| {
            let label = files.text(&hwmon.join(format!("in{n}_label"))).ok()?;
            let (scope, sees, correction) = rail(&label)?;
            let correction = config.corrections.get(&label).cloned().or(correction);
            let description = Description {
                name: label,
                source: Source::RailSensor,
                scope,
                sees: sees.to_owned(),
                correction,
                error: error(),
                refresh: REFRESH,
                place: hwmon.clone(),
            };
            let meter: Box<dyn Meter> = Box::new(Shunt {
                files: files.clone(),
                description,
                millivolts: hwmon.join(format!("in{n}_input")),
                milliamperes: hwmon.join(format!("curr{n}_input")),
            });
            Some(meter)
        })
        .collect()
}

/// One conversion of all channels with the driver's defaults: 2 x 1.1 ms each, averaged over few.
const REFRESH: Duration = Duration::from_millis(20);

fn error() -> Figure {
    Figure::assumed(
        0.005,
        0.02,
        0.05,
        "gain error of the INA3221 (0.25 %) and the shunt's tolerance (1 %), at a few watts",
    )
}

/// What a label of NVIDIA's device trees stands for. `VDD_SOC` is a part of the module that no request is billed by.
fn rail(label: &str) -> Option<(Scope, &'static str, Option<Correction>)> {
    match label {
        "VDD_IN" => Some((
            Scope::BoardInput,
            "all that the module draws; not what the carrier board takes for itself",
            Some(Correction {
                name: "VDD_IN as the board's input (the carrier board: 0 to 1.5 W more, assumed)".to_owned(),
                factor: Figure::known(1.0),
                offset_w: Figure::assumed(0.0, 0.0, 1.5, "assumed: the carrier board is behind no sensor"),
            }),
        )),
        "VDD_CPU_GPU_CV" => Some((
            Scope::CpuGpuRail,
            "processor, GPU and vision engines",
            Some(Correction::orin_cpu_gpu_rail()),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ReadError, Value,
        sysfs::fixture::{set, tree},
    };

    const HWMON: &str = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2";

    /// The attributes of drivers/hwmon/ina3221.c on an Orin Nano: in1 to in3 are bus voltages with the labels of the device
    /// tree, in4 to in6 shunt voltages, in7 their sum; curr1 to curr3, and curr4 for the sum.
    fn orin() -> tempfile::TempDir {
        let files = [
            ("name", "ina3221"),
            ("in1_label", "VDD_IN"),
            ("in1_input", "5048"),
            ("curr1_input", "1216"),
            ("in2_label", "VDD_CPU_GPU_CV"),
            ("in2_input", "5048"),
            ("curr2_input", "448"),
            ("in3_label", "VDD_SOC"),
            ("in3_input", "5048"),
            ("curr3_input", "280"),
            ("in4_input", "6"),
            ("in7_label", "sum of shunt voltages"),
            ("in7_input", "10"),
            ("curr4_input", "1944"),
            ("update_interval", "18"),
        ];
        let root = tree(&[]);
        for (file, text) in files {
            set(root.path(), &format!("{HWMON}/{file}"), &format!("{text}\n"));
        }
        set(root.path(), "sys/bus/i2c/drivers/ina3221/bind", "");
        set(root.path(), "sys/bus/i2c/drivers/ina3221/1-0040/name", "ina3221\n");
        root
    }

    fn watts(meter: &mut dyn Meter) -> f64 {
        match meter.read().unwrap().value {
            Value::Watts(watts) => watts,
            Value::Joules(_) => panic!("no counter"),
        }
    }

    #[test]
    fn rails_are_found_by_their_labels() {
        let root = orin();
        let mut found = find(&Files::new(root.path()), &MeterConfig::default());
        let names: Vec<_> = found.iter().map(|meter| meter.description().name.clone()).collect();
        assert_eq!(names, ["VDD_IN", "VDD_CPU_GPU_CV"]);
        assert!((watts(&mut *found[0]) - 6.138_368).abs() < 1e-9);
        assert!((watts(&mut *found[1]) - 2.261_504).abs() < 1e-9);
        let rail = found[1].description();
        assert_eq!((rail.scope, rail.corrected_scope()), (Scope::CpuGpuRail, Scope::BoardInput));
        assert!(rail.correction.as_ref().unwrap().offset_w.is_assumed());
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let root = orin();
        let mut found = find(&Files::new(root.path()), &MeterConfig::default());
        let meter = &mut *found[0];
        let file = |name: &str| format!("{HWMON}/{name}");
        set(root.path(), &file("curr1_input"), "-8\n");
        assert_eq!(watts(meter), 0.0);
        set(root.path(), &file("curr1_input"), "N/A\n");
        assert!(matches!(meter.read(), Err(ReadError::Garbage { .. })));
        std::fs::remove_dir_all(root.path().join(HWMON)).unwrap();
        assert!(matches!(meter.read(), Err(ReadError::Gone { .. })));
        assert!(find(&Files::new(root.path()), &MeterConfig::default()).is_empty());
    }
}
