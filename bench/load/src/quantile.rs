//! Percentiles, and how sure they are.

use fastrand::Rng;
use serde::Serialize;

/// Draws of a bootstrap, at most; and all of its numbers together.
const ROUNDS: usize = 500;
const MIN_ROUNDS: usize = 100;
const MAX_DRAWS: usize = 20_000_000;

/// The interval holds so much of what other samples of the same size would have said.
const CONFIDENCE: f64 = 0.95;

const SHARES: [f64; 4] = [0.50, 0.90, 0.95, 0.99];

/// A percentile, and the interval of 95 % by bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// In the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    pub count: usize,
    pub mean: f64,
    pub min: f64,
    pub p50: Estimate,
    pub p90: Estimate,
    pub p95: Estimate,
    pub p99: Estimate,
    pub max: f64,
}

impl Quantiles {
    /// `None`: there are no values. The same seed gives the same intervals.
    pub fn of(mut values: Vec<f64>, seed: u64) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let [p50, p90, p95, p99] = estimates(&values, seed);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self { count: values.len(), mean, min, p50, p90, p95, p99, max })
    }
}

/// Between the two values that are next to it, as numpy does by default. The values are sorted, and there are some.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let (low, weight) = place(sorted.len(), share);
    let next = sorted[(low + 1).min(sorted.len() - 1)];
    sorted[low] + weight * (next - sorted[low])
}

fn place(count: usize, share: f64) -> (usize, f64) {
    let at = share * (count - 1) as f64;
    (at.floor() as usize, at.fract())
}

fn estimates(sorted: &[f64], seed: u64) -> [Estimate; 4] {
    let rounds = (MAX_DRAWS / sorted.len()).clamp(MIN_ROUNDS, ROUNDS);
    let mut rng = Rng::with_seed(seed);
    let mut drawn = [const { Vec::new() }; 4];
    let mut counts = vec![0_u32; sorted.len()];
    for _ in 0..rounds {
        counts.fill(0);
        (0..sorted.len()).for_each(|_| counts[rng.usize(..sorted.len())] += 1);
        for (into, share) in drawn.iter_mut().zip(SHARES) {
            into.push(quantile_of_counts(sorted, &counts, share));
        }
    }
    let mut number = 0;
    drawn.map(|mut values| {
        values.sort_by(f64::total_cmp);
        let value = quantile(sorted, SHARES[number]);
        number += 1;
        let outside = (1.0 - CONFIDENCE) / 2.0;
        Estimate { value, low: quantile(&values, outside), high: quantile(&values, 1.0 - outside) }
    })
}

/// As [`quantile`], where each value is there as often as it was drawn.
fn quantile_of_counts(sorted: &[f64], counts: &[u32], share: f64) -> f64 {
    let (low, weight) = place(sorted.len(), share);
    let (mut seen, mut found) = (0_usize, None);
    for (value, count) in sorted.iter().zip(counts) {
        seen += *count as usize;
        match found {
            None if seen > low + 1 => return *value,
            None if seen > low => found = Some(*value),
            Some(below) if seen > low + 1 => return below + weight * (value - below),
            _ => {}
        }
    }
    found.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_values() {
        let values: Vec<f64> = (1..=101).rev().map(f64::from).collect();
        let found = Quantiles::of(values, 1).unwrap();
        assert_eq!((found.count, found.min, found.max, found.mean), (101, 1.0, 101.0, 51.0));
        assert_eq!((found.p50.value, found.p90.value, found.p99.value), (51.0, 91.0, 100.0));
        assert!(Quantiles::of(vec![f64::NAN], 1).is_none());
        let one = Quantiles::of(vec![7.0], 1).unwrap();
        assert_eq!(one.p99, Estimate { value: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn drawing_each_once_changes_nothing() {
        let sorted: Vec<f64> = (0..10).map(f64::from).collect();
        for share in SHARES {
            assert_eq!(quantile_of_counts(&sorted, &[1; 10], share), quantile(&sorted, share));
        }
        assert_eq!(quantile_of_counts(&sorted, &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0], 0.99), 3.0);
    }

    /// Of samples of a known distribution, about nineteen of twenty intervals hold its median.
    #[test]
    fn intervals_hold_what_they_should() {
        let mut rng = Rng::with_seed(5);
        let held = (0..200)
            .filter(|seed| {
                let values = (0..60).map(|_| rng.f64()).collect();
                let p50 = Quantiles::of(values, *seed).unwrap().p50;
                (p50.low..=p50.high).contains(&0.5)
            })
            .count();
        assert!((178..=200).contains(&held), "{held} of 200");
    }
}
