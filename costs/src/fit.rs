//! Coefficients of the step model from samples, by least squares of the relative error.
//!
//! Relative, since a short prompt should be predicted as well as a long one. Coefficients are not negative.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{Decode, Figure, Fit, Prefill, least_squares::least_squares, step::BATCHES};

/// Samples of one fit.
pub const MAX_SAMPLES: usize = 10_000;

/// Why nothing can be fitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FitError {
    #[error("there are {0} samples: at least one is needed, and at most {MAX_SAMPLES} are possible")]
    Samples(usize),
    #[error("sample {0} is not of a positive time and size")]
    Sample(usize),
    #[error("no sample decodes one sequence alone: the fit starts there")]
    NotAlone,
    #[error("no coefficients describe these samples")]
    Unsolvable,
}

/// How well a fit describes its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodness {
    /// Mean absolute error, in percent.
    pub mape_pct: f64,
    /// `ln(actual / fitted)` that 90 % of the samples stay below, not negative.
    pub residual_q90: f64,
}

/// Fits [`Prefill`] to `(prompt tokens, seconds to the first token)`, each of a request alone.
///
/// Of a single length comes a rate, of two a line, of three and more a parabola, so far as the samples bear it.
///
/// # Errors
/// [`FitError`].
pub fn prefill(samples: &[(u32, f64)]) -> Result<(Prefill, Goodness), FitError> {
    check(samples.len(), samples.iter().copied())?;
    let lengths = distinct(samples.iter().map(|(prompt, _)| *prompt));
    let (shortest, longest) = (lengths[0], lengths[lengths.len() - 1]);
    let scale = f64::from(longest);
    let [p0, p1, p2] = parabola(samples, scale, lengths.len()).ok_or(FitError::Unsolvable)?;
    let prefill = Prefill {
        p0_ms: Figure::known(p0 * 1e3),
        p1_ms_per_token: Figure::known(p1 / scale * 1e3),
        p2_ms_per_token2: Figure::known(p2 / (scale * scale) * 1e3),
        measured: [shortest, longest],
    };
    let fitted = |prompt: u32| {
        let n = f64::from(prompt) / scale;
        p0 + p1 * n + p2 * n * n
    };
    Ok((prefill, goodness(samples.iter().map(|(prompt, seconds)| (fitted(*prompt), *seconds)))))
}

/// Coefficients of `(n / scale)^0, ^1, ^2`. Tries each set that has the second, of at most `most` of them: the best one
/// without a negative is the optimum under that constraint.
fn parabola(samples: &[(u32, f64)], scale: f64, most: usize) -> Option<[f64; 3]> {
    const SETS: [&[i32]; 4] = [&[1], &[0, 1], &[1, 2], &[0, 1, 2]];
    let times: Vec<f64> = samples.iter().map(|(_, seconds)| *seconds).collect();
    let fits = SETS.into_iter().filter(|set| set.len() <= most).filter_map(|set| {
        let powers = |n: f64| set.iter().map(|power| n.powi(*power)).collect();
        let matrix: Vec<Vec<f64>> =
            samples.iter().map(|(prompt, _)| powers(f64::from(*prompt) / scale)).collect();
        let (found, error) = least_squares(&matrix, &times)?;
        let mut coefficients = [0.0; 3];
        set.iter().zip(&found).for_each(|(power, value)| coefficients[*power as usize] = *value);
        found.iter().all(|value| *value >= 0.0).then_some((coefficients, error))
    });
    fits.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(coefficients, _)| coefficients)
}

/// Fits [`Decode`] to `(tokens of all sequences, sequences, seconds of a step)`.
///
/// # Errors
/// [`FitError`]; [`FitError::NotAlone`] without samples of one sequence.
pub fn decode(samples: &[(u32, u32, f64)]) -> Result<(Decode, Goodness), FitError> {
    check(samples.len(), samples.iter().map(|(_, sequences, seconds)| (*sequences, *seconds)))?;
    let batches = distinct(samples.iter().map(|(_, sequences, _)| *sequences));
    if batches[0] != 1 {
        return Err(FitError::NotAlone);
    }
    // With d1 where the samples tell it and it is not negative, else without.
    let flat = || {
        let (steps, ..) = flat_or_growing(samples, &batches, None)?;
        Some((steps, Depth { d1: 0.0, shared: 0.0 }))
    };
    let (mut steps, depth) = sharing(samples, &batches).or_else(flat).ok_or(FitError::Unsolvable)?;
    let largest = batches[batches.len() - 1];
    settle(&batches, &mut steps);
    let step = |sequences: u32| interpolate(&batches, &steps, sequences);
    let known = |sequences: u32| Figure::known(step(sequences) * 1e3);
    let powers = 0..=largest.ilog2().min(BATCHES as u32 - 1);
    let halves = (0..powers.end().saturating_sub(1)).map(|number| 3 << number);
    let decode = Decode {
        batch_ms: powers.clone().map(|power| known(1 << power)).collect(),
        between_ms: halves.take_while(|size| batches.contains(size)).map(known).collect(),
        depth_ms_per_token: Figure::known(depth.d1 * 1e3),
        depth_shared: Figure::known(depth.shared),
        contention: Figure::default(),
        measured_depth: samples.iter().map(|(depth, sequences, _)| depth / sequences).max().unwrap_or(0),
    };
    let fitted = |tokens: u32, sequences: u32| step(sequences) + depth.seconds(tokens, sequences);
    Ok((
        decode,
        goodness(samples.iter().map(|(depth, sequences, seconds)| (fitted(*depth, *sequences), *seconds))),
    ))
}

