//! What is learned of a node: how its costs differ from its row's.
//!
//! One calibration is for one node, row and thermal state. It learns from each request in log space.

use serde::{Deserialize, Serialize};

use crate::{RowKey, row::DEFAULT_RESIDUAL};

/// Least weight of the newest observation.
const MIN_GAIN: f64 = 0.1;
/// A factor beyond these says that something else is wrong.
const CLAMP: (f64, f64) = (0.5, 3.0);
/// `ln 1.25`: a row that is off by more, for so many requests, is stale.
const DRIFT: f64 = 0.223_143_551_314_209_76;
const DRIFTING: u16 = 20;
/// `ln 2`: one that is off by so much counts twice.
const GROSS: f64 = std::f64::consts::LN_2;
/// Observations before what was learned of the residuals replaces what the row says.
const ENOUGH: u32 = 20;
/// The change detector (Page and Hinkley's test): slack and threshold, in spreads of the residuals.
const SLACK: f32 = 0.5;
const THRESHOLD: f32 = 8.0;
/// One residual counts for no more than this, in spreads: an outlier alone is no change.
const OUTLIER: f32 = 4.0;
/// The quantile that nine of ten stay below, in mean absolute residuals of a normal distribution (1.28 / 0.80).
const NINE_OF_TEN: f32 = 1.6;
/// Least spread of the residuals.
const MIN_SPREAD: f32 = 0.03;
/// Weight of the newest residual for spread and quantile.
const RESIDUAL_GAIN: f32 = 0.05;

/// What is calibrated apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Load,
    Prefill,
    Decode,
    Joules,
}

/// What came of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    Followed,
    /// The node changed: what was learned before counts for little from now on.
    Changed,
    /// One of the two values says nothing: not positive, or not finite.
    Ignored,
}

/// Factors for each phase of the requests of one node on one row in one thermal state.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Calibration {
    pub(crate) load: Factor,
    pub(crate) prefill: Factor,
    pub(crate) decode: Factor,
    pub(crate) joules: Factor,
    basis: u64,
}

impl Calibration {
    /// For requests on this row: forgets everything if build, model, mode or thermal state are others than before.
    pub fn follow(&mut self, key: &RowKey) {
        let basis = basis(key);
        if basis != self.basis {
            *self = Self { basis, ..Self::default() };
        }
    }

    /// Learns from a request. `predicted` is without calibration (by `Calibration::default()`), in the situation that
    /// the request really met: [`Prediction::reading`](crate::Prediction::reading), a token, a load, marginal joules.
    pub fn observe(&mut self, phase: Phase, predicted: f64, actual: f64) -> Learned {
        let ratio = actual / predicted;
        if !(ratio.is_finite() && ratio > 0.0) {
            return Learned::Ignored;
        }
        self.phase_mut(phase).observe(ratio.ln())
    }

    /// By what predictions of this phase are multiplied.
    pub fn factor(&self, phase: Phase) -> f64 {
        self.phase(phase).factor()
    }

    /// Requests since the last change.
    pub fn observations(&self, phase: Phase) -> u32 {
        self.phase(phase).n
    }

    /// Whether the row should be measured again.
    pub fn is_stale(&self) -> bool {
        [&self.prefill, &self.decode, &self.joules].iter().any(|factor| factor.drifting >= DRIFTING)
    }

    /// By what watts are multiplied. Until joules were observed, a node that takes longer draws more of them; then they
    /// are as many times those of the row as was seen, however long it takes.
    pub(crate) fn power(&self, calibrated: f64, uncalibrated: f64) -> f64 {
        if self.joules.n == 0 || calibrated <= 0.0 {
            1.0
        } else {
            self.joules.factor * uncalibrated / calibrated
        }
    }

    const fn phase(&self, phase: Phase) -> &Factor {
        match phase {
            Phase::Load => &self.load,
            Phase::Prefill => &self.prefill,
            Phase::Decode => &self.decode,
            Phase::Joules => &self.joules,
        }
    }

    const fn phase_mut(&mut self, phase: Phase) -> &mut Factor {
        match phase {
            Phase::Load => &mut self.load,
            Phase::Prefill => &mut self.prefill,
            Phase::Decode => &mut self.decode,
            Phase::Joules => &mut self.joules,
        }
    }
}

/// Not a hash that anyone could collide on purpose with effect: a collision keeps an old calibration.
fn basis(key: &RowKey) -> u64 {
    let thermal = [key.thermal as u8];
    let parts = [key.runtime.as_bytes(), key.model.as_bytes(), key.mode.as_str().as_bytes(), &thermal];
    // FNV-1a.
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// A factor and the spread of what remains. Keeps its exponentials, since predictions are made far more often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Factor {
    log: f64,
    factor: f64,
    /// `exp` of `quantile`.
    margin: f64,
    n: u32,
    drifting: u16,
    /// Residual that 90 % stay below.
    quantile: f32,
    /// Mean absolute residual.
    spread: f32,
    /// Sums of the change detector, upwards and downwards.
    rise: f32,
    fall: f32,
}

