//! Predictions against what was seen.

use dunlin_costs::{Calibration, Phase, Prediction, Row, Running, Situation, Work};

use crate::{figure::Figure, stand::Seen};

/// Requests that a moving average is of.
const WINDOW: usize = 10;
/// The prompt and depth by which one rate is taken from a row.
const TYPICAL: Work = Work { prompt_tokens: 128, cached_tokens: 0, output_tokens: 32 };

/// Absolute errors in percent of what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Errors {
    pub(crate) median: f64,
    pub(crate) p90: f64,
}

/// One figure, predicted in four ways.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Of {
    /// By the row and what was learned of the node so far, as a fleet predicts.
    pub(crate) calibrated: Errors,
    pub(crate) row: Errors,
    /// Tokens a second, one number for everything.
    pub(crate) rate: Errors,
    /// Of the last requests.
    pub(crate) average: Errors,
    /// Part of the requests below the predicted 90 % quantile, in percent.
    pub(crate) covered: f64,
    /// Median distance of identical requests from their median, in percent.
    pub(crate) repeatability: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Judged {
    pub(crate) ttft: Of,
    pub(crate) tpot: Of,
}

/// What is predicted and seen of one figure, request by request.
#[derive(Default)]
struct Series {
    actual: Vec<f64>,
    calibrated: Vec<f64>,
    quantile: Vec<f64>,
    row: Vec<f64>,
    rate: Vec<f64>,
    average: Vec<f64>,
}

pub(crate) fn judge(row: &Row, seen: &[Seen], repeats: &[Seen]) -> Judged {
    let (mut ttft, mut tpot) = (Series::default(), Series::default());
    let mut calibration = Calibration::default();
    let typical = row.predict(&TYPICAL, &Situation::default(), &Calibration::default());
    let (rate_in, rate_out) = (typical.ttft.mean / f64::from(TYPICAL.prompt_tokens), typical.tpot.mean);
    let (mut per_token, mut tokens) = (Vec::new(), Vec::new());
    for request in seen {
        let (bare, learned) =
            (predict(row, request, &Calibration::default()), predict(row, request, &calibration));
        let read = f64::from((request.prompt - request.cached).max(1));
        ttft.add(
            request.ttft,
            [
                learned.ttft.mean,
                learned.ttft.q90,
                bare.ttft.mean,
                rate_in * read,
                mean(&per_token, rate_in) * read,
            ],
        );
        tpot.add(
            request.tpot,
            [learned.tpot.mean, learned.tpot.q90, bare.tpot.mean, rate_out, mean(&tokens, rate_out)],
        );
        per_token.push(request.ttft / read);
        tokens.push(request.tpot);
        calibration.observe(Phase::Prefill, bare.reading, request.ttft);
        calibration.observe(Phase::Decode, bare.tpot.mean, request.tpot);
    }
    let of = |series: &Series, repeated: fn(&Seen) -> f64| {
        series.judge(spread(&repeats.iter().map(repeated).collect::<Vec<_>>()))
    };
    Judged { ttft: of(&ttft, |seen| seen.ttft), tpot: of(&tpot, |seen| seen.tpot) }
}

pub(crate) fn predict(row: &Row, request: &Seen, calibration: &Calibration) -> Prediction {
    let work =
        Work { prompt_tokens: request.prompt, cached_tokens: request.cached, output_tokens: request.output };
    let running = Running { sequences: request.beside, context: request.context.into(), backlog_tokens: 0 };
    row.predict(&work, &Situation { running, ..Situation::default() }, calibration)
}

fn mean(values: &[f64], otherwise: f64) -> f64 {
    let last = &values[values.len().saturating_sub(WINDOW)..];
    if last.is_empty() { otherwise } else { last.iter().sum::<f64>() / last.len() as f64 }
}

impl Series {
    fn add(&mut self, actual: f64, [calibrated, quantile, row, rate, average]: [f64; 5]) {
        self.actual.push(actual);
        self.calibrated.push(calibrated);
        self.quantile.push(quantile);
        self.row.push(row);
        self.rate.push(rate);
        self.average.push(average);
    }

    fn judge(&self, repeatability: f64) -> Of {
        let below = self.actual.iter().zip(&self.quantile).filter(|(actual, most)| actual <= most).count();
        Of {
            calibrated: self.errors(&self.calibrated),
            row: self.errors(&self.row),
            rate: self.errors(&self.rate),
            average: self.errors(&self.average),
            covered: 100.0 * below as f64 / self.actual.len().max(1) as f64,
            repeatability,
        }
    }