/// A larger batch takes no less time: what looks otherwise is noise. But three sequences may take longer than four, where
/// kernels compute rows by fours and what is left over one by one.
fn settle(batches: &[u32], steps: &mut [f64]) {
    let mut least = 0.0;
    for (size, step) in batches.iter().zip(steps.iter_mut()) {
        *step = f64::max(*step, least);
        if size.is_power_of_two() {
            least = *step;
        }
    }
}

/// How `d1` acts on a step.
#[derive(Debug, Clone, Copy)]
struct Depth {
    d1: f64,
    /// See [`Decode::depth_shared`].
    shared: f64,
}

impl Depth {
    fn seconds(self, depth: u32, sequences: u32) -> f64 {
        self.d1 * walked(depth, sequences, self.shared)
    }
}

/// Tokens that a step goes over for a total of `depth`.
fn walked(depth: u32, sequences: u32, shared: f64) -> f64 {
    f64::from(depth) * (1.0 + shared * f64::from(sequences.saturating_sub(1)))
}

/// A few sequences are measured at two depths: only then does a fit tell what they pay for each other's tokens.
fn tells_sharing(samples: &[(u32, u32, f64)]) -> bool {
    let of_several = samples.iter().filter(|(_, sequences, _)| *sequences > 1);
    let depths = of_several.map(|(depth, sequences, _)| (*sequences, *depth));
    let mut range = BTreeMap::<u32, (u32, u32)>::new();
    for (sequences, depth) in depths {
        let (least, most) = range.entry(sequences).or_insert((depth, depth));
        (*least, *most) = ((*least).min(depth), (*most).max(depth));
    }
    range.values().any(|(least, most)| *most > 4 * (*least).max(16))
}

/// The best of a few parts, since the problem is linear for each.
fn sharing(samples: &[(u32, u32, f64)], batches: &[u32]) -> Option<(Vec<f64>, Depth)> {
    const STEPS: u32 = 20;
    let parts = if tells_sharing(samples) { STEPS } else { 0 };
    let fits = (0..=parts).filter_map(|part| {
        let shared = f64::from(part) / f64::from(STEPS);
        let (steps, d1, error) = flat_or_growing(samples, batches, Some(shared))?;
        Some((steps, Depth { d1, shared }, error))
    });
    fits.min_by(|a, b| a.2.total_cmp(&b.2)).map(|(steps, depth, _)| (steps, depth))
}

/// Seconds of a step of each of `batches`, `d1`, which is 0 unless it grows, and the error that is left.
fn flat_or_growing(
    samples: &[(u32, u32, f64)],
    batches: &[u32],
    shared: Option<f64>,
) -> Option<(Vec<f64>, f64, f64)> {
    let deepest = samples.iter().map(|(depth, ..)| *depth).max()?;
    let scale = f64::from(deepest.max(1));
    let row = |(depth, sequences, _): &(u32, u32, f64)| {
        let mut row: Vec<f64> = batches.iter().map(|batch| f64::from(u8::from(batch == sequences))).collect();
        row.extend(shared.map(|shared| walked(*depth, *sequences, shared) / scale));
        row
    };
    let matrix: Vec<Vec<f64>> = samples.iter().map(row).collect();
    let times: Vec<f64> = samples.iter().map(|(.., seconds)| *seconds).collect();
    let (mut found, error) = least_squares(&matrix, &times)?;
    if found.iter().any(|value| *value < 0.0) {
        return None;
    }
    let d1 = if shared.is_some() { found.pop()? / scale } else { 0.0 };
    Some((found, d1, error))
}

