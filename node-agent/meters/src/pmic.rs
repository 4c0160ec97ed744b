//! The power management chip of a Raspberry Pi 5: twelve rails, by its firmware.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use dunlin_costs::{Correction, Figure, Scope};
use thiserror::Error;

use crate::{
    Description, Meter, MeterConfig, ReadError, Reading, Source, Value,
    mailbox::{Firmware, Mailbox},
    sysfs::Files,
};

/// Rails whose current is known. `EXT5V` and `BATT` have a voltage only.
const RAILS: usize = 12;

const COMMAND: &str = "pmic_read_adc";
const THROTTLED: &str = "get_throttled";

const REMEDY: &str = "add the user to the group video: `sudo usermod -aG video $USER`, then log in again";

/// A rail of the chip.
#[derive(Debug, Clone, PartialEq)]
pub struct Rail {
    /// As in `VDD_CORE`.
    pub name: String,
    pub volts: f64,
    pub amperes: f64,
}

/// All rails at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PmicReading {
    pub rails: Vec<Rail>,
}

/// Why an answer of the firmware is no reading.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PmicError {
    #[error(
        "the firmware does not know the rails ({0:?}): this is no Raspberry Pi 5, or its firmware is too old"
    )]
    Unknown(String),
    #[error("{0} rails have a voltage and a current, {RAILS} are expected")]
    Rails(usize),
    #[error("the line {0:?} has no number")]
    Line(String),
}

impl PmicReading {
    /// What `vcgencmd pmic_read_adc` prints: `NAME_A current(7)=0.75A` and `NAME_V volt(15)=0.89V`. The numbers in
    /// parentheses pair nothing, the names do.
    ///
    /// # Errors
    /// [`PmicError`].
    pub fn parse(text: &str) -> Result<Self, PmicError> {
        let (mut volts, mut amperes) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(char::is_whitespace) else {
                return Err(PmicError::Unknown(line.chars().take(60).collect()));
            };
            let number = || {
                let digits = value.split_once('=')?.1.trim_end_matches(['A', 'V']);
                digits.parse::<f64>().ok().filter(|number| number.is_finite())
            };
            let of = match (name.strip_suffix("_A"), name.strip_suffix("_V")) {
                (Some(rail), _) => amperes.entry(rail),
                (_, Some(rail)) => volts.entry(rail),
                _ => return Err(PmicError::Unknown(line.chars().take(60).collect())),
            };
            of.or_insert(number().ok_or_else(|| PmicError::Line(line.chars().take(60).collect()))?);
        }
        let rail = |(name, amperes): (&str, f64)| {
            volts.get(name).map(|&volts| Rail { name: name.to_owned(), volts, amperes })
        };
        let rails: Vec<Rail> = amperes.into_iter().filter_map(rail).collect();
        if rails.len() == RAILS { Ok(Self { rails }) } else { Err(PmicError::Rails(rails.len())) }
    }

    /// The sum of the rails: less than the board draws.
    pub fn watts(&self) -> f64 {
        self.rails.iter().map(|rail| rail.volts * rail.amperes).sum()
    }
}

/// What held the processor back (Raspberry Pi documentation, `vcgencmd get_throttled`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttling {
    pub under_voltage: bool,
    pub frequency_capped: bool,
    pub throttled: bool,
    pub soft_temperature_limit: bool,
    /// One of these since the board was started.
    pub ever: bool,
}

impl Throttling {
    /// `throttled=0x50005`: bits 0 to 3 now, 16 to 19 since the start.
    pub fn parse(text: &str) -> Option<Self> {
        let bits = u32::from_str_radix(text.trim().strip_prefix("throttled=0x")?, 16).ok()?;
        let bit = |number: u32| bits >> number & 1 == 1;
        Some(Self {
            under_voltage: bit(0),
            frequency_capped: bit(1),
            throttled: bit(2),
            soft_temperature_limit: bit(3),
            ever: bits >> 16 & 0xf != 0,
        })
    }

    /// Of the board under `root`; `None` where there is no such firmware.
    pub fn read(root: &Path) -> Option<Self> {
        Self::parse(&Mailbox::open(root).ok()?.command(THROTTLED).ok()?)
    }

    /// Something holds it back now: rows that are measured meanwhile are worth nothing.
    pub const fn is_held_back(self) -> bool {
        self.under_voltage || self.frequency_capped || self.throttled || self.soft_temperature_limit
    }
}

#[derive(Debug)]
struct Pmic {
    description: Description,
    files: Files,
    firmware: Option<Box<dyn Firmware>>,
}

pub(crate) fn find(files: &Files, root: &Path, config: &MeterConfig) -> Option<Box<dyn Meter>> {
    let model = files.path("sys/firmware/devicetree/base/model");
    if !files.text(&model).is_ok_and(|model| model.starts_with("Raspberry Pi 5")) {
        return None;
    }
    let description = Description {
        name: "pmic".to_owned(),
        source: Source::RailSensor,
        scope: Scope::PmicRails,
        sees: "the twelve rails of the PMIC; not what hangs on 5 V (USB, HAT, NVMe, fan), nor the regulators' losses".to_owned(),
        correction: Some(config.corrections.get("pmic").cloned().unwrap_or_else(Correction::pi5_pmic)),
        error: Figure::assumed(0.02, 0.06, 0.2, "the correction was fitted on one board; USB devices are not seen"),
        refresh: Duration::from_millis(35),
        place: root.join("dev/vcio"),
    };
    Some(Box::new(Pmic { description, files: files.with_remedy(REMEDY), firmware: None }))
}

