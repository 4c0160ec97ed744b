//! What calibrations have in common.

use dunlin_costs::{Calibration, Phase};

/// No calibration of the fleet has smaller factors, nor has a node that nothing was learned of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LeastFactors {
    pub(crate) load: f64,
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
    pub(crate) joules: f64,
}

impl Default for LeastFactors {
    fn default() -> Self {
        Self { load: 1.0, prefill: 1.0, decode: 1.0, joules: 1.0 }
    }
}

impl LeastFactors {
    pub(crate) fn learn(&mut self, of: &Calibration) {
        self.load = self.load.min(of.factor(Phase::Load));
        self.prefill = self.prefill.min(of.factor(Phase::Prefill));
        self.decode = self.decode.min(of.factor(Phase::Decode));
        self.joules = self.joules.min(of.factor(Phase::Joules));
    }
}