impl Default for Factor {
    fn default() -> Self {
        let quantile = DEFAULT_RESIDUAL as f32;
        let margin = f64::from(quantile).exp();
        let (spread, rise, fall) = (quantile / 2.0, 0.0, 0.0);
        Self { log: 0.0, factor: 1.0, margin, n: 0, drifting: 0, quantile, spread, rise, fall }
    }
}

impl Factor {
    pub(crate) const fn factor(&self) -> f64 {
        self.factor
    }

    /// What to multiply a mean with for its 90 % quantile; never below the row's own until enough was seen.
    pub(crate) const fn margin(&self, of_row: f64) -> f64 {
        if self.n < ENOUGH { if self.n > 0 { of_row.max(self.margin) } else { of_row } } else { self.margin }
    }

    fn observe(&mut self, log_ratio: f64) -> Learned {
        let residual = log_ratio - self.log;
        let changed = self.detect(residual as f32);
        if changed {
            (self.n, self.rise, self.fall) = (0, 0.0, 0.0);
        } else {
            self.spread_of(residual as f32);
        }
        self.n = self.n.saturating_add(1);
        self.log += residual * (1.0 / f64::from(self.n)).max(MIN_GAIN);
        self.log = self.log.clamp(CLAMP.0.ln(), CLAMP.1.ln());
        self.drifting = match self.log.abs() {
            off if off > GROSS => self.drifting.saturating_add(2),
            off if off > DRIFT => self.drifting.saturating_add(1),
            _ => 0,
        };
        self.factor = self.log.exp();
        self.margin = f64::from(self.quantile.max(0.0)).exp();
        if changed { Learned::Changed } else { Learned::Followed }
    }

    fn detect(&mut self, residual: f32) -> bool {
        // The first observation of a node is no change: nothing was known.
        if self.n == 0 {
            return false;
        }
        let spreads = (residual / self.spread.max(MIN_SPREAD)).clamp(-OUTLIER, OUTLIER);
        self.rise = (self.rise + spreads - SLACK).max(0.0);
        self.fall = (self.fall - spreads - SLACK).max(0.0);
        self.rise > THRESHOLD || self.fall > THRESHOLD
    }

    /// Follows the mean absolute residual, and the quantile by steps that balance at nine of ten.
    fn spread_of(&mut self, residual: f32) {
        if self.n == 0 {
            return;
        }
        let gain = (1.0 / self.n as f32).max(RESIDUAL_GAIN);
        self.spread += gain * (residual.abs() - self.spread);
        if self.n < ENOUGH {
            // Too few to count those above it.
            self.quantile = NINE_OF_TEN * self.spread;
            return;
        }
        let step = 4.0 * gain * self.spread.max(MIN_SPREAD);
        self.quantile += step * if residual > self.quantile { 0.9 } else { -0.1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observations of a node that is `factor` as slow as its row, with noise of `sigma` in log space.
    fn observe(
        calibration: &mut Calibration,
        random: &mut fastrand::Rng,
        factor: f64,
        sigma: f64,
    ) -> Learned {
        // Twelve uniform draws: nearly a normal one.
        let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        calibration.observe(Phase::Decode, 1.0, factor * (sigma * normal).exp())
    }

    #[test]
    fn the_first_request_sets_the_factor_and_the_rest_refine_it() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.observe(Phase::Decode, 2.0, 2.4), Learned::Followed);
        assert!((calibration.factor(Phase::Decode) - 1.2).abs() < 1e-9);
        calibration.observe(Phase::Decode, 2.0, 2.0);
        assert!((calibration.factor(Phase::Decode) - 1.2f64.sqrt()).abs() < 1e-9);
        assert_eq!(calibration.factor(Phase::Prefill), 1.0);
        assert_eq!(calibration.observations(Phase::Decode), 2);
    }

