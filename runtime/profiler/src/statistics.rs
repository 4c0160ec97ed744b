//! Medians of few repeats.

use serde::{Deserialize, Serialize};

/// Two runs of one cell on the same machine differ by so much at least, whatever was seen in one of them: engines of one
/// kind differ for as long as they live.
const LEAST_SPREAD: f64 = 0.03;

/// What repeats of one cell say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub runs: u32,
    pub median: f64,
    /// Where the median of another profile is expected: the range of the runs, widened by half of itself on both sides,
    /// and no less than 3 % of the median.
    pub low: f64,
    pub high: f64,
    /// Standard deviation by mean, in percent; 0 of a single run.
    pub cv_pct: f64,
}

/// `None` without runs.
pub fn summarize(values: &[f64]) -> Option<Summary> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    let slack = ((last - first) / 2.0).max(LEAST_SPREAD * median);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = if sorted.len() > 1 { (squares / (sorted.len() - 1) as f64).sqrt() } else { 0.0 };
    Some(Summary {
        runs: sorted.len() as u32,
        median,
        low: (first - slack).max(0.0),
        high: last + slack,
        cv_pct: 100.0 * deviation / mean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_with_its_range() {
        assert_eq!(summarize(&[]), None);
        let of = summarize(&[3.0, 1.0, 2.0]).map(|of| (of.median, of.low, of.high, of.cv_pct));
        assert_eq!(of, Some((2.0, 0.0, 4.0, 50.0)));
        let of = summarize(&[10.0, 10.0]).map(|of| (of.median, of.low, of.high, of.cv_pct));
        assert_eq!(of, Some((10.0, 9.7, 10.3, 0.0)));
    }
}
