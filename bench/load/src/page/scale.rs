//! Where values are on an axis.

/// From this ratio on, steps are of equal factors.
const LOGARITHMIC: f64 = 30.0;
/// Labels of an axis, about.
const LABELS: f64 = 6.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Scale {
    /// From zero to the highest value.
    pub(super) fn up_to(high: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high * 1.05 } else { 1.0 };
        Self { low: 0.0, high, is_logarithmic: false }
    }

    /// Of values that may be far apart. Those that are not above zero have no place on it.
    pub(super) fn over(low: f64, high: f64) -> Self {
        if low > 0.0 && high.is_finite() && high / low >= LOGARITHMIC {
            return Self { low: low / 1.1, high: high * 1.1, is_logarithmic: true };
        }
        Self::up_to(high)
    }

    /// 0 to 1.
    pub(super) fn at(self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        if self.is_logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    pub(super) fn ticks(self) -> Vec<f64> {
        if self.is_logarithmic {
            let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let by: &[f64] = if self.high / self.low < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let all = powers.flat_map(|power| by.iter().map(move |by| by * 10_f64.powi(power)));
            return all.filter(|value| (self.low..=self.high).contains(value)).collect();
        }
        let rough = (self.high - self.low) / LABELS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|by| by * power >= rough).unwrap_or(10.0);
        (0..=(self.high / step) as usize).map(|number| number as f64 * step).collect()
    }
}

/// As it is written beside an axis: at most four digits that matter.
pub(super) fn label(value: f64) -> String {
    let places = match value.abs() {
        0.0 | 10.0.. => 0,
        1.0.. => 1,
        0.1.. => 2,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_numbers() {
        let check = |scale: Scale, expected: &str| {
            assert_eq!(scale.ticks().into_iter().map(label).collect::<Vec<_>>().join(" "), expected);
        };
        check(Scale::up_to(10.0), "0 2 4 6 8 10");
        check(Scale::up_to(0.7), "0 0.2 0.4 0.6");
        check(Scale::over(3.0, 40.0), "0 10 20 30 40");
        check(Scale::over(2.0, 90.0), "2 5 10 20 50");
        check(Scale::over(1.0, 5000.0), "1 10 100 1000");
        check(Scale::up_to(f64::NAN), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!((Scale::over(1.0, 1000.0).at(0.0), Scale::up_to(10.0).at(99.0)), (0.0, 1.0));
    }
}