    #[test]
    fn factors_are_bounded_and_nonsense_is_ignored() {
        let mut calibration = Calibration::default();
        for (predicted, actual) in
            [(0.0, 1.0), (1.0, 0.0), (1.0, f64::NAN), (1.0, -1.0), (f64::INFINITY, 1.0)]
        {
            assert_eq!(calibration.observe(Phase::Load, predicted, actual), Learned::Ignored);
        }
        calibration.observe(Phase::Load, 1.0, 100.0);
        assert!((calibration.factor(Phase::Load) - 3.0).abs() < 1e-9);
        let mut calibration = Calibration::default();
        calibration.observe(Phase::Load, 100.0, 1.0);
        assert!((calibration.factor(Phase::Load) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_node_that_changes_is_followed_within_ten_requests() {
        for sigma in [0.02, 0.1, 0.2] {
            let mut random = fastrand::Rng::with_seed(3);
            let mut calibration = Calibration::default();
            for _ in 0..100 {
                observe(&mut calibration, &mut random, 1.0, sigma);
            }
            // Throttled, say.
            let noticed =
                (1..).find(|_| observe(&mut calibration, &mut random, 2.2, sigma) == Learned::Changed);
            assert!(noticed <= Some(10), "{noticed:?} at {sigma}");
            for _ in 0..5 {
                observe(&mut calibration, &mut random, 2.2, sigma);
            }
            let factor = calibration.factor(Phase::Decode);
            assert!((factor / 2.2).ln().abs() < 3.0 * sigma, "{factor} at {sigma}");
        }
    }

    #[test]
    fn noise_is_no_change_and_one_outlier_neither() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut calibration = Calibration::default();
        let changes =
            (0..2000).filter(|_| observe(&mut calibration, &mut random, 1.1, 0.15) == Learned::Changed);
        let changes = changes.count();
        assert!(changes <= 4, "{changes} in 2000");
        let before = calibration.factor(Phase::Decode);
        assert_eq!(calibration.observe(Phase::Decode, 1.0, 5.0), Learned::Followed);
        assert!(calibration.factor(Phase::Decode) / before < 1.2);
    }

    #[test]
    fn nine_in_ten_stay_below_the_quantile() {
        for (sigma, seed) in [(0.05, 1), (0.1, 2), (0.3, 3)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut calibration = Calibration::default();
            for _ in 0..200 {
                observe(&mut calibration, &mut random, 1.3, sigma);
            }
            let mut below = 0;
            for _ in 0..5000 {
                let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                let actual = 1.3 * (sigma * normal).exp();
                let decode = &calibration.decode;
                below += usize::from(actual <= decode.factor() * decode.margin(1.0));
                calibration.observe(Phase::Decode, 1.0, actual);
            }
            let share = below as f64 / 5000.0;
            assert!((0.87..=0.94).contains(&share), "{share} at {sigma}");
        }
    }

    #[test]
    fn few_observations_do_not_make_the_row_surer() {
        let mut calibration = Calibration::default();
        for _ in 0..ENOUGH - 1 {
            calibration.observe(Phase::Decode, 1.0, 1.0);
            assert!(calibration.decode.margin(1.5) >= 1.5);
        }
        calibration.observe(Phase::Decode, 1.0, 1.0);
        assert!(calibration.decode.margin(1.5) < 1.2);
    }

    #[test]
    fn a_row_that_stays_wrong_is_stale() {
        let mut calibration = Calibration::default();
        for seen in 0..DRIFTING {
            assert!(!calibration.is_stale(), "after {seen}");
            calibration.observe(Phase::Prefill, 1.0, 1.3);
        }
        assert!(calibration.is_stale());
        for _ in 0..10 {
            calibration.observe(Phase::Prefill, 1.0, 1.0);
        }
        assert!(!calibration.is_stale());
    }

    #[test]
    fn one_that_is_grossly_wrong_is_stale_sooner() {
        let mut calibration = Calibration::default();
        let marked = (1..).find(|_| {
            calibration.observe(Phase::Decode, 1.0, 5.0);
            calibration.is_stale()
        });
        assert_eq!(marked, Some(10));
    }

    #[test]
    fn another_build_model_mode_or_heat_begins_anew() {
        let key = |change: fn(&mut RowKey)| {
            let class = crate::Class::find("pi5-8g-hot").unwrap();
            let mut key = class.table.rows().next().unwrap().key.clone();
            change(&mut key);
            key
        };
        let mut calibration = Calibration::default();
        calibration.follow(&key(|_| ()));
        calibration.observe(Phase::Decode, 1.0, 1.3);
        calibration.follow(&key(|key| key.decode_threads = 2));
        assert_eq!(calibration.observations(Phase::Decode), 1);
        let changes: [fn(&mut RowKey); 4] = [
            |key| key.runtime.push('x'),
            |key| key.model = crate::ModelDigest::new([7; 32]),
            |key| key.mode = "powersave".into(),
            |key| key.thermal = crate::Thermal::Cool,
        ];
        for change in changes {
            let mut other = calibration;
            other.follow(&key(change));
            assert_eq!(other.observations(Phase::Decode), 0);
        }
    }
}
