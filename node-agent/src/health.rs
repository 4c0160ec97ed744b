//! The state of the board, as far as it tells.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dunlin_protocol::{Health, Thermal};
use tokio::time::Instant;

/// What was read is good for so long: it takes some twenty files.
const FRESH: Duration = Duration::from_millis(900);

/// Hottest of the zones; above this a Pi 5 begins to throttle (80 to 85 C, Raspberry Pi documentation, "Frequency
/// management and thermal control").
const WARM_DECIDEGREES: i16 = 700;
const THROTTLED_DECIDEGREES: i16 = 820;

/// The state of this board, as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<(Instant, Health)>>);

impl Pulse {
    pub(crate) fn now(&self, mode: &str, stalled_ms: u64) -> Health {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.as_ref().filter(|(at, health)| at.elapsed() < FRESH && health.mode == mode);
        let health = match fresh {
            Some((_, health)) => health.clone(),
            None => {
                let read = read(Path::new("/sys"), mode, 0);
                *last = Some((Instant::now(), read.clone()));
                read
            }
        };
        Health { stalled_ms, ..health }
    }
}

/// Reads what there is; `sys` is `/sys` but in tests.
fn read(sys: &Path, mode: &str, stalled_ms: u64) -> Health {
    let temperature = hottest(&sys.join("class/thermal"));
    let thermal = match temperature {
        Some(hot) if hot >= THROTTLED_DECIDEGREES => Thermal::Throttled,
        Some(warm) if warm >= WARM_DECIDEGREES => Thermal::Warm,
        _ => Thermal::Cool,
    };
    let (on_battery, battery_percent) = battery(&sys.join("class/power_supply"));
    Health {
        mode: mode.to_owned(),
        thermal,
        temperature,
        on_battery,
        battery_percent,
        milliwatts: None,
        stalled_ms,
    }
}

fn hottest(zones: &Path) -> Option<i16> {
    let zones = fs::read_dir(zones).ok()?.flatten();
    let millidegrees = zones.filter_map(|zone| number(&zone.path().join("temp")));
    millidegrees.max().and_then(|millidegrees| i16::try_from(millidegrees / 100).ok())
}

/// On battery: there is one, and it is not being charged.
fn battery(supplies: &Path) -> (bool, Option<u8>) {
    for supply in fs::read_dir(supplies).into_iter().flatten().flatten() {
        let text = |name: &str| fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        if text("type").trim() == "Battery" {
            let percent =
                number(&supply.path().join("capacity")).and_then(|percent| u8::try_from(percent).ok());
            return (text("status").trim() == "Discharging", percent);
        }
    }
    (false, None)
}

fn number(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_hottest_zone_and_the_battery_count() {
        let root = tempfile::tempdir().unwrap();
        let nothing = read(root.path(), "performance", 0);
        assert_eq!((nothing.thermal, nothing.temperature, nothing.on_battery), (Thermal::Cool, None, false));
        write(root.path(), "class/thermal/thermal_zone0/temp", "45277\n");
        write(root.path(), "class/thermal/thermal_zone1/temp", "83600\n");
        write(root.path(), "class/thermal/thermal_zone2/temp", "garbage\n");
        write(root.path(), "class/power_supply/AC/type", "Mains\n");
        write(root.path(), "class/power_supply/BAT0/type", "Battery\n");
        write(root.path(), "class/power_supply/BAT0/status", "Discharging\n");
        write(root.path(), "class/power_supply/BAT0/capacity", "61\n");
        let health = read(root.path(), "performance", 7);
        assert_eq!((health.thermal, health.temperature), (Thermal::Throttled, Some(836)));
        assert_eq!((health.on_battery, health.battery_percent, health.stalled_ms), (true, Some(61), 7));
    }
}
