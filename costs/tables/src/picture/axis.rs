//! Where values are on an axis, and which are written beside it.

/// From this ratio on, an axis has steps of equal factors.
const LOGARITHMIC: f64 = 8.0;
/// Labels of an axis, about.
const LABELS: f64 = 5.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Axis {
    /// One that holds all values; those that are not positive and finite are left out.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sound = values.into_iter().filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) =
            sound.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { low: 0.0, high: 1.0, is_logarithmic: false };
        }
        if high / low >= LOGARITHMIC {
            return Self { low: low / 1.15, high: high * 1.15, is_logarithmic: true };
        }
        let margin = if high > low { 0.06 * (high - low) } else { 0.5 * high };
        Self { low: (low - margin).max(0.0), high: high + margin, is_logarithmic: false }
    }

    /// 0 to 1.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        if self.is_logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic { self.factors() } else { self.steps() }
    }

    fn steps(&self) -> Vec<f64> {
        let step = (self.high - self.low) / LABELS;
        let power = 10_f64.powf(step.log10().floor());
        let step = power * [1.0, 2.0, 2.5, 5.0].into_iter().find(|by| by * power >= step).unwrap_or(10.0);
        let first = (self.low / step).ceil() as i64;
        (first..=(self.high / step).floor() as i64).map(|at| at as f64 * step).collect()
    }

    fn factors(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let by: &[f64] = if decades < 1.5 {
            &[1.0, 2.0, 3.0, 5.0]
        } else if decades < 2.5 {
            &[1.0, 3.0]
        } else {
            &[1.0]
        };
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = powers.flat_map(|power| by.iter().map(move |by| by * 10_f64.powi(power)));
        all.filter(|value| (self.low..=self.high).contains(value)).collect()
    }
}

/// As it is written beside an axis.
pub(super) fn label(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 5,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], expected: &str) {
        let axis = Axis::of(values.iter().copied());
        assert_eq!(axis.ticks().into_iter().map(label).collect::<Vec<_>>().join(" "), expected);
        for value in values.iter().filter(|value| **value > 0.0) {
            assert!((0.0..=1.0).contains(&axis.at(*value)), "{value}");
        }
    }

    #[test]
    fn labels_are_round_numbers() {
        check(&[2.0, 3.0, 4.0], "2 2.5 3 3.5 4");
        check(&[18.3, 31.0, 80.7], "20 40 60 80");
        check(&[0.02, 0.5], "0.03 0.1 0.3");
        check(&[1.0, 5000.0], "1 10 100 1000");
        check(&[7.0], "4 6 8 10");
        check(&[], "0 0.2 0.4 0.6 0.8 1");
        check(&[f64::NAN, -1.0, 3.0, 4.0], "3 3.25 3.5 3.75 4");
    }
}
