//! Joules of an attempt, as they are shown: whose, of what, by what, and how well they are known.

use dunlin_protocol::{Energy, EnergyScope, EnergySource};

/// For the line under an answer: `1.84 J (0.52 reading, 1.32 writing; 2.90 with idle; board input by rail sensor, 3 %)`.
pub(crate) fn line(energy: &Energy) -> String {
    format!("{} J{}", joules(energy.marginal_millijoules), details(energy))
}

/// Predicted against actual, where both are of the board's input.
pub(crate) fn compared(energy: &Energy, predicted: Option<u64>) -> String {
    let actual = joules(energy.marginal_millijoules);
    let details = details(energy);
    match predicted {
        Some(_) if energy.scope != EnergyScope::BoardInput => {
            format!("{actual} J{details}, which no prediction is of")
        }
        Some(predicted) => format!("{actual} J of {} predicted{details}", joules(predicted)),
        None => format!("{actual} J{details}"),
    }
}

fn details(energy: &Energy) -> String {
    let phases = energy.prefill_millijoules.zip(energy.decode_millijoules);
    let phases =
        phases.map(|(prefill, decode)| format!("{} reading, {} writing; ", joules(prefill), joules(decode)));
    let error = energy.error_thousandths.map(|error| format!(", ± {:.0} %", f64::from(error) / 10.0));
    let correction = match energy.correction.as_str() {
        "" => String::new(),
        by => format!(", {by}"),
    };
    format!(
        " above idle ({}{} with idle; {} {}{correction}{})",
        phases.unwrap_or_default(),
        joules(energy.total_millijoules),
        scope(energy.scope),
        source(energy.source),
        error.unwrap_or_default(),
    )
}

pub(crate) fn joules(millijoules: u64) -> String {
    format!("{:.2}", millijoules as f64 / 1000.0)
}

fn scope(scope: EnergyScope) -> &'static str {
    match scope {
        EnergyScope::BoardInput => "board input",
        EnergyScope::PmicRails => "PMIC rails",
        EnergyScope::CpuGpuRail => "CPU and GPU rail",
        EnergyScope::Package => "package",
        EnergyScope::Accelerator => "accelerator",
        EnergyScope::Unknown => "unknown scope",
    }
}

fn source(source: EnergySource) -> &'static str {
    match source {
        EnergySource::RailSensor => "by rail sensor",
        EnergySource::BatteryGauge => "by battery gauge",
        EnergySource::ExternalMeter => "by external meter",
        EnergySource::EnergyCounter => "by energy counter",
        EnergySource::Modelled => "by declared watts, not measured",
        EnergySource::Emulated => "emulated",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn energy(scope: EnergyScope, source: EnergySource) -> Energy {
        Energy {
            total_millijoules: 2900,
            marginal_millijoules: 1840,
            prefill_millijoules: Some(520),
            decode_millijoules: Some(1320),
            scope,
            source,
            correction: String::new(),
            error_thousandths: Some(61),
        }
    }

    #[track_caller]
    fn check(energy: &Energy, predicted: Option<u64>, expected: &Expect) {
        expected.assert_eq(&compared(energy, predicted));
    }

    #[test]
    fn joules_say_what_they_are_of() {
        let board = energy(EnergyScope::BoardInput, EnergySource::RailSensor);
        let corrected = Energy { correction: "1.1451 x PMIC + 0.5879 W".to_owned(), ..board.clone() };
        check(
            &corrected,
            Some(1700),
            &expect![
                "1.84 J of 1.70 predicted above idle (0.52 reading, 1.32 writing; 2.90 with idle; board input by rail sensor, 1.1451 x PMIC + 0.5879 W, ± 6 %)"
            ],
        );
        check(
            &energy(EnergyScope::BoardInput, EnergySource::Emulated),
            None,
            &expect![
                "1.84 J above idle (0.52 reading, 1.32 writing; 2.90 with idle; board input emulated, ± 6 %)"
            ],
        );
        check(
            &energy(EnergyScope::Package, EnergySource::EnergyCounter),
            Some(1700),
            &expect![
                "1.84 J above idle (0.52 reading, 1.32 writing; 2.90 with idle; package by energy counter, ± 6 %), which no prediction is of"
            ],
        );
        let old = Energy { prefill_millijoules: None, error_thousandths: None, ..board };
        expect!["1.84 J above idle (2.90 with idle; board input by rail sensor)"].assert_eq(&line(&old));
    }
}
