//! A shunt, by a hwmon driver that tells volts and amperes in two files.

use std::path::PathBuf;

use crate::{
    Description, Meter, ReadError, Reading, Value,
    sysfs::{Files, name},
};

#[derive(Debug)]
pub(crate) struct Shunt {
    pub(crate) files: Files,
    pub(crate) description: Description,
    pub(crate) millivolts: PathBuf,
    pub(crate) milliamperes: PathBuf,
}

impl Meter for Shunt {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let millivolts = self.files.number(&self.millivolts)?;
        let milliamperes = self.files.number(&self.milliamperes)?;
        // Noise around zero is no power; what no sensor can show does not run over.
        let microwatts = millivolts.saturating_mul(milliamperes).max(0);
        Ok(Reading::now(Value::Watts(microwatts as f64 / 1e6)))
    }
}

/// The hwmon devices of a folder, whatever their numbers.
pub(crate) fn hwmons(files: &Files, folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = files.entries(folder).into_iter();
    entries.filter(|path| name(path).starts_with("hwmon")).collect()
}
