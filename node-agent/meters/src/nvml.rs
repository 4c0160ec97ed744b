//! Discrete NVIDIA GPUs, by the library of their driver, which is loaded at run time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use dunlin_costs::{Figure, Scope};
use nvml_wrapper::{Nvml, error::NvmlError};

use crate::{Description, Meter, MeterConfig, ReadError, Reading, Source, Value};

/// GPUs that are looked at.
const MAX_GPUS: u32 = 16;

#[derive(Debug)]
struct Gpu {
    nvml: Arc<Nvml>,
    index: u32,
    counts: bool,
    description: Description,
}

/// Empty without the library, and on Jetsons, whose GPU it does not meter.
pub(crate) fn find(config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let Ok(nvml) = Nvml::init().map(Arc::new) else { return Vec::new() };
    let gpus = nvml.device_count().unwrap_or(0).min(MAX_GPUS);
    (0..gpus).filter_map(|index| gpu(&nvml, index, config)).collect()
}

fn gpu(nvml: &Arc<Nvml>, index: u32, config: &MeterConfig) -> Option<Box<dyn Meter>> {
    let device = nvml.device_by_index(index).ok()?;
    // Energy since the driver was loaded is counted from Volta on.
    let counts = device.total_energy_consumption().is_ok();
    if !counts && device.power_usage().is_err() {
        return None;
    }
    let name = format!("gpu-{index}");
    let description = Description {
        source: Source::EnergyCounter,
        scope: Scope::Accelerator,
        sees: format!("the board of {}; nothing of the machine around it", device.name().unwrap_or_default()),
        correction: config.corrections.get(&name).cloned(),
        error: Figure::assumed(0.02, 0.05, 0.1, "NVIDIA, NVML reference: within 5 % of the current draw"),
        // Counters were seen to move every 20 to 100 ms.
        refresh: Duration::from_millis(100),
        place: PathBuf::from(format!("nvml:{index}")),
        name,
    };
    Some(Box::new(Gpu { nvml: nvml.clone(), index, counts, description }))
}

impl Gpu {
    fn value(&self) -> Result<Value, NvmlError> {
        let device = self.nvml.device_by_index(self.index)?;
        if self.counts {
            return Ok(Value::Joules(device.total_energy_consumption()? as f64 / 1e3));
        }
        Ok(Value::Watts(f64::from(device.power_usage()?) / 1e3))
    }
}

impl Meter for Gpu {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let place = &self.description.place;
        self.value().map(Reading::now).map_err(|error| match error {
            NvmlError::GpuLost => ReadError::Gone { path: place.clone() },
            error => ReadError::Io { path: place.clone(), error: std::io::Error::other(error.to_string()) },
        })
    }
}