impl Meter for Pmic {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        if self.firmware.is_none() {
            let root = self.files.path("");
            let opened = Mailbox::open(&root).map_err(|(path, error)| self.files.fault(&path, error))?;
            self.firmware = Some(Box::new(opened));
        }
        let place = &self.description.place;
        let asked = self.firmware.as_mut().map(|firmware| firmware.command(COMMAND));
        let text = match asked {
            Some(Ok(text)) => text,
            Some(Err(error)) => {
                // The next reading opens it anew.
                self.firmware = None;
                return Err(self.files.fault(place, error));
            }
            None => return Err(self.files.fault(place, io::ErrorKind::NotFound.into())),
        };
        let reading = PmicReading::parse(&text)
            .map_err(|error| ReadError::Io { path: place.clone(), error: io::Error::other(error) })?;
        Ok(Reading::now(Value::Watts(reading.watts())))
    }
}

#[cfg(test)]
mod tests {
    use dunlin_costs::Bound;

    use super::*;
    use crate::sysfs::fixture::tree;

    /// Under load, as github.com/jfikar/RPi5-power shows it in its README.
    const LOAD: &str = include_str!("../tests/pmic_load.txt");

    #[test]
    fn the_published_sample_reads_as_published() {
        let reading = PmicReading::parse(LOAD).unwrap();
        assert!((reading.watts() - 10.7999).abs() < 1e-4, "{}", reading.watts());
        let correction = Correction::pi5_pmic();
        let corrected =
            |watts: f64| correction.factor.at(Bound::Nominal) * watts + correction.offset_w.nominal();
        assert!((corrected(reading.watts()) - 12.9549).abs() < 1e-3);
        // An idle board: gist cleverca22/95d2cb2f4e1f59be2bd94f0e1d446cc9.
        assert!((corrected(1.8985) - 2.7618).abs() < 1e-3);
        let core = reading.rails.iter().find(|rail| rail.name == "VDD_CORE").unwrap();
        assert_eq!((core.volts, core.amperes), (0.897_459_4, 10.876_74));
    }

    #[test]
    fn what_is_no_reading_is_refused() {
        let check = |text: &str, error: PmicError| assert_eq!(PmicReading::parse(text), Err(error));
        check("", PmicError::Rails(0));
        check(
            "error=1 error_msg=\"Command not registered\"",
            PmicError::Unknown("error=1 error_msg=\"Command not registered\"".to_owned()),
        );
        let without_core = LOAD.replace("  VDD_CORE_V volt(15)=0.89745940V\n", "");
        check(&without_core, PmicError::Rails(11));
        let broken = LOAD.replace("0.89745940V", "nanV");
        check(&broken, PmicError::Line("VDD_CORE_V volt(15)=nanV".to_owned()));
        let cut = &LOAD[..LOAD.len() / 2];
        assert!(PmicReading::parse(cut).is_err());
    }

    #[test]
    fn throttling_is_read_bit_by_bit() {
        assert_eq!(Throttling::parse("throttled=0x0\n"), Some(Throttling::default()));
        let hot = Throttling::parse("throttled=0x80008").unwrap();
        assert!(hot.soft_temperature_limit && hot.ever && hot.is_held_back() && !hot.throttled);
        let over = Throttling::parse("throttled=0x50000").unwrap();
        assert!(over.ever && !over.is_held_back());
        assert_eq!(Throttling::parse("error=1"), None);
    }

    #[derive(Debug)]
    struct Told(Vec<io::Result<String>>);

    impl Firmware for Told {
        fn command(&mut self, command: &str) -> io::Result<String> {
            assert_eq!(command, COMMAND);
            self.0.remove(0)
        }
    }

    #[test]
    fn only_a_pi_5_has_it_and_its_faults_are_told() {
        let pi4 = tree(&[("sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.4\0")]);
        let config = MeterConfig::default();
        assert!(find(&Files::new(pi4.path()), pi4.path(), &config).is_none());
        let pi5 = tree(&[("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")]);
        let files = Files::new(pi5.path());
        let mut found = find(&files, pi5.path(), &config).unwrap();
        assert!(matches!(found.read(), Err(ReadError::Gone { .. })), "no device");
        let told = vec![
            Ok(LOAD.to_owned()),
            Ok("error=1 error_msg=\"Command not registered\"".to_owned()),
            Err(io::Error::from_raw_os_error(libc::EACCES)),
        ];
        let description = found.description().clone();
        let files = files.with_remedy(REMEDY);
        let mut pmic = Pmic { description, files, firmware: Some(Box::new(Told(told))) };
        assert!(matches!(pmic.read().unwrap().value, Value::Watts(watts) if (watts - 10.7999).abs() < 1e-4));
        assert!(pmic.read().unwrap_err().to_string().contains("no Raspberry Pi 5"));
        assert!(pmic.read().unwrap_err().to_string().contains("group video"));
    }
}
