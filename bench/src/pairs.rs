//! Two ways of doing the same thing, compared in interleaved pairs.
//!
//! The machines that this runs on are shared: what slows one of a pair down slows the other down too, so it is the
//! ratio within a pair that says something. Which of a pair goes first alternates.

use std::fmt;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// A ratio over pairs: the median, and the interval that holds it with 95 % confidence (percentile bootstrap,
/// Efron 1979).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) pairs: usize,
}

impl Ratio {
    /// Of the values of `ours` by those of `theirs`, pair by pair.
    pub(crate) fn of(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| median((0..ratios.len()).map(|_| ratios[random.usize(..ratios.len())]).collect()))
            .collect();
        medians.sort_by(f64::total_cmp);
        Self {
            median: median(ratios.clone()),
            low: medians[RESAMPLES / 40],
            high: medians[RESAMPLES - RESAMPLES / 40],
            pairs: ratios.len(),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}x [{:.3}, {:.3}], {} pairs", self.median, self.low, self.high, self.pairs)
    }
}

/// Runs both `pairs` times, taking turns.
pub(crate) fn interleave(
    pairs: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut theirs: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        if pair % 2 == 0 {
            a.push(ours()?);
            b.push(theirs()?);
        } else {
            b.push(theirs()?);
            a.push(ours()?);
        }
        eprint!("\r  {}/{pairs} pairs", pair + 1);
    }
    eprint!("\r\x1b[K");
    Ok((a, b))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_agreement() {
        let theirs: Vec<f64> = (0..40).map(|i| 10.0 + f64::from(i % 7)).collect();
        let close: Vec<f64> =
            theirs.iter().enumerate().map(|(i, t)| t * (1.1 + (i % 3) as f64 * 0.001)).collect();
        let ratio = Ratio::of(&close, &theirs);
        assert!(ratio.low <= ratio.median && ratio.median <= ratio.high);
        assert!((ratio.median - 1.101).abs() < 1e-9 && ratio.high - ratio.low < 0.003, "{ratio}");
        assert_eq!(median(vec![3.0, 1.0, 2.0, 4.0]), 2.5);
    }
}