    fn errors(&self, predicted: &[f64]) -> Errors {
        let of = |(actual, predicted): (&f64, &f64)| 100.0 * (predicted / actual - 1.0).abs();
        let mut errors: Vec<f64> = self.actual.iter().zip(predicted).map(of).collect();
        Errors { median: quantile(&mut errors, 0.5), p90: quantile(&mut errors, 0.9) }
    }
}

fn spread(values: &[f64]) -> f64 {
    let median = quantile(&mut values.to_vec(), 0.5);
    quantile(&mut values.iter().map(|value| 100.0 * (value / median - 1.0).abs()).collect::<Vec<_>>(), 0.5)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// How many requests pass until a calibration is within 10 % of a node that works at another speed from now on, and
/// until one that says five times what it should is marked.
pub(crate) fn recovery(row: &Row, before: &[Seen], after: &[Seen]) -> Vec<Figure> {
    let bare = |seen: &Seen| predict(row, seen, &Calibration::default()).tpot.mean;
    let mut calibration = Calibration::default();
    for seen in before {
        calibration.observe(Phase::Decode, bare(seen), seen.tpot);
    }
    let was = calibration.factor(Phase::Decode);
    let mut ratios: Vec<f64> = after.iter().map(|seen| seen.tpot / bare(seen)).collect();
    let settled = ratios.len() / 2;
    let now = quantile(&mut ratios[settled..], 0.5);
    let mut needed = after.len();
    for (number, seen) in (1..).zip(after) {
        calibration.observe(Phase::Decode, bare(seen), seen.tpot);
        if (calibration.factor(Phase::Decode) / now - 1.0).abs() <= 0.1 {
            needed = number;
            break;
        }
    }
    let mut lied_to = Calibration::default();
    let caught = before.iter().cycle().take(100).position(|seen| {
        lied_to.observe(Phase::Decode, bare(seen), 5.0 * seen.tpot);
        lied_to.is_stale()
    });
    vec![
        Figure::at_most(
            format!("requests until a node {:.1} times as slow is followed within 10 %", now / was),
            20.0,
            needed as f64,
            "",
        )
        .note("the engine is stopped half of the time"),
        Figure::at_most(
            "requests until a node that reports five times its time is marked",
            20.0,
            caught.map_or(f64::INFINITY, |at| at as f64 + 1.0),
            "",
        )
        .note("what was seen, times five"),
    ]
}

#[cfg(test)]
mod tests {
    use dunlin_costs::Class;

    use super::*;

    /// What a row says, off by `factor`, with a spread.
    fn seen(row: &Row, count: u32, factor: f64) -> Vec<Seen> {
        let mut rng = fastrand::Rng::with_seed(u64::from(count));
        (0..count)
            .map(|number| {
                let mut seen = Seen {
                    prompt: 100 + 10 * (number % 20),
                    cached: 0,
                    output: 32,
                    beside: number % 3,
                    context: 200 * (number % 3),
                    ttft: 0.0,
                    tpot: 0.0,
                };
                let of = predict(row, &seen, &Calibration::default());
                let mut noise = || factor * (1.0 + 0.04 * (rng.f64() - 0.5));
                (seen.ttft, seen.tpot) = (of.ttft.mean * noise(), of.tpot.mean * noise());
                seen
            })
            .collect()
    }

    fn row() -> Row {
        let class = Class::find("orin-nano-8g").unwrap();
        class.table.rows().next().unwrap().clone()
    }

    #[test]
    fn a_row_that_is_off_by_a_factor_is_calibrated() {
        let row = row();
        let judged = judge(&row, &seen(&row, 60, 1.3), &seen(&row, 12, 1.3));
        assert!(judged.tpot.calibrated.median < 2.0, "{judged:?}");
        assert!((22.0..25.0).contains(&judged.tpot.row.median), "{judged:?}");
        assert!(judged.ttft.calibrated.median < judged.ttft.rate.median, "{judged:?}");
    }

    #[test]
    fn a_node_that_is_slower_is_followed_and_a_liar_is_marked() {
        let row = row();
        let figures = recovery(&row, &seen(&row, 20, 1.0), &seen(&row, 40, 2.0));
        assert!(figures.iter().all(|figure| figure.holds), "{figures:?}");
        assert!(figures[0].what.contains("2.0 times"), "{figures:?}");
    }
}
