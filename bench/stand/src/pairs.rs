//! Two ways of doing the same thing, compared in interleaved pairs.
//!
//! The machines that this runs on are shared: what slows one of a pair down slows the other down too, so it is the
//! ratio within a pair that says something. Which of a pair goes first alternates.
//!
//! Two engines of the same kind differ by up to a tenth, for as long as they live: by the pages of memory that each
//! happened to get. So what is compared is set up anew several times, in rounds, and the interval is that of the rounds.

use std::{
    fmt,
    io::{self, IsTerminal},
};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// Rounds of a comparison of things that live for long.
const ROUNDS: usize = 10;

/// A median, and the interval that holds it with 95 % confidence (percentile bootstrap, Efron 1979).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Median {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

impl Median {
    pub fn of(values: &[f64]) -> Self {
        Self::of_rounds(&values.chunks(1).collect::<Vec<_>>())
    }

    /// Of values that hang together within a round: whole rounds are drawn.
    fn of_rounds(rounds: &[&[f64]]) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                median(
                    (0..rounds.len()).flat_map(|_| rounds[random.usize(..rounds.len())]).copied().collect(),
                )
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let values = rounds.concat();
        Self {
            count: values.len(),
            value: median(values),
            low: medians[RESAMPLES / 40],
            high: medians[RESAMPLES - RESAMPLES / 40],
        }
    }
}

/// The value and its interval, with as many digits as asked for (`{:.3}`).
impl fmt::Display for Median {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let Self { value, low, high, count } = self;
        write!(f, "{value:.digits$} [{low:.digits$}, {high:.digits$}] of {count}")
    }
}

/// What two ways of doing the same thing yielded, pair by pair.
#[derive(Debug, Default)]
pub struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    /// Pairs of each round; none where each pair is one.
    rounds: Vec<usize>,
}

impl Pairs {
    /// At least `count` pairs, of which each round yields as many as it is asked for.
    pub fn in_rounds(
        count: usize,
        mut round: impl FnMut(usize) -> anyhow::Result<Self>,
    ) -> anyhow::Result<Self> {
        let mut pairs = Self::default();
        for number in 0..ROUNDS {
            if io::stderr().is_terminal() {
                eprintln!("\r\x1b[K  round {}/{ROUNDS}\x1b[A", number + 1);
            }
            let Self { ours, theirs, .. } = round(count.div_ceil(ROUNDS))?;
            pairs.rounds.push(ours.len());
            pairs.ours.extend(ours);
            pairs.theirs.extend(theirs);
        }
        Ok(pairs)
    }

    /// Runs both `count` times, taking turns.
    pub fn interleave(
        count: usize,
        mut ours: impl FnMut() -> anyhow::Result<f64>,
        mut theirs: impl FnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let mut pairs = Self::default();
        for pair in 0..count {
            if pair % 2 == 0 {
                pairs.ours.push(ours()?);
                pairs.theirs.push(theirs()?);
            } else {
                pairs.theirs.push(theirs()?);
                pairs.ours.push(ours()?);
            }
            if io::stderr().is_terminal() {
                eprint!("\r  {}/{count} pairs", pair + 1);
            }
        }
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        Ok(pairs)
    }

    /// Of ours by theirs.
    pub fn ratio(&self) -> Median {
        self.median(|ours, theirs| ours / theirs)
    }

    /// Of ours less theirs.
    pub fn difference(&self) -> Median {
        self.median(|ours, theirs| ours - theirs)
    }

    /// Says how two speeds compare.
    pub fn report_rates(&self) {
        let (ours, theirs) = (median(self.ours.clone()), median(self.theirs.clone()));
        println!("{} x ({ours:.0} against {theirs:.0} tokens/s)", self.ratio());
    }

    fn median(&self, of: impl Fn(f64, f64) -> f64) -> Median {
        let values: Vec<f64> =
            self.ours.iter().zip(&self.theirs).map(|(&ours, &theirs)| of(ours, theirs)).collect();
        if self.rounds.is_empty() {
            return Median::of(&values);
        }
        let mut rest = &values[..];
        let rounds = self.rounds.iter().map(|&count| rest.split_off(..count).unwrap_or_default());
        Median::of_rounds(&rounds.collect::<Vec<_>>())
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
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
        let ours = theirs.iter().enumerate().map(|(i, t)| t * (1.1 + (i % 3) as f64 * 0.001)).collect();
        let ratio = Pairs { ours, theirs, rounds: Vec::new() }.ratio();
        assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
        assert!((ratio.value - 1.101).abs() < 1e-9 && ratio.high - ratio.low < 0.003, "{ratio}");
        assert_eq!(median(vec![3.0, 1.0, 2.0, 4.0]), 2.5);
    }

    #[test]
    fn rounds_that_disagree_widen_the_interval() {
        let mut level = 0.0;
        let pairs = Pairs::in_rounds(40, |count| {
            level += 1.0;
            Pairs::interleave(count, || Ok(level), || Ok(1.0))
        });
        let ratio = pairs.unwrap().ratio();
        assert_eq!((ratio.value, ratio.count), (5.5, 40));
        assert!(ratio.low < 4.0 && ratio.high > 7.0, "{ratio}");
    }

    #[test]
    fn both_run_as_often_and_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let mark = |name| {
            order.borrow_mut().push(name);
            Ok(1.0)
        };
        let pairs = Pairs::interleave(4, || mark('a'), || mark('b')).unwrap();
        assert_eq!((order.borrow().as_str(), pairs.difference().count), ("abbaabba", 4));
    }
}
