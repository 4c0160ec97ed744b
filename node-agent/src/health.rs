//! The state of the board, as far as it tells.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dunlin_meters::Conditions;
use dunlin_protocol::{Health, Thermal};
use dunlin_worker_handle::{BoardHeat, BoardReading};
use tokio::time::Instant;

/// What was read is good for so long: it takes some twenty files.
const FRESH: Duration = Duration::from_millis(900);

/// The state of this board, as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<(Instant, Conditions)>>);

impl Pulse {
    /// Of the machine whose files are below `root`.
    pub(crate) fn now(&self, root: &Path, mode: &str, stalled_ms: u64) -> Health {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, conditions)| conditions);
        let conditions = fresh.unwrap_or_else(|| {
            let read = Conditions::read(root);
            *last = Some((Instant::now(), read));
            read
        });
        health(&conditions, mode, stalled_ms)
    }
}

fn health(conditions: &Conditions, mode: &str, stalled_ms: u64) -> Health {
    Health {
        mode: mode.to_owned(),
        thermal: match conditions {
            hot if hot.is_throttled() => Thermal::Throttled,
            warm if warm.is_warm() => Thermal::Warm,
            _ => Thermal::Cool,
        },
        temperature: conditions.celsius.map(decidegrees),
        on_battery: conditions.charge.is_some_and(|charge| charge.is_discharging),
        battery_percent: conditions.charge.and_then(|charge| charge.percent),
        milliwatts: None,
        stalled_ms,
        drawn: None,
    }
}

/// Of an emulated board: what this machine is like is of no concern. `None`: it has not said anything yet.
pub(crate) fn emulated(shown: Option<&BoardReading>, mode: &str, stalled_ms: u64) -> Health {
    let thermal = match shown.map(|shown| shown.heat).unwrap_or_default() {
        BoardHeat::Cool => Thermal::Cool,
        BoardHeat::Warm => Thermal::Warm,
        BoardHeat::Throttled => Thermal::Throttled,
    };
    Health {
        mode: mode.to_owned(),
        thermal,
        temperature: shown.map(|shown| decidegrees(shown.degrees)),
        on_battery: false,
        battery_percent: None,
        milliwatts: shown.and_then(|shown| shown.watts).map(milliwatts),
        stalled_ms,
        drawn: None,
    }
}

pub(crate) fn milliwatts(watts: f64) -> u32 {
    (watts * 1e3).round().max(0.0) as u32
}

fn decidegrees(celsius: f64) -> i16 {
    (celsius * 10.0).round() as i16
}

#[cfg(test)]
mod tests {
    use dunlin_meters::Charge;

    use super::*;

    #[test]
    fn heat_and_battery_are_told() {
        let conditions = |celsius| Conditions {
            celsius: Some(celsius),
            charge: Some(Charge { is_discharging: true, percent: Some(61) }),
        };
        let hot = health(&conditions(83.6), "performance", 7);
        assert_eq!((hot.thermal, hot.temperature, hot.stalled_ms), (Thermal::Throttled, Some(836), 7));
        assert_eq!((hot.on_battery, hot.battery_percent), (true, Some(61)));
        assert_eq!(health(&conditions(71.0), "performance", 0).thermal, Thermal::Warm);
        let unknown = health(&Conditions::default(), "performance", 0);
        assert_eq!((unknown.thermal, unknown.temperature, unknown.on_battery), (Thermal::Cool, None, false));
    }

    #[test]
    fn an_emulated_board_tells_its_own() {
        let silent = emulated(None, "15W", 0);
        assert_eq!((silent.temperature, silent.milliwatts, silent.on_battery), (None, None, false));
        let shown = BoardReading {
            watts: Some(6.1234),
            degrees: 37.24,
            heat: BoardHeat::Warm,
            ..BoardReading::default()
        };
        let health = emulated(Some(&shown), "15W", 0);
        assert_eq!((health.temperature, health.milliwatts), (Some(372), Some(6123)));
        assert_eq!((health.thermal, health.battery_percent), (Thermal::Warm, None));
    }
}
