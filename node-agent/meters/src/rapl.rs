//! The energy counters of x86 processors, by powercap.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Correction, Figure, Scope};

use crate::{
    Description, Meter, MeterConfig, ReadError, Reading, Source, Value,
    sysfs::{Files, name},
};

const CLASS: &str = "sys/class/powercap";

const REMEDY: &str = "since Linux 5.10 only root may (CVE-2020-8694): run the agent as root, or for this boot \
                      `sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj`; a container needs the files mounted";

/// One counter, or the packages of a machine together.
#[derive(Debug)]
struct Counters {
    files: Files,
    description: Description,
    counters: Vec<Counter>,
}

#[derive(Debug)]
struct Counter {
    energy: PathBuf,
    /// Microjoules at which it starts again from 0.
    range: u64,
    last: Option<u64>,
    total_uj: u64,
}

/// `psys`, where the firmware has it, and the packages.
pub(crate) fn find(files: &Files, config: &MeterConfig) -> Vec<Box<dyn Meter>> {
    let files = files.with_remedy(REMEDY);
    let zones = files.entries(&files.path(CLASS));
    // `intel-rapl:0` is a zone, `intel-rapl:0:1` a part of it; `intel-rapl-mmio:0` is the same package again.
    let zones = zones.into_iter().filter(|path| {
        name(path).strip_prefix("intel-rapl:").is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let named: Vec<(PathBuf, String)> =
        zones.filter_map(|zone| Some((zone.clone(), files.text(&zone.join("name")).ok()?))).collect();
    let of = |begins: &str| -> Vec<PathBuf> {
        named.iter().filter(|(_, name)| name.starts_with(begins)).map(|(zone, _)| zone.clone()).collect()
    };
    let mut found: Vec<Box<dyn Meter>> = Vec::new();
    let psys = of("psys");
    if let Some(zone) = psys.first() {
        let correction = Correction {
            name: "psys as the board's input (the firmware says what it covers)".to_owned(),
            factor: Figure::known(1.0),
            offset_w: Figure::known(0.0),
        };
        let description = Description {
            name: "psys".to_owned(),
            scope: Scope::BoardInput,
            sees: "the whole platform, as its firmware was set up".to_owned(),
            correction: Some(config.corrections.get("psys").cloned().unwrap_or(correction)),
            error: Figure::assumed(0.02, 0.1, 0.3, "no vendor gives an error of psys"),
            ..described(zone)
        };
        found.push(Box::new(Counters::new(&files, description, std::slice::from_ref(zone))));
    }
    let packages = of("package");
    if let Some(first) = packages.first() {
        let description = Description {
            name: "package".to_owned(),
            scope: Scope::Package,
            sees: match packages.len() {
                1 => "the processor's package; not memory, disks, fans and losses".to_owned(),
                many => format!("the {many} packages together; not memory, disks, fans and losses"),
            },
            correction: config.corrections.get("package").cloned(),
            ..described(first)
        };
        found.push(Box::new(Counters::new(&files, description, &packages)));
    }
    found
}

fn described(zone: &std::path::Path) -> Description {
    Description {
        name: String::new(),
        source: Source::EnergyCounter,
        scope: Scope::Package,
        sees: String::new(),
        correction: None,
        error: Figure::assumed(0.01, 0.05, 0.1, "published comparisons of RAPL with meters"),
        // Intel, Software Developer's Manual, volume 3, "RAPL interfaces": about a millisecond.
        refresh: Duration::from_millis(1),
        place: zone.join("energy_uj"),
    }
}

impl Counters {
    fn new(files: &Files, description: Description, zones: &[PathBuf]) -> Self {
        let counter = |zone: &PathBuf| Counter {
            energy: zone.join("energy_uj"),
            range: files
                .number(&zone.join("max_energy_range_uj"))
                .ok()
                .and_then(|range| u64::try_from(range).ok())
                .unwrap_or(u64::MAX),
            last: None,
            total_uj: 0,
        };
        Self { counters: zones.iter().map(counter).collect(), files: files.clone(), description }
    }
}

impl Meter for Counters {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        for counter in &mut self.counters {
            let now = self.files.number(&counter.energy)?;
            counter.take(u64::try_from(now).map_err(|_| ReadError::Garbage {
                path: counter.energy.clone(),
                text: now.to_string(),
                expected: "microjoules, 0 or more",
            })?);
        }
        let total: u64 = self.counters.iter().map(|counter| counter.total_uj).sum();
        Ok(Reading::now(Value::Joules(total as f64 / 1e6)))
    }
}

impl Counter {
    /// It wraps around at its range; one reading at least must come in each round (about a minute at full power).
    fn take(&mut self, now: u64) {
        let last = self.last.replace(now).unwrap_or(now);
        let passed =
            if now >= last { now - last } else { self.range.saturating_sub(last).saturating_add(now) };
        self.total_uj = self.total_uj.saturating_add(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::fixture::{denied, set, tree};

    /// As drivers/powercap/powercap_sys.c and intel_rapl_common.c lay it out.
    fn machine() -> tempfile::TempDir {
        tree(&[
            ("sys/class/powercap/intel-rapl/enabled", "1\n"),
            ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "262143000000\n"),
            ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
            ("sys/class/powercap/intel-rapl:0:0/name", "core\n"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n"),
            ("sys/class/powercap/intel-rapl:1/name", "psys\n"),
            ("sys/class/powercap/intel-rapl:1/energy_uj", "1000000\n"),
            ("sys/class/powercap/intel-rapl:1/max_energy_range_uj", "262143328850\n"),
            ("sys/class/powercap/intel-rapl:2/name", "package-1\n"),
            ("sys/class/powercap/intel-rapl:2/energy_uj", "7000000\n"),
            ("sys/class/powercap/intel-rapl:2/max_energy_range_uj", "262143328850\n"),
            ("sys/class/powercap/intel-rapl-mmio:0/name", "package-0\n"),
        ])
    }

    fn joules(meter: &mut dyn Meter) -> f64 {
        match meter.read().unwrap().value {
            Value::Joules(joules) => joules,
            Value::Watts(_) => panic!("a counter"),
        }
    }

    #[test]
    fn packages_are_summed_and_wrap_around() {
        let root = machine();
        let mut found = find(&Files::new(root.path()), &MeterConfig::default());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].description().name, "psys");
        assert_eq!(joules(&mut *found[0]), 0.0);
        let packages = &mut *found[1];
        assert_eq!(packages.description().corrected_scope(), Scope::Package);
        assert_eq!(joules(packages), 0.0);
        set(root.path(), "sys/class/powercap/intel-rapl:0/energy_uj", "671150\n");
        set(root.path(), "sys/class/powercap/intel-rapl:2/energy_uj", "9000000\n");
        assert!((joules(packages) - 3.0).abs() < 1e-9, "0.32885 + 0.67115 + 2");
        set(root.path(), "sys/class/powercap/intel-rapl:0/energy_uj", "-4\n");
        assert!(matches!(packages.read(), Err(ReadError::Garbage { .. })));
    }

    #[test]
    fn who_may_not_read_is_told_what_helps() {
        let root = machine();
        let files = Files::new(root.path());
        let zone = files.path("sys/class/powercap/intel-rapl:0");
        let denied = files.with_remedy(REMEDY).opened_by(denied);
        let mut meter = Counters::new(&denied, described(&zone), &[zone]);
        let error = meter.read().unwrap_err().to_string();
        assert!(error.contains("energy_uj may not be read: since Linux 5.10 only root may"), "{error}");
    }
}
