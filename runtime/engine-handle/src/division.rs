//! Whose the time of a step is, as an engine divides it. Pure.

/// What one call has in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Rows of a prompt that it reads; 0: it decodes.
    pub rows: usize,
    /// Tokens over which it attends.
    pub context: usize,
}

/// What a step still counts after each further one: half of it after some 350.
const MEMORY: f64 = 0.998;
/// Steps that only decode, before their time is taken apart.
const ENOUGH: f64 = 24.0;
/// Attention takes no more of a step that only decodes, whatever the fit says.
const MOST_ATTENTION: f64 = 0.5;
/// Weight of the newest step, while nothing is taken apart yet.
const GAIN: f64 = 0.2;
/// In which contexts are counted, so that all sums are of one size.
const KILO: f64 = 1e-3;
/// Where the number of sequences never changes, its part and the constant one cannot be told apart, and need not be.
const RIDGE: f64 = 1e-6;

/// Divides steps without rest.
///
/// A step that only decodes is `a + b x sequences + d x context`, with coefficients learned from such steps. The weights are
/// read for all, so what does not depend on contexts is divided equally, and attention by context. What a step takes
/// longer than if it only decoded is of those who read a prompt, by their rows.
#[derive(Debug, Clone, Default)]
pub struct Division {
    /// Normal equations of (1, sequences, thousands of tokens), seconds last.
    sums: [[f64; 4]; 3],
    steps: f64,
    /// Mean of steps that only decode.
    mean: Option<f64>,
}

/// Seconds of a step that only decodes: of its weights, and of attention to one token.
#[derive(Debug, Clone, Copy)]
struct Decode {
    all: f64,
    per_token: f64,
}

impl Division {
    /// Seconds of each part of a step that took so many.
    pub fn divide(&mut self, seconds: f64, parts: &[Part]) -> Vec<f64> {
        let count = parts.len();
        if count == 0 {
            return Vec::new();
        }
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let context: usize = parts.iter().map(|part| part.context).sum();
        if rows == 0 {
            self.learn(seconds, count, context);
        }
        let Decode { all, per_token } = self.decode(seconds, rows == 0, count, context);
        let equal = (all - per_token * context as f64) / count as f64;
        let of = |part: &Part| {
            let read = if rows == 0 { 0.0 } else { (seconds - all) * part.rows as f64 / rows as f64 };
            equal + per_token * part.context as f64 + read
        };
        parts.iter().map(of).collect()
    }

    fn learn(&mut self, seconds: f64, count: usize, context: usize) {
        let row = [1.0, count as f64, context as f64 * KILO, seconds];
        for (at, sums) in self.sums.iter_mut().enumerate() {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum = *sum * MEMORY + row[at] * value);
        }
        self.steps = self.steps * MEMORY + 1.0;
        self.mean = Some(self.mean.map_or(seconds, |mean| mean + GAIN * (seconds - mean)));
    }

    /// What this step would be if it only decoded.
    fn decode(&self, seconds: f64, only_decodes: bool, count: usize, context: usize) -> Decode {
        let known = self.coefficients();
        let all = match (only_decodes, known) {
            (true, _) => seconds,
            (false, Some([a, b, d])) => (a + b * count as f64 + d * context as f64).clamp(0.0, seconds),
            (false, None) => self.mean.unwrap_or(0.0).min(seconds),
        };
        let most = MOST_ATTENTION * all / context.max(1) as f64;
        Decode { all, per_token: known.map_or(0.0, |[_, _, d]| d.clamp(0.0, most)) }
    }

    /// `None` until there are enough steps.
    fn coefficients(&self) -> Option<[f64; 3]> {
        if self.steps < ENOUGH {
            return None;
        }
        let mut sums = self.sums;
        (0..3).for_each(|at| sums[at][at] *= 1.0 + RIDGE);
        for at in 0..3 {
            let pivot = sums[at];
            if pivot[at] <= 0.0 {
                return None;
            }
            for below in &mut sums[at + 1..] {
                let by = below[at] / pivot[at];
                below.iter_mut().zip(pivot).for_each(|(value, of_pivot)| *value -= by * of_pivot);
            }
        }
        let d = sums[2][3] / sums[2][2];
        let b = (sums[1][3] - sums[1][2] * d) / sums[1][1];
        let a = (sums[0][3] - sums[0][1] * b - sums[0][2] * d) / sums[0][0];
        let all = [a, b, d * KILO];
        all.iter().all(|value| value.is_finite()).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: usize, context: usize) -> Part {
        Part { rows, context }
    }

    fn check(division: &mut Division, seconds: f64, parts: &[Part], expected: &[f64]) {
        let divided = division.divide(seconds, parts);
        assert_eq!(divided.len(), expected.len());
        for (got, expected) in divided.iter().zip(expected) {
            assert!((got - expected).abs() < 2e-4, "{divided:?} {expected}");
        }
        assert!(divided.is_empty() || (divided.iter().sum::<f64>() - seconds).abs() < 1e-9, "{divided:?}");
    }

    #[test]
    fn while_nothing_is_learned_all_have_an_equal_part_of_a_step_that_decodes() {
        let mut new = Division::default();
        // Nothing is known of steps that only decode.
        check(&mut new, 0.090, &[part(0, 10), part(64, 64)], &[0.0, 0.090]);
        check(&mut new, 0.040, &[part(0, 10)], &[0.040]);
        check(&mut new, 0.040, &[part(0, 10), part(0, 900)], &[0.020, 0.020]);
        // 40 ms that the step takes anyway for three, 60 ms more for the two that read.
        let parts = [part(0, 10), part(16, 32), part(48, 96)];
        check(&mut new, 0.100, &parts, &[0.0133, 0.0133 + 0.015, 0.0133 + 0.045]);
        // Shorter than such a step usually is.
        check(&mut new, 0.020, &[part(0, 10), part(16, 20)], &[0.010, 0.010]);
        check(&mut new, 0.020, &[], &[]);
    }

    #[test]
    fn attention_is_theirs_who_have_the_context() {
        let mut division = Division::default();
        // 20 ms, 2 ms a sequence, 10 us a token of context.
        let seconds = |parts: &[Part]| {
            let context: usize = parts.iter().map(|part| part.context).sum();
            0.020 + 0.002 * parts.len() as f64 + 1e-5 * context as f64
        };
        for step in 0..200 {
            let parts: Vec<Part> = (0..1 + step % 4).map(|of| part(0, 40 * of + 7 * step)).collect();
            division.divide(seconds(&parts), &parts);
        }
        let parts = [part(0, 100), part(0, 1900)];
        // 12 ms each, 1 and 19 ms of attention.
        check(&mut division, seconds(&parts), &parts, &[0.013, 0.031]);
        let parts = [part(0, 100), part(64, 300)];
        check(&mut division, 0.128, &parts, &[0.013, 0.115]);
        assert!(Division::default().coefficients().is_none());
    }

    #[test]
    fn a_number_of_sequences_that_never_changes_is_no_obstacle() {
        let mut division = Division::default();
        for step in 0..100 {
            division.divide(0.030 + 1e-5 * f64::from(step), &[part(0, step as usize)]);
        }
        let [a, b, d] = division.coefficients().unwrap_or_default();
        assert!((a + b - 0.030).abs() < 1e-4 && (d - 1e-5).abs() < 1e-7, "{a} {b} {d}");
    }
}
