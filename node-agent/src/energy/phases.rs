//! What reading prompts and decoding draw above idle, learned from intervals that have both.

use super::ledger::Work;

/// What an interval still counts after each further one: half of it after about 30 s of work at 10 Hz.
const MEMORY: f64 = 0.998;

/// The phases differ by no more than this factor; beyond it the fit is of noise.
const MOST: f64 = 3.0;

/// Seconds of each phase that must have been seen.
const ENOUGH: f64 = 1.0;

/// Least squares of `joules = prefill watts x prefill seconds + decode watts x decode seconds`, old intervals fading.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PhaseWatts {
    /// Sums of squares and products of seconds, and of their products with joules.
    pp: f64,
    pd: f64,
    dd: f64,
    pj: f64,
    dj: f64,
    /// Seconds.
    prefill: f64,
    decode: f64,
}

impl PhaseWatts {
    pub(crate) fn note(&mut self, work: Work, joules: f64) {
        let (p, d) = (work.prefill, work.decode);
        let add = |sum: &mut f64, value: f64| *sum = *sum * MEMORY + value;
        add(&mut self.pp, p * p);
        add(&mut self.pd, p * d);
        add(&mut self.dd, d * d);
        add(&mut self.pj, p * joules);
        add(&mut self.dj, d * joules);
        add(&mut self.prefill, p);
        add(&mut self.decode, d);
    }

    /// Of a second of prefill and of decoding; (1, 1) until they are told apart.
    pub(crate) fn weights(&self) -> (f64, f64) {
        let determinant = self.pp * self.dd - self.pd * self.pd;
        // Where every interval has the same mixture, nothing tells the phases apart.
        let is_known =
            self.prefill > ENOUGH && self.decode > ENOUGH && determinant > 0.05 * self.pp * self.dd;
        if !is_known {
            return (1.0, 1.0);
        }
        let prefill = (self.pj * self.dd - self.dj * self.pd) / determinant;
        let decode = (self.dj * self.pp - self.pj * self.pd) / determinant;
        if prefill <= 0.0 || decode <= 0.0 {
            return (1.0, 1.0);
        }
        ((prefill / decode).clamp(1.0 / MOST, MOST), 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_apart_where_their_mixture_changes() {
        let mut phases = PhaseWatts::default();
        let note = |phases: &mut PhaseWatts, p: f64, d: f64| {
            phases.note(Work { prefill: p, decode: d }, 6.0 * p + 4.0 * d);
        };
        (0..100).for_each(|_| note(&mut phases, 0.05, 0.05));
        assert_eq!(phases.weights(), (1.0, 1.0), "always the same mixture");
        (0..20).for_each(|_| note(&mut phases, 0.0, 0.1));
        (0..20).for_each(|_| note(&mut phases, 0.1, 0.0));
        let (prefill, decode) = phases.weights();
        assert!((prefill / decode - 1.5).abs() < 1e-6, "{prefill} {decode}");
    }
}
