//! Joules as they are told to others.

use dunlin_costs::Scope;
use dunlin_meters::{Description, Source};
use dunlin_protocol::{Drawn, Energy, EnergyScope, EnergySource, limits::MAX_TEXT};

use super::ledger::{Joules, Totals};

pub(super) fn energy(joules: &Joules, of: &Description, error: f64) -> Energy {
    let mut correction = of.correction.as_ref().map(|by| by.name.clone()).unwrap_or_default();
    correction.truncate(correction.floor_char_boundary(MAX_TEXT));
    Energy {
        total_millijoules: millijoules(joules.total()),
        marginal_millijoules: millijoules(joules.marginal()),
        prefill_millijoules: Some(millijoules(joules.prefill)),
        decode_millijoules: Some(millijoules(joules.decode)),
        scope: scope(of.corrected_scope()),
        source: source(of.source),
        correction,
        error_thousandths: Some((error * 1e3).round().clamp(0.0, 1e3) as u16),
    }
}

pub(super) fn drawn(totals: &Totals) -> Drawn {
    Drawn {
        millijoules: millijoules(totals.metered),
        requests_millijoules: millijoules(totals.worked),
        idle_millijoules: millijoules(totals.idle),
    }
}

/// Source and scope, as they are spelled for others.
pub(super) fn names(of: &Description) -> (&'static str, &'static str) {
    let source = match of.source {
        Source::RailSensor => "rail-sensor",
        Source::EnergyCounter => "energy-counter",
        Source::BatteryGauge => "battery-gauge",
        Source::ExternalMeter => "external-meter",
        Source::Declared => "modelled",
        Source::Emulated => "emulated",
    };
    let scope = match of.corrected_scope() {
        Scope::BoardInput => "board-input",
        Scope::PmicRails => "pmic-rails",
        Scope::CpuGpuRail => "cpu-gpu-rail",
        Scope::Package => "package",
        Scope::Accelerator => "accelerator",
    };
    (source, scope)
}

fn millijoules(joules: f64) -> u64 {
    (joules * 1e3).round() as u64
}

fn scope(scope: Scope) -> EnergyScope {
    match scope {
        Scope::BoardInput => EnergyScope::BoardInput,
        Scope::PmicRails => EnergyScope::PmicRails,
        Scope::CpuGpuRail => EnergyScope::CpuGpuRail,
        Scope::Package => EnergyScope::Package,
        Scope::Accelerator => EnergyScope::Accelerator,
    }
}

fn source(source: Source) -> EnergySource {
    match source {
        Source::RailSensor => EnergySource::RailSensor,
        Source::EnergyCounter => EnergySource::EnergyCounter,
        Source::BatteryGauge => EnergySource::BatteryGauge,
        Source::ExternalMeter => EnergySource::ExternalMeter,
        Source::Declared => EnergySource::Modelled,
        Source::Emulated => EnergySource::Emulated,
    }
}