/// Seconds of a step of `sequences` with `context` tokens in all, by a fit.
pub fn step_seconds(decode: &Decode, sequences: u32, context: f64) -> f64 {
    let powers = (0..).map(|power| 1 << power).zip(&decode.batch_ms);
    let halves = (0..).map(|number| 3 << number).zip(&decode.between_ms);
    let mut measured: Vec<(u32, f64)> =
        powers.chain(halves).map(|(size, ms)| (size, ms.nominal() / 1e3)).collect();
    measured.sort_unstable_by_key(|(size, _)| *size);
    let (sizes, parts): (Vec<u32>, Vec<f64>) = measured.into_iter().unzip();
    let shared = 1.0 + decode.depth_shared.nominal() * f64::from(sequences.saturating_sub(1));
    interpolate(&sizes, &parts, sequences) + decode.depth_ms_per_token.nominal() / 1e3 * context * shared
}

/// Of a row that both fits make.
pub fn fit_of(prefill: Goodness, decode: Goodness) -> Fit {
    Fit {
        prefill_mape_pct: Some(prefill.mape_pct),
        decode_mape_pct: Some(decode.mape_pct),
        cv_pct: None,
        prefill_cv_pct: None,
        decode_cv_pct: None,
        disturbed: None,
        residual_q90: prefill.residual_q90.max(decode.residual_q90),
        prefill_residual_q90: Some(prefill.residual_q90),
        decode_residual_q90: Some(decode.residual_q90),
    }
}

fn check(count: usize, samples: impl Iterator<Item = (u32, f64)>) -> Result<(), FitError> {
    if count == 0 || count > MAX_SAMPLES {
        return Err(FitError::Samples(count));
    }
    let sound = |(size, seconds): (u32, f64)| size > 0 && seconds > 0.0 && seconds.is_finite();
    match samples.into_iter().position(|sample| !sound(sample)) {
        Some(at) => Err(FitError::Sample(at)),
        None => Ok(()),
    }
}

/// In order.
fn distinct(sizes: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut sizes: Vec<u32> = sizes.collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn interpolate(sizes: &[u32], values: &[f64], at: u32) -> f64 {
    let above = sizes.partition_point(|size| *size < at).clamp(1, sizes.len().max(2) - 1);
    let (Some(&to), Some(&high)) = (sizes.get(above), values.get(above)) else { return values[0] };
    let (from, low) = (sizes[above - 1], values[above - 1]);
    low + (high - low) * (f64::from(at) - f64::from(from)) / f64::from(to - from)
}

fn goodness(pairs: impl Iterator<Item = (f64, f64)>) -> Goodness {
    let mut residuals: Vec<f64> = pairs.map(|(fitted, actual)| (actual / fitted).ln()).collect();
    let errors: f64 = residuals.iter().map(|residual| (1.0 - (-residual).exp()).abs()).sum();
    residuals.sort_unstable_by(f64::total_cmp);
    let at = (residuals.len() * 9).div_ceil(10).max(1) - 1;
    Goodness { mape_pct: 100.0 * errors / residuals.len() as f64, residual_q90: residuals[at].max(0.0) }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const LENGTHS: [u32; 5] = [16, 64, 128, 512, 2048];

    fn check_prefill(samples: &[(u32, f64)], expected: &Expect) {
        let said = match prefill(samples) {
            Ok((fit, goodness)) => format!(
                "{:.2} + {:.4} n + {:.3e} n^2 ms, {:?}, {:.2} %, q90 {:.3}",
                fit.p0_ms.nominal(),
                fit.p1_ms_per_token.nominal(),
                fit.p2_ms_per_token2.nominal(),
                fit.measured,
                goodness.mape_pct,
                goodness.residual_q90
            ),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&said);
    }

    fn of(p0: f64, p1: f64, p2: f64) -> Vec<(u32, f64)> {
        let seconds = |n: f64| (p0 + p1 * n + p2 * n * n) / 1e3;
        LENGTHS.iter().map(|&n| (n, seconds(f64::from(n)))).collect()
    }

    #[test]
    fn prompts_are_fitted_by_a_parabola_without_negative_coefficients() {
        check_prefill(
            &of(52.0, 0.43, 9.8e-6),
            &expect!["52.00 + 0.4300 n + 9.800e-6 n^2 ms, [16, 2048], 0.00 %, q90 0.000"],
        );
        check_prefill(
            &of(0.0, 17.0, 0.0035),
            &expect!["0.00 + 17.0000 n + 3.500e-3 n^2 ms, [16, 2048], 0.00 %, q90 0.000"],
        );
        // Bends downwards: the best line.
        check_prefill(
            &of(50.0, 1.0, -1e-4),
            &expect!["54.89 + 0.8683 n + 0.000e0 n^2 ms, [16, 2048], 5.77 %, q90 0.070"],
        );
        check_prefill(
            &[(128, 0.5), (128, 0.6)],
            &expect!["0.00 + 4.2264 n + 0.000e0 n^2 ms, [128, 128], 9.02 %, q90 0.104"],
        );
        check_prefill(
            &[(128, 0.5), (512, 1.0)],
            &expect!["333.33 + 1.3021 n + 0.000e0 n^2 ms, [128, 512], 0.00 %, q90 0.000"],
        );
        check_prefill(
            &[],
            &expect!["there are 0 samples: at least one is needed, and at most 10000 are possible"],
        );
        check_prefill(
            &[(128, 0.5), (128, f64::NAN)],
            &expect!["sample 1 is not of a positive time and size"],
        );
        check_prefill(&[(0, 0.5)], &expect!["sample 0 is not of a positive time and size"]);
    }

    fn check_decode(samples: &[(u32, u32, f64)], expected: &Expect) {
        let said = match decode(samples) {
            Ok((fit, goodness)) => format!(
                "{:?} + {:.4} K ms, to {}, {:.2} %, q90 {:.3}",
                fit.batch_ms.iter().map(|ms| (ms.nominal() * 100.0).round() / 100.0).collect::<Vec<_>>(),
                fit.depth_ms_per_token.nominal(),
                fit.measured_depth,
                goodness.mape_pct,
                goodness.residual_q90
            ),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn steps_are_fitted_by_batch_and_depth() {
        let step = |depth: u32, batch: u32| {
            (depth, batch, (18.0 + 2.0 * f64::from(batch - 1) + 4e-4 * f64::from(depth)) / 1e3)
        };
        check_decode(
            &[step(16, 1), step(512, 1), step(2048, 1)],
            &expect!["[18.0] + 0.0004 K ms, to 2048, 0.00 %, q90 0.000"],
        );
        check_decode(
            &[step(16, 1), step(512, 1), step(64, 4), step(512, 8)],
            &expect!["[18.0, 20.0, 24.0, 32.0] + 0.0004 K ms, to 512, 0.00 %, q90 0.000"],
        );
        // Sizes between powers of two, and beyond the last one.
        check_decode(
            &[step(16, 1), step(512, 1), step(64, 3), step(512, 6)],
            &expect!["[18.0, 20.0, 24.0] + 0.0004 K ms, to 512, 0.00 %, q90 0.000"],
        );
        let fours = |depth: u32, batch: u32, ms: f64| (depth, batch, ms / 1e3);
        let (fit, _) = decode(&[
            fours(16, 1, 15.6),
            fours(16, 2, 44.0),
            fours(16, 3, 59.7),
            fours(16, 4, 58.0),
            fours(16, 6, 80.0),
            fours(16, 8, 90.0),
        ])
        .unwrap();
        let rounded = |figures: &[Figure]| figures.iter().map(|ms| ms.nominal().round()).collect::<Vec<_>>();
        assert_eq!(rounded(&fit.batch_ms), [16.0, 44.0, 58.0, 90.0]);
        assert_eq!(rounded(&fit.between_ms), [60.0, 80.0], "more than of four");
        assert!((step_seconds(&fit, 6, 0.0) - 0.080).abs() < 1e-3 && step_seconds(&fit, 7, 0.0) > 0.084);
        // One depth only.
        check_decode(
            &[step(100, 1), step(100, 1)],
            &expect!["[18.04] + 0.0000 K ms, to 100, 0.00 %, q90 0.000"],
        );
        check_decode(&[step(100, 2)], &expect!["no sample decodes one sequence alone: the fit starts there"]);
        // Gets faster with depth: noise.
        check_decode(
            &[(10, 1, 0.020), (1000, 1, 0.018), (10, 2, 0.017)],
            &expect!["[18.9, 18.9] + 0.0000 K ms, to 1000, 7.21 %, q90 0.057"],
        );
    }

    #[test]
    fn noise_is_told() {
        let mut random = fastrand::Rng::with_seed(1);
        let noisy = |(n, seconds): (u32, f64)| (n, seconds * (1.0 + 0.1 * (random.f64() - 0.5)));
        let samples: Vec<_> = of(50.0, 10.0, 0.002).into_iter().cycle().take(100).map(noisy).collect();
        check_prefill(
            &samples,
            &expect!["49.73 + 9.9773 n + 1.957e-3 n^2 ms, [16, 2048], 2.41 %, q90 0.038"],
        );
    }
}
